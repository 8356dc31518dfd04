//! Writes a bundle: into a folder beside its place, which then takes it whole; nothing is ever seen half-written.

use std::path::{Path, PathBuf};

use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest};
use tempfile::TempDir;

use crate::source::SourceError;

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
            if !out.is_dir() {
                return Err(SourceError::file(out, "is not a folder"));
            }
            let empty = out.read_dir().map_err(io)?.next().is_none();
            if !empty && !out.join(MANIFEST).is_file() {
                return Err(SourceError::file(out, "holds something that is not a bundle: name another folder"));
            }
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
        open_to_all(staged).map_err(|e| SourceError::io(staged, e))?;
        self.take_place()
    }

    fn take_place(self) -> Result<(), SourceError> {
        let io = |e| SourceError::io(&self.out, e);
        let staged = self.staging.keep();
        let moved = if self.out.exists() {
            let old = staged.with_extension("old");
            std::fs::rename(&self.out, &old)
                .and_then(|()| {
                    std::fs::rename(&staged, &self.out).or_else(|e| std::fs::rename(&old, &self.out).and(Err(e)))
                })
                .and_then(|()| std::fs::remove_dir_all(&old))
        } else {
            std::fs::rename(&staged, &self.out)
        };
        moved.map_err(io)
    }
}

/// A temporary folder is its owner's alone; a bundle is for whoever runs a tier.
#[cfg(unix)]
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_all(_: &Path) -> std::io::Result<()> {
    Ok(())
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
    fn leaves_nothing_when_the_run_fails() {
        let dir = tempfile::tempdir().unwrap();
        drop(Place::reserve(&dir.path().join("bundle")).unwrap());
        assert!(names(dir.path()).is_empty());
    }
}
