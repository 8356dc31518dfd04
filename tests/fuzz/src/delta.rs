//! A catalog delta: damaged bytes are refused, and what is made of any items leads everybody to the same rows.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shared_model::catalog::{Catalog, Delta, item_from_json};
use shared_model::schema::Schema;
use shared_model::wire::{Digest, Stamp};

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_toml(include_str!("../../fixtures/demo/features.toml")).expect("the demo's schema"));

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let lines = include_str!("../../fixtures/demo/catalog.jsonl").lines().take(5);
    Catalog::build(&SCHEMA, lines.map(|line| item_from_json(line).expect("an item"))).expect("the demo's items")
});

fuzz_target!(|bytes: &[u8]| {
    let base = Stamp { bundle: Digest([7; 32]), catalog: 0 };
    if let Ok(delta) = Delta::read(bytes) {
        let _ = delta.apply(&SCHEMA, base, &CATALOG);
    }
    if let Ok((delta, next)) = Delta::make(&SCHEMA, base, &CATALOG, bytes) {
        let delta = Delta::read(&delta).expect("a tier reads what `quantize` makes");
        assert_eq!(delta.apply(&SCHEMA, base, &CATALOG).expect("it leads where it says"), next);
        let file = next.to_safetensors(&SCHEMA);
        assert_eq!(Catalog::from_safetensors(&file, &SCHEMA).expect("a guest reads what its host writes"), next);
    }
});
