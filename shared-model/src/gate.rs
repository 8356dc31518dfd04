//! The gate: decides whether a tier's answer can stand (DESIGN §7).
//!
//! Scores here are those before the model's link, in request order. The reference is the scalar f32 plan.

use serde::{Deserialize, Serialize};

use crate::topk;
use crate::variant::VariantName;
use crate::wire::{Agreement, Tier};

/// When a tier may answer: thresholds for one k and one bucket of N, as certified by `quantize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whose scores.
    pub variant: VariantName,
    /// The size of the answer.
    pub k: u32,
    /// The fewest candidates it holds for.
    pub n_min: u32,
    /// The most candidates it holds for.
    pub n_max: u32,
    /// At most this share of tagged answers has another top-k set than the reference.
    pub alpha: f64,
    /// The probability that the certification errs.
    pub delta: f64,
    /// The margin to reach; `None` certifies nothing.
    pub threshold: Option<f32>,
    /// Why nothing is certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the certification saw.
    pub evidence: Evidence,
}

/// What a certification saw on its gate requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Gate requests it was tested on.
    pub requests: u64,
    /// Their users.
    pub users: u64,
    /// Those above the threshold.
    pub answered: u64,
    /// Those of them with another top-k set than the reference.
    pub errors: u64,
    /// How many times fewer independent requests they amount to.
    pub design_effect: f64,
    /// The upper Clopper-Pearson bound on the error, `None` if nothing is certified.
    pub bound: Option<f64>,
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The answer stands.
    Sure(Agreement),
    /// Every candidate is in the answer, so the set cannot differ.
    Trivial(Agreement),
    /// The margin is too small.
    Unsure {
        /// The margin.
        margin: f32,
        /// What it had to reach.
        threshold: f32,
    },
    /// Nothing is certified for this k and N.
    NoPolicy,
}

/// The score gap at the boundary: between rank k and rank k + 1. `None` when nothing is left out.
#[must_use]
pub fn margin(scores: &[f32], k: usize) -> Option<f32> {
    let top = topk::top(scores, k.checked_add(1)?);
    match top[..] {
        [.., last_in, first_out] if top.len() == k + 1 => Some(scores[last_in] - scores[first_out]),
        _ => None,
    }
}

/// Decides on one set of scores of `tier`.
#[must_use]
pub fn decide(policies: &[Policy], variant: VariantName, tier: Tier, scores: &[f32], k: u32) -> Verdict {
    let class = tier.as_str().to_owned();
    let Some(margin) = margin(scores, k as usize) else {
        let agreement = Agreement { alpha: 0.0, delta: 0.0, k, class, margin: None, threshold: None };
        return Verdict::Trivial(agreement);
    };
    let Some((policy, threshold)) = certified(policies, variant, k, scores.len()) else { return Verdict::NoPolicy };
    if margin >= threshold {
        let Policy { alpha, delta, .. } = *policy;
        Verdict::Sure(Agreement { alpha, delta, k, class, margin: Some(margin), threshold: Some(threshold) })
    } else {
        Verdict::Unsure { margin, threshold }
    }
}

/// The policy that certifies something for this k and N, and its threshold.
#[must_use]
pub fn certified(policies: &[Policy], variant: VariantName, k: u32, n: usize) -> Option<(&Policy, f32)> {
    policies
        .iter()
        .filter(|p| p.variant == variant && p.k == k && (p.n_min as usize..=p.n_max as usize).contains(&n))
        .find_map(|p| Some((p, p.threshold?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(threshold: Option<f32>) -> Policy {
        let evidence = Evidence { requests: 0, users: 0, answered: 0, errors: 0, design_effect: 1.0, bound: None };
        Policy {
            variant: VariantName::W8,
            k: 2,
            n_min: 3,
            n_max: 4,
            alpha: 0.05,
            delta: 0.05,
            threshold,
            reason: None,
            evidence,
        }
    }

    fn decide_w8(policies: &[Policy], scores: &[f32], k: u32) -> Verdict {
        decide(policies, VariantName::W8, Tier::Region, scores, k)
    }

    #[test]
    fn is_sure_when_the_margin_reaches_the_threshold() {
        let Verdict::Sure(agreement) = decide_w8(&[policy(Some(0.5))], &[1.0, 3.0, 0.5], 2) else { panic!("not sure") };
        assert_eq!((agreement.margin, agreement.threshold, agreement.k), (Some(0.5), Some(0.5), 2));
        assert_eq!(agreement.class, "region");
    }

    #[test]
    fn is_unsure_below_the_threshold() {
        let verdict = decide_w8(&[policy(Some(0.5))], &[1.0, 3.0, 0.6], 2);
        assert!(matches!(verdict, Verdict::Unsure { threshold: 0.5, .. }));
    }

    #[test]
    fn claims_nothing_for_an_uncertified_k_or_n() {
        let policies = [policy(Some(0.0))];
        assert_eq!(decide_w8(&policies, &[1.0, 3.0, 0.6], 1), Verdict::NoPolicy, "another k");
        assert_eq!(decide_w8(&policies, &[1.0, 3.0, 0.6, 0.1, 0.0], 2), Verdict::NoPolicy, "another N");
        assert_eq!(decide_w8(&[policy(None)], &[1.0, 3.0, 0.6], 2), Verdict::NoPolicy, "nothing certified");
        let other = decide(&policies, VariantName::W4, Tier::Edge, &[1.0, 3.0, 0.6], 2);
        assert_eq!(other, Verdict::NoPolicy, "another variant");
    }

    #[test]
    fn a_k_of_all_candidates_is_trivially_agreed() {
        assert!(matches!(decide_w8(&[], &[1.0, 2.0], 2), Verdict::Trivial(a) if a.margin.is_none()));
        assert!(matches!(decide_w8(&[], &[1.0, 2.0], u32::MAX), Verdict::Trivial(_)));
    }

    #[test]
    fn the_margin_of_a_tie_is_zero() {
        assert_eq!(margin(&[1.0, 1.0, 0.0], 1), Some(0.0));
        assert_eq!(margin(&[1.0, 1.0], 2), None);
    }
}
