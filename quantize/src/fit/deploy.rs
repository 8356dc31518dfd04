//! What is put on a platform for a variant, and its bytes.
//!
//! A platform that compiles no WASM at run time gets the package for JavaScript and the bundle's files as its modules, as
//! docs/web.md has it. The others get the worker that the bundle has with everything loaded, if it is of the worker at
//! hand, as `pop` demands; or else `worker.wasm` and the files beside it.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use shared_model::bundle::{Bundle, CATALOG, FEATURES, Mark};
use shared_model::ladder::Payload;
use shared_model::limits::MAX_WASM_BYTES;
use shared_model::variant::VariantName;

use super::{Options, Target};
use crate::source::{self, SourceError};

/// The files of the package that a Worker imports.
const MODULES: [&str; 5] = ["workerd.js", "worker.js", "host.js", "rung_edge.js", "rung_edge_bg.wasm"];

/// What is deployed.
#[derive(Debug)]
pub(super) struct Deployed {
    /// In words.
    pub(super) what: &'static str,
    /// Its bytes.
    pub(super) bytes: u64,
    /// The same with gzip, as a deployment compresses.
    pub(super) compressed: u64,
    /// The bytes of it that lie beside an instance's memory and count as memory.
    pub(super) resident: u64,
    /// The file of the worker that has everything loaded, if that is what runs.
    pub(super) loaded: Option<&'static str>,
}

impl Deployed {
    /// For one variant of a bundle, which holds the files of every tier with a worker.
    ///
    /// # Errors
    /// The package or the worker is not there.
    pub(super) fn of(
        options: &Options,
        bundle: &Bundle,
        variant: VariantName,
        payload: Payload<'_>,
    ) -> Result<Self, SourceError> {
        let worker = worker(options)?;
        let in_bundle = |file| bundle.file(file).map_err(|e| SourceError::file(&options.bundle, e));
        let files = [bundle.manifest_bytes(), in_bundle(FEATURES)?, in_bundle(CATALOG)?, in_bundle(variant.file())?];
        let mark = Mark::of(&worker).section(payload);
        let is_its_own = |file: &&str| bundle.file(file).is_ok_and(|wasm| wasm.ends_with(&mark));
        let loaded = variant.worker_file().filter(is_its_own);
        match (options.target, loaded) {
            (Target::Cloudflare | Target::CloudflareFree, _) => {
                let modules = MODULES.map(|file| made(&options.package.join(file), "scripts/build-web.sh"));
                let modules = modules.into_iter().collect::<Result<Vec<_>, _>>()?;
                let all: Vec<&[u8]> = modules.iter().map(Vec::as_slice).chain(files).collect();
                let resident = bytes(&files);
                Ok(Self { resident, ..Self::whole("the package for JavaScript with the bundle's files", &all, None) })
            }
            (Target::Fastly | Target::Pop, Some(file)) => {
                Ok(Self::whole("the worker that has it all loaded", &[in_bundle(file)?], loaded))
            }
            (Target::Fastly, None) => {
                let all: Vec<&[u8]> = std::iter::once(&worker[..]).chain(files).collect();
                Ok(Self::whole("the worker with the bundle's files", &all, None))
            }
            (Target::Pop, None) => Ok(Self::whole("the worker", &[&worker], None)),
        }
    }

    fn whole(what: &'static str, files: &[&[u8]], loaded: Option<&'static str>) -> Self {
        Self { what, bytes: bytes(files), compressed: compressed(files), resident: 0, loaded }
    }
}

/// The worker without a model.
///
/// # Errors
/// It is not there.
pub(super) fn worker(options: &Options) -> Result<Vec<u8>, SourceError> {
    made(&options.worker, "scripts/build-worker.sh")
}

/// A file that a script makes.
fn made(path: &Path, script: &str) -> Result<Vec<u8>, SourceError> {
    if !path.exists() {
        return Err(SourceError::file(path, format!("is not there; {script} makes it")));
    }
    source::bytes(path, MAX_WASM_BYTES)
}

fn bytes(files: &[&[u8]]) -> u64 {
    files.iter().map(|file| file.len() as u64).sum()
}

fn compressed(files: &[&[u8]]) -> u64 {
    let mut gzip = GzEncoder::new(Counter(0), Compression::default());
    let written = files.iter().try_for_each(|file| gzip.write_all(file));
    written.and_then(|()| gzip.finish()).expect("counting does not fail").0
}

/// Counts what is written to it.
struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
