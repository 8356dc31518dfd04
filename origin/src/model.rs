//! A bundle as the origin uses it: what turns a request into a batch and scores into an answer, and the variant that the
//! executor is made of. Reading verifies first (see [`shared_model::bundle`]); only here are its files touched.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use front::Serving;
use shared_model::bundle::{Bundle, BundleError, CATALOG, FEATURES};
use shared_model::catalog::{Catalog, CatalogError};
use shared_model::graph::Link;
use shared_model::ladder::{BindError, Binding};
use shared_model::schema::{Schema, SchemaFaults};
use shared_model::variant::{Variant, VariantError, VariantName};
use shared_model::wire::Stamp;

use crate::executor::Fit;

/// A model in service, without its weights.
#[derive(Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) stamp: Stamp,
    pub(crate) schema: Schema,
    pub(crate) catalog: Catalog,
    pub(crate) binding: Binding,
    pub(crate) link: Link,
    /// What the executor takes.
    pub(crate) fit: Fit,
}

/// A bundle that cannot be served.
#[derive(Debug, Error)]
#[error("bundle {folder}: {reason}", folder = folder.display())]
pub struct LoadError {
    /// Its folder.
    pub folder: PathBuf,
    /// The file and what is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a bundle.
#[derive(Debug, Error)]
pub enum Reason {
    /// A file is missing, unreadable or not the one the manifest lists.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The schema is not text.
    #[error("{FEATURES}: is not UTF-8 text")]
    Text,
    /// The schema.
    #[error("{FEATURES}: {0}")]
    Schema(#[from] SchemaFaults),
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
    /// The variant.
    #[error("{file}: {0}", file = VARIANT.file())]
    Variant(#[from] VariantError),
    /// Schema and graph disagree.
    #[error("{FEATURES}: {0}")]
    Bind(#[from] BindError),
}

/// What the origin runs.
pub(crate) const VARIANT: VariantName = VariantName::F32;

impl Model {
    /// Reads the bundle in `folder`.
    ///
    /// # Errors
    /// Names the folder, the file and the reason.
    pub fn load(folder: &Path) -> Result<(Self, Variant), LoadError> {
        read(folder).map_err(|reason| LoadError { folder: folder.to_owned(), reason })
    }

    /// What the front tells of it.
    #[must_use]
    pub fn serving(&self, runs_on: &str) -> Serving {
        Serving {
            model: self.name.clone(),
            version: self.version.clone(),
            variant: VARIANT.as_str().to_owned(),
            runs_on: runs_on.to_owned(),
            stamp: self.stamp,
        }
    }
}

fn read(folder: &Path) -> Result<(Model, Variant), Reason> {
    let file = VARIANT.file();
    let bundle = Bundle::read(&[FEATURES, CATALOG, file], |name, max| {
        bytes(&folder.join(name), max).map_err(|e| e.to_string())
    })?;
    let schema = Schema::from_toml(str::from_utf8(bundle.file(FEATURES)?).map_err(|_| Reason::Text)?)?;
    let variant = Variant::from_bytes(bundle.file(file)?)?;
    let schema = schema.bounded_by(&variant.graph);
    let catalog = Catalog::from_safetensors(bundle.file(CATALOG)?, &schema)?;
    let binding = Binding::new(&variant.graph, &schema)?;
    let model = Model {
        stamp: Stamp { catalog: catalog.revision(), ..bundle.stamp() },
        name: bundle.manifest.model,
        version: bundle.manifest.version,
        schema,
        catalog,
        binding,
        link: variant.graph.link(),
        fit: Fit::of(&variant.graph),
    };
    Ok((model, variant))
}

/// At most one byte more than `max`, so that a file that has grown is noticed and not read.
fn bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
