//! An edition of a bundle as the origin uses it: what turns a request into rows of a batch and scores into an answer, and
//! the way to the executor that has its weights on the device.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use front::Serving;
use front::generations::{Loader, Weights};
use shared_model::bundle::{Edition, FEATURES};
use shared_model::graph::{Graph, Link};
use shared_model::ladder::{BindError, Binding};
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantError, VariantName};

use crate::batch::{Batcher, Lane};
use crate::device::{Device, Kind, Missing, Probed};
use crate::engine::guarded::{Guarded, Make};
use crate::engine::{self, OpenError, RunsOn};
use crate::executor::{self, Executor, Fit};
use crate::metrics::Metrics;

/// A model in service.
#[derive(Debug)]
pub struct Model {
    pub(crate) edition: Edition,
    pub(crate) binding: Binding,
    pub(crate) link: Link,
    /// What the executor takes.
    pub(crate) fit: Fit,
    /// The way to the executor, which has the bundle's weights; shared by all revisions of its catalog.
    pub(crate) lane: Arc<Lane>,
}

/// What every model of an origin is made with.
#[derive(Clone, Debug)]
pub(crate) struct Executors {
    pub(crate) probed: Probed,
    pub(crate) metrics: Metrics,
    /// The one queue that all of them are scored from.
    pub(crate) batcher: Arc<Batcher>,
}

/// Why the origin cannot run an edition.
#[derive(Debug, Error)]
pub enum LoadFault {
    /// The variant.
    #[error("{file}: {0}", file = VARIANT.file())]
    Variant(#[from] VariantError),
    /// Schema and graph disagree.
    #[error("{FEATURES}: {0}")]
    Bind(#[from] BindError),
    /// The executor or the device.
    #[error("{file}: {0}", file = VARIANT.file())]
    Executor(#[from] OpenError<executor::LoadError>),
}

/// What the origin runs.
pub(crate) const VARIANT: VariantName = VariantName::F32;

impl Loader for Executors {
    type Model = Model;
    type Error = LoadFault;

    fn variant(&self) -> VariantName {
        VARIANT
    }

    fn is_escalated_to(&self) -> bool {
        true
    }

    fn load(&self, edition: &Edition, weights: Weights<'_, Model>) -> Result<Model, LoadFault> {
        let edition = edition.clone();
        match weights {
            Weights::Of(Model { binding, link, fit, lane, .. }) => {
                Ok(Model { edition, binding: binding.clone(), link: *link, fit: fit.clone(), lane: lane.clone() })
            }
            Weights::Files(files) => {
                let Variant { graph, tensors, .. } = Variant::from_bytes(&files.variant)?;
                let binding = Binding::new(&graph, edition.schema())?;
                let lane = self.open(&graph, &tensors)?;
                Ok(Model { edition, binding, link: graph.link(), fit: Fit::of(&graph), lane: Arc::new(lane) })
            }
        }
    }
}

impl Executors {
    /// A lane to an executor on the device, with one on the CPU behind it.
    fn open(&self, graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<Lane, OpenError<executor::LoadError>> {
        let cpu = || Executor::new(graph, tensors, &Device::cpu());
        let Probed { device, required, .. } = &self.probed;
        if device.kind() == Kind::Cpu {
            return self.batcher.open(cpu);
        }
        let cpu = Arc::new(engine::ready(cpu)?);
        let (from, device) = (cpu.clone(), device.clone());
        let make: Make = Box::new(move || Ok(Arc::new(from.on(&device)?)));
        let guarded = Guarded::start(cpu, make, self.metrics.clone());
        match guarded.lost() {
            Some(reason) if *required => Err(OpenError::Trial(reason)),
            _ => self.batcher.lane(guarded).ok_or(OpenError::Stopped),
        }
    }
}

impl Model {
    /// What the front tells of it; `missing` is why its device is no faster one.
    #[must_use]
    pub fn serving(&self, missing: Option<&Missing>) -> Serving {
        let manifest = self.edition.manifest();
        let RunsOn { device, precision, note } = self.lane.runs_on();
        Serving {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            variant: precision.as_str().to_owned(),
            runs_on: device.to_string(),
            note: note.or_else(|| missing.map(ToString::to_string)),
            stamp: self.edition.stamp(),
        }
    }
}
