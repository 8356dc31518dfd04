//! One request, judged by the scores of one variant.

use std::collections::HashSet;

use shared_model::gate::margin;
use shared_model::topk::{same_set, top};

use crate::score::Scored;

/// One request, judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Look {
    /// Against the reference's top k; `None` where every candidate is in it.
    pub(crate) set: Option<SetLook>,
    /// Hit, NDCG, AUC and log loss; `None` where no relevant item is named, or nothing else.
    pub(crate) relevance: Option<[f64; 4]>,
}

/// A top k beside the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SetLook {
    /// Whether it is the same set.
    pub(crate) agrees: bool,
    /// The share of the reference's that is in this one.
    pub(crate) overlap: f64,
    /// How much lower the reference's mean score of it is.
    pub(crate) regret: f64,
}

impl Look {
    pub(crate) fn new(request: &Scored, own: usize, reference: usize, k: usize) -> Self {
        let (scores, truth) = (&request.scores[own], &request.scores[reference]);
        let set = margin(scores, k).map(|_| {
            let (ours, theirs) = (top(scores, k), top(truth, k));
            let shared: HashSet<&usize> = ours.iter().collect();
            let sum = |set: &[usize]| set.iter().map(|i| f64::from(truth[*i])).sum::<f64>();
            let agrees = same_set(&ours, &theirs);
            SetLook {
                agrees,
                overlap: theirs.iter().filter(|i| shared.contains(i)).count() as f64 / k as f64,
                // Sums in another order may differ where the sets do not.
                regret: if agrees { 0.0 } else { (sum(&theirs) - sum(&ours)) / k as f64 },
            }
        });
        Self { set, relevance: relevance(scores, &request.relevant, k) }
    }
}

/// A tie counts against the relevant item.
fn relevance(scores: &[f32], relevant: &[usize], k: usize) -> Option<[f64; 4]> {
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
    let loss: f64 =
        best_first.iter().map(|p| softplus(-scores[*p])).chain(irrelevant.iter().map(|s| softplus(*s))).sum();
    Some([
        f64::from(u8::from(ranks.iter().any(|r| *r < k))),
        ranks.iter().map(|r| gain(*r)).sum::<f64>() / ideal,
        below / relevant.len() as f64,
        loss / scores.len() as f64,
    ])
}

/// ln(1 + exp(x)): the log loss of a sigmoid's 0 at the score x, and of its 1 at -x, with no infinity on the way.
fn softplus(x: f32) -> f64 {
    let x = f64::from(x);
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Means of several numbers at once.
#[derive(Clone, Copy)]
pub(crate) struct Mean<const W: usize> {
    n: u64,
    sums: [f64; W],
}

impl<const W: usize> Default for Mean<W> {
    fn default() -> Self {
        Self { n: 0, sums: [0.0; W] }
    }
}

impl<const W: usize> Mean<W> {
    pub(crate) fn add(&mut self, values: [f64; W]) {
        self.n += 1;
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value;
        }
    }

    pub(crate) fn mean(&self) -> Option<[f64; W]> {
        (self.n > 0).then(|| self.sums.map(|s| s / self.n as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(scores: &[f32], relevant: &[usize], k: usize) -> [f64; 3] {
        let [hit, ndcg, auc, _] = relevance(scores, relevant, k).unwrap();
        [hit, ndcg, auc]
    }

    #[test]
    fn ties_count_against_the_relevant_item() {
        assert_eq!(ranked(&[1.0, 1.0, 0.0], &[0], 1), [0.0, 0.0, 0.5]);
        assert_eq!(ranked(&[1.0, 0.5, 0.0], &[0], 1), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn several_relevant_items_do_not_compete() {
        assert_eq!(ranked(&[3.0, 2.0, 1.0], &[0, 1], 2), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn log_loss_is_that_of_the_probabilities() {
        let scores = [1.5f32, -0.25, 0.5];
        let p = scores.map(|s| 1.0 / (1.0 + (-f64::from(s)).exp()));
        let expected = -((1.0 - p[0]).ln() + p[1].ln() + (1.0 - p[2]).ln()) / 3.0;
        let [_, _, _, loss] = relevance(&scores, &[1], 1).unwrap();
        assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
        assert_eq!([softplus(500.0), softplus(-1e30)], [500.0, 0.0]);
    }

    #[test]
    fn regret_is_what_the_reference_thinks_of_the_set() {
        let scores = vec![vec![3.0, 2.0, 4.0, 0.0], vec![3.0, 2.0, 0.5, 0.0]];
        let look = |scores: &Vec<Vec<f32>>| Look::new(&Scored { scores: scores.clone(), ..Scored::default() }, 0, 1, 2);
        let set = look(&scores).set.unwrap();
        assert_eq!((set.agrees, set.overlap, set.regret), (false, 0.5, 0.75), "(3 + 2) / 2 - (3 + 0.5) / 2");
        let all = vec![vec![3.0, 2.0], vec![2.0, 3.0]];
        assert_eq!(look(&all).set, None, "both are in the answer");
    }
}
