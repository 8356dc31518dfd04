//! What a command reads: schema, catalog, model bytes. Errors name the file, and the line where there is one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use shared_model::catalog::{Catalog, CatalogError, item_from_json};
use shared_model::limits;
use shared_model::schema::{Schema, SchemaFault, SchemaFaults};
use shared_model::wire::Record;
use thiserror::Error;

/// The bytes of one line of a JSONL file.
pub(crate) const MAX_LINE_BYTES: u64 = 16 << 20;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// It is larger than such a file may be.
    #[error("{}: more than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// The schema has faults.
    #[error("{}", describe(path, faults))]
    Schema {
        /// The file.
        path: PathBuf,
        /// All of them.
        faults: SchemaFaults,
    },
    /// A line is at fault.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The file as a whole is at fault.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl SourceError {
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    pub(crate) fn file(path: &Path, what: impl ToString) -> Self {
        Self::File { path: path.to_owned(), what: what.to_string() }
    }

    pub(crate) fn line(path: &Path, line: usize, what: impl ToString) -> Self {
        Self::Line { path: path.to_owned(), line, what: what.to_string() }
    }
}

fn describe(path: &Path, faults: &SchemaFaults) -> String {
    let line = |f: &SchemaFault| {
        let at = f.line.map_or(String::new(), |line| format!(":{line}"));
        let feature = f.feature.as_ref().map_or(String::new(), |name| format!(" feature `{name}`:"));
        format!("{}{at}:{feature} {}", path.display(), f.message)
    };
    faults.faults().iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The whole of a file of at most `max` bytes.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn bytes(path: &Path, max: u64) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(|e| SourceError::io(path, e))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| SourceError::io(path, e))?;
    if bytes.len() as u64 > max {
        return Err(SourceError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// A temporary file or folder is its owner's alone; a bundle is for whoever runs a tier.
#[cfg(unix)]
pub(crate) fn open_to_all(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn open_to_all(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// A schema, and its file's bytes.
///
/// # Errors
/// Every fault of the schema, each with its line.
pub fn schema(path: &Path) -> Result<(Schema, Vec<u8>), SourceError> {
    let bytes = bytes(path, limits::MAX_SCHEMA_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| SourceError::file(path, format!("not UTF-8: {e}")))?;
    let schema = Schema::from_toml(text).map_err(|faults| SourceError::Schema { path: path.to_owned(), faults })?;
    Ok((schema, bytes))
}

/// The catalog of `catalog.jsonl`, one item a line.
///
/// # Errors
/// Names the line and the field.
pub fn catalog(path: &Path, schema: &Schema) -> Result<Catalog, SourceError> {
    let items = Lines::open(path)?
        .map(|line| {
            let (number, bytes) = line?;
            let text = std::str::from_utf8(&bytes).map_err(|e| SourceError::line(path, number, e))?;
            item_from_json(text).map(|item| (number, item)).map_err(|e| SourceError::line(path, number, e))
        })
        .collect::<Result<Vec<(usize, Record)>, _>>()?;
    let (numbers, items): (Vec<usize>, Vec<Record>) = items.into_iter().unzip();
    let catalog = Catalog::build(schema, items).map_err(|e| match &e {
        // Blank lines are skipped: the item's number is not always its line.
        CatalogError::Item { item, .. } => SourceError::line(path, numbers.get(item - 1).copied().unwrap_or(*item), e),
        _ => SourceError::file(path, e),
    })?;
    if catalog.is_empty() { Err(SourceError::file(path, "it has no items")) } else { Ok(catalog) }
}

/// The ids of a static list, one a line.
///
/// # Errors
/// Names the line: an id that is none, one given twice, or one too many.
pub fn static_list(path: &Path) -> Result<Vec<String>, SourceError> {
    let mut ids = Vec::new();
    for line in Lines::open(path)? {
        let (number, bytes) = line?;
        let fault = |what: String| SourceError::line(path, number, what);
        let id = std::str::from_utf8(&bytes).map_err(|e| fault(e.to_string()))?.trim().to_owned();
        if id.len() > limits::MAX_ID_BYTES {
            return Err(fault(format!("an id has 1 to {} bytes", limits::MAX_ID_BYTES)));
        }
        if ids.contains(&id) {
            return Err(fault(format!("`{id}` is given twice")));
        }
        if ids.len() == limits::MAX_STATIC_LIST {
            return Err(fault(format!("a static list may have {} ids", limits::MAX_STATIC_LIST)));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// The non-blank lines of a file, numbered from 1, read as they are asked for; `.gz` is decompressed on the way.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: usize,
    read: Arc<AtomicU64>,
}

/// A file that counts what is read of it.
struct Metered {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|e| SourceError::io(path, e))?;
        let read = Arc::new(AtomicU64::new(0));
        let metered = Metered { file, read: Arc::clone(&read) };
        let reader: Box<dyn BufRead + Send> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(metered)))
        } else {
            Box::new(BufReader::new(metered))
        };
        Ok(Self { path: path.to_owned(), reader, number: 0, read })
    }

    /// How many bytes of the file have been read, buffers included.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, Vec<u8>), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            match self.reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line) {
                Err(e) => return Some(Err(SourceError::io(&self.path, e))),
                Ok(0) => return None,
                Ok(n) if n as u64 > MAX_LINE_BYTES => {
                    let what = format!("the line has more than {MAX_LINE_BYTES} bytes");
                    return Some(Err(SourceError::line(&self.path, self.number, what)));
                }
                Ok(_) => {}
            }
            if !line.trim_ascii().is_empty() {
                return Some(Ok((self.number, line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn listed(text: &str) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        static_list(file.path()).map_err(|e| e.to_string().replace(&file.path().display().to_string(), "list"))
    }

    #[test]
    fn a_static_list_has_an_id_a_line() {
        assert_eq!(listed("m2\n\n  m1 \r\n"), Ok(vec!["m2".to_owned(), "m1".to_owned()]));
    }

    #[test]
    fn rejects_a_static_list_by_its_line() {
        assert_eq!(listed("m1\nm1\n"), Err("list:2: `m1` is given twice".to_owned()));
        assert_eq!(listed(&"x".repeat(257)), Err("list:1: an id has 1 to 256 bytes".to_owned()));
        let many: String = (0..=1000).map(|i| format!("m{i}\n")).collect();
        assert_eq!(listed(&many), Err("list:1001: a static list may have 1000 ids".to_owned()));
    }
}
