//! A bundle at one revision of its catalog, verified and parsed: what a tier makes a worker or a model of.
//!
//! Whoever has the bytes supplies them; nothing here does I/O.

use std::sync::Arc;

use thiserror::Error;

use super::{Bundle, BundleError, CATALOG, FEATURES, Manifest};
use crate::catalog::{Catalog, CatalogError, Delta, DeltaError};
use crate::schema::{Schema, SchemaFaults};
use crate::variant::{Variant, VariantError, VariantName};
use crate::wire::Stamp;

/// The name, within a bundle's folder, of the delta that leads to a revision.
#[must_use]
pub fn delta_file(revision: u64) -> String {
    format!("{DELTAS}/{revision:06}.jsonl")
}

/// Where a bundle's folder keeps its deltas. They are no part of the bundle: its manifest does not list them.
pub const DELTAS: &str = "deltas";

/// A bundle at one revision of its catalog; a clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Edition {
    bundle: Arc<Verified>,
    catalog: Arc<Catalog>,
}

#[derive(Debug)]
struct Verified {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    schema: Schema,
    stamp: Stamp,
}

/// The files of a bundle that are one tier's alone, verified.
#[derive(Debug, Default)]
pub struct TierFiles {
    /// The variant's.
    pub variant: Vec<u8>,
    /// The worker that is loaded with the variant and with the catalog as bundled, where there is one.
    pub worker: Option<Vec<u8>>,
}

/// What is wrong with a bundle.
#[derive(Debug, Error)]
pub enum EditionError {
    /// A file is missing, or not the one that the manifest lists.
    #[error(transparent)]
    Unverified(#[from] BundleError),
    /// The schema is not text.
    #[error("{FEATURES}: is not UTF-8 text: {0}")]
    NotText(#[from] std::str::Utf8Error),
    /// The schema.
    #[error("{FEATURES}: {0}")]
    Schema(#[from] SchemaFaults),
    /// The schema is another model's.
    #[error("{FEATURES}: is of model `{features}`, the manifest of `{manifest}`: the bundle is mixed up")]
    Mixed {
        /// The model that the schema names.
        features: String,
        /// The model that the manifest names.
        manifest: String,
    },
    /// The variant's file.
    #[error("{file}: {error}")]
    Variant {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: VariantError,
    },
    /// A file of another variant.
    #[error("{file}: holds the variant {holds:?}: the bundle is mixed up")]
    OtherVariant {
        /// Its name.
        file: &'static str,
        /// What it holds.
        holds: VariantName,
    },
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
}

/// A delta that is in a bundle's folder, and leads nowhere.
#[derive(Debug)]
pub struct NotApplied<E> {
    /// Its name there.
    pub file: String,
    /// Why.
    pub reason: Obstacle<E>,
}

/// Why a delta leads nowhere.
#[derive(Debug, Error)]
pub enum Obstacle<E> {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(E),
    /// It is damaged, or for another edition, or leads elsewhere than it says.
    #[error("{0}")]
    Unfit(DeltaError),
}

/// The files whose contents have to fit each other.
impl Bundle {
    /// The schema, which no model bounds yet. It is one of the files asked for.
    ///
    /// # Errors
    /// It is none, or another model's.
    pub fn schema(&self) -> Result<Schema, EditionError> {
        let schema = Schema::from_toml(std::str::from_utf8(self.file(FEATURES)?)?)?;
        if schema.model() == self.manifest.model {
            Ok(schema)
        } else {
            let (features, manifest) = (schema.model().to_owned(), self.manifest.model.clone());
            Err(EditionError::Mixed { features, manifest })
        }
    }

    /// What `parse` makes of a variant's file; it tells which variant that is. It is one of the files asked for.
    ///
    /// # Errors
    /// It is none, or another variant.
    pub fn variant<T>(
        &self,
        name: VariantName,
        parse: impl FnOnce(&[u8]) -> Result<(VariantName, T), VariantError>,
    ) -> Result<T, EditionError> {
        let file = name.file();
        match parse(self.file(file)?).map_err(|error| EditionError::Variant { file, error })? {
            (holds, parsed) if holds == name => Ok(parsed),
            (holds, _) => Err(EditionError::OtherVariant { file, holds }),
        }
    }
}

impl Edition {
    /// Reads and verifies a bundle with the files of one of its variants, which are handed on; the catalog is as bundled. Of
    /// the variant only the graph is read: its tensors are for whoever makes a model of them.
    ///
    /// `read` is given a file name and the most bytes it may return.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn read(
        variant: VariantName,
        read: impl FnMut(&str, u64) -> Result<Vec<u8>, String>,
    ) -> Result<(Self, TierFiles), EditionError> {
        let mut bundle = Bundle::read_with(&[FEATURES, CATALOG, variant.file()], variant.worker_file(), read)?;
        let schema = bundle.schema()?.bounded_by(&bundle.variant(variant, Variant::graph_of)?)?;
        let catalog = Arc::new(Catalog::from_safetensors(bundle.file(CATALOG)?, &schema)?);
        let worker = variant.worker_file().and_then(|file| bundle.files.remove(file));
        let files = TierFiles { variant: bundle.files.remove(variant.file()).unwrap_or_default(), worker };
        let stamp = Stamp { catalog: catalog.revision(), ..bundle.stamp() };
        let Bundle { manifest, manifest_bytes, .. } = bundle;
        Ok((Self { bundle: Arc::new(Verified { manifest, manifest_bytes, schema, stamp }), catalog }, files))
    }

    /// The next one, by a delta.
    ///
    /// # Errors
    /// The delta is damaged, or for another edition, or leads elsewhere than it says.
    pub fn after(&self, delta: &Delta) -> Result<Self, DeltaError> {
        let catalog = Arc::new(delta.apply(self.schema(), self.stamp(), &self.catalog)?);
        Ok(Self { bundle: self.bundle.clone(), catalog })
    }

    /// The last one that the deltas of its folder lead to, up to that revision, and why there is none after it if there is
    /// a delta to one.
    ///
    /// `read` is given the name of a delta's file in the bundle's folder; `None`: it is not there.
    pub fn latest<E>(
        mut self,
        last: u64,
        mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> (Self, Option<NotApplied<E>>) {
        loop {
            let revision = self.stamp().catalog.saturating_add(1);
            if revision > last {
                return (self, None);
            }
            let file = delta_file(revision);
            let next = match read(&file) {
                Ok(None) => return (self, None),
                Ok(Some(bytes)) => Delta::read(&bytes).and_then(|delta| self.after(&delta)).map_err(Obstacle::Unfit),
                Err(error) => Err(Obstacle::Unreadable(error)),
            };
            match next {
                Ok(next) => self = next,
                Err(reason) => return (self, Some(NotApplied { file, reason })),
            }
        }
    }

    /// What its scores are stamped with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { catalog: self.catalog.revision(), ..self.bundle.stamp }
    }

    /// Whether the catalog is the bundle's own.
    #[must_use]
    pub fn is_as_bundled(&self) -> bool {
        self.stamp() == self.bundle.stamp
    }

    /// What the bundle says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }

    /// The manifest as it was digested.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.bundle.manifest_bytes
    }

    /// The schema, its indices bounded by the tables of the variant.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.bundle.schema
    }

    /// The catalog at its revision.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bundle::{FileEntry, MANIFEST};
    use crate::catalog::item_from_json;
    use crate::graph::{Builder, DType, Link, Op, Scope, Type};
    use crate::tensor::Tensor;

    const FEATURES_TOML: &str =
        "schema_version = 1\nmodel = \"m\"\n[[feature]]\nname = \"shelf\"\nkind = \"categorical\"\nscope = \"item\"\n";

    /// A bundle whose model looks shelves up in a table of five rows; its one item is on this shelf.
    fn files(shelf: u32, holds: VariantName) -> BTreeMap<String, Vec<u8>> {
        let mut builder = Builder::new();
        let ty = Type { dtype: DType::I32, shape: vec![], scope: Scope::Item };
        let shelf_of = builder.input("shelf", ty).unwrap();
        let table = builder.constant("table", DType::F32, &[5, 1]).unwrap();
        let row = builder.push("row", Op::Embedding, &[table, shelf_of]).unwrap();
        let score = builder.push("score", Op::Reshape { shape: vec![] }, &[row]).unwrap();
        let tensors = [("table".to_owned(), Tensor::F32 { shape: vec![5, 1], data: vec![0.5; 5] })].into();
        let variant =
            Variant { name: holds, graph: builder.finish(score, Link::Identity).unwrap(), tensors, noise: None };
        let schema = Schema::from_toml(FEATURES_TOML).unwrap();
        let item = item_from_json(&format!(r#"{{"id":"a","shelf":{shelf}}}"#)).unwrap();
        let catalog = Catalog::build(&schema, [item]).unwrap();
        let mut files = BTreeMap::from([
            (FEATURES.to_owned(), FEATURES_TOML.as_bytes().to_vec()),
            (CATALOG.to_owned(), catalog.to_safetensors(&schema)),
            (VariantName::W4.file().to_owned(), variant.to_bytes().unwrap()),
        ]);
        let mut manifest = Manifest::new("m", "1", 1, FEATURES_TOML.as_bytes());
        manifest.files = files.iter().map(|(name, bytes)| (name.clone(), FileEntry::of(bytes))).collect();
        files.insert(MANIFEST.to_owned(), manifest.to_bytes());
        files
    }

    fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Edition, String> {
        let file = |name: &str, _| files.get(name).cloned().ok_or_else(|| "not there".to_owned());
        Edition::read(VariantName::W4, file).map(|(edition, _)| edition).map_err(|error| error.to_string())
    }

    #[test]
    fn an_index_ends_with_the_table_of_the_model_in_every_revision() {
        let edition = read(&files(4, VariantName::W4)).unwrap();
        let changed = |shelf: u32| {
            let items = format!(r#"{{"id":"b","shelf":{shelf}}}"#);
            Delta::make(edition.schema(), edition.stamp(), edition.catalog(), items.as_bytes())
        };
        assert_eq!(changed(4).unwrap().1.len(), 2);
        let refused = changed(5).unwrap_err().to_string();
        assert!(refused.starts_with("item 1 (`b`): `shelf` ") && refused.contains('5'), "{refused}");
        // A maker that did not know the model.
        let schema = Schema::from_toml(FEATURES_TOML).unwrap();
        let items = br#"{"id":"b","shelf":5}"#;
        let (bytes, _) = Delta::make(&schema, edition.stamp(), edition.catalog(), items).unwrap();
        assert!(matches!(edition.after(&Delta::read(&bytes).unwrap()), Err(DeltaError::Item(_))));
    }

    #[test]
    fn refuses_a_catalog_with_an_index_that_the_model_has_no_row_for() {
        let refused = read(&files(5, VariantName::W4)).unwrap_err();
        assert!(refused.starts_with("catalog.safetensors: `input.shelf` holds 5"), "{refused}");
    }

    #[test]
    fn follows_deltas_to_the_last_and_says_why_one_leads_nowhere() {
        let first = read(&files(4, VariantName::W4)).unwrap();
        let make = |edition: &Edition, shelf: u32| {
            let items = format!(r#"{{"id":"b","shelf":{shelf}}}"#);
            Delta::make(edition.schema(), edition.stamp(), edition.catalog(), items.as_bytes()).unwrap().0
        };
        let one = make(&first, 1);
        let two = make(&first.after(&Delta::read(&one).unwrap()).unwrap(), 2);
        let there = |deltas: [Option<&Vec<u8>>; 2]| {
            let names = [delta_file(1), delta_file(2)];
            let read = |file: &str| {
                let at = names.iter().position(|name| name == file);
                Ok::<_, String>(at.and_then(|at| deltas[at].cloned()))
            };
            let (edition, refused) = first.clone().latest(u64::MAX, read);
            (edition.stamp().catalog, refused.map(|refused| refused.file))
        };
        assert_eq!(there([None, Some(&two)]), (0, None), "nothing leads there");
        assert_eq!(there([Some(&one), Some(&two)]), (2, None));
        assert_eq!(there([Some(&one), Some(&one)]), (1, Some("deltas/000002.jsonl".to_owned())));
        let up_to_one = |_: &str| Ok::<_, String>(Some(one.clone()));
        assert_eq!(first.clone().latest(0, up_to_one).0.stamp().catalog, 0);
        assert_eq!(first.clone().latest(1, up_to_one).0.stamp().catalog, 1, "what is after it is not read");
        let NotApplied { file, reason } = first.latest(1, |_| Err("no permission")).1.unwrap();
        assert_eq!((file.as_str(), reason.to_string().as_str()), ("deltas/000001.jsonl", "no permission"));
    }

    #[test]
    fn a_worker_is_read_and_verified_if_there_is_one() {
        let worker = |files: &BTreeMap<String, Vec<u8>>| {
            let file = |name: &str, _| files.get(name).cloned().ok_or_else(|| "not there".to_owned());
            Edition::read(VariantName::W4, file).map(|(_, files)| files.worker).map_err(|error| error.to_string())
        };
        let mut files = files(4, VariantName::W4);
        assert_eq!(worker(&files), Ok(None));
        let mut manifest = Manifest::from_bytes(&files[MANIFEST]).unwrap();
        manifest.files.insert("edge.w4.wasm".to_owned(), FileEntry::of(b"wasm"));
        files.insert(MANIFEST.to_owned(), manifest.to_bytes());
        assert_eq!(worker(&files), Err("edge.w4.wasm: not there".to_owned()));
        files.insert("edge.w4.wasm".to_owned(), b"wasm".to_vec());
        assert_eq!(worker(&files), Ok(Some(b"wasm".to_vec())));
        files.insert("edge.w4.wasm".to_owned(), b"WASM".to_vec());
        assert!(worker(&files).unwrap_err().starts_with("edge.w4.wasm does not match its digest"));
    }

    #[test]
    fn refuses_the_file_of_another_variant() {
        let refused = read(&files(4, VariantName::W8)).unwrap_err();
        assert_eq!(refused, "edge.w4.safetensors: holds the variant W8: the bundle is mixed up");
    }
}
