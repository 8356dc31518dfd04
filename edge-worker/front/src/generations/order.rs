//! What an operator may ask for: a look at the folders now, a rollback by name, another revision of a catalog.

use serde::{Deserialize, Serialize};
use shared_model::bundle::delta_file;
use shared_model::catalog::Delta;
use thiserror::Error;

use super::look::{caught, digest};
use super::metrics::Outcome;
use super::{BundleRefused, Fault, Generation, Generations, Loader, Slot, Weights, folder};

/// The orders of the admin listener. They block.
pub trait Operations: Send + Sync {
    /// What was found in the folders and is not served.
    fn refused(&self) -> Vec<Refused>;

    /// Looks at the folders now.
    ///
    /// # Errors
    /// Something in them is refused; what could be swapped is.
    fn reload(&self, order: &Reload) -> Result<Vec<Running>, OrderError>;

    /// Takes a delta: verifies and loads it, puts it into the bundle's folder and into service.
    ///
    /// # Errors
    /// It is refused; the folder and the running catalog are as they were.
    fn add_delta(&self, delta: &[u8]) -> Result<Running, OrderError>;
}

/// What to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// The model; all of them if left out.
    #[serde(default)]
    pub model: Option<String>,
    /// The version to go back to, though its serial is older.
    #[serde(default)]
    pub rollback: Option<String>,
}

/// What runs after an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Its serial.
    pub serial: u64,
    /// The bundle's digest.
    pub bundle: String,
    /// The revision of its catalog.
    pub catalog: u64,
}

/// What is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The model that runs instead.
    pub model: String,
    /// The folder, the file and the reason.
    pub why: String,
}

/// An order is not carried out.
#[derive(Debug, Error)]
pub enum OrderError {
    /// It names a model that is not served.
    #[error("no model `{0}` is served here")]
    UnknownModel(String),
    /// It does not say which of several models it means.
    #[error("several models are served: name the one to roll back")]
    WhichModel,
    /// A bundle or a delta is refused.
    #[error("{0}")]
    Refused(String),
}

impl From<BundleRefused> for OrderError {
    fn from(refused: BundleRefused) -> Self {
        Self::Refused(refused.to_string())
    }
}

impl<L: Loader> Operations for Generations<L> {
    fn refused(&self) -> Vec<Refused> {
        let refused = |(model, slot): (&String, &Slot<L::Model>)| {
            let why = slot.refused().clone()?;
            Some(Refused { model: model.clone(), why })
        };
        self.slots.iter().filter_map(refused).collect()
    }

    fn reload(&self, order: &Reload) -> Result<Vec<Running>, OrderError> {
        let Reload { model, rollback } = order;
        let slots: Vec<_> = match model {
            Some(name) => vec![self.slot(name)?],
            None if rollback.is_some() && self.slots.len() > 1 => return Err(OrderError::WhichModel),
            None => self.slots.values().collect(),
        };
        let looked: Vec<_> = slots.iter().map(|slot| self.look(slot, rollback.as_deref())).collect();
        let refused: Vec<String> = looked.into_iter().filter_map(|r| Some(r.err()?.to_string())).collect();
        if refused.is_empty() {
            Ok(slots.into_iter().map(Slot::running).collect())
        } else {
            Err(OrderError::Refused(refused.join("; ")))
        }
    }

    fn add_delta(&self, bytes: &[u8]) -> Result<Running, OrderError> {
        let delta = Delta::read(bytes).map_err(|error| OrderError::Refused(format!("the delta: {error}")))?;
        let slot = self.slot(delta.model())?;
        let refused = |reason| BundleRefused { folder: slot.source.folder.clone(), reason };
        if caught(|| self.take_delta(slot, &delta, bytes)).map_err(refused)? {
            // Later ones may have waited for it.
            self.look(slot, None)?;
        }
        Ok(slot.running())
    }
}

impl<L: Loader> Generations<L> {
    fn slot(&self, model: &str) -> Result<&Slot<L::Model>, OrderError> {
        self.slots.get(model).ok_or_else(|| OrderError::UnknownModel(model.to_owned()))
    }

    /// Puts a delta that fits the running catalog into the folder and into service; `false` if it has been applied
    /// before. It is loaded first: what is in the folder is there for good, and for every tier that serves from it.
    fn take_delta(&self, slot: &Slot<L::Model>, delta: &Delta, bytes: &[u8]) -> Result<bool, Fault> {
        let _alone = slot.work();
        let folder = slot.source.folder.canonicalize().map_err(Fault::Folder)?;
        let (running, revision) = (slot.current(), delta.revision());
        let at_fault = |reason: String| Fault::Delta { file: delta_file(revision), reason };
        if digest(&folder)? != running.stamp().bundle {
            return Err(at_fault("the folder holds another bundle than the one that runs: reload it first".to_owned()));
        }
        let there =
            || folder::delta(&folder.join(delta_file(revision))).is_ok_and(|there| there.as_deref() == Some(bytes));
        if revision <= running.stamp().catalog && there() {
            return Ok(false);
        }
        let edition = running.edition.after(delta).map_err(|error| at_fault(error.to_string()))?;
        let model = self.model(&edition, Weights::Of(&running.model))?;
        folder::put_delta(&folder, revision, bytes).map_err(|error| at_fault(error.to_string()))?;
        self.swap(slot, Generation { edition, model }, Outcome::Catalog);
        Ok(true)
    }
}

impl<M> Slot<M> {
    fn running(&self) -> Running {
        let current = self.current();
        let (manifest, stamp) = (current.edition.manifest(), current.stamp());
        Running {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            serial: manifest.serial,
            bundle: stamp.bundle.to_string(),
            catalog: stamp.catalog,
        }
    }
}
