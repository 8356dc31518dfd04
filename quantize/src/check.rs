//! Before anything is quantized: does the lowered graph compute what the model does, and score each candidate alone?
//!
//! The first is asked of tract, which shares no code with the plan and runs the ONNX file itself. The second is proven
//! by the lowering; here it is tried as well, by scoring the same candidates in another order and in smaller company.

mod reference;

use std::io::Read;
use std::path::Path;

use shared_model::graph::Link;
use shared_model::ladder::{Binding, prepare};
use shared_model::variant::Variant;
use thiserror::Error;

pub use reference::{Reference, ReferenceError};

use crate::import::Imported;
use crate::progress::Progress;
use crate::score::{Encoding, Line, Scorer, ScorerError};
use crate::source::SourceError;

/// How many calibration requests are checked; all of them if there are fewer.
pub const CHECKED_REQUESTS: usize = 64;
/// The largest difference of two outputs that is still the same model.
pub const MAX_ABSOLUTE: f32 = 1e-5;
/// The largest relative difference of two scores before the link.
pub const MAX_RELATIVE: f32 = 1e-4;
/// Scores before the link that are smaller are compared to it and not to themselves: next to zero, sums of numbers of
/// order 1 have no relative precision.
pub const RELATIVE_FLOOR: f32 = 0.1;

/// The largest differences seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Of the model's output.
    pub absolute: f32,
    /// Of the score before the link, relative to its size, or to a floor where it is smaller.
    pub relative: f32,
}

impl Difference {
    /// Of scores before the link against those of a reference, with the reference's outputs; `floor` is the least size
    /// that a difference of scores is divided by.
    #[must_use]
    pub fn of(link: Link, scores: &[f32], expected: &[f32], outputs: &[f32], floor: f32) -> Self {
        let mut most = Self::default();
        for ((&score, &expect), &output) in scores.iter().zip(expected).zip(outputs) {
            most.absolute = worse(most.absolute, (link.apply(score) - output).abs());
            most.relative = worse(most.relative, (score - expect).abs() / expect.abs().max(floor));
        }
        most
    }

    /// The larger of both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { absolute: worse(self.absolute, other.absolute), relative: worse(self.relative, other.relative) }
    }

    /// Whether it is that of rounding alone.
    #[must_use]
    pub fn is_rounding(self) -> bool {
        self.absolute <= MAX_ABSOLUTE && self.relative <= MAX_RELATIVE
    }
}

/// The larger; what is not a number is worse than any.
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::INFINITY } else { a.max(b) }
}

/// What the check saw.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Checked {
    /// Requests compared.
    pub requests: usize,
    /// Candidates compared.
    pub candidates: usize,
    /// The largest differences from tract.
    pub difference: Difference,
}

/// Why a model is refused.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A calibration request cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The lowered graph cannot be run.
    #[error("the imported graph cannot be run: {0}")]
    Scorer(#[from] ScorerError),
    /// The reference cannot run the model.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The lowered graph computes something else.
    #[error(
        "the imported graph differs from the model as tract runs it: {} on the output (at most {MAX_ABSOLUTE} is rounding), \
         {} relative on the score (at most {MAX_RELATIVE}), first at {at}: please report the model", .difference.absolute, .difference.relative
    )]
    Differs {
        /// The largest differences.
        difference: Difference,
        /// The first line beyond rounding.
        at: String,
    },
    /// A score depends on the other candidates.
    #[error(
        "candidate {candidate} of {at} has another score {how}: the model does not score each candidate on its own"
    )]
    Depends {
        /// Its position.
        candidate: usize,
        /// The line.
        at: String,
        /// In which company.
        how: &'static str,
    },
}

/// The scores of a request's candidates before the link, and the outputs.
type Outcome = Result<(Vec<f32>, Vec<f32>), ReferenceError>;

/// What tract makes of calibration requests.
#[derive(Debug)]
pub struct Expected {
    /// The requests that have candidates.
    lines: Vec<(Line, Outcome)>,
}

impl Expected {
    /// Runs the original, read from `file`; of `imported` the tensors are not looked at.
    ///
    /// # Errors
    /// A request cannot be used, or tract does not take the model.
    pub fn of(
        file: &mut dyn Read,
        imported: &Imported,
        encoding: Encoding,
        calibration: &Path,
        progress: &Progress,
    ) -> Result<Self, CheckError> {
        let mut lines = encoding.lines(calibration, CHECKED_REQUESTS)?;
        lines.retain(|line| !line.prepared.is_empty());
        if lines.is_empty() {
            let what = format!("none of its first {CHECKED_REQUESTS} requests has candidates to compare with tract on");
            return Err(SourceError::file(calibration, what).into());
        }
        let binding = Binding::new(&imported.graph, encoding.schema).map_err(ScorerError::from)?;
        let mut reference = Reference::new(file, imported)?;
        let bar = progress.steps(lines.len(), "running tract");
        let run = |line: Line| {
            bar.inc(1);
            let outcome = reference.run(&binding.inputs(&line.prepared), line.prepared.len());
            (line, outcome)
        };
        let lines = lines.into_iter().map(run).collect();
        bar.finish_and_clear();
        Ok(Self { lines })
    }
}

/// Compares with the original and tries invariance, on the requests that the original was run on.
///
/// # Errors
/// The model cannot be run, computes something else, or mixes candidates.
pub fn check(
    variant: &Variant,
    expected: Expected,
    encoding: Encoding,
    calibration: &Path,
    progress: &Progress,
) -> Result<Checked, CheckError> {
    let scorer = Scorer::new(variant, encoding.schema)?;
    let mut arena = scorer.arena();
    let mut difference = Difference::default();
    let mut first = None;
    let bar = progress.steps(expected.lines.len(), "comparing with tract");
    let (mut requests, mut candidates) = (0, 0);
    for (line, outcome) in expected.lines {
        let at = || format!("{}:{}", calibration.display(), line.number);
        let run = |e| SourceError::line(calibration, line.number, e);
        let scores = scorer.score(&mut arena, &line.prepared).map_err(run)?;
        let (expected, outputs) = outcome?;
        let seen = Difference::of(variant.graph.link(), &scores, &expected, &outputs, RELATIVE_FLOOR);
        difference = difference.max(seen);
        if !seen.is_rounding() && first.is_none() {
            first = Some(at());
        }
        for (how, company) in companies(&line) {
            let request = with_candidates(&line, &company);
            let prepared = prepare(encoding.schema, encoding.catalog, &request)
                .map_err(|r| SourceError::line(calibration, line.number, r.message))?;
            let again = scorer.score(&mut arena, &prepared).map_err(run)?;
            let moved = company.iter().zip(&again).find(|(i, s)| scores[**i].to_bits() != s.to_bits());
            if let Some((&candidate, _)) = moved {
                return Err(CheckError::Depends { candidate, at: at(), how });
            }
        }
        requests += 1;
        candidates += scores.len();
        bar.inc(1);
    }
    bar.finish_and_clear();
    match first {
        Some(at) => Err(CheckError::Differs { difference, at }),
        None => Ok(Checked { requests, candidates, difference }),
    }
}

/// The same candidates in other company, as positions.
fn companies(line: &Line) -> [(&'static str, Vec<usize>); 3] {
    let n = line.prepared.len();
    [
        ("in reverse order", (0..n).rev().collect()),
        ("among every third candidate", (0..n).step_by(3).collect()),
        ("alone", (0..n).skip(n / 2).take(1).collect()),
    ]
}

fn with_candidates(line: &Line, positions: &[usize]) -> shared_model::wire::RankRequest {
    let mut request = line.request.clone();
    let candidate = |&i: &usize| line.request.candidates[line.prepared.position(i)].clone();
    request.candidates = positions.iter().map(candidate).collect();
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_not_a_number_is_never_rounding() {
        let d = Difference::of(Link::Identity, &[f32::NAN, 1.0], &[1.0, 1.0], &[1.0, 1.0], RELATIVE_FLOOR);
        assert!(!d.is_rounding());
        assert!(!d.max(Difference::default()).is_rounding());
    }

    #[test]
    fn tells_rounding_from_another_model() {
        let near = Difference::of(Link::Identity, &[2.000_01], &[2.0], &[2.000_01], RELATIVE_FLOOR);
        assert!(near.is_rounding(), "{near:?}");
        assert!(!Difference::of(Link::Identity, &[2.001], &[2.0], &[2.001], RELATIVE_FLOOR).is_rounding());
    }
}
