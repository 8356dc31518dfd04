//! The start: every bundle is read, then every model is made of one; from then on the folders are watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use shared_model::bundle::{Edition, TierFiles};
use shared_model::variant::VariantName;
use shared_model::wire::Stamp;

use super::held::Held;
use super::look::{Found, Work, read};
use super::metrics::{Outcome, SwapMetrics};
use super::{BundleRefused, BundleSource, Fault, Generation, Generations, LoadError, Loader, OpenError, Slot, Weights};
use crate::metrics::Registry;

/// The bundles of a tier, read and verified; nothing is loaded yet.
#[derive(Debug)]
pub struct Read {
    bundles: Vec<(BundleSource, Edition, TierFiles, Option<String>)>,
}

impl Read {
    /// Reads the bundle of each source, with the files of one of its variants and the deltas of its catalog. A delta that is refused
    /// leaves the catalog at the revision before it, as it would in a running tier.
    ///
    /// # Errors
    /// A bundle is refused, or two are of one model.
    pub fn new(sources: &[BundleSource], variant: VariantName) -> Result<Self, OpenError> {
        let mut bundles: Vec<(BundleSource, Edition, TierFiles, Option<String>)> = Vec::new();
        for source in sources {
            let refused = |reason| BundleRefused { folder: source.folder.clone(), reason };
            let found = read(&source.folder, variant, None, u64::MAX).map_err(refused)?;
            let Found { edition, weights, refused: delta } = found;
            let model = &edition.manifest().model;
            if bundles.iter().any(|(_, other, ..)| other.manifest().model == *model) {
                return Err(OpenError::SameModel { folder: source.folder.clone(), model: model.clone() });
            }
            let delta = delta.map(|reason| refused(reason).to_string());
            bundles.push((source.clone(), edition, weights.unwrap_or_default(), delta));
        }
        Ok(Self { bundles })
    }

    /// Makes the models, and watches the folders from then on, for as long as anyone has what is returned. A catalog that
    /// cannot be run gives way to the newest before it that can, and the delta after that one is refused.
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
            let (edition, model, refused) = match loader.load(&edition, Weights::Files(weights)) {
                Ok(model) => (edition, model, refused),
                Err(error) => match before(&loader, &source, edition.stamp(), error) {
                    Ok((edition, model, reason)) => {
                        let refused = BundleRefused { folder: source.folder.clone(), reason };
                        (edition, model, Some(refused.to_string()))
                    }
                    Err(error) => return Err(LoadError { folder: source.folder, model: name, error }),
                },
            };
            let manifest = edition.manifest();
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

/// The newest edition before `unfit` that can be run, and what is wrong with the delta after it. By halves: each try
/// costs a load, and the deltas may be many.
fn before<L: Loader>(
    loader: &L,
    source: &BundleSource,
    unfit: Stamp,
    error: L::Error,
) -> Result<(Edition, L::Model, Fault), L::Error> {
    let read_to = |running: Option<&Edition>, revision| read(&source.folder, loader.variant(), running, revision);
    // If the bundle cannot be run as it came, or is gone, the deltas are not to blame.
    let Ok(Found { mut edition, weights: Some(weights), .. }) = read_to(None, 0) else { return Err(error) };
    if edition.stamp().bundle != unfit.bundle || edition.stamp() == unfit {
        return Err(error);
    }
    let mut model = loader.load(&edition, Weights::Files(weights))?;
    let mut refused = (unfit.catalog, error);
    while refused.0 - edition.stamp().catalog > 1 {
        let half = refused.0.midpoint(edition.stamp().catalog);
        let next = match read_to(Some(&edition), half) {
            Ok(Found { edition, weights: None, .. }) if edition.stamp().catalog == half => edition,
            // The folder changes: the watch will see.
            Ok(_) | Err(_) => break,
        };
        match loader.load(&next, Weights::Of(&model)) {
            Ok(made) => (edition, model) = (next, made),
            Err(error) => refused = (half, error),
        }
    }
    Ok((edition, model, Fault::unfit(refused.0, &refused.1)))
}
