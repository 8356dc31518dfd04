//! A bundle small enough to work out by hand: `score = weight · value + [0, 0.25, 0.75][genre]`, shown through a sigmoid.

use std::path::Path;

use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::graph::{Binary, Builder, DType, Link, Op, Scope, Type};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};

const SCHEMA: &str = r#"
schema_version = 1
model = "films"

[vocabulary.genres]
values = ["Drama", "War"]
first = 1

[[feature]]
name = "weight"
kind = "numeric"
scope = "request"
field = "user.weight"
input = "weight"
missing = "reject"

[[feature]]
name = "value"
kind = "numeric"
scope = "item"
field = "value"
input = "value"
missing = "escalate"

[[feature]]
name = "genre"
kind = "categorical"
scope = "item"
field = "genre"
input = "genre"
transform = { vocabulary = "genres" }
"#;

const ITEMS: [&str; 4] = [
    r#"{"id":"a","value":1.0,"genre":"Drama","popularity":{"*":1,"de":9}}"#,
    r#"{"id":"b","value":-1.0,"genre":"War","popularity":30}"#,
    r#"{"id":"c","value":3.0,"popularity":2}"#,
    r#"{"id":"d","value":3.0,"genre":"Drama","popularity":20}"#,
];

/// Writes the bundle into `folder`, its weights those of `edit`.
pub(crate) fn write_bundle(folder: &Path, edit: impl FnOnce(&mut Variant)) {
    let schema = Schema::from_toml(SCHEMA).unwrap();
    let catalog = Catalog::build(&schema, ITEMS.iter().map(|line| item_from_json(line).unwrap())).unwrap();
    let mut variant = variant(3);
    edit(&mut variant);
    let mut manifest = Manifest::new("films", "7", 1, SCHEMA.as_bytes());
    manifest.static_list = vec!["z".to_owned()];
    for (name, bytes) in [
        (FEATURES, SCHEMA.as_bytes().to_vec()),
        (CATALOG, catalog.to_safetensors(&schema)),
        (VariantName::F32.file(), variant.to_bytes().unwrap()),
    ] {
        manifest.files.insert(name.to_owned(), FileEntry::of(&bytes));
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(folder.join(MANIFEST), manifest.to_bytes()).unwrap();
}

/// With the first `rows` rows of the genres' table.
pub(crate) fn variant(rows: usize) -> Variant {
    let mut b = Builder::new();
    let row = |dtype, scope| Type { dtype, shape: vec![], scope };
    let weight = b.input("weight", row(DType::F32, Scope::Request)).unwrap();
    let value = b.input("value", row(DType::F32, Scope::Item)).unwrap();
    let genre = b.input("genre", row(DType::I32, Scope::Item)).unwrap();
    let table = b.constant("table", DType::F32, &[rows, 1]).unwrap();
    let product = b.push("product", Op::Binary(Binary::Mul), &[weight, value]).unwrap();
    let taste = b.push("taste", Op::Embedding, &[table, genre]).unwrap();
    let score = b.push("score", Op::Binary(Binary::Add), &[product, taste]).unwrap();
    let table = Tensor::F32 { shape: vec![rows, 1], data: [0.0, 0.25, 0.75][..rows].to_vec() };
    Variant {
        name: VariantName::F32,
        graph: b.finish(score, Link::Sigmoid).unwrap(),
        tensors: [("table".to_owned(), table)].into(),
        noise: None,
    }
}
