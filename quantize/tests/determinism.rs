//! The same input gives the same bytes, however many threads make them.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use shared_model::ladder::Step;
use shared_model::wire::Refusal;

#[path = "handmade/worker.rs"]
mod handmade;

/// The files of a bundle of the demo that so many threads build, or as many as there are processors.
fn built(worker: &Path, threads: Option<&str>) -> BTreeMap<String, Vec<u8>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/demo");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("bundle");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    match threads {
        Some(threads) => command.env("RAYON_NUM_THREADS", threads),
        None => command.env_remove("RAYON_NUM_THREADS"),
    };
    command.args(["build", "--k", "1,10", "--alpha", "0.1"]).arg("--worker").arg(worker).arg("--out").arg(&out);
    let named = [
        ("--model", "movies.onnx"),
        ("--schema", "features.toml"),
        ("--catalog", "catalog.jsonl"),
        ("--calibration", "requests.calibration.jsonl"),
        ("--gate", "requests.gate.jsonl.gz"),
        ("--eval", "requests.eval.jsonl"),
    ];
    for (option, file) in named {
        command.arg(option).arg(demo.join(file));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = out.read_dir().unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
}

#[test]
fn every_file_has_the_same_bytes_for_any_number_of_threads() {
    let worker = tempfile::NamedTempFile::new().unwrap();
    let step = Step::Refused(Refusal { field: "k".to_owned(), message: "from a worker made by hand".to_owned() });
    let bare = handmade::worker(20, &step);
    std::fs::write(worker.path(), &bare).unwrap();
    let first = built(worker.path(), None);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let expected = [
        "catalog.safetensors",
        "edge.w4.safetensors",
        "edge.w4.wasm",
        "features.toml",
        "manifest.json",
        "origin.f32.safetensors",
        "region.w8.safetensors",
        "region.w8.wasm",
    ];
    assert_eq!(names, expected);
    assert!(first["edge.w4.wasm"].len() > 10 * bare.len(), "it holds what it was loaded with");
    for threads in ["1", "3"] {
        for (name, bytes) in built(worker.path(), Some(threads)) {
            assert!(first[&name] == bytes, "{name} differs with {threads} threads");
        }
    }
}
