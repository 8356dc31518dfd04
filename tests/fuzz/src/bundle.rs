//! The files of a bundle.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shared_model::bundle::Manifest;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::plan::Plan;
use shared_model::schema::Schema;
use shared_model::variant::Variant;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_toml(include_str!("../../fixtures/demo/features.toml")).expect("the demo's schema"));

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::from_bytes(bytes);
    let _ = Catalog::from_safetensors(bytes, &SCHEMA);
    if let Ok(variant) = Variant::from_bytes(bytes) {
        let _ = Plan::new(&variant.graph, &variant.tensors);
    }
    if let Ok(line) = std::str::from_utf8(bytes) {
        let item = item_from_json(line);
        let _ = item.map(|item| Catalog::build(&SCHEMA, [item]));
    }
});
