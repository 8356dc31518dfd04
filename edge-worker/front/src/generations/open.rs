//! The start: every bundle is read, then every model is made of one; from then on the folders are watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use shared_model::bundle::Edition;
use shared_model::variant::VariantName;

use super::held::Held;
use super::look::{Found, Work, read};
use super::metrics::{Outcome, SwapMetrics};
use super::{BundleRefused, BundleSource, Generation, Generations, LoadError, Loader, OpenError, Slot, Weights};
use crate::metrics::Registry;

/// The bundles of a tier, read and verified; nothing is loaded yet.
#[derive(Debug)]
pub struct Read {
    bundles: Vec<(BundleSource, Edition, Vec<u8>, Option<String>)>,
}

impl Read {
    /// Reads the bundle of each source, with one of its variants and the deltas of its catalog. A delta that is refused
    /// leaves the catalog at the revision before it, as it would in a running tier.
    ///
    /// # Errors
    /// A bundle is refused, or two are of one model.
    pub fn new(sources: &[BundleSource], variant: VariantName) -> Result<Self, OpenError> {
        let mut bundles: Vec<(BundleSource, Edition, Vec<u8>, Option<String>)> = Vec::new();
        for source in sources {
            let refused = |reason| BundleRefused { folder: source.folder.clone(), reason };
            let Found { edition, weights, refused: delta } = read(&source.folder, variant, None).map_err(refused)?;
            let model = &edition.manifest().model;
            if bundles.iter().any(|(_, other, ..)| other.manifest().model == *model) {
                return Err(OpenError::SameModel { folder: source.folder.clone(), model: model.clone() });
            }
            let delta = delta.map(|reason| refused(reason).to_string());
            bundles.push((source.clone(), edition, weights.unwrap_or_default(), delta));
        }
        Ok(Self { bundles })
    }

    /// Makes the models, and watches the folders from then on, for as long as anyone has what is returned.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub fn load<L: Loader>(
        self,
        loader: L,
        registry: &mut Registry,
    ) -> Result<Arc<Generations<L>>, LoadError<L::Error>> {
        let metrics = SwapMetrics::register(registry);
        let mut slots = BTreeMap::new();
        for (source, edition, weights, refused) in self.bundles {
            let manifest = edition.manifest();
            let name = manifest.model.clone();
            let failed = |error| LoadError { folder: source.folder.clone(), model: name.clone(), error };
            let model = loader.load(&edition, Weights::Bytes(weights)).map_err(failed)?;
            let (version, stamp) = (&manifest.version, edition.stamp());
            tracing::info!(model = name, version, bundle = %stamp.bundle, catalog = stamp.catalog, "serving");
            metrics.runs(&edition);
            if let Some(why) = &refused {
                metrics.count(Outcome::Refused);
                tracing::error!(model = name, why, "refused");
            }
            let held = RwLock::new(Held::new(Generation { edition, model }));
            let slot = Slot { source, held, work: Mutex::new(Work::default()), refused: Mutex::new(refused) };
            slots.insert(name, slot);
        }
        let generations = Arc::new(Generations { loader, slots, metrics });
        generations.watch();
        Ok(generations)
    }
}
