//! `quantize fit` as a user runs it, on a bundle of the demo's files and a worker written by hand.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use shared_model::ladder::Step;
use shared_model::wire::{Answer, Reason, Refusal, Tier, Timing};
use tempfile::TempDir;

#[path = "handmade/worker.rs"]
mod handmade;

fn quantize(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quantize")).args(args).output().unwrap()
}

/// A folder with a bundle that has no worker, a worker beside it, and a package for JavaScript.
struct Stage {
    dir: TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/demo");
        let file = |name: &str| demo.join(name).to_str().unwrap().to_owned();
        let out = dir.path().join("bundle").to_str().unwrap().to_owned();
        let named = [
            ("--model", file("movies.onnx")),
            ("--schema", file("features.toml")),
            ("--catalog", file("catalog.jsonl")),
            ("--calibration", file("requests.calibration.jsonl")),
            ("--gate", file("requests.gate.jsonl.gz")),
            ("--k", "10".to_owned()),
            ("--out", out),
        ];
        let args: Vec<&str> = named.iter().flat_map(|(option, value)| [*option, value.as_str()]).collect();
        let built = quantize(&[&["build"], &args[..]].concat());
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a worker that has `pages` of memory once it has ranked, and returns `step`.
    fn worker(&self, pages: usize, step: &Step) {
        std::fs::write(self.path("worker.wasm"), handmade::worker(pages, step)).unwrap();
    }

    fn fit(&self, target: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let [bundle, worker, package] = ["bundle", "worker.wasm", "web"].map(|name| self.path(name));
        let args = ["fit", bundle.to_str().unwrap(), "--target", target, "--worker", worker.to_str().unwrap()];
        let output = quantize(&[&args[..], &["--package", package.to_str().unwrap()], more].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, target: &str, more: &[&str]) -> (Option<i32>, Value) {
        let (code, out, _) = self.fit(target, &[&["--format", "json"], more].concat());
        (code, serde_json::from_str(&out).unwrap())
    }
}

fn answer() -> Step {
    Step::Answer(Box::new(Answer {
        model: "movies".to_owned(),
        version: "1".to_owned(),
        tier: Tier::Edge,
        variant: None,
        degradation: 0,
        reason: Reason::Asked,
        ranked: Vec::new(),
        agreement: None,
        timing: Timing::default(),
        warnings: Vec::new(),
        stamp: None,
        explanation: None,
    }))
}

/// What a platform allows and what it takes, of the memory of the variant at a position.
fn memory(fitted: &Value, variant: usize) -> (u64, u64) {
    let rows = fitted["variants"][variant]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["what"] == "memory_bytes").unwrap();
    (row["value"].as_u64().unwrap(), row["limit"].as_u64().unwrap())
}

#[test]
fn names_the_best_of_a_bundle_for_a_platform_or_why_there_is_none() {
    let stage = Stage::new();
    stage.worker(1000, &answer());
    let (code, out, said) = stage.fit("pop", &[]);
    assert_eq!(code, Some(0), "{said}");
    let last = out.lines().last().unwrap();
    assert!(last == "best: w4" || last == "best: w8", "{out}");

    let (code, fitted) = stage.json("pop", &[]);
    assert_eq!((code, &fitted["schema_version"], &fitted["target"]), (Some(0), &1.into(), &"pop".into()));
    assert_eq!(memory(&fitted, 0), (1000 << 16, 128 << 20));
    let shares = [0, 1].map(|i| fitted["variants"][i]["agreement"].as_f64().unwrap());
    let better = if shares[0] > shares[1] { "w4" } else { "w8" };
    assert_eq!(fitted["best"], better, "the one that agrees more often: {shares:?}");

    // A worker that has grown beyond what the tier gives it, and one beyond what any platform gives.
    let (code, out, _) = stage.fit("pop", &["--memory-mib", "32"]);
    assert_eq!(code, Some(1));
    assert!(
        out.lines().last().unwrap().starts_with("none fits: w4: 65.54 MB of memory, 33.55 MB allowed; w8: "),
        "{out}"
    );
    stage.worker(2049, &answer());
    for target in ["pop", "fastly"] {
        assert_eq!(stage.json(target, &[]).1["best"], Value::Null, "{target}");
    }

    // What the multiply-adds of a request take: nothing that fits 10 ms when there are very many candidates.
    stage.worker(20, &answer());
    assert_eq!(stage.fit("fastly", &[]).0, Some(0));
    let (code, out, _) = stage.fit("fastly", &["--candidates", "1000000"]);
    assert!(code == Some(1) && out.contains("CPU time a request (estimate), 50.00 ms allowed"), "{out}");

    // The package is deployed there with the bundle's files, and those lie beside the worker's memory.
    let (code, _, said) = stage.fit("cloudflare", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("web/workerd.js: is not there; scripts/build-web.sh makes it"), "{said}");
    std::fs::create_dir(stage.path("web")).unwrap();
    for file in ["workerd.js", "worker.js", "host.js", "rung_edge.js", "rung_edge_bg.wasm"] {
        std::fs::write(stage.path("web").join(file), "x".repeat(1000)).unwrap();
    }
    let files = ["manifest.json", "features.toml", "catalog.safetensors", "edge.w4.safetensors"];
    let files = files.map(|file| stage.path("bundle").join(file).metadata().unwrap().len()).iter().sum::<u64>();
    let (_, fitted) = stage.json("cloudflare", &[]);
    let size = &fitted["variants"][0]["rows"][1];
    assert_eq!((size["what"].as_str(), size["value"].as_u64()), (Some("bytes"), Some(files + 5000)));
    assert_eq!(memory(&fitted, 0), ((20 << 16) + files, 128_000_000));
}

#[test]
fn names_what_cannot_be_measured_with() {
    let stage = Stage::new();
    let (code, _, said) = stage.fit("pop", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("worker.wasm: is not there; scripts/build-worker.sh makes it"), "{said}");

    std::fs::write(stage.path("worker.wasm"), "a script").unwrap();
    let (code, _, said) = stage.fit("pop", &[]);
    assert!(code == Some(2) && said.contains("worker.wasm: is not a worker"), "{said}");

    let refused = Refusal { field: "user.age".to_owned(), message: "is missing".to_owned() };
    stage.worker(20, &Step::Refused(refused));
    let (code, _, said) = stage.fit("pop", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("`user.age`: is missing") && said.contains("with --requests"), "{said}");
    let requests = stage.path("requests.jsonl");
    std::fs::write(&requests, "{\"user\":{},\"candidates\":[\"m1\"]}\n").unwrap();
    let (code, _, said) = stage.fit("pop", &["--requests", requests.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("requests.jsonl: the worker does not score its first request"), "{said}");
}
