//! One list of cases on every runtime: the scalar plan, the guest in wasmtime, and burn.
//!
//! Scores are those of the whole way: over the network, in the decimals of JSON, which name an f32 exactly.

use std::collections::BTreeMap;
use std::path::Path;

use rung_tests::edition;
use rung_tests::stack::{Stack, test_bundle};
use serde_json::{Value, json};
use shared_model::ladder::{Call, Ladder, Parts, Step, TierLimits};
use shared_model::variant::VariantName;
use shared_model::wire::json::{JsonLimits, decode};
use shared_model::wire::{Ranked, Tier};

use crate::requests::{eval, fixture, one, with};

/// Requests that reach every branch of encoding and of the graph.
fn cases() -> Vec<Value> {
    let catalog: Vec<Value> = std::fs::read_to_string(fixture("demo/catalog.jsonl"))
        .unwrap()
        .lines()
        .take(900)
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].clone())
        .collect();
    let inline =
        json!([{ "id": "a", "year": null, "genres": [] }, { "id": "b", "genres": ["Drama", "unheard of"] }, "m1"]);
    let mut cases = eval(30);
    cases.extend([
        with(one(), json!({ "user": { "id": "nobody", "history": [] } })),
        with(one(), json!({ "user": {}, "context": {} })),
        with(one(), json!({ "user": { "id": "é", "history": ["m-none", "m1"], "ratings": 1e9, "mean_rating": 0 } })),
        with(one(), json!({ "context": { "timestamp": -1 } })),
        with(one(), json!({ "candidates": inline })),
        with(one(), json!({ "candidates": catalog })),
    ]);
    // As many scores as a tier gives are compared, not only the best.
    cases.into_iter().map(|case| with(case, json!({ "k": 100 }))).collect()
}

/// A tier's ladder in native code, on a bundle, with the limits that a tier has by default.
pub(crate) fn native(tier: Tier, bundle: &Path) -> Ladder {
    let (edition, variant) = edition::read(bundle, VariantName::of(tier)).unwrap();
    let (schema, catalog) = (edition.schema().to_json(), edition.catalog().to_safetensors(edition.schema()));
    let parts = Parts { manifest: edition.manifest_bytes(), schema: &schema, variant: &variant, catalog: &catalog };
    Ladder::load(tier, TierLimits { max_candidates: 1000, max_k: 100, item_table_bytes: 1 << 20 }, parts).unwrap()
}

struct Scalar(Ladder);

impl Scalar {
    fn new(tier: Tier) -> Self {
        Self(native(tier, &test_bundle()))
    }

    fn rank(&mut self, case: &Value) -> Vec<Ranked> {
        let request = decode(case.to_string().as_bytes(), &JsonLimits::default()).unwrap().request;
        match self.0.rank(&Call { request, below: None, part: None }) {
            Step::Answer(answer) => answer.ranked,
            other => panic!("{other:?}"),
        }
    }
}

/// What a tier of the stack gives, as (id, score) in order.
async fn served(stack: &Stack, case: &Value) -> Vec<(String, f32)> {
    let response = stack.rank(case.to_string()).await.unwrap();
    let answer = response.json().unwrap();
    assert_eq!(answer["degradation"], 0, "{answer}");
    let ranked = answer["ranked"].as_array().unwrap().iter();
    ranked.map(|r| (r["id"].as_str().unwrap().to_owned(), r["score"].to_string().parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_gives_the_bits_of_the_scalar_plan() {
    let stack = Stack::start().await.unwrap();
    for tier in [Tier::Edge, Tier::Region] {
        let mut scalar = Scalar::new(tier);
        for case in cases() {
            let case = with(case, json!({ "tier": tier.as_str() }));
            let got = served(&stack, &case).await;
            let want = scalar.rank(&case);
            assert_eq!(got.len(), want.len());
            for ((id, score), want) in got.iter().zip(&want) {
                let bits = (id.as_str(), score.to_bits());
                assert_eq!(bits, (want.id.as_str(), want.score.unwrap().to_bits()), "{tier:?} {case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn burn_agrees_with_the_scalar_plan_within_rounding() {
    let stack = Stack::start().await.unwrap();
    let mut scalar = Scalar::new(Tier::Origin);
    for case in cases() {
        let case = with(case, json!({ "tier": "origin" }));
        let got: BTreeMap<String, f32> = served(&stack, &case).await.into_iter().collect();
        let want = scalar.rank(&case);
        let last = want.last().unwrap().score.unwrap();
        for Ranked { id, score, .. } in &want {
            let score = score.unwrap();
            match got.get(id) {
                Some(burn) => assert!((burn - score).abs() <= 1e-5, "{id}: {burn} for {score} in {case}"),
                None => assert!((score - last).abs() <= 2e-5, "{id} is missing and no tie"),
            }
        }
    }
}
