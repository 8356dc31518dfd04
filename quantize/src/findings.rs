//! What a build or an evaluation found out: the one place that stdout, JSON and the page are written from.

mod changed;
mod coverage;
mod deviation;
mod noise;
mod tensors;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared_model::bundle::Manifest;
use shared_model::gate::Policy;
use shared_model::variant::{Variant, VariantName};

use crate::build::REFERENCE;
use crate::check::Checked;
use crate::evaluate::Evaluation;
use crate::inspect::{GraphSummary, summary};
use crate::peer::Compared;
use crate::ranker::Ranker;
use crate::replay::Replay;
use crate::score::Set;
use crate::search::Tried;
use crate::split::Work;

pub use changed::{Change, Changed};
pub use coverage::{Curve, Point};
pub use deviation::Deviation;
pub use noise::Noisy;
pub use tensors::{Stored, TensorUse};

/// What was found out of a bundle.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Its serial.
    pub serial: u64,
    /// How the import compares with tract; `None` of a bundle that is there already.
    pub check: Option<Checked>,
    /// The files of the requests that variants were judged on.
    pub files: Vec<String>,
    /// Those requests.
    pub requests: usize,
    /// Their users.
    pub users: usize,
    /// Gate and evaluation requests that a tier would send up unscored.
    pub skipped: usize,
    /// What each variant takes; after them, what a peer's forms of the model take.
    pub sizes: Vec<Size>,
    /// The model in numbers.
    pub graph: GraphSummary,
    /// What each tensor takes, the largest first.
    pub tensors: Vec<TensorUse>,
    /// What the search for the edge's variant looked at, by bytes; nothing of a bundle that is there already.
    pub front: Vec<Tried>,
    /// What was wanted of it and is not reached.
    pub missed: Option<String>,
    /// How well each variant ranks; after them, how well a peer's forms of the model do.
    pub evaluations: Vec<Evaluation>,
    /// What each quantized variant would answer alone, and how well.
    pub curves: Vec<Curve>,
    /// How far each quantized variant's scores are from the reference's.
    pub deviations: Vec<Deviation>,
    /// The requests that each quantized variant changes most.
    pub changed: Vec<Changed>,
    /// The peer that the variants are compared with; `None` unless asked for.
    pub compared: Option<Compared>,
    /// How noisy scores are, of the variants whose gate counts in that.
    pub noise: Vec<Noisy>,
    /// When a tier may answer.
    pub policies: Vec<Policy>,
    /// What each policy does on the requests judged with; none unless asked for.
    pub replays: Vec<Replay>,
}

/// The bytes of a variant's tensors.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Whose.
    pub variant: Ranker,
    /// Its bytes.
    pub bytes: usize,
    /// Their share of those of f32.
    pub share: f64,
}

impl Findings {
    /// Of a bundle's variants, in the order of [`VariantName::ALL`], and requests that they have scored. Check, files,
    /// replays and the work before the split are the caller's to add.
    #[must_use]
    pub fn of(manifest: &Manifest, variants: &[Variant], set: &Set, evaluations: Vec<Evaluation>) -> Self {
        let k = evaluations.first().map_or(0, |e| e.k) as usize;
        let quantized = || VariantName::ALL.into_iter().enumerate().take(REFERENCE);
        let requests = &set.requests;
        Self {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            serial: manifest.serial,
            check: None,
            files: Vec::new(),
            requests: requests.len(),
            users: requests.iter().map(|r| r.user.as_str()).collect::<BTreeSet<_>>().len(),
            skipped: set.skipped,
            sizes: sizes(variants),
            graph: summary(&variants[REFERENCE].graph, None),
            tensors: tensors::tensors(variants),
            front: Vec::new(),
            missed: None,
            evaluations,
            curves: quantized().map(|(own, name)| coverage::curve(requests, own, name, k)).collect(),
            deviations: quantized().filter_map(|(own, name)| deviation::deviation(requests, own, name)).collect(),
            changed: quantized().flat_map(|(own, name)| changed::changed(requests, own, name, k)).collect(),
            compared: None,
            noise: variants.iter().filter_map(noise::noisy).collect(),
            policies: manifest.policies.clone(),
            replays: Vec::new(),
        }
    }

    /// With what each tensor in 4 bits alone does to the scores.
    #[must_use]
    pub fn with_sensitivity(mut self, sensitivity: &BTreeMap<String, f64>) -> Self {
        for tensor in &mut self.tensors {
            tensor.sensitivity = sensitivity.get(&tensor.name).copied();
        }
        self
    }

    /// With the multiply-adds of the model before it was split.
    #[must_use]
    pub fn with_unsplit(mut self, work: Work) -> Self {
        self.graph.unsplit = Some(work);
        self
    }
}

fn sizes(variants: &[Variant]) -> Vec<Size> {
    let full = variants[REFERENCE].tensor_bytes().max(1) as f64;
    let size = |v: &Variant| {
        let bytes = v.tensor_bytes();
        Size { variant: v.name.into(), bytes, share: bytes as f64 / full }
    };
    variants.iter().map(size).collect()
}
