//! `quantize delta`: changed items into the file that leads a catalog to its next revision.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared_model::bundle::{Edition, NotApplied, delta_file};
use shared_model::catalog::{Delta, DeltaError};
use shared_model::limits;
use shared_model::variant::VariantName;

use crate::failure::Failure;
use crate::source::{self, SourceError};
use crate::write::UNFINISHED_DELTA;

/// What a delta is made of.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The items, one JSON object a line: whole ones as in the catalog, or `{"id":"m1","removed":true}`
    #[arg(long)]
    pub items: PathBuf,
    /// The bundle's folder, with the deltas so far
    #[arg(long)]
    pub bundle: PathBuf,
    /// A delta before this one that is not in that folder; several in their order
    #[arg(long)]
    pub after: Vec<PathBuf>,
    /// Where to write it; the bundle's folder unless given, from where its tiers take it
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// The delta that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Its file.
    pub file: PathBuf,
    /// Its model.
    pub model: String,
    /// The bundle it is for.
    pub bundle: String,
    /// The revision that it leads to.
    pub revision: u64,
    /// Items that it adds, changes or removes.
    pub changes: usize,
    /// Items of the catalog that it leads to.
    pub items: usize,
}

/// Makes a delta.
///
/// # Errors
/// Names the file, and the item and field; nothing is written then.
pub fn run(options: &Options) -> Result<Made, Failure> {
    let Options { items, bundle, after, out } = options;
    let edition = latest(bundle, after)?;
    let lines = source::bytes(items, limits::MAX_DELTA_BYTES)?;
    let fault = |error: DeltaError| SourceError::file(items, error);
    let (bytes, next) = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), &lines).map_err(fault)?;
    let delta = Delta::read(&bytes).map_err(fault)?;
    let file = out.clone().unwrap_or_else(|| bundle.join(delta_file(delta.revision())));
    write(&file, &bytes)?;
    Ok(Made {
        file,
        model: delta.model().to_owned(),
        bundle: edition.stamp().bundle.to_string(),
        revision: delta.revision(),
        changes: delta.len(),
        items: next.len(),
    })
}

/// The bundle with all deltas that its folder has, and those given.
fn latest(bundle: &Path, after: &[PathBuf]) -> Result<Edition, SourceError> {
    let read = |file: &str, max: u64| source::bytes(&bundle.join(file), max).map_err(|e| e.to_string());
    // Any variant does: its weights are not looked at, and the edge's are the fewest.
    let (edition, _) = Edition::read(VariantName::W4, read).map_err(|e| SourceError::file(bundle, e))?;
    let there = |file: &str| match bundle.join(file) {
        path if path.exists() => source::bytes(&path, limits::MAX_DELTA_BYTES).map(Some),
        _ => Ok(None),
    };
    let (edition, refused) = edition.latest(u64::MAX, there);
    if let Some(NotApplied { file, reason }) = refused {
        return Err(SourceError::file(&bundle.join(file), reason));
    }
    let next = |edition: Edition, path: &PathBuf| {
        let bytes = source::bytes(path, limits::MAX_DELTA_BYTES)?;
        let delta = Delta::read(&bytes).and_then(|delta| edition.after(&delta));
        delta.map_err(|e| SourceError::file(path, e))
    };
    after.iter().try_fold(edition, next)
}

/// Whole or not at all, and never over another: tiers may have it already.
fn write(file: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let io = |e| SourceError::io(file, e);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut written = tempfile::Builder::new().prefix(UNFINISHED_DELTA).tempfile_in(folder).map_err(io)?;
    written.write_all(bytes).map_err(io)?;
    written.as_file().sync_all().map_err(io)?;
    source::open_to_all(written.path(), 0o644).map_err(io)?;
    written.persist_noclobber(file).map_err(|e| io(e.error))?;
    Ok(())
}
