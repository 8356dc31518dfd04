//! What the scores near the boundaries owe to each weight: what rounding is judged by.
//!
//! A few candidates a request are looked at, those whose scores are nearest to the boundaries between rank k and k + 1,
//! each weighted by how near. A weight's error moves a candidate's score by its slope times the error; what all candidates
//! of a request are moved by alike changes no order, so of values that they share only the differences count. Which rows
//! of a table are looked up near a boundary is counted over many more requests.
//!
//! For a linear, errors of several outputs are taken to be independent, and slopes to be independent of inputs
//! (Martens and Grosse 2015, "K-FAC"): then what is needed is one matrix of inputs and one number an output.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;
use shared_model::ladder::{Prepared, prepare};
use shared_model::variant::Variant;
use shared_model::wire::RankRequest;

use crate::failure::Failure;
use crate::gram::Gram;
use crate::progress::Progress;
use crate::score::{Encoding, Line, Scorer};
use crate::search::{Role, roles};
use crate::source::SourceError;
use crate::tape::{Lookup, Rows, Tape, Watch};

/// Calibration requests whose lookups are counted.
const COUNTED: usize = 4096;
/// Candidates of each whose slopes are looked at.
const CANDIDATES: usize = 32;
/// How far from a boundary a score counts 1/e, in standard deviations of the request's scores.
const NEAR: f32 = 0.3;
/// What all rows share alike, for each 1 that was seen: calibration requests are few, and some users and items of live ones
/// are in none of them.
const UNSEEN: f64 = 0.5;
/// Sums that are made side by side; fixed, so that they do not depend on the machine.
const LANES: usize = 4;

/// What is known of every weight.
#[derive(Debug, Default)]
pub(crate) struct Sense {
    /// What it is known from.
    pub(crate) samples: Vec<Sample>,
    pub(crate) linears: BTreeMap<String, LinearSense>,
    pub(crate) tables: BTreeMap<String, TableSense>,
}

/// Candidates of a request near its boundaries.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Encoded.
    pub(crate) prepared: Prepared,
    /// How much each counts.
    pub(crate) weights: Vec<f64>,
}

/// Of a linear's weight `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub(crate) struct LinearSense {
    /// Inputs, weighted by the slopes of all outputs.
    pub(crate) inputs: Gram,
    /// Their weighted sum.
    pub(crate) sum: Vec<f64>,
    /// The weights.
    pub(crate) weights: f64,
    /// The weighted squares of each output's slope.
    pub(crate) outputs: Vec<f64>,
}

/// Of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableSense {
    /// Slopes of a row's elements.
    pub(crate) elements: Gram,
    /// What the lookups of each row amount to, and of all.
    pub(crate) rows: HashMap<u32, f64>,
    pub(crate) all: f64,
    /// By node that looks up rows of it.
    nodes: BTreeMap<usize, Slopes>,
}

/// What is known of the slopes of a lookup.
#[derive(Clone, Copy, Debug, Default)]
struct Slopes {
    /// Their weighted squares.
    squares: f64,
    /// The weights.
    weights: f64,
}

impl LinearSense {
    pub(crate) fn zero(outputs: usize, inputs: usize) -> Self {
        Self { inputs: Gram::zero(inputs), sum: vec![0.0; inputs], weights: 0.0, outputs: vec![0.0; outputs] }
    }

    pub(crate) fn add(&mut self, weight: f64, x: &[f64]) {
        self.inputs.add(weight, x);
        self.sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * x);
        self.weights += weight;
    }

    fn merge(&mut self, other: &Self) {
        self.inputs.merge(&other.inputs);
        let sums = self.sum.iter_mut().zip(&other.sum).chain(self.outputs.iter_mut().zip(&other.outputs));
        sums.for_each(|(a, b)| *a += b);
        self.weights += other.weights;
    }

    /// What is left of the inputs to judge by where a bias makes good for what errors are on average.
    pub(crate) fn about_the_mean(&self) -> Gram {
        let mut inputs = self.inputs.clone();
        if self.weights > 0.0 {
            inputs.add(-1.0 / self.weights, &self.sum);
        }
        inputs
    }

    /// The average output of a row of errors.
    pub(crate) fn average(&self, lost: &[f32]) -> f32 {
        let sum: f64 = lost.iter().zip(&self.sum).map(|(lost, sum)| f64::from(*lost) * sum).sum();
        if self.weights > 0.0 { (sum / self.weights) as f32 } else { 0.0 }
    }
}

impl TableSense {
    pub(crate) fn zero(width: usize) -> Self {
        Self { elements: Gram::zero(width), rows: HashMap::new(), all: 0.0, nodes: BTreeMap::new() }
    }

    /// The share of a row in what is looked up.
    pub(crate) fn share(&self, row: usize, rows: usize) -> f64 {
        let seen = u32::try_from(row).ok().and_then(|row| self.rows.get(&row)).unwrap_or(&0.0);
        if self.all == 0.0 { 1.0 / rows as f64 } else { (seen / self.all + UNSEEN / rows as f64) / (1.0 + UNSEEN) }
    }
}

impl Sense {
    /// From requests of the file `calibration`, by the full-precision variant; for answers of each of `ks`.
    ///
    /// # Errors
    /// The variant cannot be run, or not on these requests.
    pub(crate) fn of(
        full: &Variant,
        (calibration, lines): (&Path, &[Line]),
        ks: &[u32],
        encoding: Encoding<'_>,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let scorer = Scorer::new(full, encoding.schema).map_err(|e| Failure::scorer(calibration, e))?;
        let tape = Tape::new(&full.graph, &full.tensors);
        let bar = progress.steps(lines.len(), "weighing errors");
        let lanes = (0..LANES).into_par_iter().map(|lane| {
            let (mut sense, mut arena) = (Self::zero(full), scorer.arena());
            for line in lines.iter().skip(lane).step_by(LANES) {
                let scores = scorer.score(&mut arena, &line.prepared);
                let scores = scores.map_err(|e| SourceError::line(calibration, line.number, e))?;
                let (request, weights) = nearest(line, &scores, ks);
                if !weights.is_empty() {
                    let prepared = prepare(encoding.schema, encoding.catalog, &request)
                        .map_err(|r| SourceError::line(calibration, line.number, r.message))?;
                    let trace = tape.run(&scorer.inputs(&prepared), weights.len());
                    tape.back(&trace, &mut Watcher { sense: &mut sense, weights: &weights });
                    sense.samples.push(Sample { prepared, weights });
                }
                bar.inc(1);
            }
            Ok::<_, SourceError>(sense)
        });
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        bar.finish_and_clear();
        let mut sense = lanes.into_iter().reduce(Self::merged).unwrap_or_default();
        sense.count(&tape, &scorer, calibration, ks, encoding, progress)?;
        Ok(sense)
    }

    /// Counts what rows are looked up near a boundary: for that many more requests are needed than for slopes, and no slopes.
    fn count(
        &mut self,
        tape: &Tape<'_>,
        scorer: &Scorer,
        calibration: &Path,
        ks: &[u32],
        encoding: Encoding<'_>,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let lines = encoding.spread(calibration, COUNTED)?;
        let bar = progress.steps(lines.len(), "counting lookups");
        let lanes = (0..LANES).into_par_iter().map(|lane| {
            let (mut counts, mut arena) = (BTreeMap::<String, HashMap<u32, f64>>::new(), scorer.arena());
            for line in lines.iter().skip(lane).step_by(LANES) {
                let scores = scorer.score(&mut arena, &line.prepared);
                let scores = scores.map_err(|e| SourceError::line(calibration, line.number, e))?;
                let weights = near(&scores, ks);
                let trace = tape.run_ids(&scorer.inputs(&line.prepared), scores.len());
                for lookup in tape.lookups(&trace) {
                    let Some(slopes) = self.tables.get(lookup.table).and_then(|t| t.nodes.get(&lookup.node)) else {
                        continue;
                    };
                    let counts = counts.entry(lookup.table.to_owned()).or_default();
                    let usual = slopes.squares / slopes.weights.max(f64::MIN_POSITIVE);
                    let of_all: f64 = weights.iter().sum();
                    let of_candidate = (lookup.ids.len() / weights.len().max(1)).max(1);
                    for (i, id) in lookup.ids.iter().enumerate() {
                        let weight = if lookup.shared { of_all } else { weights[i / of_candidate] };
                        *counts.entry(id.cast_unsigned()).or_default() += usual * weight;
                    }
                }
                bar.inc(1);
            }
            Ok::<_, SourceError>(counts)
        });
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        bar.finish_and_clear();
        for (table, counts) in lanes.into_iter().flatten() {
            let Some(sense) = self.tables.get_mut(&table) else { continue };
            for (row, sum) in counts {
                *sense.rows.entry(row).or_default() += sum;
            }
        }
        for sense in self.tables.values_mut() {
            // In one order: a hash map has none.
            let mut sums: Vec<(&u32, &f64)> = sense.rows.iter().collect();
            sums.sort_unstable_by_key(|(row, _)| **row);
            sense.all = sums.into_iter().map(|(_, sum)| sum).sum();
        }
        Ok(())
    }

    fn zero(full: &Variant) -> Self {
        let mut sense = Self::default();
        for (name, role) in roles(&full.graph, &full.tensors) {
            let [a, b] = full.tensors[&name].shape()[..] else { continue };
            match role {
                Role::Linear => drop(sense.linears.insert(name, LinearSense::zero(a, b))),
                Role::Table => drop(sense.tables.insert(name, TableSense::zero(b))),
            }
        }
        sense
    }

    fn merged(mut self, other: Self) -> Self {
        self.samples.extend(other.samples);
        for (mine, other) in self.linears.values_mut().zip(other.linears.into_values()) {
            mine.merge(&other);
        }
        for (mine, other) in self.tables.values_mut().zip(other.tables.into_values()) {
            mine.elements.merge(&other.elements);
            for (node, slopes) in other.nodes {
                let mine = mine.nodes.entry(node).or_default();
                mine.squares += slopes.squares;
                mine.weights += slopes.weights;
            }
        }
        self
    }
}

/// The request with the candidates that are nearest to a boundary, and their weights.
fn nearest(line: &Line, scores: &[f32], ks: &[u32]) -> (RankRequest, Vec<f64>) {
    let mut weights: Vec<(usize, f64)> = near(scores, ks).into_iter().enumerate().collect();
    weights.retain(|(_, weight)| *weight > 0.0);
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    weights.truncate(CANDIDATES);
    let candidate = |&(i, _): &(usize, f64)| line.request.candidates[line.prepared.position(i)].clone();
    let candidates = weights.iter().map(candidate).collect();
    let request = RankRequest { candidates, exclude: Vec::new(), ..line.request.clone() };
    (request, weights.into_iter().map(|(_, weight)| weight).collect())
}

/// How much each candidate counts: by how near it is to a boundary. Nothing, if scores differ by no more than f32 rounds.
fn near(scores: &[f32], ks: &[u32]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let ks: Vec<usize> = ks.iter().map(|k| *k as usize).filter(|k| *k < scores.len()).collect();
    let boundaries: Vec<f32> = ks.iter().map(|&k| f32::midpoint(sorted[k - 1], sorted[k])).collect();
    let mean = scores.iter().sum::<f32>() / scores.len().max(1) as f32;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f32>() / scores.len().max(1) as f32).sqrt();
    let noise = f32::EPSILON * scores.iter().fold(0.0f32, |most, s| most.max(s.abs()));
    if deviation.is_nan() || deviation <= noise {
        return vec![0.0; scores.len()];
    }
    // Requests count alike, whatever the scale of their scores: ranks are what is at stake.
    let scale = f64::from(deviation).powi(2) * ks.len().max(1) as f64;
    let by = |s: f32, b: &f32| f64::from((-(s - b).abs() / (NEAR * deviation)).exp());
    scores.iter().map(|s| boundaries.iter().map(|b| by(*s, b)).sum::<f64>() / scale).collect()
}

struct Watcher<'a> {
    sense: &'a mut Sense,
    weights: &'a [f64],
}

impl Watch for Watcher<'_> {
    fn linear(&mut self, weight: &str, x: Rows<'_>, by_outputs: &[f32]) {
        let Some(sense) = self.sense.linears.get_mut(weight) else { return };
        let (outputs, of_row) = (sense.outputs.len(), by_outputs.len() / self.weights.len());
        let inputs = x.len() * outputs / of_row;
        if x.is_shared() {
            for (m, x) in x.row(0).chunks_exact(inputs).enumerate() {
                let slopes = centred(self.weights, |r| &by_outputs[r * of_row + m * outputs..][..outputs]);
                let mut all = 0.0;
                for (weight, slope) in self.weights.iter().zip(slopes) {
                    all += squares(*weight, &slope, &mut sense.outputs);
                }
                sense.add(all, &floats(x));
            }
            return;
        }
        for (r, weight) in self.weights.iter().enumerate() {
            let slopes = by_outputs[r * of_row..][..of_row].chunks_exact(outputs);
            for (x, slope) in x.row(r).chunks_exact(inputs).zip(slopes) {
                let all = squares(*weight, &floats(slope), &mut sense.outputs);
                sense.add(all, &floats(x));
            }
        }
    }

    fn lookup(&mut self, Lookup { node, table, ids, shared }: Lookup<'_>, by_rows: &[f32]) {
        let Some(sense) = self.sense.tables.get_mut(table) else { return };
        let known = sense.nodes.entry(node).or_default();
        let of_candidate = by_rows.len() / self.weights.len();
        let looked_up = if shared { ids.len() } else { ids.len() / self.weights.len() };
        let width = of_candidate / looked_up.max(1);
        for l in 0..looked_up {
            let slope = |r: usize| &by_rows[r * of_candidate + l * width..][..width];
            let slopes: Vec<Vec<f64>> = if shared {
                centred(self.weights, slope)
            } else {
                (0..self.weights.len()).map(|r| floats(slope(r))).collect()
            };
            for (weight, slope) in self.weights.iter().zip(slopes) {
                sense.elements.add(*weight, &slope);
                known.squares += weight * slope.iter().map(|s| s * s).sum::<f64>();
                known.weights += weight;
            }
        }
    }
}

/// Slopes without what all candidates have in common.
fn centred<'a>(weights: &[f64], slope: impl Fn(usize) -> &'a [f32]) -> Vec<Vec<f64>> {
    let mut mean = vec![0.0; slope(0).len()];
    for (r, weight) in weights.iter().enumerate() {
        mean.iter_mut().zip(slope(r)).for_each(|(mean, s)| *mean += weight * f64::from(*s));
    }
    let all: f64 = weights.iter().sum();
    let of_candidate = |r: usize| slope(r).iter().zip(&mean).map(|(s, mean)| f64::from(*s) - mean / all).collect();
    (0..weights.len()).map(of_candidate).collect()
}

/// Adds each slope's weighted square to its sum, and gives all of them together.
fn squares(weight: f64, slope: &[f64], sums: &mut [f64]) -> f64 {
    let mut all = 0.0;
    for (slope, sum) in slope.iter().zip(sums) {
        let square = weight * slope * slope;
        *sum += square;
        all += square;
    }
    all
}

fn floats(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[cfg(test)]
mod tests;
