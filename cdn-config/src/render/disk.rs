//! A rendered folder meets the disk: written, or compared with what is there.
//!
//! A list of what was written lies beside the files. By it a folder is known to be ours; what is in such a folder and
//! not on the list belongs to somebody else and is neither changed nor compared.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use similar::TextDiff;

use super::Folder;

/// The list's name in the folder.
const LIST: &str = ".cdn-config";
const LIST_HEAD: &str =
    "# Written by `cdn-config render`, which writes these files anew and removes those it no longer makes:\n";
/// The longest list, or file of ours, that is read.
const MAX_BYTES: u64 = 4 << 20;

/// What was done with each file, or is to be done.
#[derive(Debug)]
pub struct Outcome {
    pub(super) files: Vec<(String, FileState)>,
}

/// What a file on the disk was, beside what it should be.
#[derive(Debug, PartialEq, Eq)]
pub enum FileState {
    /// It was as it should be.
    Same,
    /// It was not there.
    Missing,
    /// It was another, by this difference: what is there with `-`, what should be with `+`.
    Different(String),
    /// It is from an earlier render, and no longer made.
    Stale,
}

/// Why a folder was not written or compared.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There are things in the folder and no list that says they are ours.
    #[error("{}: was not written by `cdn-config render`; name another folder, or empty this one", .0.display())]
    NotOurs(PathBuf),
    /// A file that is not on the list stands where one of ours belongs.
    #[error("{}: was not written by `cdn-config render`; move it away", .0.display())]
    InTheWay(PathBuf),
    /// The list names what it cannot have.
    #[error("{}: line {line}: is not a path in this folder; remove the folder and render again", file.display())]
    List {
        /// The list.
        file: PathBuf,
        /// The line at fault, from 1.
        line: usize,
    },
    /// The system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Folder {
    /// Writes the files, and removes those of an earlier render that are no longer made.
    ///
    /// # Errors
    /// The folder has things in it that are not ours, or the system refuses; then some files may have been written.
    pub fn write(&self, dir: &Path) -> Result<Outcome, FolderError> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        let outcome = self.compare(dir)?;
        // The list first, with what was and what will be: whatever happens next, the folder is still known as ours.
        let all: BTreeSet<&str> = outcome.files.iter().map(|(path, _)| path.as_str()).collect();
        write_list(dir, all)?;
        for (path, state) in &outcome.files {
            let target = dir.join(path);
            match state {
                FileState::Same => {}
                FileState::Stale => fs::remove_file(&target).map_err(io_error(&target))?,
                FileState::Missing | FileState::Different(_) => {
                    if let Some(parent) = target.parent() {
                        fs::create_dir_all(parent).map_err(io_error(parent))?;
                    }
                    fs::write(&target, &self.files[path]).map_err(io_error(&target))?;
                }
            }
        }
        write_list(dir, self.files.keys().map(String::as_str))?;
        Ok(outcome)
    }

    /// Compares the files with those of a folder; changes nothing.
    ///
    /// # Errors
    /// The folder has things in it that are not ours, or cannot be read.
    pub fn compare(&self, dir: &Path) -> Result<Outcome, FolderError> {
        let ours = read_list(dir)?;
        let mut files = Vec::new();
        for (path, expected) in &self.files {
            let found = read(&dir.join(path))?;
            if found.is_some() && !ours.contains(path) {
                return Err(FolderError::InTheWay(dir.join(path)));
            }
            let state = match found {
                None => FileState::Missing,
                Some(found) if found == *expected => FileState::Same,
                Some(found) => FileState::Different(difference(&found, expected, path)),
            };
            files.push((path.clone(), state));
        }
        for path in ours.into_iter().filter(|path| !self.files.contains_key(path)) {
            if read(&dir.join(&path))?.is_some() {
                files.push((path, FileState::Stale));
            }
        }
        Ok(Outcome { files })
    }
}

impl Outcome {
    /// Whether all was as it should be.
    pub fn is_same(&self) -> bool {
        self.files.iter().all(|(_, state)| *state == FileState::Same)
    }
}

fn difference(found: &str, expected: &str, path: &str) -> String {
    TextDiff::from_lines(found, expected).unified_diff().header(path, path).to_string()
}

/// The files of an earlier render; none in a folder that is empty or not there.
fn read_list(dir: &Path) -> Result<BTreeSet<String>, FolderError> {
    let file = dir.join(LIST);
    let Some(text) = read(&file)? else {
        let is_empty = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(FolderError::Io { path: dir.to_owned(), source }),
        };
        return if is_empty { Ok(BTreeSet::new()) } else { Err(FolderError::NotOurs(dir.to_owned())) };
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    lines
        .map(|(index, line)| {
            // A list may come with a checkout of somebody else's: it names nothing outside its folder.
            let inside = Path::new(line).components().all(|part| matches!(part, Component::Normal(_)));
            if inside && !line.is_empty() && line != LIST {
                Ok(line.to_owned())
            } else {
                Err(FolderError::List { file: file.clone(), line: index + 1 })
            }
        })
        .collect()
}

fn write_list<'a>(dir: &Path, paths: impl IntoIterator<Item = &'a str>) -> Result<(), FolderError> {
    let list = dir.join(LIST);
    let lines: String = paths.into_iter().map(|path| format!("{path}\n")).collect();
    fs::write(&list, format!("{LIST_HEAD}{lines}")).map_err(io_error(&list))
}

/// A file's text, as far as it is text; `None` where there is no file.
fn read(path: &Path) -> Result<Option<String>, FolderError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(FolderError::Io { path: path.to_owned(), source }),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io_error(path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    |source| FolderError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let mut folder = Folder::default();
        for (path, text) in files {
            folder.add(*path, *text);
        }
        folder
    }

    fn states(outcome: &Outcome) -> Vec<(&str, &FileState)> {
        outcome.files.iter().map(|(path, state)| (path.as_str(), state)).collect()
    }

    #[test]
    fn a_folder_is_written_then_the_same_then_different_line_by_line() {
        let dir = TempDir::new().expect("a temporary folder");
        let out = dir.path().join("new/folder");
        let first = folder(&[("README.txt", "one\ntwo\n"), ("etc/a", "a\n")]);
        assert!(!first.compare(&out).expect("compared").is_same());
        assert!(!out.exists(), "compared, not written");
        first.write(&out).expect("written");
        assert_eq!(fs::read_to_string(out.join("etc/a")).expect("there"), "a\n");
        assert!(first.write(&out).expect("written again").is_same());

        fs::write(out.join("README.txt"), "one\nthree\n").expect("changed by hand");
        let outcome = first.compare(&out).expect("compared");
        let FileState::Different(diff) = &outcome.files[0].1 else { panic!("{outcome:?}") };
        assert_eq!(diff, "--- README.txt\n+++ README.txt\n@@ -1,2 +1,2 @@\n one\n-three\n+two\n");
        first.write(&out).expect("put right");
        assert!(first.compare(&out).expect("compared").is_same());
    }

    #[test]
    fn what_is_no_longer_made_is_removed_and_what_is_not_ours_stays() {
        let dir = TempDir::new().expect("a temporary folder");
        folder(&[("a", "a"), ("etc/b", "b")]).write(dir.path()).expect("written");
        fs::write(dir.path().join("notes"), "mine").expect("written");
        let outcome = folder(&[("a", "a")]).write(dir.path()).expect("written");
        assert_eq!(states(&outcome), [("a", &FileState::Same), ("etc/b", &FileState::Stale)]);
        assert!(!dir.path().join("etc/b").exists());
        assert!(dir.path().join("notes").exists());
        assert!(folder(&[("a", "a")]).compare(dir.path()).expect("compared").is_same());
    }

    #[test]
    fn rejects_a_folder_that_it_did_not_write() {
        let dir = TempDir::new().expect("a temporary folder");
        fs::write(dir.path().join("a"), "mine").expect("written");
        for refused in [folder(&[("a", "a")]).write(dir.path()), folder(&[("b", "b")]).compare(dir.path())] {
            assert!(matches!(refused, Err(FolderError::NotOurs(_))), "{refused:?}");
        }
        assert_eq!(fs::read_to_string(dir.path().join("a")).expect("there"), "mine");
    }

    #[test]
    fn rejects_a_file_in_the_way_that_it_did_not_write() {
        let dir = TempDir::new().expect("a temporary folder");
        folder(&[("a", "a")]).write(dir.path()).expect("written");
        fs::write(dir.path().join("b"), "mine").expect("written");
        let refused = folder(&[("a", "other"), ("b", "b")]).write(dir.path());
        assert!(matches!(refused, Err(FolderError::InTheWay(_))), "{refused:?}");
        assert_eq!(fs::read_to_string(dir.path().join("a")).expect("there"), "a");
    }

    #[test]
    fn rejects_a_list_that_leads_out_of_the_folder() {
        let dir = TempDir::new().expect("a temporary folder");
        let (inner, outer) = (dir.path().join("inner"), dir.path().join("precious"));
        fs::create_dir(&inner).expect("created");
        fs::write(&outer, "mine").expect("written");
        for line in ["../precious", outer.to_str().expect("text"), "", LIST] {
            fs::write(inner.join(LIST), format!("a\n{line}\n")).expect("written");
            let refused = folder(&[("a", "a")]).write(&inner);
            assert!(matches!(refused, Err(FolderError::List { line: 2, .. })), "{line}: {refused:?}");
        }
        assert!(outer.exists());
    }

    #[test]
    fn rejects_a_file_where_the_folder_should_be() {
        let dir = TempDir::new().expect("a temporary folder");
        let file = dir.path().join("file");
        fs::write(&file, "mine").expect("written");
        assert!(matches!(folder(&[("a", "a")]).write(&file), Err(FolderError::Io { .. })));
    }
}
