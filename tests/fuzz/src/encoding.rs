//! Raw fields, of a request and of an item, by schemas that have every transform: encoded or refused.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::encode::Encoder;
use shared_model::schema::Schema;
use shared_model::wire::json::{JsonLimits, decode_line};

static SCHEMAS: LazyLock<[Schema; 2]> = LazyLock::new(|| {
    [include_str!("../../fixtures/reference/features.toml"), include_str!("../../fixtures/reference/transforms.toml")]
        .map(|text| Schema::from_toml(text).expect("a schema of the fixtures"))
});

fuzz_target!(|bytes: &[u8]| {
    let request = decode_line(bytes, "movies", &JsonLimits::default()).ok().map(|decoded| decoded.request);
    let item = std::str::from_utf8(bytes).ok().and_then(|line| item_from_json(line).ok());
    for schema in SCHEMAS.iter() {
        let catalog = Catalog::build(schema, item.clone()).ok();
        if let Some(catalog) = &catalog {
            let again =
                Catalog::from_safetensors(&catalog.to_safetensors(schema), schema).expect("reads what it writes");
            assert_eq!(again, *catalog);
        }
        if let Some(request) = &request {
            let empty = Catalog::build(schema, []).expect("a catalog of no items");
            let _ = Encoder::new(schema, catalog.as_ref().unwrap_or(&empty)).request(request);
        }
    }
});
