//! Whether what a GPU needs is installed: asked of the system, before any code that would panic without it.

// Loading a library runs its initializers, which only `unsafe` may do.
#![allow(unsafe_code, reason = "the system's loader is asked whether a library loads")]

use std::error::Error as _;
use std::path::{Path, PathBuf};

use libloading::Library;

use super::Missing;

/// Of the headers that kernels include, the one that includes most of the others.
const HEADER: &str = "include/cuda_runtime.h";
/// Where a toolkit is that is nowhere else.
const USUAL: &str = "/usr/local/cuda";

/// Where what a GPU needs is looked for.
#[derive(Debug)]
pub(super) struct Places {
    /// File names or paths, tried in order.
    pub(super) driver: Vec<String>,
    /// File names or paths, tried in order.
    pub(super) nvrtc: Vec<String>,
    /// CUDA's own folder.
    pub(super) toolkit: Option<PathBuf>,
}

impl Places {
    /// Asks for each in turn; nothing of CUDA is called.
    pub(super) fn check(&self) -> Result<(), Missing> {
        load(&self.driver).map_err(Missing::Driver)?;
        load(&self.nvrtc).map_err(Missing::Nvrtc)?;
        let header = self.toolkit.as_deref().unwrap_or(Path::new(USUAL)).join(HEADER);
        if header.is_file() { Ok(()) } else { Err(Missing::Headers(header)) }
    }
}

/// Loads the first that can be. The error is of the first that is there and cannot be, else of the first.
fn load(names: &[String]) -> Result<(), String> {
    let mut refused: Option<String> = None;
    for name in names {
        // SAFETY: the libraries asked for are NVIDIA's, whose initializers may run on any thread. A library stays
        // loaded only while it is used, and this handle is dropped at once: nothing of it is called.
        match unsafe { Library::new(name) } {
            Ok(_) => return Ok(()),
            Err(error) => {
                // What the loader said is the cause of the library's own error.
                let error = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                let absent = |text: &String| text.contains("No such file");
                if refused.as_ref().is_none_or(|kept| absent(kept) && !absent(&error)) {
                    refused = Some(error);
                }
            }
        }
    }
    Err(refused.unwrap_or_else(|| "no name to look for".to_owned()))
}
