//! Which of the variants that the search can make: what is wanted, what was seen on the way, what is missed.

use rayon::prelude::*;
use serde::Serialize;
use shared_model::schema::Schema;
use shared_model::topk::{same_set, top};
use shared_model::variant::{Variant, VariantName};

use super::{Fewest, Search};
use crate::score::{Line, Scorer, ScorerError};

/// Variants between the one of the fewest bits and the one of 8 that are looked at in any case.
const POINTS: usize = 8;
/// Times that the bytes between two of them are halved.
const HALVINGS: usize = 4;

/// What the edge's variant is to be best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Goal {
    /// Ranking as full precision does, within the bytes.
    Agreement,
    /// Few bytes, as long as it agrees often enough.
    Bytes,
    /// Time: linears of 8 bits first, and none in full precision; then agreement, within the bytes.
    Time,
}

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Above all.
    pub goal: Goal,
    /// The most of the full-precision bytes.
    pub share: f64,
    /// The least agreement.
    pub agreement: Option<f64>,
}

/// A variant that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its bytes.
    pub bytes: usize,
    /// Their share of those of full precision.
    pub share: f64,
    /// The share of calibration requests with the top-k set of full precision.
    pub agreement: f64,
    /// Whether it is the one taken.
    pub taken: bool,
}

/// What came of a search.
#[derive(Debug)]
pub struct Found {
    /// The best.
    pub variant: Variant,
    /// What was looked at: by bytes, each better than those of fewer.
    pub front: Vec<Tried>,
    /// What it does not reach.
    pub missed: Option<String>,
}

/// Requests to judge variants by.
#[derive(Debug)]
pub struct Jury<'a> {
    pub(super) lines: &'a [Line],
    pub(super) schema: &'a Schema,
    pub(super) k: usize,
    /// By full precision.
    pub(super) scores: Vec<Vec<f32>>,
}

impl<'a> Jury<'a> {
    /// Of these requests, for answers of k.
    ///
    /// # Errors
    /// The variant cannot be run.
    pub(crate) fn new(full: &Variant, lines: &'a [Line], schema: &'a Schema, k: u32) -> Result<Self, ScorerError> {
        let scores = scores(full, lines, schema)?;
        Ok(Self { lines, schema, k: k as usize, scores })
    }

    /// The share of requests with the top-k set of full precision.
    fn agreement(&self, variant: &Variant) -> Result<f64, ScorerError> {
        let own = scores(variant, self.lines, self.schema)?;
        let pairs = || own.iter().zip(&self.scores).filter(|(_, full)| full.len() > self.k);
        let agree = pairs().filter(|(own, full)| same_set(&top(own, self.k), &top(full, self.k))).count();
        Ok(agree as f64 / pairs().count().max(1) as f64)
    }
}

pub(super) fn scores(variant: &Variant, lines: &[Line], schema: &Schema) -> Result<Vec<Vec<f32>>, ScorerError> {
    let scorer = Scorer::new(variant, schema)?;
    let score = |arena: &mut _, line: &Line| scorer.score(arena, &line.prepared).unwrap_or_default();
    Ok(lines.par_iter().map_init(|| scorer.arena(), |arena, line| score(arena, line)).collect())
}

impl Search<'_> {
    /// The edge's variant.
    ///
    /// # Errors
    /// A variant that is tried cannot be run.
    pub fn edge(&self, wanted: Wanted, jury: &Jury<'_>) -> Result<Found, ScorerError> {
        let full = self.full.tensor_bytes().max(1) as f64;
        let [least, most] = [Fewest::Four, Fewest::Eight].map(|f| self.bytes(&self.uniform(f as u8)) as f64 / full);
        let at = |i: usize| least + (most - least) * i as f64 / (POINTS - 1) as f64;
        let mut seen = Vec::new();
        let look = |share: f64| -> Result<(Tried, Variant), ScorerError> {
            let fast = wanted.goal == Goal::Time;
            let variant = self.spent(VariantName::W4, &self.spend(Fewest::Four, share, fast));
            let (bytes, agreement) = (variant.tensor_bytes(), jury.agreement(&variant)?);
            Ok((Tried { bytes, share: bytes as f64 / full, agreement, taken: false }, variant))
        };
        for i in 0..POINTS {
            seen.push(look(at(i))?.0);
        }
        let (point, variant) = match (wanted.goal, wanted.agreement) {
            (Goal::Bytes, Some(agreement)) => {
                let reaches = |i: &usize| seen[*i].agreement >= agreement && at(*i) <= wanted.share;
                match (0..POINTS).find(reaches) {
                    Some(i) => {
                        let (mut low, mut high) = (at(i.saturating_sub(1)), at(i));
                        let mut best = look(high)?;
                        for _ in 0..HALVINGS {
                            let middle = f64::midpoint(low, high);
                            let tried = look(middle)?;
                            seen.push(tried.0);
                            if tried.0.agreement >= agreement { (high, best) = (middle, tried) } else { low = middle }
                        }
                        best
                    }
                    None => look(wanted.share)?,
                }
            }
            _ => look(wanted.share)?,
        };
        seen.push(Tried { taken: true, ..point });
        Ok(Found { variant, front: front(seen), missed: missed(wanted, point) })
    }
}

/// By bytes, without those that another is as good as with no more bytes; the one taken stays.
fn front(mut seen: Vec<Tried>) -> Vec<Tried> {
    seen.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(b.agreement.total_cmp(&a.agreement)).then(b.taken.cmp(&a.taken)));
    let mut best = f64::NEG_INFINITY;
    seen.retain(|point| {
        let better = point.agreement > best;
        best = best.max(point.agreement);
        better || point.taken
    });
    seen
}

fn missed(wanted: Wanted, point: Tried) -> Option<String> {
    let bytes = (point.share > wanted.share).then(|| {
        let [has, most] = [point.share, wanted.share].map(|share| 100.0 * share);
        format!("the edge's variant takes {has:.1} % of the full-precision bytes and not {most:.1} %: no weight has more than 4 bits")
    });
    bytes.or_else(|| {
        let least = wanted.agreement.filter(|least| point.agreement < *least)?;
        let [has, least] = [point.agreement, least].map(|agreement| 100.0 * agreement);
        let most = 100.0 * wanted.share;
        Some(format!("the edge's variant agrees on {has:.1} % of calibration requests and not on {least:.1} %, within {most:.1} % of the bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes: usize, agreement: f64, taken: bool) -> Tried {
        Tried { bytes, share: bytes as f64 / 100.0, agreement, taken }
    }

    #[test]
    fn a_front_has_no_point_that_another_beats_but_the_one_taken() {
        let seen = vec![point(30, 0.9, false), point(10, 0.5, false), point(20, 0.5, true), point(25, 0.4, false)];
        let left: Vec<usize> = front(seen).iter().map(|p| p.bytes).collect();
        assert_eq!(left, [10, 20, 30]);
    }

    #[test]
    fn says_what_is_missed() {
        let wanted = Wanted { goal: Goal::Agreement, share: 0.2, agreement: Some(0.9) };
        assert_eq!(missed(wanted, point(20, 0.9, true)), None);
        assert!(missed(wanted, point(20, 0.8, true)).is_some_and(|m| m.contains("80.0 %") && m.contains("90.0 %")));
        assert!(missed(wanted, point(21, 0.95, true)).is_some_and(|m| m.contains("21.0 %")));
    }
}
