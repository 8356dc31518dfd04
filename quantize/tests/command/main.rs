//! The command as a user runs it, on the demo's files.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

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

/// `quantize build` on the demo, with some options replaced.
fn build(out: &Path, replaced: &[(&str, &Path)]) -> Output {
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
    let mut args = vec!["build", "--format", "json", "--k", "1,10", "--alpha", "0.1", "--out", out.to_str().unwrap()];
    args.extend(files.iter().flat_map(|(option, path)| [*option, path.to_str().unwrap()]));
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

#[test]
fn explains_a_request_by_every_variant_and_the_whole_ladder() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    assert_eq!(build(&bundle, &[]).status.code(), Some(0));
    let requests = dir.path().join("requests.jsonl");
    let lines = std::fs::read_to_string(demo("requests.eval.jsonl")).unwrap();
    let of = |line: &str, k: u64| {
        let mut request: Value = serde_json::from_str(line).unwrap();
        request["k"] = k.into();
        format!("{request}\n")
    };
    // The first twelve for each k that is certified.
    let lines = [10, 1].iter().flat_map(|k| lines.lines().take(12).map(|line| of(line, *k)));
    std::fs::write(&requests, lines.collect::<String>()).unwrap();
    let explain = |args: &[&str]| {
        let mut all = vec!["explain", "--bundle", bundle.to_str().unwrap()];
        all.extend(args);
        quantize(&all)
    };
    let mut paths = std::collections::BTreeSet::new();
    for line in 1..=24 {
        let k = if line <= 12 { 10 } else { 1 };
        let line = line.to_string();
        let output = explain(&[requests.to_str().unwrap(), "--line", &line, "--format", "json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tiers = explained["tiers"].as_array().unwrap();
        let variants: Vec<&str> = tiers.iter().map(|t| t["variant"].as_str().unwrap()).collect();
        assert_eq!(variants, ["w4", "w8", "f32"]);
        assert_eq!(tiers[0]["request"], tiers[2]["request"], "features do not depend on the variant");
        assert_eq!(tiers[0]["request"].as_array().unwrap().len(), 6);
        assert_eq!(tiers[0]["candidates"], 100);
        // The way ends where the first gate is sure, and the answer is that tier's ranking.
        let path = explained["path"].as_array().unwrap();
        let last = path.last().unwrap();
        assert_eq!(last["does"], "answers");
        let answering = tiers.iter().find(|t| t["tier"] == last["tier"]).unwrap();
        let by = explained["answer"]["ranked"].as_array().unwrap().iter().find(|r| r["by"] == last["tier"]).unwrap();
        let known = answering["ranked"].as_array().unwrap().iter().find(|c| c["id"] == by["id"]);
        assert!(known.is_none_or(|c| c["score"] == by["score"]), "{explained}");
        // The edge decides on all candidates, as its verdict does; a tier above it perhaps on some of them.
        let doubts = tiers[0]["verdict"].as_str().unwrap();
        let up = ["in doubt about ", "unsure of all", "no policy"].iter().any(|begin| doubts.starts_with(begin));
        assert_eq!(up, path.len() > 1, "{explained}");
        let policy = &tiers[0]["policy"];
        assert_eq!((&policy["k"], policy["edge"]["margin"].is_number()), (&k.into(), k == 1), "{policy}");
        paths.insert((k, path.len()));
    }
    assert!(paths.contains(&(1, 1)), "the edge answers where its policy lets it: {paths:?}");
    assert!(paths.iter().any(|(_, tiers)| *tiers == 2) && paths.iter().any(|(_, tiers)| *tiers == 3), "{paths:?}");

    let text = String::from_utf8(explain(&[requests.to_str().unwrap(), "--line", "1"]).stdout).unwrap();
    for said in
        ["movies version 1: the best 10 of 100 candidates", "user_mean_rating", "edge (w4): margin ", " answers"]
    {
        assert!(text.contains(said), "no `{said}` in:\n{text}");
    }
}

#[test]
fn explains_what_comes_on_standard_input_and_names_what_is_at_fault() {
    use std::io::Write as _;
    use std::process::Stdio;

    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    assert_eq!(build(&bundle, &[]).status.code(), Some(0));
    let piped = |args: &[&str], text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quantize"))
            .args(["explain", "--bundle", bundle.to_str().unwrap()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let request = "{\n \"k\": 1,\n \"user\": {\"id\": \"u1\"},\n \"candidates\": [\"m1\", \"gone\", {\"id\": \"m2\", \"year\": 2001}]\n}";
    let output = piped(&["-", "--format", "json"], request);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained["defaulted"][0], "`gone` is not in the catalog: scored with defaults");
    assert_eq!(explained["path"][0]["why"], "unknown_item");
    assert_eq!((explained["path"].as_array().unwrap().len(), &explained["answer"]["tier"]), (3, &"origin".into()));

    let none = piped(&["-"], "{\"candidates\": []}");
    assert_eq!(none.status.code(), Some(0), "{}", said(&none));
    assert!(String::from_utf8_lossy(&none.stdout).contains("no candidate is left to rank"));

    let two = piped(&["-"], "{\"candidates\": []}\n{\"candidates\": []}\n");
    assert_eq!(two.status.code(), Some(2));
    assert!(said(&two).contains("choose one with --line"), "{}", said(&two));
    assert_eq!(piped(&["-", "--line", "2"], "{\"candidates\": []}\n{\"candidates\": []}\n").status.code(), Some(0));
    let third = piped(&["-", "--line", "3"], "{\"candidates\": []}\n{\"candidates\": []}\n");
    assert!(said(&third).contains("has no request on line 3"), "{}", said(&third));
    let faulty = piped(&["-"], "{\"user\": {\"ratings\": \"many\"}, \"candidates\": [\"m1\"]}");
    assert_eq!(faulty.status.code(), Some(2));
    assert!(said(&faulty).contains("`user.ratings`: must be a number, not `many`"), "{}", said(&faulty));
}
