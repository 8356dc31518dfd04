//! Exit statuses, and which stream says what.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

const EDGE: &str = r#"schema_version = 1
tier = "edge"
[listen]
http = "127.0.0.1:8080"
admin = "127.0.0.1:9090"
[[model]]
bundle = "bundles/movies"
[worker]
wasm = "worker.wasm"
"#;

/// A folder with `edge.toml`, a `next.toml` with another k, and a `faulty.toml`.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("edge.toml"), EDGE).unwrap();
    fs::write(folder.path().join("next.toml"), format!("{EDGE}[limits]\nmax_k = 50\n")).unwrap();
    fs::write(folder.path().join("faulty.toml"), EDGE.replace("admin", "admim")).unwrap();
    folder
}

fn run(folder: &TempDir, words: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_cdn-config"))
        .args(words.split_whitespace())
        .current_dir(folder.path())
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn json(folder: &TempDir, words: &str) -> (i32, serde_json::Value) {
    let (status, stdout, stderr) = run(folder, &format!("{words} --format json"));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    assert_eq!(json["schema_version"], 1);
    (status, json)
}

#[test]
fn check_exits_with_1_for_faults_and_2_for_a_file_that_cannot_be_read() {
    let folder = folder();
    let (status, stdout, _) = run(&folder, "check faulty.toml");
    assert_eq!(status, 1);
    assert!(stdout.contains("did you mean `admin`?"), "{stdout}");
    assert_eq!(run(&folder, "check nowhere.toml").0, 2);
    let (status, report) = json(&folder, "check faulty.toml");
    assert_eq!((status, &report["files"][0]["verdict"]), (1, &"faulty".into()));
}

#[test]
fn explain_tells_one_key_and_refuses_one_that_is_none() {
    let folder = folder();
    let (status, stdout, stderr) = run(&folder, "explain next.toml limits.max_k");
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("limits.max_k = 50 (line 11)\n"), "{stdout}");
    let (status, stdout, stderr) = run(&folder, "explain next.toml limits.max_q");
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("did you mean `limits.max_k`?"), "{stderr}");
    let (status, explained) = json(&folder, "explain next.toml limits.max_k");
    assert_eq!((status, &explained["settings"][0]["value"]), (0, &50.into()));
}

#[test]
fn diff_exits_with_0_for_the_same_1_for_another_and_2_for_a_fault() {
    let folder = folder();
    assert_eq!(run(&folder, "diff edge.toml edge.toml"), (0, "no difference in effect\n".into(), String::new()));
    let (status, stdout, _) = run(&folder, "diff edge.toml next.toml");
    assert_eq!(status, 1);
    assert!(stdout.starts_with("limits.max_k: 100 (default) -> 50 (line 11)\n"), "{stdout}");
    let (status, difference) = json(&folder, "diff edge.toml next.toml");
    assert_eq!((status, &difference["changes"][0]["after"]["value"]), (1, &50.into()));
    for other in ["faulty.toml", "nowhere.toml"] {
        let (status, stdout, stderr) = run(&folder, &format!("diff edge.toml {other}"));
        assert_eq!((status, stdout.as_str()), (2, ""));
        assert!(stderr.contains(other), "{stderr}");
    }
}

#[test]
fn render_writes_then_checks_and_tells_what_changed_since() {
    let folder = folder();
    let render = |file: &str, more: &str| format!("render {file} --provider self-hosted --out out {more}");
    assert_eq!(run(&folder, &render("edge.toml", "--check")).0, 1);
    let (status, stdout, _) = run(&folder, &render("edge.toml", ""));
    assert_eq!(status, 0);
    assert!(stdout.contains("out/etc/systemd/system/rung-edge.service: written\n"), "{stdout}");
    assert_eq!(run(&folder, &render("edge.toml", "--check")), (0, "out: as rendered\n".into(), String::new()));
    let (status, stdout, _) = run(&folder, &render("next.toml", "--check"));
    assert_eq!(status, 1);
    assert!(stdout.contains("--- etc/rung/edge/rung.toml\n") && stdout.contains("\n+max_k = 50\n"), "{stdout}");
    let (status, outcome) = json(&folder, &render("next.toml", "--check"));
    assert_eq!((status, &outcome["same"]), (1, &false.into()));
}

#[test]
fn render_refuses_a_folder_of_somebody_else_and_a_file_with_faults() {
    let folder = folder();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/README.txt"), "mine").unwrap();
    let (status, _, stderr) = run(&folder, "render edge.toml --provider self-hosted --out mine");
    assert_eq!(status, 2);
    assert_eq!(
        stderr,
        "cdn-config: mine: was not written by `cdn-config render`; name another folder, or empty this one\n"
    );
    assert_eq!(fs::read_to_string(folder.path().join("mine/README.txt")).unwrap(), "mine");
    assert_eq!(run(&folder, "render faulty.toml --provider self-hosted --out out").0, 2);
    assert_eq!(run(&folder, "render edge.toml --provider nobody --out out").0, 2);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn render_refuses_a_proxy_that_it_cannot_put_in_front() {
    let folder = folder();
    let refusal = |text: &str, options: &str| {
        fs::write(folder.path().join("other.toml"), text).unwrap();
        let (status, _, stderr) =
            run(&folder, &format!("render other.toml --provider self-hosted --out out {options}"));
        assert_eq!(status, 2, "{options}");
        stderr
    };
    let named = "--proxy nginx --server-name rank.example";
    let https = EDGE.replace("http =", "https =") + "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
    for (text, options, expected) in [
        (EDGE.to_owned(), "--proxy nginx", "--server-name: missing"),
        (EDGE.to_owned(), "--proxy caddy --server-name a;b", "--server-name: `a;b` is not a host name"),
        (https, named, "listen.http: missing, nginx in front"),
        (EDGE.replace("8080", "443"), named, "listen.http: has port 443, which nginx in front needs"),
        (EDGE.replace("9090", "0"), "", "listen.admin: leaves its port to the system"),
        (
            EDGE.to_owned(),
            "--proxy caddy --server-name a --certificate /a --certificate-key /b$c",
            "--certificate-key: `/b$c` has to be absolute",
        ),
        (EDGE.to_owned(), "--proxy nginx --server-name a --certificate c --certificate-key /k", "--certificate: `c`"),
    ] {
        let stderr = refusal(&text, options);
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert!(!folder.path().join("out").exists());
}
