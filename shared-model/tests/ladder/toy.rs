//! A toy model whose scores can be done in one's head, its bundle, and its tiers.

use std::collections::BTreeMap;

use shared_model::bundle::Manifest;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::gate::{Evidence, Policy, Thresholds};
use shared_model::graph::{Binary, Builder, DType, Link, Op, Scope, Type};
use shared_model::ladder::{Call, Ladder, Parts, Step, TierLimits};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Answer, Escalation, RankRequest, Tier, json};

const FEATURES: &str = r#"
schema_version = 1
model = "toy"

[[feature]]
name = "mood"
kind = "numeric"
scope = "request"
field = "user.mood"
missing = "escalate"
default = 1.0

[[feature]]
name = "quality"
kind = "numeric"
scope = "item"
field = "quality"
"#;

/// A model that scores `mood · quality`, and a catalog where item `i` has quality i and popularity -i.
pub(crate) struct Toy {
    pub(crate) manifest: Vec<u8>,
    pub(crate) schema: Vec<u8>,
    pub(crate) catalog: Vec<u8>,
    pub(crate) variants: BTreeMap<VariantName, Vec<u8>>,
}

pub(crate) fn toy() -> Toy {
    toy_of(FEATURES)
}

/// The toy whose last feature, the item's quality, has these keys too.
pub(crate) fn toy_with(keys: &str) -> Toy {
    toy_of(&format!("{FEATURES}{keys}"))
}

fn toy_of(features: &str) -> Toy {
    let schema = Schema::from_toml(features).expect("a schema");
    let items = (0..20).map(|i| format!(r#"{{"id":"i{i}","quality":{i},"popularity":{}}}"#, 20 - i));
    let items = items.map(|line| item_from_json(&line).expect("an item"));
    let catalog = Catalog::build(&schema, items).expect("a catalog").to_safetensors(&schema);
    let mut manifest = Manifest::new("toy", "3", 1, features.as_bytes());
    manifest.policies = vec![
        policy(2, thresholds(1.5, None), thresholds(0.5, None)),
        policy(3, thresholds(4.0, Some(4.0)), thresholds(2.0, Some(2.0))),
        policy(4, thresholds(4.0, Some(4.0)), thresholds(2.0, None)),
    ];
    let variants = VariantName::ALL.into_iter().map(|name| (name, variant(name).to_bytes().expect("a file"))).collect();
    Toy { manifest: manifest.to_bytes(), schema: schema.to_json(), catalog, variants }
}

fn thresholds(margin: f32, doubt: Option<f32>) -> Thresholds {
    Thresholds { margin: Some(margin), doubt }
}

fn policy(k: u32, edge: Thresholds, region: Thresholds) -> Policy {
    let evidence = Evidence { requests: 9, users: 9, design_effect: 1.0, classes: Vec::new() };
    Policy { k, n_min: 3, n_max: 9, alpha: 0.05, delta: 0.05, edge, region, reason: None, evidence }
}

fn variant(name: VariantName) -> Variant {
    let mut builder = Builder::new();
    let mood = builder.input("mood", Type { dtype: DType::F32, shape: vec![], scope: Scope::Request }).unwrap();
    let quality = builder.input("quality", Type { dtype: DType::F32, shape: vec![], scope: Scope::Item }).unwrap();
    let score = builder.push("score", Op::Binary(Binary::Mul), &[mood, quality]).unwrap();
    Variant {
        name,
        graph: builder.finish(score, Link::Identity).unwrap(),
        tensors: BTreeMap::<String, Tensor>::new(),
        noise: None,
    }
}

pub(crate) fn ladder(tier: Tier) -> Ladder {
    ladder_of(&toy(), tier)
}

pub(crate) fn ladder_of(toy: &Toy, tier: Tier) -> Ladder {
    let parts = Parts {
        manifest: &toy.manifest,
        schema: &toy.schema,
        variant: &toy.variants[&VariantName::of(tier)],
        catalog: &toy.catalog,
    };
    Ladder::load(tier, TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 }, parts).expect("a bundle")
}

pub(crate) fn request(body: &str) -> RankRequest {
    json::decode(body.as_bytes(), &json::JsonLimits::default()).expect("a request").request
}

pub(crate) fn of(candidates: &[&str], rest: &str) -> RankRequest {
    request(&format!(r#"{{"model":"toy","user":{{"mood":1}},"candidates":{candidates:?}{rest}}}"#))
}

pub(crate) fn call(request: RankRequest) -> Call {
    Call { request, below: None, part: None }
}

pub(crate) fn answered(step: Step) -> Answer {
    match step {
        Step::Answer(answer) => *answer,
        other => panic!("not an answer: {other:?}"),
    }
}

pub(crate) fn escalated(step: Step) -> (Vec<u8>, Escalation) {
    match step {
        Step::Escalate { held, message, .. } => (held, *message),
        other => panic!("not escalated: {other:?}"),
    }
}

pub(crate) fn ids(answer: &Answer) -> Vec<&str> {
    answer.ranked.iter().map(|r| r.id.as_str()).collect()
}
