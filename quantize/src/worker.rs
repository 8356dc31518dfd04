//! The worker that a build pre-initializes, one file a tier that runs it: where it comes from, and what became of it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use shared_model::bundle::CATALOG;
use shared_model::ladder::Payload;
use shared_model::limits::MAX_WASM_BYTES;
use shared_model::schema::Schema;
use shared_model::variant::VariantName;

use crate::snapshot::{SnapshotError, Worker};
use crate::source::{self, SourceError};

/// What `scripts/build-worker.sh` makes, from the repository's folder.
const MADE: &str = "target/worker/worker.wasm";

/// A worker's file, if there is one.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    wasm: Option<Vec<u8>>,
}

/// What became of one tier's worker.
#[derive(Clone, Debug, Serialize)]
pub struct Preinitialized {
    /// Its file in the bundle.
    pub file: &'static str,
    /// Its bytes, if it is there.
    pub bytes: Option<usize>,
    /// Why it is not.
    pub reason: Option<String>,
}

impl Source {
    /// The file that was named, or else the one that is usually there.
    ///
    /// # Errors
    /// The one named cannot be read.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, SourceError> {
        let path = named.unwrap_or(Path::new(MADE));
        let wasm = if named.is_some() || path.exists() { Some(source::bytes(path, MAX_WASM_BYTES)?) } else { None };
        Ok(Self { path: path.to_owned(), wasm })
    }

    /// Compiles it.
    ///
    /// # Errors
    /// It is no worker.
    pub(crate) fn compile(&self) -> Result<Option<Worker<'_>>, SourceError> {
        self.wasm.as_deref().map(Worker::compile).transpose().map_err(|error| SourceError::file(&self.path, error))
    }

    /// Adds to a bundle's files the worker of every tier that runs one; what would be too large is left out.
    ///
    /// # Errors
    /// It cannot load the files.
    pub(crate) fn preinitialize(
        &self,
        worker: Option<&Worker<'_>>,
        schema: &Schema,
        files: &mut Vec<(&'static str, Vec<u8>)>,
    ) -> Result<Vec<Preinitialized>, SourceError> {
        let schema = schema.to_json();
        let mut all = Vec::new();
        for variant in VariantName::ALL {
            let Some(file) = variant.worker_file() else { continue };
            let of = |name| files.iter().find(|(file, _)| *file == name).map_or(&[][..], |(_, bytes)| bytes);
            let payload = Payload { schema: &schema, variant: of(variant.file()), catalog: of(CATALOG) };
            let made = worker.map(|worker| worker.snapshot(variant.tier(), payload));
            let (bytes, reason) = match made {
                Some(Ok(wasm)) => {
                    let bytes = wasm.len();
                    files.push((file, wasm));
                    (Some(bytes), None)
                }
                Some(Err(error @ SnapshotError::TooLarge { .. })) => (None, Some(error.to_string())),
                Some(Err(error)) => return Err(SourceError::file(&self.path, error)),
                None => (None, Some(format!("{} is not there; name a worker with --worker", self.path.display()))),
            };
            all.push(Preinitialized { file, bytes, reason });
        }
        Ok(all)
    }
}
