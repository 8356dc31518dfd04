//! Golden folders: `golden/CASE/rung.toml` rendered with the words of `golden/CASE/options` is `golden/CASE/folder`,
//! and explained is `golden/CASE/explain.txt`. `BLESS=1` writes what is rendered.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// Every case's folder.
pub(crate) fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> =
        fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "{cases:?}");
    cases
}

fn cdn_config(case: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cdn-config")).args(words).current_dir(case).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn render<'a>(options: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["render", "rung.toml", "--provider", "self-hosted", "--out", "folder"];
    words.into_iter().chain(options.split_whitespace()).chain(more.iter().copied()).collect()
}

#[test]
fn each_case_renders_its_folder() {
    for case in cases() {
        let options = fs::read_to_string(case.join("options")).unwrap();
        if env::var_os("BLESS").is_some() {
            text(&cdn_config(&case, &render(&options, &[])));
        }
        let checked = cdn_config(&case, &render(&options, &["--check"]));
        assert!(
            checked.status.success(),
            "{}: {}{}",
            case.display(),
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

#[test]
fn each_case_is_explained() {
    for case in cases() {
        let explained = text(&cdn_config(&case, &["explain", "rung.toml"]));
        let golden = case.join("explain.txt");
        if env::var_os("BLESS").is_some() {
            fs::write(&golden, &explained).unwrap();
        }
        assert_eq!(explained, fs::read_to_string(&golden).unwrap(), "{}", golden.display());
    }
}
