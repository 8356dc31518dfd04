//! An edition of a bundle as the origin uses it: what turns a request into a batch and scores into an answer, and the
//! engine that has its weights on the device.

use std::sync::Arc;

use thiserror::Error;

use front::Serving;
use front::generations::{Loader, Weights};
use shared_model::bundle::{Edition, FEATURES};
use shared_model::graph::Link;
use shared_model::ladder::{BindError, Binding};
use shared_model::variant::{Variant, VariantError, VariantName};

use crate::device::Device;
use crate::engine::{self, Engine};
use crate::executor::{self, Executor};
use crate::metrics::Metrics;

/// A model in service.
#[derive(Debug)]
pub struct Model {
    pub(crate) edition: Edition,
    pub(crate) binding: Binding,
    pub(crate) link: Link,
    /// Has the bundle's weights; shared by all revisions of its catalog.
    pub(crate) engine: Arc<Engine>,
}

/// What every model of an origin is made with.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    pub(crate) device: Device,
    /// Jobs that may wait for the device.
    pub(crate) queue: usize,
    pub(crate) metrics: Metrics,
}

/// Why the origin cannot run an edition.
#[derive(Debug, Error)]
pub enum LoadFault {
    /// The variant.
    #[error("{file}: {0}", file = VARIANT.file())]
    Variant(#[from] VariantError),
    /// A file of another variant.
    #[error("{file}: holds the variant {0:?}: the bundle is mixed up", file = VARIANT.file())]
    Mixed(VariantName),
    /// Schema and graph disagree.
    #[error("{FEATURES}: {0}")]
    Bind(#[from] BindError),
    /// The executor or the device.
    #[error("{file}: {0}", file = VARIANT.file())]
    Engine(#[from] engine::StartError<executor::LoadError>),
}

/// What the origin runs.
pub(crate) const VARIANT: VariantName = VariantName::F32;

impl Loader for Engines {
    type Model = Model;
    type Error = LoadFault;

    fn variant(&self) -> VariantName {
        VARIANT
    }

    fn is_escalated_to(&self) -> bool {
        true
    }

    fn load(&self, edition: &Edition, weights: Weights<'_, Model>) -> Result<Model, LoadFault> {
        let (binding, link, engine) = match weights {
            Weights::Of(Model { binding, link, engine, .. }) => (binding.clone(), *link, engine.clone()),
            Weights::Bytes(bytes) => {
                let variant = Variant::from_bytes(&bytes)?;
                if variant.name != VARIANT {
                    return Err(LoadFault::Mixed(variant.name));
                }
                let binding = Binding::new(&variant.graph, edition.schema())?;
                let (link, device) = (variant.graph.link(), self.device.clone());
                // On the device's thread, which uploads what it will read.
                let executors = move || Ok(vec![Executor::new(&variant.graph, &variant.tensors, &device)?]);
                (binding, link, Arc::new(Engine::start(self.queue, self.metrics.clone(), executors)?))
            }
        };
        Ok(Model { edition: edition.clone(), binding, link, engine })
    }
}

impl Model {
    /// What the front tells of it.
    #[must_use]
    pub fn serving(&self, runs_on: &str) -> Serving {
        let manifest = self.edition.manifest();
        Serving {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            variant: VARIANT.as_str().to_owned(),
            runs_on: runs_on.to_owned(),
            stamp: self.edition.stamp(),
        }
    }
}
