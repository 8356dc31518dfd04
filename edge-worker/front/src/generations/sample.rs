//! Bundles for tests: one item of each quality from 0 to 2, ranked by it.

use std::collections::BTreeMap;
use std::path::Path;

use shared_model::bundle::{CATALOG, Edition, FEATURES, FileEntry, MANIFEST, Manifest};
use shared_model::catalog::{Catalog, Delta, item_from_json};
use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, Unary};
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};

pub(super) const MODEL: &str = "toy";
pub(super) const VARIANT: VariantName = VariantName::W4;

const SCHEMA: &str = r#"schema_version = 1
model = "toy"

[[feature]]
name = "quality"
kind = "numeric"
scope = "item"
"#;

/// The files of a bundle.
pub(super) fn files(model: &str, version: &str, serial: u64) -> BTreeMap<String, Vec<u8>> {
    let features = SCHEMA.replace("toy", model);
    let schema = Schema::from_toml(&features).unwrap();
    let items = (0..3).map(|i| item_from_json(&format!(r#"{{"id":"m{i}","quality":{i}}}"#)).unwrap());
    let catalog = Catalog::build(&schema, items).unwrap();
    let mut builder = Builder::new();
    let ty = Type { dtype: DType::F32, shape: Vec::new(), scope: Scope::Item };
    let quality = builder.input("quality", ty).unwrap();
    let score = builder.push("score", Op::Unary(Unary::Neg), &[quality]).unwrap();
    let graph = builder.finish(score, Link::Identity).unwrap();
    let variant = Variant { name: VARIANT, graph, tensors: BTreeMap::new(), noise: None };
    let mut manifest = Manifest::new(model, version, serial, features.as_bytes());
    let mut files = BTreeMap::from([
        (FEATURES.to_owned(), features.into_bytes()),
        (CATALOG.to_owned(), catalog.to_safetensors(&schema)),
        (VARIANT.file().to_owned(), variant.to_bytes().unwrap()),
    ]);
    for (name, bytes) in &files {
        manifest.files.insert(name.clone(), FileEntry::of(bytes));
    }
    files.insert(MANIFEST.to_owned(), manifest.to_bytes());
    files
}

/// Writes a bundle into a folder.
pub(super) fn write(folder: &Path, version: &str, serial: u64) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files(MODEL, version, serial) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

pub(super) fn edition(version: &str, serial: u64) -> Edition {
    let files = files(MODEL, version, serial);
    Edition::read(VARIANT, |name, _| files.get(name).cloned().ok_or_else(|| "not there".to_owned())).unwrap().0
}

/// The delta of these items, and the edition after it.
pub(super) fn delta(edition: &Edition, items: &str) -> (Vec<u8>, Edition) {
    let (bytes, _) = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), items.as_bytes()).unwrap();
    let next = edition.after(&Delta::read(&bytes).unwrap()).unwrap();
    (bytes, next)
}
