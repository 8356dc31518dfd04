//! The command as a user runs it, on the demo's files.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[cfg(unix)]
mod compare;
mod explain;
mod goal;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/demo").join(file)
}

fn quantize(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quantize")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `quantize build` on the demo, with some files replaced.
fn build(out: &Path, replaced: &[(&str, &Path)]) -> Output {
    build_with(out, replaced, &[])
}

/// The same with more options.
fn build_with(out: &Path, replaced: &[(&str, &Path)], more: &[&str]) -> Output {
    let mut files = [
        ("--model", demo("movies.onnx")),
        ("--schema", demo("features.toml")),
        ("--catalog", demo("catalog.jsonl")),
        ("--calibration", demo("requests.calibration.jsonl")),
        ("--gate", demo("requests.gate.jsonl.gz")),
        ("--eval", demo("requests.eval.jsonl")),
    ];
    for (option, path) in replaced {
        files.iter_mut().find(|(o, _)| o == option).unwrap().1 = path.to_path_buf();
    }
    let mut args = vec!["build", "--format", "json", "--k", "1,10", "--out", out.to_str().unwrap()];
    if !more.contains(&"--alpha") {
        args.extend(["--alpha", "0.1"]);
    }
    args.extend(files.iter().flat_map(|(option, path)| [*option, path.to_str().unwrap()]));
    args.extend(more);
    quantize(&args)
}

/// What a damaged copy of a demo file makes the build say; nothing may be left behind.
fn refusal(option: &str, file: &str, damage: impl Fn(String) -> String) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(file);
    std::fs::write(&copy, damage(std::fs::read_to_string(demo(file)).unwrap())).unwrap();
    let out = dir.path().join("bundles/demo");
    let output = build(&out, &[(option, &copy)]);
    let left = std::fs::read_dir(dir.path().join("bundles")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a failed build leaves nothing behind");
    (output.status.code(), said(&output))
}

#[test]
fn builds_the_same_bundle_twice_and_reads_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let output = build(&first, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(build(&second, &[]).status.code(), Some(0));
    let mut files: Vec<_> = first.read_dir().unwrap().map(|f| f.unwrap().file_name()).collect();
    files.sort();
    let expected = [
        "catalog.safetensors",
        "edge.w4.safetensors",
        "features.toml",
        "manifest.json",
        "origin.f32.safetensors",
        "region.w8.safetensors",
    ];
    assert_eq!(files, expected);
    for file in expected {
        assert!(
            std::fs::read(first.join(file)).unwrap() == std::fs::read(second.join(file)).unwrap(),
            "{file} differs"
        );
    }

    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(built["schema_version"], 1);
    assert!(built["check"]["difference"]["absolute"].as_f64().unwrap() <= 1e-5);
    let share = |i: usize| built["sizes"][i]["share"].as_f64().unwrap();
    assert!(share(0) <= 0.22 && share(1) < 0.35 && share(2) == 1.0, "{}", built["sizes"]);
    let f32 = &built["evaluations"][2];
    assert!((f32["relevance"]["hit_rate"].as_f64().unwrap() - 0.648).abs() < 0.003, "{f32}");
    let policies = built["policies"].as_array().unwrap();
    assert_eq!(policies.iter().map(|p| p["k"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 10]);
    let classes = policies[1]["evidence"]["classes"].as_array().unwrap();
    assert!(!classes.is_empty() && classes.iter().all(|c| c["bound"].as_f64().unwrap() <= 0.1), "{policies:?}");

    let requests = demo("requests.eval.jsonl");
    let eval = quantize(&[
        "eval",
        first.to_str().unwrap(),
        "--requests",
        requests.to_str().unwrap(),
        "--ladder",
        "--format",
        "json",
    ]);
    let eval: Value = serde_json::from_slice(&eval.stdout).unwrap();
    assert_eq!(eval["evaluations"], built["evaluations"], "the bundle ranks as what was built");
    assert_eq!(eval["replays"], built["replays"], "and its ladder answers so");

    let inspected = quantize(&["inspect", first.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&inspected.stdout).contains("ranks by `linear_4`, then sigmoid"));

    let mut bytes = std::fs::read(first.join("region.w8.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(first.join("region.w8.safetensors"), bytes).unwrap();
    let refused = quantize(&["inspect", first.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("region.w8.safetensors does not match its digest"), "{}", said(&refused));
}

#[test]
fn makes_deltas_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, items) = (dir.path().join("bundle"), dir.path().join("items.jsonl"));
    assert_eq!(build(&bundle, &[]).status.code(), Some(0));
    let delta = |lines: &str, more: &[&str]| {
        std::fs::write(&items, lines).unwrap();
        let args = ["delta", "--items", items.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let output = quantize(&[&args[..], &["--format", "json"], more].concat());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), said(&output))
    };
    let new = r#"{"id":"new1","year":2016,"genres":["Drama"],"popularity":5}"#;
    let elsewhere = dir.path().join("elsewhere.jsonl");
    let (code, first, _) = delta(new, &["--out", elsewhere.to_str().unwrap()]);
    assert_eq!((code, &first["revision"], &first["items"]), (Some(0), &1.into(), &2001.into()));
    let (code, second, _) = delta("{\"id\":\"m1\",\"removed\":true}\n", &["--after", elsewhere.to_str().unwrap()]);
    assert_eq!((code, &second["revision"], &second["items"]), (Some(0), &2.into(), &2000.into()));
    assert!(bundle.join("deltas/000002.jsonl").is_file() && !bundle.join("deltas/000001.jsonl").exists());

    let (code, third, _) = delta(new, &[]);
    assert_eq!((code, &third["revision"]), (Some(0), &1.into()), "the folder alone is at revision 0");
    let same = std::fs::read(&elsewhere).unwrap() == std::fs::read(bundle.join("deltas/000001.jsonl")).unwrap();
    assert!(same, "the same items make the same bytes");
    let (code, last, _) = delta(r#"{"id":"new1","removed":true}"#, &[]);
    assert_eq!((code, &last["revision"], &last["items"]), (Some(0), &3.into(), &1999.into()), "after both");

    let (code, _, said) = delta("{\"id\":\"new2\"}\n{\"id\":\"m1\",\"removed\":true}", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("items.jsonl: item 2 (`m1`): `id` is not in the catalog"), "{said}");
    let (code, _, said) = delta(new, &["--out", elsewhere.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("elsewhere.jsonl: File exists"), "a delta is never written over: {said}");
}

#[test]
fn agrees_with_the_recorded_scores() {
    let dir = demo("");
    let output = quantize(&["parity", "--dir", dir.to_str().unwrap(), "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(rows["rows"].as_array().unwrap().iter().all(|r| r["subject"] == "movies" && r["met"] == true), "{rows}");
}

#[test]
fn names_the_line_and_field_of_a_request_at_fault() {
    let broken = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[2] = lines[2].replacen("\"candidates\"", "\"kandidates\"", 1);
        lines.join("\n")
    };
    let (code, said) = refusal("--gate", "requests.eval.jsonl", broken);
    assert_eq!(code, Some(2));
    assert!(said.contains("requests.eval.jsonl:3: ") && said.contains("candidates"), "{said}");
}

#[test]
fn refuses_calibration_requests_that_check_nothing() {
    let emptied = |text: String| {
        let mut requests: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        requests.iter_mut().for_each(|r| r["candidates"] = Value::Array(Vec::new()));
        requests.iter().map(|r| format!("{r}\n")).collect::<String>()
    };
    let (code, said) = refusal("--calibration", "requests.calibration.jsonl", emptied);
    assert_eq!(code, Some(2));
    assert!(said.contains("requests.calibration.jsonl: none of its first 64 requests has candidates"), "{said}");
}

#[test]
fn names_the_line_of_an_item_at_fault() {
    let twice = |text: String| {
        let first = text.lines().next().unwrap().to_owned();
        format!("{text}{first}\n")
    };
    let (code, said) = refusal("--catalog", "catalog.jsonl", twice);
    assert_eq!(code, Some(2));
    assert!(said.contains("catalog.jsonl:2001: "), "{said}");
}

#[test]
fn a_catalog_with_more_items_than_the_model_knows_is_a_problem_found() {
    let more = |text: String| format!("{text}{{\"id\": \"new\", \"year\": 2016, \"genres\": [], \"popularity\": 1}}\n");
    let (code, said) = refusal("--catalog", "catalog.jsonl", more);
    assert_eq!(code, Some(1));
    assert!(said.contains("`item.weight` has 2001 rows, but input `"), "{said}");
}

#[test]
fn names_every_fault_of_a_schema() {
    let damage = |text: String| text.replace("kind = \"list\"", "kind = \"lisp\"").replace("hash = 1024", "hash = 0");
    let (code, said) = refusal("--schema", "features.toml", damage);
    assert_eq!(code, Some(2));
    assert!(said.matches("features.toml:").count() >= 2 && said.contains("lisp"), "{said}");
}

#[test]
fn a_schema_that_feeds_another_model_is_a_problem_found() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("features.toml");
    let text = std::fs::read_to_string(demo("features.toml")).unwrap();
    std::fs::write(&copy, text.replace("max_length = 20", "max_length = 21")).unwrap();
    let model = demo("movies.onnx");
    let check =
        |schema: &Path| quantize(&["schema", "check", schema.to_str().unwrap(), "--model", model.to_str().unwrap()]);
    assert_eq!(check(&demo("features.toml")).status.code(), Some(0));
    let output = check(&copy);
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("input `history`: the model takes [20] a candidate, features.toml feeds 21"), "{found}");
}

#[test]
fn a_wrong_command_line_or_a_missing_file_ends_with_2() {
    assert_eq!(quantize(&["bild"]).status.code(), Some(2));
    assert_eq!(quantize(&["inspect", "no/such/bundle"]).status.code(), Some(2));
    let not_onnx = quantize(&["inspect", demo("catalog.jsonl").to_str().unwrap()]);
    assert_eq!(not_onnx.status.code(), Some(2));
    assert!(said(&not_onnx).contains("catalog.jsonl: not a usable ONNX model"), "{}", said(&not_onnx));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let output = build(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("holds something that is not a bundle"), "{}", said(&output));
}

#[test]
fn drafts_a_schema_that_feeds_the_model() {
    let model = demo("movies.onnx");
    let dir = tempfile::tempdir().unwrap();
    let check =
        |schema: &Path| quantize(&["schema", "check", schema.to_str().unwrap(), "--model", model.to_str().unwrap()]);
    let bare = dir.path().join("bare.toml");
    let output = quantize(&["schema", "init", model.to_str().unwrap(), "--out", bare.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = std::fs::read_to_string(&bare).unwrap();
    assert_eq!(check(&bare).status.code(), Some(0), "{text}");
    assert!(text.contains("\n# CHECK: "), "{text}");
    let again = quantize(&["schema", "init", model.to_str().unwrap(), "--out", bare.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "a file that is there is left alone");

    let (requests, catalog) = (demo("requests.calibration.jsonl"), demo("catalog.jsonl"));
    let mut args = vec!["schema", "init", model.to_str().unwrap(), "--requests", requests.to_str().unwrap()];
    args.extend(["--catalog", catalog.to_str().unwrap()]);
    let output = quantize(&args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let informed = dir.path().join("informed.toml");
    std::fs::write(&informed, &output.stdout).unwrap();
    assert_eq!(check(&informed).status.code(), Some(0));
    args.extend(["--format", "json"]);
    let drafted: Value = serde_json::from_slice(&quantize(&args).stdout).unwrap();
    assert_eq!(drafted["toml"].as_str().unwrap().trim_end(), String::from_utf8_lossy(&output.stdout).trim_end());
    assert_eq!((drafted["features"].as_u64(), &drafted["faults"]), (Some(11), &Value::Array(Vec::new())));

    // Everything but transforms that no file can tell is as in the schema that the model was trained with.
    let schema = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        shared_model::schema::Schema::from_toml(&text).unwrap()
    };
    let (drafted, trained) = (schema(&informed), schema(&demo("features.toml")));
    let told = |schema: &shared_model::schema::Schema| {
        let mut inputs: Vec<_> = schema.inputs().iter().map(|i| (i.name.clone(), i.scope, i.shape.clone())).collect();
        inputs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut features: Vec<_> = schema
            .features()
            .iter()
            .map(|f| (schema.inputs()[f.input].name.clone(), f.column, f.fields.clone(), f.coding.kind()))
            .collect();
        features.sort();
        (inputs, features)
    };
    assert_eq!(told(&drafted), told(&trained));
}

#[test]
fn a_draft_for_what_is_no_model_is_refused() {
    let catalog = demo("catalog.jsonl");
    let output = quantize(&["schema", "init", catalog.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("catalog.jsonl: not a usable ONNX model"), "{}", said(&output));
}
