//! A bundle in a folder: verified, parsed once here so that a bad one is refused by name, then handed to guests as bytes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use front::Popular;
use shared_model::bundle::{Bundle, BundleError, CATALOG, FEATURES, Manifest};
use shared_model::catalog::{Catalog, CatalogError};
use shared_model::ladder::{Fallback, Ladder, LoadError, Parts, TierLimits, without_model};
use shared_model::schema::{Schema, SchemaFaults};
use shared_model::variant::VariantName;
use shared_model::wire::{Answer, RankRequest, Reason, Stamp, Tier, Timing};
use thiserror::Error;

use crate::guest::Load;

/// A bundle that a tier can serve.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) tier: Tier,
    /// What the tier scores itself.
    pub(crate) limits: TierLimits,
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) variant: VariantName,
    pub(crate) stamp: Stamp,
    /// For when no guest can rank.
    catalog: Catalog,
    /// For when the catalog has nothing to say.
    static_list: Vec<String>,
}

/// A bundle is refused.
#[derive(Debug, Error)]
#[error("the bundle in {}: {reason}", folder.display())]
pub struct BundleRefused {
    /// Its folder.
    pub folder: PathBuf,
    /// The file at fault, and what is wrong with it.
    pub reason: BundleFault,
}

/// What is wrong with a bundle.
#[derive(Debug, Error)]
pub enum BundleFault {
    /// A file is missing, or not the one that the manifest lists.
    #[error(transparent)]
    Unverified(#[from] BundleError),
    /// The schema is not text.
    #[error("{FEATURES}: not UTF-8: {0}")]
    NotText(#[from] Utf8Error),
    /// The schema.
    #[error("{FEATURES}: {0}")]
    Schema(#[from] SchemaFaults),
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
    /// The parts do not make a worker.
    #[error(transparent)]
    Unusable(#[from] LoadError),
}

/// Reads and verifies what `tier` needs of the bundle in `folder`.
///
/// # Errors
/// Names the folder, the file and the reason.
pub(crate) fn read(folder: &Path, tier: Tier, limits: TierLimits) -> Result<(Served, Load), BundleRefused> {
    parse(folder, tier, limits).map_err(|reason| BundleRefused { folder: folder.to_owned(), reason })
}

fn parse(folder: &Path, tier: Tier, limits: TierLimits) -> Result<(Served, Load), BundleFault> {
    let variant = VariantName::of(tier);
    let bundle = Bundle::read(&[FEATURES, CATALOG, variant.file()], |file, max| bounded(&folder.join(file), max))?;
    let schema = Schema::from_toml(std::str::from_utf8(bundle.file(FEATURES)?)?)?;
    let catalog = Catalog::from_safetensors(bundle.file(CATALOG)?, &schema)?;
    let Manifest { model, version, static_list, .. } = bundle.manifest.clone();
    let load = Load {
        model: model.clone(),
        tier,
        limits,
        manifest: bundle.manifest_bytes().to_vec(),
        schema: schema.to_json(),
        variant: bundle.file(variant.file())?.to_vec(),
        catalog: bundle.file(CATALOG)?.to_vec(),
    };
    let Load { manifest, schema, variant: weights, catalog: items, .. } = &load;
    let ladder = Ladder::load(tier, limits, Parts { manifest, schema, variant: weights, catalog: items })?;
    let stamp = ladder.stamp();
    let served = Served { tier, limits, model, version, variant, stamp, catalog, static_list };
    Ok((served, load))
}

/// A file's bytes, one more than `max` at most.
fn bounded(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

impl Served {
    /// The answer when no model can score: level 3 or 4.
    pub(crate) fn without_model(&self, request: &RankRequest, reason: Reason) -> Answer {
        let Fallback { level, ranked } = without_model(&self.catalog, &self.static_list, request, self.tier);
        Answer {
            model: self.model.clone(),
            version: self.version.clone(),
            tier: self.tier,
            variant: None,
            degradation: level,
            reason,
            ranked,
            agreement: None,
            timing: Timing::default(),
            warnings: Vec::new(),
            stamp: Some(self.stamp),
            explanation: None,
        }
    }

    /// The list of a geo, or of everywhere, where the catalog says nothing of it.
    pub(crate) fn popular(&self, geo: Option<&str>, k: usize) -> Popular {
        let geo = geo.and_then(|geo| self.catalog.geo(geo));
        Popular {
            model: self.model.clone(),
            version: self.version.clone(),
            geo: geo.map(|geo| geo.name().to_owned()),
            items: self.catalog.most_popular(geo, k),
            stamp: self.stamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared_model::bundle::MANIFEST;
    use shared_model::wire::Candidate;
    use tempfile::TempDir;

    use super::*;
    use crate::sample;

    fn sample_bundle() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        sample::bundle(folder.path());
        folder
    }

    fn refused(folder: &TempDir) -> String {
        read(folder.path(), Tier::Edge, sample::LIMITS).expect_err("it is served").to_string()
    }

    #[test]
    fn reads_what_the_tier_needs() {
        let folder = sample_bundle();
        std::fs::remove_file(folder.path().join(VariantName::W8.file())).expect("not needed at the edge");
        let (served, load) = read(folder.path(), Tier::Edge, sample::LIMITS).expect("a bundle");
        assert_eq!((served.model.as_str(), served.version.as_str(), served.variant), ("toy", "7", VariantName::W4));
        assert_eq!(load.variant, std::fs::read(folder.path().join(VariantName::W4.file())).expect("it is there"));
    }

    #[test]
    fn ranks_by_popularity_without_a_guest() {
        let (served, _) = read(sample_bundle().path(), Tier::Edge, sample::LIMITS).expect("a bundle");
        let answer = served.without_model(&sample::request(1.0), Reason::WorkerFailed);
        assert_eq!(sample::ids(&answer.ranked), ["m0", "m1"]);
        assert_eq!((answer.degradation, answer.variant, answer.ranked[0].score), (3, None, None));
    }

    #[test]
    fn ranks_by_the_static_list_what_nobody_knows() {
        let (served, _) = read(sample_bundle().path(), Tier::Edge, sample::LIMITS).expect("a bundle");
        let candidates = ["new1", "new2", "s2", "s1"].map(|id| Candidate { id: id.to_owned(), features: None });
        let request = RankRequest { k: 3, candidates: candidates.to_vec(), ..sample::request(1.0) };
        let answer = served.without_model(&request, Reason::WorkerFailed);
        assert_eq!((answer.degradation, sample::ids(&answer.ranked)), (4, vec!["s1", "s2", "new1"]));
    }

    #[test]
    fn lists_what_is_popular_in_a_geo_or_everywhere() {
        let (served, _) = read(sample_bundle().path(), Tier::Edge, sample::LIMITS).expect("a bundle");
        let ids = |list: &Popular| list.items.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let germany = served.popular(Some("de"), 2);
        assert_eq!((germany.geo.as_deref(), ids(&germany)), (Some("DE"), vec!["m9".to_owned(), "m8".to_owned()]));
        let nowhere = served.popular(Some("us"), 2);
        assert_eq!((nowhere.geo.as_deref(), ids(&nowhere)), (None, vec!["m0".to_owned(), "m1".to_owned()]));
    }

    #[test]
    fn rejects_a_folder_without_a_manifest_and_names_both() {
        let folder = TempDir::new().expect("a folder");
        let text = refused(&folder);
        assert!(text.contains(&folder.path().display().to_string()) && text.contains(MANIFEST), "{text}");
    }

    #[test]
    fn rejects_a_file_that_is_not_the_manifests() {
        let folder = sample_bundle();
        let file = folder.path().join(CATALOG);
        let mut bytes = std::fs::read(&file).expect("it is there");
        *bytes.last_mut().expect("a byte") ^= 1;
        std::fs::write(&file, bytes).expect("written");
        let text = refused(&folder);
        assert!(text.contains("catalog.safetensors does not match its digest"), "{text}");
    }

    #[test]
    fn rejects_a_file_that_is_longer_than_the_manifest_says() {
        let folder = sample_bundle();
        let file = folder.path().join(FEATURES);
        let mut bytes = std::fs::read(&file).expect("it is there");
        bytes.extend([b'\n'; 4096]);
        std::fs::write(&file, bytes).expect("written");
        assert!(refused(&folder).contains("features.toml: more than"), "{}", refused(&folder));
    }

    #[test]
    fn rejects_a_bundle_without_the_tiers_variant() {
        let folder = sample_bundle();
        std::fs::remove_file(folder.path().join(VariantName::W4.file())).expect("it is there");
        assert!(refused(&folder).contains("edge.w4.safetensors: "), "{}", refused(&folder));
    }
}
