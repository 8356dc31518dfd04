//! `check`: are these files fit to be deployed?

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Config, Fault, LoadError};

/// The version of the report's JSON form.
const SCHEMA_VERSION: u32 = 1;

/// What was found, file by file, in the order they were given.
#[derive(Debug)]
pub struct Report {
    files: Vec<(PathBuf, Result<(), LoadError>)>,
}

/// What it all comes to: the worst of any file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every file is fit.
    Fit,
    /// A file has faults.
    Faulty,
    /// A file could not be read.
    Unreadable,
}

/// Reads each file, and opens the files that it names.
pub fn check(files: &[PathBuf]) -> Report {
    Report { files: files.iter().map(|file| (file.clone(), check_one(file))).collect() }
}

fn check_one(file: &Path) -> Result<(), LoadError> {
    Ok(Config::from_path(file)?.check_files()?)
}

impl Report {
    /// The worst of any file.
    pub fn verdict(&self) -> Verdict {
        self.files.iter().map(|(_, outcome)| verdict(outcome)).max().unwrap_or(Verdict::Fit)
    }

    /// One line a fault, as compilers write it, and one a file without any.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for (file, outcome) in &self.files {
            match outcome {
                Ok(()) => writeln!(out, "{}: ok", file.display())?,
                Err(error) => writeln!(out, "{error}")?,
            }
        }
        Ok(())
    }

    /// One JSON document, as described in `docs/rung-toml.md`.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let files = self.files.iter().map(|(file, outcome)| FileJson::new(file, outcome)).collect();
        serde_json::to_writer_pretty(&mut *out, &ReportJson { schema_version: SCHEMA_VERSION, files })?;
        writeln!(out)
    }
}

fn verdict(outcome: &Result<(), LoadError>) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Fit,
        Err(LoadError::Faults(_)) => Verdict::Faulty,
        Err(LoadError::Unreadable { .. }) => Verdict::Unreadable,
    }
}

#[derive(Serialize)]
struct ReportJson {
    schema_version: u32,
    files: Vec<FileJson>,
}

#[derive(Serialize)]
struct FileJson {
    file: String,
    verdict: &'static str,
    faults: Vec<FaultJson>,
    /// Why the file could not be read.
    reason: Option<String>,
}

impl FileJson {
    fn new(file: &Path, outcome: &Result<(), LoadError>) -> Self {
        let (faults, reason) = match outcome {
            Ok(()) => (Vec::new(), None),
            Err(LoadError::Faults(faults)) => (faults.iter().map(FaultJson::new).collect(), None),
            Err(LoadError::Unreadable { source, .. }) => (Vec::new(), Some(source.to_string())),
        };
        let verdict = match verdict(outcome) {
            Verdict::Fit => "fit",
            Verdict::Faulty => "faulty",
            Verdict::Unreadable => "unreadable",
        };
        Self { file: file.display().to_string(), verdict, faults, reason }
    }
}

#[derive(Serialize)]
struct FaultJson {
    line: usize,
    key: String,
    kind: &'static str,
    message: String,
}

impl FaultJson {
    fn new(fault: &Fault) -> Self {
        Self {
            line: fault.line(),
            key: fault.key().to_owned(),
            kind: fault.kind().code(),
            message: fault.kind().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::example::EDGE;

    /// A folder with a fit `edge.toml`, the files it names, and a `faulty.toml`.
    fn deployment() -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("edge.toml"), EDGE).expect("written");
        fs::write(path("faulty.toml"), EDGE.replace("admin", "admim")).expect("written");
        fs::write(path("worker.wasm"), "").expect("written");
        fs::create_dir_all(path("bundles/movies")).expect("created");
        folder
    }

    fn text(report: &Report, folder: &TempDir) -> String {
        let mut out = Vec::new();
        report.write_text(&mut out).expect("written");
        let out = String::from_utf8(out).expect("text");
        out.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_fit_file_is_told_so() {
        let folder = deployment();
        let report = check(&[folder.path().join("edge.toml")]);
        assert_eq!(report.verdict(), Verdict::Fit);
        assert_eq!(text(&report, &folder), "edge.toml: ok\n");
    }

    #[test]
    fn the_worst_file_decides_the_verdict() {
        let folder = deployment();
        let file = |name| folder.path().join(name);
        assert_eq!(check(&[file("faulty.toml"), file("edge.toml")]).verdict(), Verdict::Faulty);
        assert_eq!(check(&[file("nowhere.toml"), file("faulty.toml")]).verdict(), Verdict::Unreadable);
    }

    #[test]
    fn json_names_file_line_key_and_kind() {
        let folder = deployment();
        let mut out = Vec::new();
        check(&[folder.path().join("faulty.toml")]).write_json(&mut out).expect("written");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json["schema_version"], 1);
        let file = &json["files"][0];
        assert_eq!(file["file"], folder.path().join("faulty.toml").display().to_string());
        assert_eq!((&file["verdict"], &file["reason"]), (&"faulty".into(), &serde_json::Value::Null));
        assert_eq!(
            file["faults"][1],
            serde_json::json!({
                "line": 6,
                "key": "listen.admim",
                "kind": "unknown_key",
                "message": "unknown key, did you mean `admin`?",
            })
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_its_reason() {
        let folder = deployment();
        let mut out = Vec::new();
        check(&[folder.path().join("nowhere.toml")]).write_json(&mut out).expect("written");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json["files"][0]["verdict"], "unreadable");
        assert!(json["files"][0]["reason"].is_string());
    }

    #[test]
    fn rejects_files_that_are_not_there() {
        let folder = deployment();
        fs::remove_file(folder.path().join("worker.wasm")).expect("removed");
        let report = check(&[folder.path().join("edge.toml")]);
        assert_eq!(report.verdict(), Verdict::Faulty);
        assert_eq!(
            text(&report, &folder),
            "edge.toml:12: worker.wasm: `worker.wasm`: No such file or directory (os error 2)\n"
        );
    }

    #[test]
    fn rejects_a_file_where_a_folder_is_named_and_the_other_way_round() {
        let folder = deployment();
        let swapped = EDGE.replace("bundles/movies", "worker").replace("worker.wasm", "bundles");
        fs::write(folder.path().join("edge.toml"), swapped).expect("written");
        fs::write(folder.path().join("worker"), "").expect("written");
        assert_eq!(
            text(&check(&[folder.path().join("edge.toml")]), &folder),
            "edge.toml:9: model[0].bundle: `worker`: is a file, expected a folder\n\
             edge.toml:12: worker.wasm: `bundles`: is a folder, expected a file\n"
        );
    }
}
