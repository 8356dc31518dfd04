//! What is told of a bundle: the page, the same as JSON, and a dry run on a log.

use std::path::Path;

use serde_json::Value;

use super::{build, build_with, demo, quantize, said};

fn eval(bundle: &Path, requests: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let args = ["eval", bundle.to_str().unwrap(), "--requests", requests.to_str().unwrap()];
    let output = quantize(&[&args[..], more].concat());
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said(&output))
}

#[test]
fn a_log_without_relevant_items_is_a_dry_run_of_the_gate() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, log) = (dir.path().join("bundle"), dir.path().join("log.jsonl"));
    let built = build(&bundle, &[]);
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    let built: Value = serde_json::from_slice(&built.stdout).unwrap();
    let requests = std::fs::read_to_string(demo("requests.eval.jsonl")).unwrap();
    let logged = |line: &str| {
        let mut request: Value = serde_json::from_str(line).unwrap();
        request.as_object_mut().unwrap().remove("relevant").unwrap();
        format!("{request}\n")
    };
    std::fs::write(&log, requests.lines().map(logged).collect::<String>()).unwrap();

    let (code, json, said) = eval(&bundle, &log, &["--ladder", "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let dry: Value = serde_json::from_str(&json).unwrap();
    assert!(!dry["replays"].as_array().unwrap().is_empty());
    assert_eq!(dry["replays"], built["replays"], "who would have answered does not depend on what was relevant");
    for (evaluation, with) in
        dry["evaluations"].as_array().unwrap().iter().zip(built["evaluations"].as_array().unwrap())
    {
        assert_eq!((&evaluation["relevance"], &evaluation["beside"]), (&Value::Null, &Value::Null));
        assert_eq!(evaluation["agreement"], with["agreement"]);
        assert!(!with["relevance"]["log_loss"].is_null(), "{with}");
    }
    let (_, text, _) = eval(&bundle, &log, &["--ladder"]);
    assert!(text.contains("answered by") && !text.contains("of f32's means"), "{text}");

    let line = requests.lines().next().unwrap().replacen("\"candidates\"", "\"kandidates\"", 1);
    std::fs::write(&log, format!("{}{line}\n", logged(requests.lines().next().unwrap()))).unwrap();
    let (code, _, said) = eval(&bundle, &log, &["--ladder"]);
    assert!(code == Some(2) && said.contains("log.jsonl:2: "), "{said}");
}

#[test]
fn a_page_is_written_beside_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (bundle, page) = (path("bundle"), path("built.html"));
    let built = build_with(&bundle, &[], &["--report", page.to_str().unwrap()]);
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    let built: Value = serde_json::from_slice(&built.stdout).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("checked against tract"), "{page}");
    assert!(page.contains("before the split"), "a build knows the model as it was");
    assert!(page.contains("Agreement by bytes"), "and what else was looked at");

    let requests = demo("requests.eval.jsonl");
    let written = |name: &str| {
        let to = path(name);
        let (code, json, said) = eval(&bundle, &requests, &["--format", "json", "--report", to.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{said}");
        (serde_json::from_str::<Value>(&json).unwrap(), std::fs::read(&to).unwrap())
    };
    let (evaluated, first) = written("first.html");
    assert!(first == written("second.html").1, "the same input gives the same bytes");
    let mut built = built;
    for tensor in built["tensors"].as_array_mut().unwrap() {
        // Only a build tries each tensor alone.
        tensor["sensitivity"] = Value::Null;
    }
    for part in ["evaluations", "replays", "curves", "deviations", "tensors", "changed", "policies", "sizes", "users"] {
        assert_eq!(evaluated[part], built[part], "the bundle is what was built: {part}");
    }
    assert_eq!(evaluated["changed"].as_array().unwrap().len(), 20, "ten of each variant");

    let inside = bundle.join("report.html");
    let (code, _, said) = eval(&bundle, &requests, &["--report", inside.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("is in the bundle's folder"), "{said}");
    assert!(!inside.exists());
}
