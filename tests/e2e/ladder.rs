//! Escalation over the network, and what is answered when a tier is gone, late, or fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quantize::eval::Opened;
use rung_tests::replay::Replayer;
use rung_tests::stack::{Builder, Stack, Which, noisy_test_bundle, test_bundle};
use serde_json::{Value, json};
use shared_model::wire::RankRequest;
use shared_model::wire::json::{JsonLimits, decode};

use crate::bundles::{bundle_with, sure_at_the_edge};
use crate::requests::{eval, ids, one, with};

async fn answered(stack: &Stack, body: &Value) -> Value {
    let response = stack.rank(body.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    response.json().unwrap()
}

fn forced(tier: &str) -> Value {
    with(one(), json!({ "tier": tier }))
}

#[tokio::test]
async fn each_tier_answers_when_asked() {
    let stack = Stack::start().await.unwrap();
    for (tier, variant, reason) in [("edge", "w4", "asked"), ("region", "w8", "asked"), ("origin", "f32", "reference")]
    {
        let answer = answered(&stack, &forced(tier)).await;
        assert_eq!((&answer["tier"], &answer["variant"]), (&json!(tier), &json!(variant)), "{answer}");
        assert_eq!((&answer["reason"], &answer["degradation"]), (&json!(reason), &json!(0)), "{answer}");
        assert_eq!(answer["agreement"], Value::Null, "an answer asked of a tier claims nothing");
        let by = answer["ranked"].as_array().unwrap().iter().all(|r| r["by"] == tier);
        assert!(by && ids(&answer).len() == 10, "{answer}");
    }
}

#[tokio::test]
async fn a_sure_answer_states_its_claim_and_the_others_come_from_above() {
    let stack = Builder::serving(&test_bundle()).start().await.unwrap();
    let mut seen = BTreeSet::new();
    for request in eval(60) {
        let answer = answered(&stack, &request).await;
        seen.insert(holds_its_claim(&answer));
    }
    let seen: Vec<_> = seen.iter().map(Option::as_deref).collect();
    assert_eq!(
        seen,
        ["edge", "merged_origin", "merged_region"].map(Some),
        "each class that is certified, and nothing else"
    );
}

/// That an answer says how it came. Its class, if it claims anything.
fn holds_its_claim(answer: &Value) -> Option<String> {
    let (tier, claim) = (answer["tier"].as_str().unwrap(), &answer["agreement"]);
    let by = |tier: &str| answer["ranked"].as_array().unwrap().iter().any(|entry| entry["by"] == tier);
    let class = claim["class"].as_str();
    match class {
        None => assert_eq!((tier, &answer["reason"]), ("origin", &json!("reference"))),
        Some("merged_origin") => assert!(by("edge") && by("origin") && claim["margin"].is_null(), "{answer}"),
        Some(class) => {
            assert_eq!(class.trim_start_matches("merged_"), tier, "{answer}");
            assert_eq!(answer["reason"], if class == tier { "sure" } else { "merged" }, "{answer}");
            assert!(by(tier) && claim["margin"].as_f64() >= claim["threshold"].as_f64(), "{answer}");
            assert_eq!((&claim["k"], &claim["alpha"]), (&json!(10), &json!(0.1)));
        }
    }
    class.map(str::to_owned)
}

#[tokio::test]
async fn what_is_served_is_the_ladder_replayed_on_the_scores() {
    let bundle = sure_at_the_edge();
    let compared = replayed(bundle.path(), &eval(200)).await;
    let classes: Vec<_> = compared.keys().map(Option::as_deref).collect();
    assert_eq!(classes, ["edge", "merged_origin", "merged_region"].map(Some), "{compared:?}");
    assert!(compared.values().sum::<usize>() >= 150, "{compared:?}");
}

#[tokio::test]
async fn it_is_so_where_candidates_are_not_equally_noisy() {
    let (bundle, requests) = (noisy_test_bundle(), eval(200));
    let opened = Opened::read(&bundle).unwrap();
    let noise = Replayer::new(&opened, &bundle).unwrap().noise(&decoded(&requests[0])).unwrap();
    assert!(noise[0].contains(&1.0) && noise[0].iter().any(|noise| *noise > 1.2), "{noise:?}");
    let compared = replayed(&bundle, &requests).await;
    let classes: Vec<_> = compared.keys().map(Option::as_deref).collect();
    assert_eq!(classes, ["edge", "merged_region"].map(Some), "{compared:?}");
    assert!(compared.values().all(|answers| *answers >= 50), "{compared:?}");
}

/// Serves a bundle; how many answers of each class are what the ladder makes of the scores, and none may be another.
async fn replayed(bundle: &Path, requests: &[Value]) -> BTreeMap<Option<String>, usize> {
    let opened = Opened::read(bundle).unwrap();
    let mut replayer = Replayer::new(&opened, bundle).unwrap();
    let stack = Builder::serving(bundle).start().await.unwrap();
    let mut compared = BTreeMap::new();
    for request in requests {
        let answer = answered(&stack, request).await;
        let agrees = replayer.agrees(&decoded(request), &answer).unwrap();
        assert_ne!(agrees, Some(false), "{request}: {answer}");
        if agrees == Some(true) {
            *compared.entry(answer["agreement"]["class"].as_str().map(str::to_owned)).or_default() += 1;
        }
    }
    compared
}

fn decoded(request: &Value) -> RankRequest {
    decode(request.to_string().as_bytes(), &JsonLimits::default()).unwrap().request
}

#[tokio::test]
async fn without_the_origin_the_region_answers_at_level_1() {
    let mut stack = Stack::start().await.unwrap();
    stack.stop(Which::Origin).await;
    let answer = answered(&stack, &forced("origin")).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("region"), &json!(1)), "{answer}");
    assert_eq!((&answer["reason"], &answer["agreement"]), (&json!("upstream_gone"), &Value::Null));
    assert_eq!(ids(&answer).len(), 10);
}

#[tokio::test]
async fn without_the_region_the_edge_answers_at_level_1() {
    let mut stack = Stack::start().await.unwrap();
    stack.stop(Which::Region).await;
    for tier in ["region", "origin"] {
        let answer = answered(&stack, &forced(tier)).await;
        assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("edge"), &json!(1)), "{answer}");
    }
    let own = answered(&stack, &forced("edge")).await;
    assert_eq!(own["degradation"], 0, "what needs no upstream is not degraded");
}

#[tokio::test]
async fn a_gone_tier_never_turns_into_an_error() {
    let mut stack = Stack::start().await.unwrap();
    stack.stop(Which::Origin).await;
    for request in eval(30) {
        let answer = answered(&stack, &request).await;
        assert_eq!(ids(&answer).len(), 10);
        assert!(answer["tier"] != "origin");
    }
}

#[tokio::test]
async fn a_guest_that_runs_too_long_is_replaced_and_the_tier_above_answers() {
    // A millisecond is enough for a few candidates and too short for thousands.
    let stack = Builder::default()
        .worker("max_rank_ms = 1\n")
        .with(Which::Edge, "[limits]\nmax_candidates = 20000\n")
        .with(Which::Region, "[limits]\nmax_candidates = 20000\n")
        .start()
        .await
        .unwrap();
    let many: Vec<Value> = (0..9_000).map(|i| json!({ "id": format!("new{i}"), "year": 1990 })).collect();
    let answer = answered(&stack, &with(one(), json!({ "candidates": many, "timeout_ms": 20000 }))).await;
    assert_ne!(answer["tier"], "edge", "{answer}");
    assert_eq!(answer["degradation"], 0);
    assert!(stack.metric(Which::Edge, "edge_guest_traps_total{cause=\"time\"}").await.unwrap() >= 1.0);
    let few = with(one(), json!({ "candidates": ["m1", "m2"] }));
    for _ in 0..50 {
        // The worker comes back on its own; until then the tier above answers.
        if answered(&stack, &few).await["tier"] == "edge" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the worker did not come back");
}

#[tokio::test]
async fn tiers_on_different_bundles_make_no_claim_about_each_other() {
    let sure_at_the_region = |manifest: &mut Value| {
        for policy in manifest["policies"].as_array_mut().unwrap() {
            policy["edge"] = json!({ "margin": null, "doubt": null });
            policy["region"] = json!({ "margin": 0.0, "doubt": null });
        }
    };
    let this = bundle_with(sure_at_the_region);
    let next = bundle_with(|manifest| {
        sure_at_the_region(manifest);
        manifest["version"] = "next".into();
    });
    for (region, answers) in [(&this, "region"), (&next, "origin")] {
        let stack = Builder::default()
            .bundle(Which::Edge, this.path())
            .bundle(Which::Region, region.path())
            .start()
            .await
            .unwrap();
        for request in eval(10) {
            assert_eq!(answered(&stack, &request).await["tier"], answers);
        }
    }
}
