//! How well a variant ranks: against the relevant items, and against the reference.

use std::collections::HashSet;

use serde::Serialize;
use shared_model::bundle::Quality;
use shared_model::gate::margin;
use shared_model::topk::{same_set, top};
use shared_model::variant::VariantName;

use crate::score::Scored;

/// The quality of one variant on one request file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Whose.
    pub variant: VariantName,
    /// Requests with more candidates than k.
    pub requests: u64,
    /// The size of the answer.
    pub k: u32,
    /// Against the relevant items; `None` if no request names one.
    pub relevance: Option<Relevance>,
    /// The share of requests with the reference's top-k set.
    pub agreement: f64,
    /// The mean share of the reference's top-k set that is in this one's.
    pub overlap: f64,
}

/// How high the relevant items are ranked, over the requests that name one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Relevance {
    /// The share of requests with a relevant item in the top k.
    pub hit_rate: f64,
    /// The mean normalized discounted cumulative gain of the top k.
    pub ndcg: f64,
    /// The mean share of irrelevant candidates ranked below a relevant one.
    pub auc: f64,
}

impl Evaluation {
    /// What the manifest keeps of it.
    #[must_use]
    pub fn quality(&self) -> Option<Quality> {
        self.relevance.map(|r| Quality {
            requests: self.requests,
            k: self.k,
            hit_rate: r.hit_rate,
            ndcg: r.ndcg,
            auc: r.auc,
            agreement: self.agreement,
            overlap: self.overlap,
        })
    }
}

/// Evaluates the variant whose scores are at `own` in each request, against those at `reference`.
#[must_use]
pub fn evaluate(variant: VariantName, requests: &[Scored], (own, reference): (usize, usize), k: u32) -> Evaluation {
    let mut relevance = Mean::<3>::default();
    let (mut agreement, mut overlap) = (Mean::<1>::default(), Mean::<1>::default());
    for request in requests {
        let scores = &request.scores[own];
        if let Some(r) = relevant(scores, &request.relevant, k as usize) {
            relevance.add(r);
        }
        if margin(scores, k as usize).is_none() {
            continue;
        }
        let (ours, theirs) = (top(scores, k as usize), top(&request.scores[reference], k as usize));
        let agrees = same_set(&ours, &theirs);
        agreement.add([f64::from(u8::from(agrees))]);
        let shared: HashSet<_> = ours.iter().collect();
        overlap.add([theirs.iter().filter(|i| shared.contains(i)).count() as f64 / f64::from(k)]);
    }
    Evaluation {
        variant,
        requests: agreement.n,
        k,
        relevance: relevance.mean().map(|[hit_rate, ndcg, auc]| Relevance { hit_rate, ndcg, auc }),
        agreement: agreement.mean().map_or(1.0, |[v]| v),
        overlap: overlap.mean().map_or(1.0, |[v]| v),
    }
}

/// Hit, NDCG and AUC of one request; a tie counts against the relevant item.
fn relevant(scores: &[f32], relevant: &[usize], k: usize) -> Option<[f64; 3]> {
    let positions: HashSet<usize> = relevant.iter().copied().collect();
    let mut irrelevant: Vec<f32> = (0..scores.len()).filter(|i| !positions.contains(i)).map(|i| scores[i]).collect();
    if relevant.is_empty() || irrelevant.is_empty() {
        return None;
    }
    irrelevant.sort_by(|a, b| b.total_cmp(a));
    let above = |p: usize| irrelevant.partition_point(|s| *s >= scores[p]);
    let mut best_first = relevant.to_vec();
    best_first.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let ranks: Vec<usize> = best_first.iter().enumerate().map(|(better, p)| above(*p) + better).collect();
    let gain = |rank: usize| if rank < k { 1.0 / (rank as f64 + 2.0).log2() } else { 0.0 };
    let ideal: f64 = (0..relevant.len()).map(gain).sum();
    let below: f64 = best_first.iter().map(|p| 1.0 - above(*p) as f64 / irrelevant.len() as f64).sum();
    Some([
        f64::from(u8::from(ranks.iter().any(|r| *r < k))),
        ranks.iter().map(|r| gain(*r)).sum::<f64>() / ideal,
        below / relevant.len() as f64,
    ])
}

/// Means of several numbers at once.
#[derive(Clone, Copy)]
struct Mean<const W: usize> {
    n: u64,
    sums: [f64; W],
}

impl<const W: usize> Default for Mean<W> {
    fn default() -> Self {
        Self { n: 0, sums: [0.0; W] }
    }
}

impl<const W: usize> Mean<W> {
    fn add(&mut self, values: [f64; W]) {
        self.n += 1;
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value;
        }
    }

    fn mean(&self) -> Option<[f64; W]> {
        (self.n > 0).then(|| self.sums.map(|s| s / self.n as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::MessageSize;

    fn scored(relevant: &[usize], own: &[f32], reference: &[f32]) -> Scored {
        let scores = vec![own.to_vec(), reference.to_vec()];
        Scored { user: "u".into(), relevant: relevant.to_vec(), scores, message: MessageSize::default() }
    }

    #[test]
    fn ties_count_against_the_relevant_item() {
        assert_eq!(relevant(&[1.0, 1.0, 0.0], &[0], 1), Some([0.0, 0.0, 0.5]));
        assert_eq!(relevant(&[1.0, 0.5, 0.0], &[0], 1), Some([1.0, 1.0, 1.0]));
    }

    #[test]
    fn several_relevant_items_do_not_compete() {
        let [hit, ndcg, auc] = relevant(&[3.0, 2.0, 1.0], &[0, 1], 2).unwrap();
        assert_eq!((hit, ndcg, auc), (1.0, 1.0, 1.0));
    }

    #[test]
    fn compares_sets() {
        let requests =
            [scored(&[], &[3.0, 2.0, 0.0], &[3.0, 2.0, 0.0]), scored(&[], &[3.0, 2.9, 0.0], &[2.0, 3.0, 0.0])];
        let evaluation = evaluate(VariantName::W8, &requests, (0, 1), 1);
        assert_eq!((evaluation.requests, evaluation.agreement, evaluation.overlap), (2, 0.5, 0.5));
        assert_eq!((evaluation.relevance, evaluation.quality()), (None, None));
    }
}
