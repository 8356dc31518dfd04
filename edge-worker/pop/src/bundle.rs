//! From an edition of a bundle to guests that rank by it. It is parsed once here as the guest will, so that a bad one is
//! refused by name; the guests get bytes, or are instances of the bundle's own worker, which has them in its memory. That
//! one has the catalog as bundled, so guests of a later revision get bytes; and it must be of the worker that is
//! configured, so that all guests give the same bits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use front::Serving;
use front::generations::{Loader, Weights};
use shared_model::bundle::{Edition, TierFiles};
use shared_model::ladder::{self, Fallback, Loaded, Terms, TierLimits, without_model};
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
        let (variant, worker) = match weights {
            Weights::Files(TierFiles { variant, worker }) => (variant.into(), worker),
            Weights::Of(model) => (model.pool.variant(), None),
        };
        let (served, load) = prepare(edition, variant, self.tier, self.limits)?;
        let own = worker.filter(|_| edition.is_as_bundled());
        let own = own.map(|wasm| self.own_program(&wasm, &load)).transpose()?.flatten();
        let (program, file) = match &own {
            Some((program, file)) => (program, Path::new(file)),
            None => (&self.program, &*self.wasm),
        };
        let pool = Pool::start(program, load, self.size, self.metrics.clone());
        let pool = pool.map_err(|fault| LoadFault::Worker { file: file.to_owned(), fault })?;
        Ok(Model { served, pool })
    }
}

impl Guests {
    /// The bundle's own worker, compiled, and its file; `None` if it cannot stand in for the one that is configured.
    fn own_program(&self, wasm: &[u8], load: &Load) -> Result<Option<(Program, &'static str)>, LoadFault> {
        let Some(file) = self.variant().worker_file() else { return Ok(None) };
        if !self.program.is_in(wasm, load.payload()) {
            let (model, configured) = (&load.terms.model, self.wasm.display());
            tracing::warn!(model, file, %configured, "not used, so guests start slower: made of another worker or other files");
            return Ok(None);
        }
        let program = self.program.compile_loaded(wasm);
        let program = program.map_err(|fault| LoadFault::Worker { file: file.into(), fault })?;
        Ok(Some((program, file)))
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
        tier,
        limits,
        terms: Terms::new(edition.manifest(), edition.stamp().bundle),
        schema: edition.schema().to_json(),
        variant,
        catalog: edition.catalog().to_safetensors(edition.schema()),
    };
    Loaded::new(tier, 0, load.payload())?;
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
    use std::time::{Duration, Instant};

    use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest, Mark};
    use shared_model::catalog::Delta;
    use shared_model::ladder::{Call, Step};
    use shared_model::wire::Candidate;
    use tempfile::TempDir;

    use super::*;
    use crate::guest::{GuestLimits, handmade};
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

    /// What the sample is served with; its own worker is made by hand, as `text` says, of `worker`.
    fn guests(folder: &TempDir, text: &str, worker: &[u8]) -> Guests {
        let load = sample::prepared(folder.path(), Tier::Edge).1;
        let mut wasm = wat::parse_str(text).expect("a module");
        wasm.extend(Mark::of(worker).section(load.payload()));
        let manifest = folder.path().join(MANIFEST);
        let mut listed = Manifest::from_bytes(&std::fs::read(&manifest).expect("it is there")).expect("a manifest");
        listed.files.insert("edge.w4.wasm".to_owned(), FileEntry::of(&wasm));
        std::fs::write(&manifest, listed.to_bytes()).expect("written");
        std::fs::write(folder.path().join("edge.w4.wasm"), wasm).expect("written");
        let second = Duration::from_secs(1);
        let limits = GuestLimits { memory_bytes: 64 << 20, call: second, load: 20 * second };
        Guests {
            tier: Tier::Edge,
            limits: sample::LIMITS,
            program: Program::compile(&sample::worker(), limits).expect("a worker"),
            size: PoolSize { instances: 1, queue: 1 },
            metrics: GuestMetrics::unregistered(),
            wasm: sample::worker_file(),
        }
    }

    /// Returns a step that only it returns.
    fn by_hand() -> String {
        handmade::worker(&handmade::refused(), "(call $good)", "unreachable")
    }

    async fn step(model: &Model) -> Step {
        let call = Call { request: sample::request(1.0), below: None, part: None };
        model.pool.rank(&call, Instant::now() + Duration::from_secs(5)).await.expect("a step").step
    }

    #[tokio::test]
    async fn guests_are_of_the_bundles_own_worker_while_the_catalog_is_as_bundled() {
        let folder = sample_bundle();
        let guests = guests(&folder, &by_hand(), &sample::worker());
        let (edition, files) = sample::edition(folder.path(), Tier::Edge);
        let model = guests.load(&edition, Weights::Files(files)).expect("guests");
        assert_eq!(step(&model).await, handmade::refused());
        let gone = br#"{"id":"m0","removed":true}"#;
        let delta = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), gone).expect("a delta").0;
        let next = edition.after(&Delta::read(&delta).expect("a delta")).expect("an edition");
        for weights in [Weights::Of(&model), Weights::Files(sample::edition(folder.path(), Tier::Edge).1)] {
            let next = guests.load(&next, weights).expect("guests");
            assert!(matches!(step(&next).await, Step::Escalate { .. }), "m0 is gone");
        }
    }

    #[tokio::test]
    async fn a_bundles_own_worker_that_is_of_another_one_is_left_alone() {
        let folder = sample_bundle();
        let guests = guests(&folder, &by_hand(), b"another worker");
        let (edition, files) = sample::edition(folder.path(), Tier::Edge);
        let model = guests.load(&edition, Weights::Files(files)).expect("guests");
        assert!(matches!(step(&model).await, Step::Answer(_)));
    }

    #[test]
    fn rejects_a_bundles_own_worker_that_is_larger_than_it_may_be_and_names_the_setting() {
        let folder = sample_bundle();
        let large = by_hand().replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 1025)"#);
        let guests = guests(&folder, &large, &sample::worker());
        let (edition, files) = sample::edition(folder.path(), Tier::Edge);
        let refused = guests.load(&edition, Weights::Files(files)).err().expect("it is refused").to_string();
        assert!(refused.contains("edge.w4.wasm: ") && refused.contains("raise `worker.memory_mib`"), "{refused}");
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
