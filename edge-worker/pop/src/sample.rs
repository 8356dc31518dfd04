//! A bundle small enough to reason about, for tests: ten items, score = `user.mood` × the item's `quality`.
//!
//! `m9` is the best and the least popular, `m0` the worst and the most popular; in Germany it is the other way round. `s1`
//! and `s2`, the static list, are no items. The margin is a tenth of the mood, and
//! the gate wants 0.05: a mood of 1 is sure, a mood of 0.1 is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared_model::bundle::{CATALOG, Edition, FEATURES, FileEntry, MANIFEST, Manifest, TierFiles, VariantEntry};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::gate::{Evidence, Policy, Thresholds};
use shared_model::graph::{Binary, Builder, DType, Link, Op, Scope, Type};
use shared_model::ladder::TierLimits;
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Candidate, RankRequest, Ranked, Raw, Record, Tier, TierChoice};

use crate::bundle::{Served, prepare};
use crate::guest::Load;

pub(crate) const MODEL: &str = "toy";
pub(crate) const LIMITS: TierLimits = TierLimits { max_candidates: 50, max_k: 20, item_table_bytes: 1 << 20 };

const SCHEMA: &str = r#"schema_version = 1
model = "toy"

[[feature]]
name = "mood"
kind = "numeric"
scope = "request"
field = "user.mood"
input = "mood"
missing = "reject"

[[feature]]
name = "quality"
kind = "numeric"
scope = "item"
field = "quality"
input = "quality"
"#;

/// Writes the bundle into `folder`.
pub(crate) fn bundle(folder: &Path) {
    let schema = Schema::from_toml(SCHEMA).expect("a schema");
    let items = (0..10).map(|i| {
        let (quality, everywhere, here) = (f64::from(i) / 10.0, 10 - i, i);
        format!(r#"{{"id":"m{i}","quality":{quality},"popularity":{{"*":{everywhere},"DE":{here}}}}}"#)
    });
    let catalog =
        Catalog::build(&schema, items.map(|item| item_from_json(&item).expect("an item"))).expect("a catalog");
    let mut manifest = Manifest::new(MODEL, "7", 1, SCHEMA.as_bytes());
    manifest.static_list = vec!["s1".to_owned(), "s2".to_owned()];
    let mut write = |file: &str, bytes: &[u8]| {
        std::fs::write(folder.join(file), bytes).expect("written");
        manifest.files.insert(file.to_owned(), FileEntry::of(bytes));
    };
    write(FEATURES, SCHEMA.as_bytes());
    write(CATALOG, &catalog.to_safetensors(&schema));
    for name in VariantName::ALL {
        write(name.file(), &variant(name).to_bytes().expect("a variant"));
    }
    for variant in VariantName::ALL {
        let entry = VariantEntry { tensor_bytes: 0, bits: BTreeMap::new(), quality: None };
        manifest.variants.insert(variant, entry);
    }
    manifest.policies.push(policy());
    std::fs::write(folder.join(MANIFEST), manifest.to_bytes()).expect("written");
}

/// What a tier makes of the bundle in `folder`.
pub(crate) fn prepared(folder: &Path, tier: Tier) -> (Served, Load) {
    let (edition, files) = edition(folder, tier);
    prepare(&edition, files.variant.into(), tier, LIMITS).expect("a bundle")
}

/// The bundle in `folder`, and a tier's own files.
pub(crate) fn edition(folder: &Path, tier: Tier) -> (Edition, TierFiles) {
    let read = |file: &str, _| std::fs::read(folder.join(file)).map_err(|error| error.to_string());
    Edition::read(VariantName::of(tier), read).expect("a bundle")
}

fn variant(name: VariantName) -> Variant {
    let input = |scope| Type { dtype: DType::F32, shape: Vec::new(), scope };
    let mut builder = Builder::new();
    let mood = builder.input("mood", input(Scope::Request)).expect("an input");
    let quality = builder.input("quality", input(Scope::Item)).expect("an input");
    let score = builder.push("score", Op::Binary(Binary::Mul), &[mood, quality]).expect("a node");
    Variant {
        name,
        graph: builder.finish(score, Link::Identity).expect("a graph"),
        tensors: BTreeMap::new(),
        noise: None,
    }
}

fn policy() -> Policy {
    let evidence = Evidence { requests: 1000, users: 100, design_effect: 1.0, classes: Vec::new() };
    let answers = Thresholds { margin: Some(0.05), doubt: None };
    Policy {
        k: 2,
        n_min: 3,
        n_max: 10,
        alpha: 0.01,
        delta: 0.05,
        edge: answers,
        region: answers,
        reason: None,
        evidence,
    }
}

/// A request for the best two of all ten.
pub(crate) fn request(mood: f64) -> RankRequest {
    RankRequest {
        model: MODEL.to_owned(),
        k: 2,
        user: Record(vec![("mood".to_owned(), Raw::Float(mood))]),
        context: Record::default(),
        candidates: (0..10).map(|i| Candidate { id: format!("m{i}"), features: None }).collect(),
        exclude: Vec::new(),
        timeout_ms: None,
        tier: TierChoice::Auto,
        explain: false,
    }
}

pub(crate) fn ids(ranked: &[Ranked]) -> Vec<&str> {
    ranked.iter().map(|entry| entry.id.as_str()).collect()
}

/// The worker that `scripts/build-worker.sh` made.
pub(crate) fn worker_file() -> PathBuf {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/worker/worker.wasm");
    let file = std::env::var_os("RUNG_WORKER").map_or_else(made, PathBuf::from);
    assert!(file.is_file(), "{} is not there: run scripts/build-worker.sh", file.display());
    file
}

/// Compiled once for all tests of a process.
pub(crate) fn worker() -> Arc<[u8]> {
    std::fs::read(worker_file()).expect("it can be read").into()
}
