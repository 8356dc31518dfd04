//! Which device the origin computes on, chosen once at start and named in `/readyz`.
//!
//! A device is a value of burn's, not a type: the executor runs the same program on each. A choice that cannot be had
//! is an error or a slower device, never a panic: what a GPU needs is asked for before burn is touched.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod library;

use std::fmt;
use std::path::PathBuf;

use burn::tensor::Device as Handle;
use thiserror::Error;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU, if it answers the probe, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this index, and no other device.
    Cuda(usize),
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// burn-flex on the CPU: exact, and the slowest.
    Cpu,
    /// burn-cuda on the GPU of this index.
    Cuda(usize),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// How a GPU multiplies matrices; everything else, and all of the CPU, is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In IEEE f32: the reference, within rounding.
    #[default]
    F32,
    /// In tensor cores, from operands of 10 bits of mantissa, where that is faster.
    Tf32,
    /// In tensor cores, from operands and to results of 7 bits of mantissa.
    Bf16,
}

impl Precision {
    /// The name, as in `rung.toml` and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// What a GPU was found to lack.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Missing {
    /// A program that can use one.
    #[error("this program is built without the feature `cuda`")]
    Feature,
    /// Its driver.
    #[error("no NVIDIA driver: {0}")]
    Driver(String),
    /// The compiler of its kernels.
    #[error("no NVRTC, which compiles kernels: {0}: install CUDA's toolkit")]
    Nvrtc(String),
    /// The files that kernels include.
    #[error("no CUDA headers: there is no {}: install CUDA's toolkit, or set CUDA_PATH to its folder", .0.display())]
    Headers(PathBuf),
    /// A driver that starts.
    #[error("the NVIDIA driver does not start: {0}")]
    Start(String),
    /// The device.
    #[error("no cuda:{index}: the driver has {count} devices, numbered from 0")]
    Index {
        /// Asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A compiler that goes with the headers.
    #[error("NVRTC does not compile a trial kernel: {0}")]
    Trial(String),
}

/// A device that answered its probe.
#[derive(Clone, Debug)]
pub struct Device {
    kind: Kind,
    precision: Precision,
    handle: Handle,
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct Probed {
    /// What to compute on.
    pub device: Device,
    /// Why it is no faster one, where one was looked for.
    pub missing: Option<Missing>,
    /// Whether no other will do.
    pub required: bool,
}

impl Device {
    /// Probes what `choice` allows, fastest first.
    ///
    /// # Errors
    /// What the one device that `choice` allows lacks; the CPU lacks nothing.
    pub fn probe(choice: Choice, precision: Precision) -> Result<Probed, Missing> {
        let found = |device| Probed { device, missing: None, required: choice != Choice::Auto };
        match choice {
            Choice::Cpu => Ok(found(Self::cpu())),
            Choice::Cuda(index) => Self::cuda(index, precision).map(found),
            Choice::Auto => Ok(Self::cuda(0, precision)
                .map_or_else(|missing| Probed { missing: Some(missing), ..found(Self::cpu()) }, found)),
        }
    }

    /// The CPU.
    #[must_use]
    pub fn cpu() -> Self {
        Self { kind: Kind::Cpu, precision: Precision::F32, handle: Handle::flex() }
    }

    #[cfg(feature = "cuda")]
    fn cuda(index: usize, precision: Precision) -> Result<Self, Missing> {
        cuda::probe(index)?;
        Ok(Self { kind: Kind::Cuda(index), precision, handle: Handle::cuda(index) })
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_: usize, _: Precision) -> Result<Self, Missing> {
        Err(Missing::Feature)
    }

    /// The CPU under a GPU's name: what is done for a GPU alone is done for it.
    #[cfg(test)]
    pub(crate) fn as_if_gpu(precision: Precision) -> Self {
        Self { kind: Kind::Cuda(0), precision, ..Self::cpu() }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it multiplies matrices.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The name that its maker gave it, where that can be told.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        #[cfg(feature = "cuda")]
        return self.handle.identity().map(|identity| identity.name);
        #[cfg(not(feature = "cuda"))]
        return None;
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

#[cfg(test)]
mod tests;
