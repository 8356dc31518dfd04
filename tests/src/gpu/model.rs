//! One model on one device: how far it is from recorded scores, and how long it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use origin::executor::{Batch, Executor};
use quantize::build::full_precision;
use quantize::check::{Difference, MAX_ABSOLUTE, MAX_RELATIVE, RELATIVE_FLOOR};
use quantize::golden::{Folder, Recorded};
use shared_model::encode::Data;
use shared_model::graph::{Graph, Scope};
use shared_model::ladder::Binding;
use shared_model::tensor::Tensor;
use shared_model::variant::Variant;

use super::{Runs, ready};
use crate::client::Error;
use crate::rows::Row;

/// Candidates of one request.
const SIZES: [usize; 4] = [1, 100, 1000, 10_000];
/// What saturates a device: requests of so many candidates.
const FULL: (usize, usize) = (32, 128);
/// How long one number is measured, and how often at the least.
const MEASURED: (Duration, usize) = (Duration::from_millis(500), 5);

/// A model with what it is fed.
#[derive(Debug)]
pub(super) struct Model {
    name: String,
    graph: Graph,
    tensors: BTreeMap<String, Tensor>,
    binding: Binding,
    recorded: Vec<Recorded>,
}

/// What is known of a model on a device; all of it, or nothing.
#[derive(Debug, Default)]
struct Measured {
    difference: Option<Difference>,
    ms: [Option<f64>; SIZES.len()],
    pairs: Option<f64>,
    warm_up: Option<f64>,
    memory: Option<f64>,
}

impl Model {
    pub(super) fn read(folder: &Folder, name: &str) -> Result<Self, Error> {
        let (_, imported) = folder.import(name)?;
        let Variant { graph, tensors, .. } = full_precision(imported)?;
        let binding = Binding::new(&graph, folder.schema())?;
        let recorded = folder.recorded(name)?;
        Ok(Self { name: name.to_owned(), graph, tensors, binding, recorded })
    }

    pub(super) fn rows(&self, runs: &Runs) -> Result<Vec<Row>, Error> {
        let measured = self.measure(runs)?;
        let named = |name: &str, unit, value| Row::new(&format!("{}_{name}", runs.name), &self.name, unit, value);
        let difference = |of: fn(&Difference) -> f32| measured.difference.as_ref().map(|d| f64::from(of(d)));
        let mut parity = [
            named("max_abs_output", "1", difference(|d| d.absolute)),
            named("max_rel_score", "1", difference(|d| d.relative)),
        ];
        if matches!(runs.name, "gpu_f32" | "cpu") {
            let bars = [MAX_ABSOLUTE, MAX_RELATIVE].map(f64::from);
            let [absolute, relative] = parity;
            parity = [absolute.must_be_at_most(bars[0]), relative.must_be_at_most(bars[1])];
        }
        let times = SIZES.iter().zip(measured.ms).map(|(size, ms)| named(&format!("ms_{size}"), "ms", ms));
        let others = [
            named("pairs_per_s", "1/s", measured.pairs),
            named("warm_up", "s", measured.warm_up),
            named("memory", "bytes", measured.memory),
        ];
        Ok(parity.into_iter().chain(times).chain(others).collect())
    }

    fn measure(&self, runs: &Runs) -> Result<Measured, Error> {
        let Some(device) = &runs.device else { return Ok(Measured::default()) };
        let begun = Instant::now();
        let executor = ready(&self.graph, &self.tensors, device)?;
        let warm_up = begun.elapsed().as_secs_f64();
        let mut difference = Difference::default();
        for recorded in &self.recorded {
            let scores = executor.run(self.batch(recorded))?;
            let (expected, outputs) = (&recorded.scores, &recorded.outputs);
            difference = difference.max(Difference::of(self.graph.link(), &scores, expected, outputs, RELATIVE_FLOOR));
        }
        let first = self.batch(self.recorded.first().ok_or("no request is recorded")?);
        let mut ms = [None; SIZES.len()];
        for (size, ms) in SIZES.into_iter().zip(&mut ms) {
            *ms = Some(median(&executor, &self.tiled(&first, size))? * 1e3);
        }
        let (requests, candidates) = FULL;
        let one = self.tiled(&first, candidates);
        let full = Batch::join(std::iter::repeat_n(&one, requests));
        let pairs = (requests * candidates) as f64 / median(&executor, &full)?;
        let memory = executor.memory().map(|bytes| bytes as f64);
        Ok(Measured { difference: Some(difference), ms, pairs: Some(pairs), warm_up: Some(warm_up), memory })
    }

    fn batch(&self, recorded: &Recorded) -> Batch {
        let inputs = self.binding.inputs(&recorded.prepared).into_iter().map(|block| block.data.clone()).collect();
        Batch { requests: 1, owner: vec![0; recorded.prepared.len()], inputs }
    }

    /// The request with so many candidates: its own, again and again.
    fn tiled(&self, batch: &Batch, candidates: usize) -> Batch {
        fn again<T: Clone>(rows: &[T], length: usize) -> Vec<T> {
            rows.iter().cycle().take(length).cloned().collect()
        }
        let tiled = |((_, input), data): ((_, &shared_model::graph::Value), &Data)| {
            let length = candidates * input.ty.len();
            match data {
                data if input.ty.scope == Scope::Request => data.clone(),
                Data::F32(rows) => Data::F32(again(rows, length)),
                Data::I32(rows) => Data::I32(again(rows, length)),
            }
        };
        let inputs = self.graph.inputs().zip(&batch.inputs).map(tiled).collect();
        Batch { requests: 1, owner: vec![0; candidates], inputs }
    }
}

/// The median of the seconds that a batch takes, from the host and back to it.
fn median(executor: &Executor, batch: &Batch) -> Result<f64, Error> {
    let (time, least) = MEASURED;
    let (begun, mut taken) = (Instant::now(), Vec::new());
    while begun.elapsed() < time || taken.len() < least {
        let batch = batch.clone();
        let started = Instant::now();
        executor.run(batch)?;
        taken.push(started.elapsed().as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken[taken.len() / 2])
}
