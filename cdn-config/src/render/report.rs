//! What `render` did or found, told to people and to programs.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::{FileState, Outcome};

/// The version of the JSON form.
const SCHEMA_VERSION: u32 = 1;

impl Outcome {
    /// After a write: a line a file.
    pub fn write_text(&self, dir: &Path, out: &mut impl Write) -> io::Result<()> {
        for (path, state) in &self.files {
            writeln!(out, "{}: {}", dir.join(path).display(), state.done())?;
        }
        Ok(())
    }

    /// After a comparison: the difference.
    pub fn write_difference(&self, dir: &Path, out: &mut impl Write) -> io::Result<()> {
        for (path, state) in &self.files {
            match state {
                FileState::Same => {}
                FileState::Different(difference) => write!(out, "{difference}")?,
                FileState::Missing | FileState::Stale => {
                    writeln!(out, "{}: {}", dir.join(path).display(), state.found())?;
                }
            }
        }
        if self.is_same() { writeln!(out, "{}: as rendered", dir.display()) } else { Ok(()) }
    }

    /// One JSON document, as described in `docs/rung-toml.md`.
    pub fn write_json(&self, dir: &Path, out: &mut impl Write) -> io::Result<()> {
        let files = self.files.iter().map(|(path, state)| FileJson {
            path,
            found: state.found(),
            difference: match state {
                FileState::Different(difference) => Some(difference),
                FileState::Same | FileState::Missing | FileState::Stale => None,
            },
        });
        let json = OutcomeJson {
            schema_version: SCHEMA_VERSION,
            folder: dir.display().to_string(),
            same: self.is_same(),
            files: files.collect(),
        };
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)
    }
}

impl FileState {
    fn found(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Missing => "missing",
            Self::Different(_) => "different",
            Self::Stale => "stale",
        }
    }

    fn done(&self) -> &'static str {
        match self {
            Self::Same => "unchanged",
            Self::Missing | Self::Different(_) => "written",
            Self::Stale => "removed",
        }
    }
}

#[derive(Serialize)]
struct OutcomeJson<'a> {
    schema_version: u32,
    folder: String,
    same: bool,
    files: Vec<FileJson<'a>>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    path: &'a str,
    /// Before anything was written.
    found: &'static str,
    difference: Option<&'a str>,
}
