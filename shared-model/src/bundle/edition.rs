//! A bundle at one revision of its catalog, verified and parsed: what a tier makes a worker or a model of.
//!
//! Whoever has the bytes supplies them; nothing here does I/O.

use std::sync::Arc;

use thiserror::Error;

use super::{Bundle, BundleError, CATALOG, FEATURES, Manifest};
use crate::catalog::{Catalog, CatalogError, Delta, DeltaError};
use crate::schema::{Schema, SchemaFaults};
use crate::variant::VariantName;
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
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
}

impl Edition {
    /// Reads and verifies a bundle with one of its variants, whose bytes are handed on; the catalog is as bundled.
    ///
    /// `read` is given a file name and the most bytes it may return.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn read(
        variant: VariantName,
        read: impl FnMut(&str, u64) -> Result<Vec<u8>, String>,
    ) -> Result<(Self, Vec<u8>), EditionError> {
        let mut bundle = Bundle::read(&[FEATURES, CATALOG, variant.file()], read)?;
        let schema = Schema::from_toml(std::str::from_utf8(bundle.file(FEATURES)?)?)?;
        if schema.model() != bundle.manifest.model {
            let (features, manifest) = (schema.model().to_owned(), bundle.manifest.model);
            return Err(EditionError::Mixed { features, manifest });
        }
        let catalog = Arc::new(Catalog::from_safetensors(bundle.file(CATALOG)?, &schema)?);
        let weights = bundle.files.remove(variant.file()).unwrap_or_default();
        let stamp = Stamp { catalog: catalog.revision(), ..bundle.stamp() };
        let Bundle { manifest, manifest_bytes, .. } = bundle;
        Ok((Self { bundle: Arc::new(Verified { manifest, manifest_bytes, schema, stamp }), catalog }, weights))
    }

    /// The next one, by a delta.
    ///
    /// # Errors
    /// The delta is damaged, or for another edition, or leads elsewhere than it says.
    pub fn after(&self, delta: &Delta) -> Result<Self, DeltaError> {
        let catalog = Arc::new(delta.apply(self.schema(), self.stamp(), &self.catalog)?);
        Ok(Self { bundle: self.bundle.clone(), catalog })
    }

    /// What its scores are stamped with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { catalog: self.catalog.revision(), ..self.bundle.stamp }
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

    /// The schema.
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
