//! The bundles in service: which generation of which model, and how one takes the place of another.
//!
//! ```text
//! folder ── poll, /v1/reload, /v1/catalog ── read and verify ── Loader: guests, device ── one swap ── kept for a while
//!                                              └ refused: the running one stays, /readyz tells of both
//! ```
//!
//! A *generation* is an edition of a bundle and what the tier has loaded of it. A request takes one at its start and
//! keeps it to its end, so that it sees one bundle and one catalog revision; what is no longer current is kept for
//! escalations of tiers below that have not swapped yet, and is gone with its last request. Reading, verifying and
//! loading are done on threads of their own. What a model is, only the [`Loader`] knows.

mod fault;
mod folder;
mod held;
mod look;
mod metrics;
mod open;
mod order;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod watch;

pub use fault::{BundleRefused, Fault, LoadError, OpenError};
pub use open::Read;
pub use order::{Operations, OrderError, Refused, Reload, Running};

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use shared_model::bundle::{Edition, TierFiles};
use shared_model::variant::VariantName;
use shared_model::wire::Stamp;

use held::Held;
use look::Work;
use metrics::SwapMetrics;

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleSource {
    /// Its folder, or a symbolic link to it.
    pub folder: PathBuf,
    /// How often it is looked at.
    pub poll: Duration,
}

/// How long a generation is kept after its time: the tiers below look at their folders far more often.
const GRACE: Duration = Duration::from_secs(30);

/// What makes a tier's models of editions. Its calls may block.
pub trait Loader: Send + Sync + 'static {
    /// What requests are answered with.
    type Model: Send + Sync + 'static;
    /// Why there is none.
    type Error: Error + Send + Sync + 'static;

    /// The variant that this tier runs.
    fn variant(&self) -> VariantName;

    /// Whether there are tiers below, whose escalations may be of the generation before.
    fn is_escalated_to(&self) -> bool;

    /// Makes the model of an edition, ready for its first request.
    ///
    /// # Errors
    /// The edition cannot be run here.
    fn load(&self, edition: &Edition, weights: Weights<'_, Self::Model>) -> Result<Self::Model, Self::Error>;
}

/// What an edition's weights are.
#[derive(Debug)]
pub enum Weights<'a, M> {
    /// The variant, and the worker that has it, where there is one.
    Files(TierFiles),
    /// Those of this model: the bundle is the same, its catalog has changed.
    Of(&'a M),
}

/// An edition of a bundle and what the tier has loaded of it.
#[derive(Debug)]
pub struct Generation<M> {
    /// What it was made of.
    pub edition: Edition,
    /// What requests are answered with.
    pub model: M,
}

impl<M> Generation<M> {
    /// What its answers are stamped with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.edition.stamp()
    }
}

/// Every model that a tier serves, by name.
pub struct Generations<L: Loader> {
    loader: L,
    slots: BTreeMap<String, Slot<L::Model>>,
    metrics: SwapMetrics,
}

/// One model's place.
struct Slot<M> {
    source: BundleSource,
    held: RwLock<Held<M>>,
    /// Held by whoever looks at the folder: one at a time.
    work: Mutex<Work>,
    refused: Mutex<Option<String>>,
}

impl<L: Loader> Generations<L> {
    /// The generation that a request is to be answered with: the one that the tier below scored with if it is still
    /// there, else the current one. `None` for a model that is not served.
    #[must_use]
    pub fn take(&self, model: &str, below: Option<Stamp>) -> Option<Arc<Generation<L::Model>>> {
        self.slots.get(model).map(|slot| slot.held().pick(below))
    }

    /// The current generation of the model that is named, or of the first where none is.
    #[must_use]
    pub fn named(&self, model: Option<&str>) -> Option<Arc<Generation<L::Model>>> {
        match model {
            Some(name) => self.take(name, None),
            None => self.slots.values().next().map(Slot::current),
        }
    }

    /// The current generation of each model, by name.
    #[must_use]
    pub fn current(&self) -> Vec<Arc<Generation<L::Model>>> {
        self.slots.values().map(Slot::current).collect()
    }
}

impl<M> Slot<M> {
    fn current(&self) -> Arc<Generation<M>> {
        self.held().pick(None)
    }

    /// No code of others runs under these locks, so what a panic left is sound.
    fn held(&self) -> std::sync::RwLockReadGuard<'_, Held<M>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> std::sync::RwLockWriteGuard<'_, Held<M>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
