//! The encoder against vectors that another implementation, in Python, made: `scripts/encode_golden.py`.
#![cfg(feature = "toml")]

use std::path::Path;

use serde_json::{Value, json};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::encode::{Block, Data, Encoded, Encoder};
use shared_model::graph::Scope;
use shared_model::schema::Schema;
use shared_model::wire::json::{JsonLimits, decode};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// For each schema, the catalog of the golden ids and its cases.
fn golden() -> Vec<(Schema, Catalog, Vec<Value>)> {
    let golden: Value = serde_json::from_str(&fixture("encoding.json")).expect("JSON");
    let ids = golden["catalog_ids"].as_array().expect("ids");
    let suite = |suite: &Value| {
        let schema = Schema::from_toml(&fixture(suite["schema"].as_str().expect("a path"))).expect("a schema");
        let items = ids.iter().map(|id| item_from_json(&json!({ "id": id }).to_string()).expect("an item"));
        let catalog = Catalog::build(&schema, items).expect("a catalog");
        (schema, catalog, suite["cases"].as_array().expect("cases").clone())
    };
    golden["schemas"].as_array().expect("schemas").iter().map(suite).collect()
}

fn encode(case: &Value, schema: &Schema, catalog: &Catalog) -> (Scope, Encoded) {
    let encoder = Encoder::new(schema, catalog);
    if let Some(item) = case.get("item") {
        let record = item_from_json(&item.to_string()).expect("an item");
        let id = item["id"].as_str().expect("an id");
        return (Scope::Item, encoder.item(id, &record).expect("encodes"));
    }
    let mut body = case["request"].clone();
    body["model"] = "movies".into();
    body["candidates"] = json!([]);
    let decoded = decode(body.to_string().as_bytes(), &JsonLimits::default()).expect("a request");
    assert_eq!(decoded.warnings, [""; 0]);
    (Scope::Request, encoder.request(&decoded.request).expect("encodes"))
}

fn assert_same(block: &Block, want: &Value, at: &str) {
    let want = want.as_array().expect("a row");
    assert_eq!((block.width, block.rows()), (want.len(), 1), "{at}");
    match &block.data {
        Data::I32(got) => {
            let want: Vec<i64> = want.iter().map(|v| v.as_i64().expect("an index")).collect();
            assert_eq!(got.iter().copied().map(i64::from).collect::<Vec<_>>(), want, "{at}");
        }
        Data::F32(got) => {
            // The shortest decimal of an f32 is read back to it by way of the nearest f64.
            let bits = |v: &Value| v.to_string().parse::<f32>().expect("a number").to_bits();
            let want: Vec<u32> = want.iter().map(bits).collect();
            assert_eq!(got.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), want, "{at}: {got:?}");
        }
    }
}

#[test]
fn every_golden_vector_is_met_to_the_bit() {
    let golden = golden();
    let cases =
        golden.iter().flat_map(|(schema, catalog, cases)| cases.iter().map(move |case| (schema, catalog, case)));
    assert!(cases.clone().count() >= 40, "the fixture holds {} cases", cases.count());
    for (schema, catalog, case) in cases {
        let (scope, encoded) = encode(case, schema, catalog);
        let inputs = case["inputs"].as_object().expect("inputs");
        assert_eq!(inputs.len(), encoded.blocks.len());
        for ((_, input), block) in schema.inputs_of(scope).zip(&encoded.blocks) {
            assert_same(block, &inputs[&input.name], &format!("{}, `{}`", case["why"], input.name));
        }
        assert_eq!(encoded.escalate, [""; 0]);
    }
}

#[test]
fn the_json_form_of_the_schema_encodes_alike() {
    for (schema, catalog, cases) in golden() {
        let again = Schema::from_json(&schema.to_json()).expect("a schema");
        assert_eq!(again, schema);
        for case in &cases {
            assert_eq!(encode(case, &again, &catalog), encode(case, &schema, &catalog));
        }
    }
}

#[test]
fn the_demos_schema_and_catalog_are_read_and_written_back() {
    let schema = Schema::from_toml(&fixture("demo/features.toml")).expect("a schema");
    let text = fixture("demo/catalog.jsonl");
    let items = text.lines().map(|line| item_from_json(line).expect("an item"));
    let catalog = Catalog::build(&schema, items).expect("a catalog");
    assert_eq!(catalog.len(), text.lines().count());
    assert_eq!(catalog.row("m2"), Some(1));
    let bytes = catalog.to_safetensors(&schema);
    assert_eq!(bytes, catalog.to_safetensors(&schema), "the same bytes each time");
    assert_eq!(Catalog::from_safetensors(&bytes, &schema).expect("reads"), catalog);
}
