//! The names that `cubecl-cuda` takes from `cubecl-llvm`, without LLVM.
//!
//! `cubecl-cuda` compiles kernels by LLVM or by NVRTC, and always links both. The `cuda-cpp` feature has it take NVRTC;
//! then nothing here is called, and the real crate, whose build script downloads LLVM, need not be built. Whoever turns
//! that feature off gets the error of [`PlironCompiler`] from the first kernel.

use std::ffi::c_char;

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

/// How a driver's PTX version is spelled.
pub mod nvptx {
    /// See [`PtxVersion`](ptx_version::PtxVersion).
    pub mod ptx_version {
        use std::fmt;

        /// A PTX version; there is none without LLVM.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// None: NVRTC chooses.
            #[must_use]
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// What LLVM would not lower.
pub mod shared {
    /// See [`restrict_features`](lowered_features::restrict_features).
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// What is compiled for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Called for LLVM alone, and there is none.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}

/// What is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA.
    Nvptx,
}

/// Refuses every kernel.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

/// How a kernel would be compiled.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Of AMD.
    pub arch: Option<()>,
    /// Of NVIDIA.
    pub sm_arch: Option<SmArch>,
    /// The newest that the driver takes.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars go with the launch.
    pub grid_constants: bool,
}

/// A compiled kernel; there is never one.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// Assembly that ends in NUL.
    pub ptx: Vec<c_char>,
    /// The kernel's symbol.
    pub entrypoint: String,
    /// What it was made from.
    pub ir: String,
    /// In bytes.
    pub shared_memory_size: usize,
    /// How each buffer is used.
    pub io: Vec<BufferIOAttr>,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// For NVIDIA.
    NvptxCode(NvptxModule),
}

impl std::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this program has no LLVM: build it with cubecl's feature `cuda-cpp`".to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
