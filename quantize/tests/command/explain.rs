//! One request, explained.

use std::process::Command;

use serde_json::Value;

use super::{build, build_with, demo, quantize, said};

#[test]
fn explains_a_request_by_every_variant_and_the_whole_ladder() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    // So strict that some requests reach the origin.
    assert_eq!(build_with(&bundle, &[], &["--alpha", "0.05"]).status.code(), Some(0));
    let requests = dir.path().join("requests.jsonl");
    let lines = std::fs::read_to_string(demo("requests.eval.jsonl")).unwrap();
    let of = |line: &str, k: u64| {
        let mut request: Value = serde_json::from_str(line).unwrap();
        request["k"] = k.into();
        format!("{request}\n")
    };
    // The first fifty for each k that is certified.
    let lines = [10, 1].iter().flat_map(|k| lines.lines().take(50).map(|line| of(line, *k)));
    std::fs::write(&requests, lines.collect::<String>()).unwrap();
    let explain = |args: &[&str]| {
        let mut all = vec!["explain", "--bundle", bundle.to_str().unwrap()];
        all.extend(args);
        quantize(&all)
    };
    let mut paths = std::collections::BTreeSet::new();
    for line in 1..=100 {
        let k = if line <= 50 { 10 } else { 1 };
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
        assert!(policy["k"] == k && policy["edge"]["margin"].is_number(), "{policy}");
        paths.insert((k, path.len()));
    }
    assert!(paths.contains(&(1, 1)), "the edge answers where its policy lets it: {paths:?}");
    assert!(paths.iter().any(|(_, tiers)| *tiers == 2) && paths.iter().any(|(_, tiers)| *tiers >= 3), "{paths:?}");

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
