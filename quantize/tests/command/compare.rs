//! A build beside another tool's quantizer. No test has that tool: the bundle must not depend on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::{build_with, said};

#[test]
fn a_build_goes_on_without_the_peer_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let python = path("python");
    fs::write(&python, "#!/bin/sh\necho \"No module named 'onnx<runtime>'\" >&2\nexit 1\n").unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();

    let (alone, beside, page) = (path("alone"), path("beside"), path("report.html"));
    let output = build_with(&alone, &[], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let without: Value = serde_json::from_slice(&output.stdout).unwrap();
    let asked = ["--compare", "onnxruntime", "--python", python.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let output = build_with(&beside, &[], &asked);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut with: Value = serde_json::from_slice(&output.stdout).unwrap();

    let reason = "it ended before it had answered (exit status: 1): No module named 'onnx<runtime>'";
    assert_eq!(with["compared"]["missing"], serde_json::json!([{"what": "onnxruntime", "reason": reason}]));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("No module named &#39;onnx&lt;runtime&gt;&#39;"), "{page}");
    with["compared"] = Value::Null;
    assert_eq!(with, without, "nothing else is told otherwise");
    for file in alone.read_dir().unwrap() {
        let name = file.unwrap().file_name();
        assert!(fs::read(alone.join(&name)).unwrap() == fs::read(beside.join(&name)).unwrap(), "{name:?} differs");
    }
}

#[test]
fn a_peer_that_nobody_knows_and_a_python_for_nothing_are_a_wrong_command_line() {
    let dir = tempfile::tempdir().unwrap();
    for (wrong, named) in [(["--compare", "tensorrt"], "onnxruntime"), (["--python", "python3"], "--compare")] {
        let output = build_with(&dir.path().join("bundle"), &[], &wrong);
        assert!(output.status.code() == Some(2) && said(&output).contains(named), "{}", said(&output));
    }
}
