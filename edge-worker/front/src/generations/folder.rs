//! The folder of a bundle: what is in it, whether that has changed, and where a new delta goes.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shared_model::bundle::{DELTAS, delta_file};
use shared_model::limits::MAX_DELTA_BYTES;

use super::Fault;

/// More entries than any bundle's folder has; those after them are not looked at.
const MAX_ENTRIES: usize = 1024;

/// What tells without reading that a folder may have changed. That it has, only digests tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    entries: Vec<(OsString, Option<Entry>)>,
    delta: Option<Entry>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Fingerprint {
    /// Of a folder whose next delta would lead to `revision`.
    pub(super) fn of(folder: &Path, revision: u64) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES);
        let mut entries: Vec<_> = entries.map(|e| (e.file_name(), e.metadata().ok().map(Entry::from))).collect();
        entries.sort();
        Self { entries, delta: fs::metadata(folder.join(delta_file(revision))).ok().map(Entry::from) }
    }
}

impl From<Metadata> for Entry {
    fn from(metadata: Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), inode: inode(&metadata) }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Reads files of a folder, each of a length that its reader names and one byte more at most.
pub(super) struct Reader<'a> {
    folder: &'a Path,
    unreadable: Option<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn of(folder: &'a Path) -> Self {
        Self { folder, unreadable: None }
    }

    pub(super) fn read(&mut self, file: &str, max: u64) -> Result<Vec<u8>, String> {
        bounded(&self.folder.join(file), max).map_err(|error| {
            let text = error.to_string();
            if error.kind() != io::ErrorKind::NotFound {
                self.unreadable = Some(Fault::Unreadable { file: file.to_owned(), error });
            }
            text
        })
    }

    /// What the system did not read, if that is the reason; else the one that is given.
    pub(super) fn fault(self, or: impl Into<Fault>) -> Fault {
        self.unreadable.unwrap_or_else(|| or.into())
    }
}

/// A delta, if it is there.
pub(super) fn delta(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match bounded(path, MAX_DELTA_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts the delta that leads to `revision` into the folder, whole or not at all. One that is there stays: no two tiers
/// may come to one revision by different deltas.
pub(super) fn put_delta(folder: &Path, revision: u64, bytes: &[u8]) -> io::Result<()> {
    let place = folder.join(delta_file(revision));
    fs::create_dir_all(folder.join(DELTAS))?;
    let (written, file) = beside(&place)?;
    let result = write(file, bytes).and_then(|()| fs::hard_link(&written, &place));
    let removed = fs::remove_file(&written);
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match delta(&place)? {
            Some(there) if there == bytes => Ok(()),
            _ => Err(io::Error::new(error.kind(), "another delta to this revision is there")),
        },
        result => result.and(removed),
    }
}

/// A new file beside `place`. Tiers in containers share a folder, and perhaps their process's number.
fn beside(place: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let path = place.with_extension(format!("{:016x}.tmp", RandomState::new().hash_one(())));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_delta_is_put_once() {
        let folder = TempDir::new().unwrap();
        let first = folder.path().join(delta_file(1));
        assert_eq!(delta(&first).unwrap(), None);
        put_delta(folder.path(), 1, b"one").unwrap();
        put_delta(folder.path(), 1, b"one").unwrap();
        let refused = put_delta(folder.path(), 1, b"two").unwrap_err().to_string();
        assert_eq!(refused, "another delta to this revision is there");
        assert_eq!(delta(&first).unwrap().as_deref(), Some(&b"one"[..]));
        let left: Vec<_> = fs::read_dir(folder.path().join(DELTAS)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["000001.jsonl"], "nothing half-written is left");
    }

    #[test]
    fn what_another_process_of_the_same_number_is_writing_is_left_alone() {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join(DELTAS)).unwrap();
        let other = folder.path().join(delta_file(1)).with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&other, b"half").unwrap();
        put_delta(folder.path(), 1, b"one").unwrap();
        assert_eq!(delta(&folder.path().join(delta_file(1))).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(fs::read(other).unwrap(), b"half");
        let beside = || beside(&folder.path().join(delta_file(1))).unwrap().0;
        assert_ne!(beside(), beside());
    }

    #[test]
    fn a_fingerprint_tells_of_files_and_of_the_next_delta() {
        let folder = TempDir::new().unwrap();
        let print = || Fingerprint::of(folder.path(), 1);
        let empty = print();
        assert_eq!(empty, print());
        fs::write(folder.path().join("a"), "1").unwrap();
        let one = print();
        assert_ne!(one, empty);
        // Of the same length, and perhaps at the same instant: another file by its inode.
        fs::write(folder.path().join("b"), "2").unwrap();
        fs::rename(folder.path().join("b"), folder.path().join("a")).unwrap();
        let two = print();
        assert_ne!(two, one);
        put_delta(folder.path(), 1, b"one").unwrap();
        assert_ne!(print(), two);
    }
}
