//! The files that a document names: noted while it is read, looked at only when asked.

use std::fs::File;
use std::path::PathBuf;

use crate::{Fault, FaultKind};

/// One path in the document, relative paths already joined to its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Folder,
}

impl NamedFile {
    /// Opens it, because a file that is there may still not be ours to read.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let reason = match File::open(&self.path).and_then(|file| file.metadata()) {
            Err(error) => error.to_string(),
            Ok(found) => match self.kind {
                FileKind::File if found.is_dir() => "is a folder, expected a file".to_owned(),
                FileKind::Folder if !found.is_dir() => "is a file, expected a folder".to_owned(),
                FileKind::File | FileKind::Folder => return Ok(()),
            },
        };
        Err(Fault::new(self.line, &self.key, FaultKind::File { path: self.path.clone(), reason }))
    }
}
