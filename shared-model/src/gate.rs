//! The gate: decides whether a tier's answer can stand, and which candidates are in doubt when it cannot (DESIGN §7).
//!
//! Scores here are those before the model's link, in request order. The reference is the scalar f32 plan.
//!
//! How near a candidate is to the boundary is counted in what its score may be off by: an item whose row has 4 bits may be
//! further from where it belongs than one of 8 (ADR 21).

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::topk;
use crate::wire::Tier;

/// When a tier may answer, and what it sends up else: thresholds for one k and one bucket of N, as certified by
/// `quantize` for the whole ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The size of the answer.
    #[n(0)]
    pub k: u32,
    /// The fewest candidates it holds for.
    #[n(1)]
    pub n_min: u32,
    /// The most candidates it holds for.
    #[n(2)]
    pub n_max: u32,
    /// At most this share of tagged answers has another top-k set than the reference.
    #[n(3)]
    pub alpha: f64,
    /// The probability that the certification errs, in any of a bundle's policies.
    #[n(4)]
    pub delta: f64,
    /// Of the edge.
    #[n(5)]
    pub edge: Thresholds,
    /// Of the region.
    #[n(6)]
    pub region: Thresholds,
    /// Why nothing is certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(7)]
    pub reason: Option<String>,
    /// What the certification saw.
    #[n(8)]
    pub evidence: Evidence,
}

/// What one tier does with its scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// It answers from this margin on, in the scores of the quietest candidates; `None`: never.
    #[n(0)]
    pub margin: Option<f32>,
    /// Else the candidates nearer to the boundary than this go up; `None`: the request goes up whole.
    #[n(1)]
    pub doubt: Option<f32>,
}

/// By which path an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Class {
    /// The edge alone.
    #[n(0)]
    Edge,
    /// The region alone.
    #[n(1)]
    Region,
    /// The edge, and the region for the candidates in doubt.
    #[n(2)]
    MergedRegion,
    /// Lower tiers, and the origin for the candidates in doubt.
    #[n(3)]
    MergedOrigin,
}

/// What a certification saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Gate requests it was tested on.
    #[n(0)]
    pub requests: u64,
    /// Their users.
    #[n(1)]
    pub users: u64,
    /// How many times fewer independent requests they amount to.
    #[n(2)]
    pub design_effect: f64,
    /// Each class that is in use, by the tier at which requests enter the ladder.
    #[n(3)]
    pub classes: Vec<ClassEvidence>,
}

/// What a certification saw of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct ClassEvidence {
    /// Where the requests enter.
    #[n(0)]
    pub entry: Tier,
    /// The class.
    #[n(1)]
    pub class: Class,
    /// Gate requests answered so.
    #[n(2)]
    pub answered: u64,
    /// Those of them with another top-k set than the reference.
    #[n(3)]
    pub errors: u64,
    /// The upper Clopper-Pearson bound on the error.
    #[n(4)]
    pub bound: f64,
}

/// What the gate says to one set of scores.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every candidate is in the answer, so the set cannot differ.
    Trivial,
    /// The answer stands.
    Sure {
        /// The margin.
        margin: f32,
        /// What it had to reach.
        threshold: f32,
    },
    /// Some candidates are in doubt.
    Doubt(Split),
    /// The request has to go up as it is.
    Whole,
}

/// Candidates by how sure it is on which side of the boundary they are; those certainly out are in neither list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Positions of those certainly in, best first; fewer than k.
    pub certain: Vec<usize>,
    /// Positions of those in doubt, in request order; the k-th and the next are always among them.
    pub doubt: Vec<usize>,
}

/// The scores of candidates, and how noisy each is: what it may be off by, over what the quietest may.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// The scores.
    pub values: &'a [f32],
    /// For each, 1 or more.
    pub noise: &'a [f32],
}

/// The boundary of the top k: between rank k and rank k + 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    /// The score gap.
    pub margin: f32,
    /// Half way between the two scores.
    pub middle: f32,
}

impl Class {
    /// Its name in answers, policies and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Region => "region",
            Self::MergedRegion => "merged_region",
            Self::MergedOrigin => "merged_origin",
        }
    }
}

impl Thresholds {
    /// Whether scoring can lead to anything but the whole request going up.
    #[must_use]
    pub fn is_useful(self) -> bool {
        self.margin.is_some() || self.doubt.is_some()
    }
}

impl Policy {
    /// What a tier below the origin has to hold; the origin answers everything.
    #[must_use]
    pub fn of(&self, tier: Tier) -> Thresholds {
        match tier {
            Tier::Edge => self.edge,
            Tier::Region | Tier::Origin => self.region,
        }
    }
}

/// The policy for this k and N.
#[must_use]
pub fn policy(policies: &[Policy], k: u32, n: usize) -> Option<&Policy> {
    policies.iter().find(|p| p.k == k && (p.n_min as usize..=p.n_max as usize).contains(&n))
}

/// The boundary in scores of which `order` lists the positions of the best k + 1 at least, best first. `None` when
/// nothing is left out.
#[must_use]
pub fn boundary(scores: &[f32], order: &[usize], k: usize) -> Option<Boundary> {
    let first_out = scores[*order.get(k)?];
    let last_in = scores[*order.get(k.checked_sub(1)?)?];
    let margin = last_in - first_out;
    Some(Boundary { margin, middle: first_out + margin / 2.0 })
}

/// The score gap at the boundary. `None` when nothing is left out.
#[must_use]
pub fn margin(scores: &[f32], k: usize) -> Option<f32> {
    boundary(scores, &topk::top(scores, k.checked_add(1)?), k).map(|b| b.margin)
}

impl Scores<'_> {
    /// How far a candidate is from a boundary, in what the quietest candidates' scores may be off by.
    #[must_use]
    pub fn distance(&self, boundary: Boundary, i: usize) -> f32 {
        (self.values[i] - boundary.middle).abs() / self.noise[i]
    }

    /// Twice the distance of the nearest candidate: the score gap, where none is noisier than another.
    #[must_use]
    pub fn margin(&self, boundary: Boundary) -> f32 {
        // Between two that are infinite there is no middle, and nothing is sure.
        if boundary.margin.is_nan() {
            return boundary.margin;
        }
        2.0 * (0..self.values.len()).map(|i| self.distance(boundary, i)).fold(f32::INFINITY, f32::min)
    }
}

/// Decides on one set of scores.
#[must_use]
pub fn decide(thresholds: Thresholds, scores: Scores<'_>, k: usize) -> Verdict {
    let order = topk::top(scores.values, k.saturating_add(1));
    let Some(boundary) = boundary(scores.values, &order, k) else { return Verdict::Trivial };
    let margin = scores.margin(boundary);
    match thresholds {
        Thresholds { margin: Some(threshold), .. } if margin >= threshold => Verdict::Sure { margin, threshold },
        Thresholds { doubt: Some(doubt), .. } => Verdict::Doubt(split(scores, &order, k, boundary, doubt)),
        Thresholds { doubt: None, .. } => Verdict::Whole,
    }
}

/// Splits at a boundary: in doubt is what is nearer to its middle than `doubt`, and the two at the boundary. Of `order`
/// the best k + 1 are looked at.
#[must_use]
pub fn split(scores: Scores<'_>, order: &[usize], k: usize, boundary: Boundary, doubt: f32) -> Split {
    let is_near = |distance: f32| distance < doubt || distance.is_nan();
    let mut in_doubt: Vec<bool> = (0..scores.values.len()).map(|i| is_near(scores.distance(boundary, i))).collect();
    order[k - 1..=k].iter().for_each(|i| in_doubt[*i] = true);
    let certain = order[..k].iter().copied().filter(|i| !in_doubt[*i]).collect();
    let positions = in_doubt.into_iter().enumerate().filter_map(|(i, doubt)| doubt.then_some(i));
    Split { certain, doubt: positions.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 6] = [1.0, 3.0, 0.5, 2.0, -4.0, 9.0];

    /// As noisy as each other.
    fn alike(values: &[f32]) -> Scores<'_> {
        Scores { values, noise: &[1.0; 6][..values.len()] }
    }

    fn thresholds(margin: Option<f32>, doubt: Option<f32>) -> Thresholds {
        Thresholds { margin, doubt }
    }

    #[test]
    fn is_sure_when_the_margin_reaches_the_threshold() {
        let verdict = decide(thresholds(Some(1.0), Some(1.0)), alike(&SCORES), 2);
        assert_eq!(verdict, Verdict::Sure { margin: 1.0, threshold: 1.0 });
    }

    #[test]
    fn splits_below_the_threshold_around_the_middle_of_the_boundary() {
        // The order is 9, 3 | 2, 1, 0.5, -4; the middle 2.5.
        let split = |doubt| match decide(thresholds(Some(1.5), Some(doubt)), alike(&SCORES), 2) {
            Verdict::Doubt(Split { certain, doubt }) => (certain, doubt),
            other => panic!("{other:?}"),
        };
        assert_eq!(split(1.5), (vec![5], vec![1, 3]), "1.0 is as far as the threshold: out");
        assert_eq!(split(1.6), (vec![5], vec![0, 1, 3]));
        assert_eq!(split(7.0), (vec![], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(split(0.1), (vec![5], vec![1, 3]), "the two at the boundary are always in doubt");
    }

    #[test]
    fn ties_with_the_boundary_are_in_doubt_together() {
        let Verdict::Doubt(split) = decide(thresholds(None, Some(0.1)), alike(&[1.0, 1.0, 1.0, 5.0, 0.0]), 2) else {
            panic!()
        };
        assert_eq!((split.certain, split.doubt), (vec![3], vec![0, 1, 2]));
    }

    #[test]
    fn a_noisy_candidate_is_nearer_than_its_score() {
        // The middle is 2.5; the best is 6.5 from it and the fourth 1.5.
        let noisy = |i: usize, times: f32| {
            let mut noise = [1.0; 6];
            noise[i] = times;
            noise
        };
        let margin = |noise: &[f32]| match decide(thresholds(Some(0.0), None), Scores { values: &SCORES, noise }, 2) {
            Verdict::Sure { margin, .. } => margin,
            other => panic!("{other:?}"),
        };
        assert_eq!((margin(&noisy(5, 13.0)), margin(&noisy(5, 26.0)), margin(&noisy(4, 2.0))), (1.0, 0.5, 1.0));
        let split = |noise: &[f32]| match decide(thresholds(None, Some(1.0)), Scores { values: &SCORES, noise }, 2) {
            Verdict::Doubt(Split { certain, doubt }) => (certain, doubt),
            other => panic!("{other:?}"),
        };
        assert_eq!(split(&noisy(5, 7.0)), (vec![], vec![1, 3, 5]));
        assert_eq!(split(&noisy(0, 2.0)), (vec![5], vec![0, 1, 3]));
    }

    #[test]
    fn nothing_is_sure_between_infinite_scores() {
        let scores = alike(&[1.0, f32::INFINITY, f32::INFINITY, 0.0, f32::INFINITY]);
        assert_eq!(decide(thresholds(Some(0.0), None), scores, 2), Verdict::Whole);
        let all = Split { certain: vec![], doubt: vec![0, 1, 2, 3, 4] };
        assert_eq!(decide(thresholds(Some(0.0), Some(0.1)), scores, 2), Verdict::Doubt(all));
    }

    #[test]
    fn goes_up_whole_without_a_doubt() {
        assert_eq!(decide(thresholds(Some(1.5), None), alike(&SCORES), 2), Verdict::Whole);
        assert_eq!(decide(thresholds(None, None), alike(&SCORES), 2), Verdict::Whole);
    }

    #[test]
    fn a_k_of_all_candidates_is_trivially_agreed() {
        assert_eq!(decide(Thresholds::default(), alike(&[1.0, 2.0]), 2), Verdict::Trivial);
        assert_eq!(decide(Thresholds::default(), alike(&[1.0, 2.0]), usize::MAX), Verdict::Trivial);
        assert_eq!(margin(&[1.0, 1.0], 2), None);
    }

    #[test]
    fn the_margin_of_a_tie_is_zero() {
        assert_eq!(margin(&[1.0, 1.0, 0.0], 1), Some(0.0));
    }
}
