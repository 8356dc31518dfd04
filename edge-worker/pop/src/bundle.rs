//! From an edition of a bundle to guests that rank by it. It is parsed once here as the guest will, so that a bad one is
//! refused by name; the guests get bytes.

use std::path::PathBuf;
use std::sync::Arc;

use front::Serving;
use front::generations::{Loader, Weights};
use shared_model::bundle::Edition;
use shared_model::ladder::{self, Fallback, Ladder, Parts, TierLimits, without_model};
use shared_model::variant::VariantName;
use shared_model::wire::{Answer, RankRequest, Reason, Stamp, Tier, Timing};
use thiserror::Error;

use crate::guest::{GuestFault, Load, Pool, PoolSize, Program};
use crate::metrics::GuestMetrics;

/// An edition that a tier can serve, without its guests. What it says when no guest can rank, it says by itself.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) tier: Tier,
    /// What the tier scores itself.
    pub(crate) limits: TierLimits,
    edition: Edition,
}

/// A model in service.
pub(crate) struct Model {
    pub(crate) served: Served,
    pub(crate) pool: Pool,
}

/// What every model of a tier is made with.
pub(crate) struct Guests {
    pub(crate) tier: Tier,
    pub(crate) limits: TierLimits,
    pub(crate) program: Program,
    pub(crate) size: PoolSize,
    pub(crate) metrics: GuestMetrics,
    /// The program's file, for whoever has to look at it.
    pub(crate) wasm: PathBuf,
}

/// Why a tier cannot run an edition.
#[derive(Debug, Error)]
pub enum LoadFault {
    /// The parts do not make a worker.
    #[error(transparent)]
    Unusable(#[from] ladder::LoadError),
    /// The worker does not take them.
    #[error("the worker {}: {fault}", file.display())]
    Worker {
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        fault: GuestFault,
    },
}

impl Loader for Guests {
    type Model = Model;
    type Error = LoadFault;

    fn variant(&self) -> VariantName {
        VariantName::of(self.tier)
    }

    fn is_escalated_to(&self) -> bool {
        self.tier > Tier::Edge
    }

    fn load(&self, edition: &Edition, weights: Weights<'_, Model>) -> Result<Model, LoadFault> {
        let variant = match weights {
            Weights::Bytes(bytes) => bytes.into(),
            Weights::Of(model) => model.pool.variant(),
        };
        let (served, load) = prepare(edition, variant, self.tier, self.limits)?;
        let pool = Pool::start(&self.program, load, self.size, self.metrics.clone());
        let pool = pool.map_err(|fault| LoadFault::Worker { file: self.wasm.clone(), fault })?;
        Ok(Model { served, pool })
    }
}

/// What `tier` serves of an edition, and what its guests are loaded with.
pub(crate) fn prepare(
    edition: &Edition,
    variant: Arc<[u8]>,
    tier: Tier,
    limits: TierLimits,
) -> Result<(Served, Load), ladder::LoadError> {
    let load = Load {
        model: edition.manifest().model.clone(),
        tier,
        limits,
        manifest: edition.manifest_bytes().to_vec(),
        schema: edition.schema().to_json(),
        variant,
        catalog: edition.catalog().to_safetensors(edition.schema()),
    };
    let Load { manifest, schema, variant, catalog, .. } = &load;
    Ladder::load(tier, limits, Parts { manifest, schema, variant, catalog })?;
    Ok((Served { tier, limits, edition: edition.clone() }, load))
}

impl Served {
    /// What its answers come from.
    pub(crate) fn stamp(&self) -> Stamp {
        self.edition.stamp()
    }

    /// The model that requests name.
    pub(crate) fn model(&self) -> &str {
        &self.edition.manifest().model
    }

    /// The answer when no model can score: level 3 or 4.
    pub(crate) fn without_model(&self, request: &RankRequest, reason: Reason) -> Answer {
        let manifest = self.edition.manifest();
        let Fallback { level, ranked } =
            without_model(self.edition.catalog(), &manifest.static_list, request, self.tier);
        Answer {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            tier: self.tier,
            variant: None,
            degradation: level,
            reason,
            ranked,
            agreement: None,
            timing: Timing::default(),
            warnings: Vec::new(),
            stamp: Some(self.stamp()),
            explanation: None,
        }
    }

    /// What the front tells of it.
    pub(crate) fn serving(&self) -> Serving {
        let manifest = self.edition.manifest();
        Serving {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            variant: VariantName::of(self.tier).as_str().to_owned(),
            runs_on: "wasmtime".to_owned(),
            note: None,
            stamp: self.edition.stamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use front::Popular;
    use front::generations::{BundleSource, Read};
    use shared_model::bundle::{CATALOG, FEATURES, MANIFEST};
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
        let source = BundleSource { folder: folder.path().to_owned(), poll: std::time::Duration::from_secs(3600) };
        Read::new(&[source], VariantName::of(Tier::Edge)).expect_err("it is served").to_string()
    }

    #[test]
    fn reads_what_the_tier_needs() {
        let folder = sample_bundle();
        std::fs::remove_file(folder.path().join(VariantName::W8.file())).expect("not needed at the edge");
        let (served, load) = sample::prepared(folder.path(), Tier::Edge);
        let serving = served.serving();
        assert_eq!((&*serving.model, &*serving.version, &*serving.variant), ("toy", "7", "w4"));
        let file = std::fs::read(folder.path().join(VariantName::W4.file())).expect("it is there");
        assert_eq!((&*load.variant, served.stamp().catalog), (&*file, 0));
        assert_eq!(load.catalog, std::fs::read(folder.path().join(CATALOG)).expect("it is there"), "as bundled");
    }

    #[test]
    fn ranks_by_popularity_without_a_guest() {
        let (served, _) = sample::prepared(sample_bundle().path(), Tier::Edge);
        let answer = served.without_model(&sample::request(1.0), Reason::WorkerFailed);
        assert_eq!(sample::ids(&answer.ranked), ["m0", "m1"]);
        assert_eq!((answer.degradation, answer.variant, answer.ranked[0].score), (3, None, None));
    }

    #[test]
    fn ranks_by_the_static_list_what_nobody_knows() {
        let (served, _) = sample::prepared(sample_bundle().path(), Tier::Edge);
        let candidates = ["new1", "new2", "s2", "s1"].map(|id| Candidate { id: id.to_owned(), features: None });
        let request = RankRequest { k: 3, candidates: candidates.to_vec(), ..sample::request(1.0) };
        let answer = served.without_model(&request, Reason::WorkerFailed);
        assert_eq!((answer.degradation, sample::ids(&answer.ranked)), (4, vec!["s1", "s2", "new1"]));
    }

    #[test]
    fn lists_what_is_popular_in_a_geo_or_everywhere() {
        let (served, _) = sample::prepared(sample_bundle().path(), Tier::Edge);
        let ids = |list: &Popular| list.items.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let germany = Popular::of(&served.edition, Some("de"), 2);
        assert_eq!((germany.geo.as_deref(), ids(&germany)), (Some("DE"), vec!["m9".to_owned(), "m8".to_owned()]));
        let nowhere = Popular::of(&served.edition, Some("us"), 2);
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
