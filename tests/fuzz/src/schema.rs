//! A schema in both its forms; one that is understood is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_model::schema::Schema;

fuzz_target!(|bytes: &[u8]| {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| Schema::from_toml(text).ok());
    for schema in parsed.into_iter().chain(Schema::from_json(bytes).ok()) {
        let again = Schema::from_json(&schema.to_json()).expect("a schema reads what it writes");
        assert_eq!(again.to_json(), schema.to_json());
    }
});
