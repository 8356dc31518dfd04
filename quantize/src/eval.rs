//! `quantize eval`: how well a bundle's variants rank another request file.

use std::path::{Path, PathBuf};

use serde::Serialize;
use shared_model::bundle::{Bundle, CATALOG, FEATURES};
use shared_model::catalog::Catalog;
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};

use crate::build::evaluations;
use crate::evaluate::Evaluation;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::replay::{Replay, replay};
use crate::score::{Encoding, Scorer};
use crate::source::{self, SourceError};

/// What is evaluated.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Requests with their relevant items, one a line.
    #[arg(long)]
    pub requests: PathBuf,
    /// The k of everything reported.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Also replay the whole ladder: who answers by each policy, how often wrong, and what goes up for it.
    #[arg(long)]
    pub ladder: bool,
}

/// How well a bundle ranks.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluated {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// One a variant.
    pub evaluations: Vec<Evaluation>,
    /// The ladder replayed, if asked for: one a policy.
    pub replays: Vec<Replay>,
    /// Requests that a tier would send up unscored.
    pub skipped: usize,
}

/// Evaluates every variant of a bundle.
///
/// # Errors
/// A file cannot be used; names it, and the line.
pub fn run(options: &Options, progress: &Progress) -> Result<Evaluated, Failure> {
    let opened = Opened::read(&options.bundle)?;
    let scorers = opened.scorers(&options.bundle)?;
    let encoding = Encoding { schema: &opened.schema, catalog: &opened.catalog };
    let set = encoding.score(&options.requests, &scorers.iter().collect::<Vec<_>>(), progress)?;
    let manifest = &opened.bundle.manifest;
    Ok(Evaluated {
        model: manifest.model.clone(),
        version: manifest.version.clone(),
        evaluations: evaluations(&set, options.k),
        replays: if options.ladder { replay(&manifest.policies, &set.requests) } else { Vec::new() },
        skipped: set.skipped,
    })
}

/// A bundle, read whole.
#[derive(Debug)]
pub struct Opened {
    /// Manifest and digest.
    pub bundle: Bundle,
    /// The schema.
    pub schema: Schema,
    /// The catalog.
    pub catalog: Catalog,
    /// In the order of [`VariantName::ALL`].
    pub variants: Vec<Variant>,
}

impl Opened {
    /// Reads and verifies every file of a bundle.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn read(folder: &Path) -> Result<Self, SourceError> {
        let wanted: Vec<&str> =
            [FEATURES, CATALOG].into_iter().chain(VariantName::ALL.map(VariantName::file)).collect();
        let read = |file: &str, max: u64| source::bytes(&folder.join(file), max).map_err(|e| e.to_string());
        let bundle = Bundle::read(&wanted, read).map_err(|e| SourceError::file(folder, e))?;
        let part = |file: &str| bundle.file(file).map_err(|e| SourceError::file(folder, e));
        let features = folder.join(FEATURES);
        let text = std::str::from_utf8(part(FEATURES)?).map_err(|e| SourceError::file(&features, e))?;
        let schema = Schema::from_toml(text).map_err(|faults| SourceError::Schema { path: features, faults })?;
        let catalog = Catalog::from_safetensors(part(CATALOG)?, &schema)
            .map_err(|e| SourceError::file(&folder.join(CATALOG), e))?;
        let variants = VariantName::ALL.map(|name| {
            Variant::from_bytes(part(name.file())?).map_err(|e| SourceError::file(&folder.join(name.file()), e))
        });
        let variants = variants.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { bundle, schema, catalog, variants })
    }

    /// A scorer of each variant.
    ///
    /// # Errors
    /// A variant of `folder` does not fit the schema.
    pub fn scorers(&self, folder: &Path) -> Result<Vec<Scorer>, Failure> {
        let scorer =
            |v: &Variant| Scorer::new(v, &self.schema).map_err(|e| Failure::scorer(&folder.join(v.name.file()), e));
        self.variants.iter().map(scorer).collect()
    }
}
