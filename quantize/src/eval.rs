//! `quantize eval`: how well a bundle's variants rank another request file.

use std::path::{Path, PathBuf};

use shared_model::bundle::{Bundle, CATALOG, EditionError, FEATURES};
use shared_model::catalog::Catalog;
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};

use crate::build::REFERENCE;
use crate::evaluate::{Terms, evaluate};
use crate::failure::Failure;
use crate::findings::Findings;
use crate::page::PageFile;
use crate::progress::Progress;
use crate::replay::replay;
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
    /// Also write what was found out, the ladder included, as a page of HTML.
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// Evaluates every variant of a bundle.
///
/// # Errors
/// A file cannot be used; names it, and the line.
pub fn run(options: &Options, progress: &Progress) -> Result<Findings, Failure> {
    let page = options.report.as_deref().map(|path| PageFile::reserve(path, &options.bundle)).transpose()?;
    let opened = Opened::read(&options.bundle)?;
    let scorers = opened.scorers(&options.bundle)?;
    let encoding = Encoding { schema: &opened.schema, catalog: &opened.catalog };
    let set = encoding.score(&options.requests, &scorers.iter().collect::<Vec<_>>(), progress)?;
    let manifest = &opened.bundle.manifest;
    let link = opened.variants[REFERENCE].graph.link();
    let evaluations = evaluate(&set.requests, &Terms { k: options.k, link, catalog: &opened.catalog });
    let replayed = options.ladder || page.is_some();
    let findings = Findings {
        files: vec![options.requests.display().to_string()],
        replays: if replayed { replay(&manifest.policies, &set.requests) } else { Vec::new() },
        ..Findings::of(manifest, &opened.variants, &set, evaluations)
    };
    page.map(|page| page.fill(&findings)).transpose()?;
    Ok(findings)
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
        let at_fault = |error: EditionError| SourceError::file(folder, error);
        let whole = |name| bundle.variant(name, |bytes| Variant::from_bytes(bytes).map(|v| (v.name, v)));
        let variants: Vec<Variant> =
            VariantName::ALL.into_iter().map(whole).collect::<Result<_, _>>().map_err(at_fault)?;
        let schema = bundle.schema().map_err(at_fault)?;
        let schema = schema.bounded_by(&variants[REFERENCE].graph).map_err(|e| at_fault(e.into()))?;
        let catalog = bundle.file(CATALOG).map_err(|e| at_fault(e.into()))?;
        let catalog = Catalog::from_safetensors(catalog, &schema).map_err(|e| at_fault(e.into()))?;
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

#[cfg(test)]
mod tests {
    use shared_model::bundle::{FileEntry, MANIFEST, Manifest};
    use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, Unary};

    use super::*;

    const SCHEMA: &str =
        "schema_version = 1\nmodel = \"m\"\n[[feature]]\nname = \"quality\"\nkind = \"numeric\"\nscope = \"item\"\n";

    /// Opens a bundle whose manifest is of this model and whose first file holds this variant.
    fn opened(model: &str, first: VariantName) -> Result<Opened, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new(model, "1", 1, SCHEMA.as_bytes());
        let mut write = |file: &str, bytes: Vec<u8>| {
            manifest.files.insert(file.to_owned(), FileEntry::of(&bytes));
            std::fs::write(dir.path().join(file), bytes).unwrap();
        };
        let schema = Schema::from_toml(SCHEMA).unwrap();
        write(FEATURES, SCHEMA.as_bytes().to_vec());
        write(CATALOG, Catalog::build(&schema, []).unwrap().to_safetensors(&schema));
        for file in VariantName::ALL {
            let name = if file == VariantName::ALL[0] { first } else { file };
            let mut builder = Builder::new();
            let ty = Type { dtype: DType::F32, shape: Vec::new(), scope: Scope::Item };
            let quality = builder.input("quality", ty).unwrap();
            let score = builder.push("score", Op::Unary(Unary::Neg), &[quality]).unwrap();
            let graph = builder.finish(score, Link::Identity).unwrap();
            write(file.file(), Variant { name, graph, tensors: [].into(), noise: None }.to_bytes().unwrap());
        }
        std::fs::write(dir.path().join(MANIFEST), manifest.to_bytes()).unwrap();
        Opened::read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn refuses_a_bundle_that_is_mixed_up() {
        assert_eq!(opened("m", VariantName::W4).unwrap().variants.len(), 3);
        let refused = opened("m", VariantName::W8).unwrap_err();
        assert!(refused.ends_with("edge.w4.safetensors: holds the variant W8: the bundle is mixed up"), "{refused}");
        let refused = opened("n", VariantName::W4).unwrap_err();
        assert!(refused.contains("features.toml: is of model `m`, the manifest of `n`"), "{refused}");
    }
}
