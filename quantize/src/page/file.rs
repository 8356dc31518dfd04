//! The page's place on disk: taken before the long run, so that a bad path fails at once, and filled whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::page;
use crate::findings::Findings;
use crate::source::{self, SourceError};

/// A place for a page.
#[derive(Debug)]
pub(crate) struct PageFile {
    path: PathBuf,
    written: NamedTempFile,
}

impl PageFile {
    /// Reserves `path`, which may not be in the folder of `bundle`: a bundle with a file of another kind is not replaced.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn reserve(path: &Path, bundle: &Path) -> Result<Self, SourceError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(SourceError::file(path, "is a folder: name a file"));
        }
        let whole = |path: &Path| path.canonicalize().ok();
        if folder == bundle || whole(bundle).is_some_and(|b| whole(folder).is_some_and(|f| f.starts_with(b))) {
            return Err(SourceError::file(path, "is in the bundle's folder: name a file elsewhere"));
        }
        let io = |e| SourceError::io(path, e);
        let written = tempfile::Builder::new().prefix(".report-").tempfile_in(folder).map_err(io)?;
        Ok(Self { path: path.to_owned(), written })
    }

    /// Writes the page; one that is there is replaced.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn fill(self, findings: &Findings) -> Result<(), SourceError> {
        let Self { path, mut written } = self;
        let html = page(findings).map_err(|e| SourceError::file(&path, e))?;
        let io = |e| SourceError::io(&path, e);
        written.write_all(html.as_bytes()).map_err(io)?;
        source::open_to_all(written.path(), 0o644).map_err(io)?;
        written.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }
}
