//! A GPU's probe: its libraries, then the driver, then the device, then the compiler.

use std::path::Path;

use cubecl::cuda::install::cuda_path;
use cudarc::driver::result::{device, init};
use cudarc::get_lib_name_candidates as names;
use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};

use super::Missing;
use super::library::Places;
use crate::engine::caught;

/// Includes what the real ones include.
const TRIAL: &str =
    "#include <cuda_runtime.h>\nextern \"C\" __global__ void trial(float *x) { x[threadIdx.x] += 1; }\n";

pub(super) fn probe(index: usize) -> Result<(), Missing> {
    let driver = ["cuda", "nvcuda"].into_iter().flat_map(names).collect();
    let toolkit = cuda_path();
    // Without the libraries the calls of `trial` would panic; with them they still do for a function that one lacks.
    Places { driver, nvrtc: names("nvrtc"), toolkit: toolkit.clone() }.check()?;
    caught(|| trial(index, toolkit.as_deref())).map_err(Missing::Start)?
}

/// Starts the driver, looks for the device and compiles a kernel.
fn trial(index: usize, toolkit: Option<&Path>) -> Result<(), Missing> {
    init().map_err(|e| Missing::Start(e.to_string()))?;
    let count = device::get_count().map_err(|e| Missing::Start(e.to_string()))?;
    let count = usize::try_from(count).unwrap_or(0);
    if index >= count {
        return Err(Missing::Index { index, count });
    }
    let include = |folder: &str| toolkit.map(|path| path.join(folder).display().to_string());
    let include_paths = ["include", "include/cccl"].into_iter().filter_map(include).collect();
    let options = CompileOptions { include_paths, ..CompileOptions::default() };
    compile_ptx_with_opts(TRIAL, options).map(drop).map_err(|error| Missing::Trial(first_line(&error)))
}

fn first_line(error: &CompileError) -> String {
    let text = match error {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => other.to_string(),
    };
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}
