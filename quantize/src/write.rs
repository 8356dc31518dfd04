//! Writes a bundle: into a folder beside its place, which then takes it whole; nothing is ever seen half-written.

use std::path::{Path, PathBuf};

use shared_model::bundle::{CATALOG, DELTAS, FEATURES, FileEntry, MANIFEST, Manifest};
use shared_model::limits;
use tempfile::TempDir;

use crate::source::{self, SourceError};

/// What a delta is called until it is whole, before something that no other one has.
pub(crate) const UNFINISHED_DELTA: &str = ".delta-";

/// A place for a bundle, reserved before the long run.
#[derive(Debug)]
pub struct Place {
    out: PathBuf,
    staging: TempDir,
}

impl Place {
    /// Reserves `out`: a new folder, an empty one, or a bundle to replace.
    ///
    /// # Errors
    /// It cannot be written, or holds something else.
    pub fn reserve(out: &Path) -> Result<Self, SourceError> {
        let io = |e| SourceError::io(out, e);
        if out.exists() {
            replaceable(out)?;
        }
        let parent = match out.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(io)?;
        let staging = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent).map_err(io)?;
        Ok(Self { out: out.to_owned(), staging })
    }

    /// Writes every file, the manifest last, and moves the whole into its place.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn fill(self, mut manifest: Manifest, files: &[(&str, Vec<u8>)]) -> Result<(), SourceError> {
        let staged = self.staging.path();
        let write = |name: &str, bytes: &[u8]| {
            let path = staged.join(name);
            std::fs::write(&path, bytes).map_err(|e| SourceError::io(&path, e))
        };
        for (name, bytes) in files {
            write(name, bytes)?;
            manifest.files.insert((*name).to_owned(), FileEntry::of(bytes));
        }
        write(MANIFEST, &manifest.to_bytes())?;
        source::open_to_all(staged, 0o755).map_err(|e| SourceError::io(staged, e))?;
        self.take_place()
    }

    fn take_place(self) -> Result<(), SourceError> {
        let Self { out, staging } = self;
        let io = |e| SourceError::io(&out, e);
        if !out.exists() {
            std::fs::rename(staging.path(), &out).map_err(io)?;
            let _ = staging.keep();
            return Ok(());
        }
        // The build took a while: look again before anything is removed.
        replaceable(&out)?;
        let old = staging.path().with_extension("old");
        std::fs::rename(&out, &old).map_err(io)?;
        if let Err(e) = std::fs::rename(staging.path(), &out) {
            std::fs::rename(&old, &out).map_err(|e| SourceError::io(&old, e))?;
            return Err(io(e));
        }
        // The temporary folder is the bundle now: there is nothing to clean up.
        let _ = staging.keep();
        std::fs::remove_dir_all(&old).map_err(|e| SourceError::io(&old, e))
    }
}

/// Refuses what is neither an empty folder nor a bundle: replacing it would destroy what is not ours.
fn replaceable(out: &Path) -> Result<(), SourceError> {
    let io = |e| SourceError::io(out, e);
    if !out.is_dir() {
        return Err(SourceError::file(out, "is not a folder"));
    }
    let entries = out.read_dir().map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    if entries.is_empty() {
        return Ok(());
    }
    let manifest = source::bytes(&out.join(MANIFEST), limits::MAX_MANIFEST_BYTES).ok();
    let manifest = manifest.and_then(|bytes| Manifest::from_bytes(&bytes).ok());
    let is_listed = |manifest: &Manifest, entry: &std::fs::DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        match entry.file_name().to_str() {
            Some(DELTAS) => is_folder && holds_deltas(&entry.path()),
            Some(name) => !is_folder && (name == MANIFEST || manifest.files.contains_key(name)),
            None => false,
        }
    };
    if manifest.is_some_and(|m| entries.iter().all(|e| is_listed(&m, e))) {
        return Ok(());
    }
    Err(SourceError::file(out, "holds something that is not a bundle: name another folder"))
}

/// Whether a folder has deltas and nothing else. They go with the bundle that they are for.
fn holds_deltas(folder: &Path) -> bool {
    let is_ours = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_delta))
    };
    folder.read_dir().is_ok_and(|mut entries| entries.all(is_ours))
}

/// Whether it is the name of a delta, or of what is left of one whose writer was killed: `quantize delta` or a tier.
fn is_delta(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let of_a_tier = |name: &str| {
        let (revision, chance) = name.strip_suffix(".tmp")?.split_once('.')?;
        Some(is_number(revision) && !chance.is_empty() && chance.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let unfinished = name.strip_prefix(UNFINISHED_DELTA);
    name.strip_suffix(".jsonl").is_some_and(is_number)
        || of_a_tier(name).unwrap_or(false)
        || unfinished.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The files that every bundle has beside its variants.
#[must_use]
pub fn common(features: Vec<u8>, catalog: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    vec![(FEATURES, features), (CATALOG, catalog)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            dir.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_bundle_whole() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bundle");
        let manifest = || Manifest::new("m", "1", 1, b"");
        Place::reserve(&out).unwrap().fill(manifest(), &[("a", b"1".to_vec()), ("b", b"2".to_vec())]).unwrap();
        Place::reserve(&out).unwrap().fill(manifest(), &[("a", b"3".to_vec())]).unwrap();
        assert_eq!(names(&out), ["a", "manifest.json"]);
        assert_eq!(names(dir.path()), ["bundle"], "nothing is left beside it");
    }

    #[test]
    fn refuses_a_folder_that_is_not_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
        let refused = Place::reserve(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("not a bundle"), "{refused}");
    }

    #[test]
    fn refuses_a_folder_with_the_manifest_of_something_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
        let bundle = Manifest::new("m", "1", 1, b"").to_bytes();
        for manifest in [b"{\"name\": \"an extension\"}".to_vec(), bundle] {
            std::fs::write(dir.path().join(MANIFEST), manifest).unwrap();
            let refused = Place::reserve(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("not a bundle"), "{refused}");
            assert_eq!(std::fs::read_to_string(dir.path().join("thesis.txt")).unwrap(), "precious");
        }
    }

    #[test]
    fn replaces_a_bundle_with_its_deltas_and_no_folder_of_another_kind() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bundle");
        let manifest = || Manifest::new("m", "1", 1, b"");
        let fill = || Place::reserve(&out).and_then(|place| place.fill(manifest(), &[("a", b"1".to_vec())]));
        fill().unwrap();
        std::fs::create_dir(out.join("deltas")).unwrap();
        for name in ["000001.jsonl", "000002.00f3a94711bc0d5e.tmp", ".delta-aB3xY9"] {
            std::fs::write(out.join("deltas").join(name), "{}").unwrap();
        }
        fill().unwrap();
        assert_eq!(names(&out), ["a", "manifest.json"], "its deltas are void, and so is what was to be one");
        for name in
            ["thesis.txt", ".jsonl", "x.jsonl", ".4711.tmp", "000001.tmp", "000001.x.tmp", ".delta-", ".delta-a.b"]
        {
            std::fs::create_dir(out.join("deltas")).unwrap();
            std::fs::write(out.join("deltas").join(name), "precious").unwrap();
            let refused = fill().unwrap_err().to_string();
            assert!(refused.contains("not a bundle") && out.join("deltas").join(name).exists(), "{name}: {refused}");
            std::fs::remove_dir_all(out.join("deltas")).unwrap();
        }
    }

    #[test]
    fn leaves_nothing_when_the_place_was_taken_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bundle");
        let place = Place::reserve(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("thesis.txt"), "precious").unwrap();
        place.fill(Manifest::new("m", "1", 1, b""), &[("a", b"1".to_vec())]).unwrap_err();
        assert_eq!((names(dir.path()), names(&out)), (vec!["bundle".to_owned()], vec!["thesis.txt".to_owned()]));
    }

    #[test]
    fn leaves_nothing_when_the_run_fails() {
        let dir = tempfile::tempdir().unwrap();
        drop(Place::reserve(&dir.path().join("bundle")).unwrap());
        assert!(names(dir.path()).is_empty());
    }
}
