use serde_json::{Value, json};

use super::*;
use crate::catalog::item_from_json;
use crate::gate::{Evidence, Scores, Thresholds};
use crate::ladder::prepare;
use crate::limits;
use crate::wire::json::{JsonLimits, decode_line};

const SCHEMA: &str = r#"{"schema_version": 1, "model": "m",
"vocabulary": {"ids": {"source": "catalog"}},
"feature": [
  {"name": "age", "kind": "numeric", "scope": "request", "field": "user.age", "input": "dense", "column": 1,
   "transform": {"clip": {"max": 99}}, "default": 30},
  {"name": "visits", "kind": "numeric", "scope": "request", "field": "user.visits", "input": "dense", "column": 0},
  {"name": "history", "kind": "list", "scope": "request", "field": "user.history", "max_length": 40,
   "transform": {"vocabulary": "ids"}},
  {"name": "id", "kind": "categorical", "scope": "item", "transform": {"vocabulary": "ids"}},
  {"name": "price", "kind": "numeric", "scope": "item", "input": "item_dense", "column": 1},
  {"name": "stock", "kind": "numeric", "scope": "item", "input": "item_dense", "column": 0, "default": 0.1}]}"#;

fn policy_for(k: u32) -> Policy {
    let evidence = Evidence { requests: 9, users: 9, design_effect: 1.0, classes: Vec::new() };
    Policy {
        k,
        n_min: 1,
        n_max: 50,
        alpha: 0.01,
        delta: 0.05,
        edge: Thresholds::default(),
        region: Thresholds::default(),
        reason: Some("too few gate requests".to_owned()),
        evidence,
    }
}

/// Explains a request for the best k of 20 items, of which item `i<n>` scores n.
fn explained(k: u32, user: &str, candidates: &Value, scores: &[f32]) -> Value {
    explained_with(k, user, candidates, Scores { values: scores, noise: &vec![1.0; scores.len()] })
}

fn explained_with(k: u32, user: &str, candidates: &Value, scores: Scores<'_>) -> Value {
    let schema = Schema::from_json(SCHEMA.as_bytes()).unwrap();
    let items = (0..20).map(|i| item_from_json(&format!(r#"{{"id":"i{i}","price":{i}}}"#)).unwrap());
    let catalog = Catalog::build(&schema, items).unwrap();
    let line = format!(r#"{{"k":{k},"user":{user},"candidates":{candidates},"exclude":["i0"]}}"#);
    let request = decode_line(line.as_bytes(), "m", &JsonLimits::default()).unwrap().request;
    let prepared = prepare(&schema, &catalog, &request).unwrap();
    let policies = [policy_for(k)];
    let basis = Basis {
        tier: Tier::Region,
        variant: VariantName::W8,
        stamp: Stamp { bundle: Digest([0xab; 32]), catalog: 3 },
        schema: &schema,
        catalog: &catalog,
        request: &request,
        prepared: &prepared,
        scores,
        link: Link::Exp,
        policy: gate::policy(&policies, k, scores.values.len()),
    };
    serde_json::from_str(&basis.explain().to_json()).unwrap()
}

fn ranks(explained: &Value) -> Vec<u64> {
    explained["ranked"].as_array().unwrap().iter().map(|c| c["rank"].as_u64().unwrap()).collect()
}

/// The ids of the first `n` items, the excluded one first, and a score for each of the others.
fn items(n: u16) -> (Value, Vec<f32>) {
    ((0..n).map(|i| format!("i{i}")).collect(), (1..n).map(f32::from).collect())
}

#[test]
fn shows_the_best_and_those_around_the_boundary() {
    let (candidates, scores) = items(20);
    let far = explained(12, "{}", &candidates, &scores);
    assert_eq!(ranks(&far), [1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]);
    assert_eq!((&far["margin"], &far["boundary"]), (&json!(1.0), &json!(7.5)));
    let best = &far["ranked"][0];
    assert_eq!((&best["id"], &best["position"], &best["score_before_link"]), (&json!("i19"), &json!(19), &json!(19.0)));
    assert!((best["score"].as_f64().unwrap() / 19f64.exp() - 1.0).abs() < 1e-6, "{best}");

    let near = explained(1, "{}", &candidates, &scores);
    assert_eq!(ranks(&near), [1, 2, 3, 4, 5]);
    let all = explained(19, "{}", &candidates, &scores);
    assert_eq!(ranks(&all), [1, 2, 3, 4, 5, 17, 18, 19]);
    assert_eq!((&all["margin"], &all["boundary"]), (&Value::Null, &Value::Null));
    let huge = explained(u32::MAX, "{}", &candidates, &scores);
    assert_eq!((ranks(&huge), &huge["margin"]), (vec![1, 2, 3, 4, 5], &Value::Null));
}

#[test]
fn names_the_bundle_and_the_policy_that_applies() {
    let (candidates, scores) = items(4);
    let explained = explained(2, "{}", &candidates, &scores);
    assert_eq!((&explained["tier"], &explained["variant"]), (&json!("region"), &json!("w8")));
    assert_eq!((&explained["bundle"], &explained["catalog_revision"]), (&json!("ab".repeat(32)), &json!(3)));
    assert_eq!((&explained["k"], &explained["candidates"]), (&json!(2), &json!(3)));
    assert_eq!(explained["policy"]["reason"], "too few gate requests");
}

#[test]
fn shows_what_each_feature_was_made_of() {
    let candidates = json!(["i7", {"id": "new", "price": 2.5, "stock": null}, "gone"]);
    let long: Vec<String> = (0..20).map(|i| format!("i{i}")).collect();
    let user = json!({"visits": 3, "history": long, "age": 120}).to_string();
    let explained = explained(1, &user, &candidates, &[3.0, 2.0, 1.0]);
    let feature = |list: &Value, i: usize| list.as_array().unwrap()[i].clone();

    let age = feature(&explained["request"], 0);
    let want = json!({"feature": "age", "input": "dense", "column": 1, "fields": ["user.age"], "raw": [120],
        "transform": "clip to -inf…99", "from": "given", "encoded": [99.0]});
    assert_eq!(age, want);
    let history = feature(&explained["request"], 2);
    assert_eq!((history["raw"][0][15].as_str(), history["raw"][0][16].as_str()), (Some("i15"), Some("… and 4 more")));
    assert_eq!((history["encoded"].as_array().unwrap().len(), &history["encoded_left_out"]), (32, &json!(8)));
    assert_eq!(history["from"], "given");

    let of = |rank: usize, i: usize| feature(&explained["ranked"][rank]["features"], i);
    let (known, inline, unknown) = (of(0, 1), of(1, 1), of(2, 1));
    assert_eq!((&known["from"], known.get("raw"), &known["encoded"]), (&json!("catalog"), None, &json!([7.0])));
    assert_eq!((&of(0, 2)["encoded"], &of(0, 0)["encoded"]), (&json!([0.1]), &json!([8])));
    assert_eq!((&inline["from"], &inline["raw"], &inline["encoded"]), (&json!("given"), &json!([2.5]), &json!([2.5])));
    assert_eq!((&of(1, 2)["from"], &of(1, 2)["encoded"]), (&json!("default"), &json!([0.1])));
    assert_eq!(
        (&of(1, 0)["from"], &of(1, 0)["raw"], &of(1, 0)["encoded"]),
        (&json!("unknown"), &json!(["new"]), &json!([0]))
    );
    assert_eq!((&unknown["from"], &unknown["raw"]), (&json!("default"), &json!([null])));
}

#[test]
fn the_margin_is_counted_in_the_noise_of_candidates() {
    let (candidates, scores) = items(20);
    let mut noise = vec![1.0; scores.len()];
    // The best, which scores 19 and is 11.5 from the boundary.
    noise[18] = 46.0;
    let noisy = explained_with(12, "{}", &candidates, Scores { values: &scores, noise: &noise });
    assert_eq!((&noisy["margin"], &noisy["boundary"]), (&json!(0.5), &json!(7.5)));
    let of = |rank: usize| (&noisy["ranked"][rank - 1]["id"], &noisy["ranked"][rank - 1]["noise"]);
    assert_eq!((of(1), of(2)), ((&json!("i19"), &json!(46.0)), (&json!("i18"), &json!(1.0))));
}

#[test]
fn is_bounded_whatever_the_request_holds() {
    let many: Vec<Value> = (0..900)
        .map(|i| {
            json!({"name": format!("f{i}"), "kind": "list", "scope": "request", "field": format!("user.f{}", i % 200),
                "max_length": 4096, "transform": {"hash": 7}})
        })
        .collect();
    let schema = json!({"schema_version": 1, "model": "m", "feature": many});
    let schema = Schema::from_json(schema.to_string().as_bytes()).unwrap();
    let catalog = Catalog::build(&schema, []).unwrap();
    let user: serde_json::Map<String, Value> =
        (0..200).map(|i| (format!("f{i}"), json!(vec!["\u{1}".repeat(90); 30]))).collect();
    let line = json!({"user": user, "candidates": ["a", "b"]}).to_string();
    let request = decode_line(line.as_bytes(), "m", &JsonLimits::default()).unwrap().request;
    let prepared = prepare(&schema, &catalog, &request).unwrap();
    let (schema, catalog, request, prepared) = (&schema, &catalog, &request, &prepared);
    let stamp = Stamp { bundle: Digest([0; 32]), catalog: 0 };
    let (tier, variant, link) = (Tier::Edge, VariantName::W4, Link::Identity);
    let scores = Scores { values: &[1.0, 2.0], noise: &[1.0, 1.0] };
    let basis = Basis { tier, variant, stamp, schema, catalog, request, prepared, scores, link, policy: None };
    let explanation = basis.explain();
    assert!(explanation.features_left_out > 800, "{}", explanation.features_left_out);
    assert_eq!(explanation.request.len() + explanation.features_left_out, 900);
    let bytes = explanation.to_json().len();
    assert!(bytes < limits::MAX_EXPLAINED_BYTES + 4096, "{bytes}");
}
