//! What each program says of bad input: the thing at fault by name, the exit status, and nothing half written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rung_tests::processes;
use rung_tests::stack::{copy_of_test_bundle, test_bundle, worker};

use crate::requests::fixture;

fn program(name: &str) -> Command {
    Command::new(processes::program(name).unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn assert_refused(output: &Output, status: i32, says: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for part in says {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// `quantize build` on the demo's files, one of them replaced.
fn build(dir: &Path, replaced: &str, by: &Path) -> Output {
    let files = [
        ("--model", "movies.onnx"),
        ("--schema", "features.toml"),
        ("--catalog", "catalog.jsonl"),
        ("--calibration", "requests.calibration.jsonl"),
        ("--gate", "requests.gate.jsonl.gz"),
    ];
    let mut command = program("quantize");
    command.arg("build").arg("--out").arg(dir.join("bundle"));
    for (flag, file) in files {
        let file = if flag == replaced { by.to_owned() } else { fixture("demo").join(file) };
        command.arg(flag).arg(file);
    }
    command.output().unwrap()
}

fn changed(dir: &Path, file: &str, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(fixture("demo").join(file)).unwrap();
    assert!(text.contains(from));
    let path = dir.join(file);
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path
}

#[test]
fn quantize_names_the_file_that_is_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.onnx");
    std::fs::write(&model, b"\x08\x0agarbage").unwrap();
    assert_refused(&build(dir.path(), "--model", &model), 2, &["model.onnx"]);
    assert!(!dir.path().join("bundle").exists(), "nothing is half written");
}

#[test]
fn quantize_names_the_line_of_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    let schema = changed(dir.path(), "features.toml", "kind = \"list\"", "kind = \"lists\"");
    assert_refused(&build(dir.path(), "--schema", &schema), 2, &["features.toml:", "lists", "`list`"]);
}

#[test]
fn quantize_names_the_input_that_no_feature_feeds() {
    let dir = tempfile::tempdir().unwrap();
    let schema = changed(dir.path(), "features.toml", "input = \"history\"", "input = \"past\"");
    assert_refused(&build(dir.path(), "--schema", &schema), 1, &["history"]);
}

#[test]
fn quantize_names_the_line_and_field_of_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let requests = changed(dir.path(), "requests.eval.jsonl", "\"candidates\":[\"", "\"candidates\":[7,\"");
    assert_refused(&build(dir.path(), "--gate", &requests), 2, &["requests.eval.jsonl:1", "candidates[0]"]);
}

#[test]
fn quantize_names_the_item_of_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = changed(dir.path(), "catalog.jsonl", "\"year\":", "\"year\":\"old\",\"was\":");
    assert_refused(&build(dir.path(), "--catalog", &catalog), 2, &["catalog.jsonl", "year"]);
}

fn rung_toml(dir: &Path, tier: &str, bundle: &Path, rest: &str) -> PathBuf {
    let file = dir.join("rung.toml");
    let text = format!(
        "schema_version = 1\ntier = {tier:?}\n[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [[model]]\nbundle = {bundle:?}\n{rest}"
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn daemons_refuse_a_bad_configuration_with_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = rung_toml(dir.path(), "edge", &test_bundle(), "[worker]\nwasn = \"worker.wasm\"\n[limits]\nmax_k = 0\n");
    for daemon in ["pop", "origin"] {
        let output = program(daemon).arg("--config").arg(&file).output().unwrap();
        assert_refused(&output, 64, &["rung.toml:", "wasn", "max_k"]);
    }
    let output = program("cdn-config").arg("check").arg(&file).output().unwrap();
    assert_refused(&output, 1, &["wasn", "did you mean `wasm`", "max_k"]);
}

#[test]
fn daemons_name_the_file_of_a_bundle_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    copy_of_test_bundle(&bundle).unwrap();
    for (daemon, tier, file) in [("pop", "edge", "edge.w4.safetensors"), ("origin", "origin", "origin.f32.safetensors")]
    {
        let path = bundle.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let rest = if tier == "edge" { format!("[worker]\nwasm = {:?}\n", worker()) } else { String::new() };
        let config = rung_toml(dir.path(), tier, &bundle, &rest);
        let output = program(daemon).arg("--config").arg(&config).output().unwrap();
        assert_refused(&output, 2, &[file, "digest"]);
    }
}

#[test]
fn pop_names_a_worker_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("worker.wasm");
    std::fs::write(&wasm, b"\0asm\x01\0\0\0").unwrap();
    let config = rung_toml(dir.path(), "edge", &test_bundle(), &format!("[worker]\nwasm = {wasm:?}\n"));
    let output = program("pop").arg("--config").arg(&config).output().unwrap();
    assert_refused(&output, 2, &["worker.wasm"]);
}

#[test]
fn daemons_name_the_file_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = program("pop").arg("--config").arg(dir.path().join("none.toml")).output().unwrap();
    assert_refused(&output, 2, &["none.toml"]);
}
