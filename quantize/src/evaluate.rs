//! How well a variant ranks: against the relevant items, and against the reference; over all requests and by cohort.
//!
//! Requests of one user are not independent of each other, so every interval takes users as a whole.

mod cohort;
mod look;
mod paired;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use shared_model::bundle::Quality;
use shared_model::catalog::Catalog;
use shared_model::graph::Link;
use shared_model::variant::VariantName;

use crate::build::REFERENCE;
use crate::gate::interval_by_user;
use crate::ranker::{Form, Ranker};
use crate::score::Scored;
use cohort::Group;
use look::Mean;
use paired::ratios;

pub use cohort::Cohort;
pub(crate) use look::Look;
pub use paired::Ratio;

/// What requests are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The size of the answer.
    pub k: u32,
    /// From the score ranked by to the model's output.
    pub link: Link,
    /// Which items are popular.
    pub catalog: &'a Catalog,
}

/// The quality of one variant, or of a peer, on one request file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Whose.
    pub variant: Ranker,
    /// Requests with more candidates than k.
    pub requests: u64,
    /// The size of the answer.
    pub k: u32,
    /// Against the relevant items; `None` if no request names one.
    pub relevance: Option<Relevance>,
    /// The share of requests with the reference's top-k set.
    pub agreement: f64,
    /// Its exact 95 % interval, users taken as a whole; `None` for the reference itself.
    pub agreement_interval: Option<[f64; 2]>,
    /// The mean share of the reference's top-k set that is in this one's.
    pub overlap: f64,
    /// How much lower the reference's mean score is of this top k than of its own, before the link: the mean.
    pub regret: f64,
    /// Relevance beside the reference's; `None` for the reference itself, and where no request names a relevant item.
    pub beside: Option<Beside>,
    /// The same of some users or requests, so that nobody's loss is lost in a mean; none for the reference itself.
    pub cohorts: Vec<CohortQuality>,
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
    /// The mean over requests of the candidates' mean log loss, an irrelevant one a 0; `None` unless the model's output
    /// is a probability.
    pub log_loss: Option<f64>,
}

/// Means as shares of the reference's, on the same requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// Of the hit rate.
    pub hit_rate: Option<Ratio>,
    /// Of the normalized discounted cumulative gain.
    pub ndcg: Option<Ratio>,
    /// Of the area under the curve.
    pub auc: Option<Ratio>,
}

/// The quality of one variant for some users or requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CohortQuality {
    /// Whose.
    pub cohort: Cohort,
    /// What they have in common.
    pub what: String,
    /// Those with more candidates than k.
    pub requests: u64,
    /// The share of them with the reference's top-k set.
    pub agreement: f64,
    /// Its exact 95 % interval.
    pub agreement_interval: Option<[f64; 2]>,
    /// Relevance beside the reference's; `None` where no request names a relevant item.
    pub beside: Option<Beside>,
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

/// Evaluates every variant, in the order of [`VariantName::ALL`]: that of the scores of a request.
#[must_use]
pub fn evaluate(requests: &[Scored], terms: &Terms<'_>) -> Vec<Evaluation> {
    evaluate_each(requests, VariantName::ALL.map(Ranker::Variant).into_iter().enumerate(), terms)
}

/// Evaluates forms of a peer, whose scores of a request come after those of the variants.
#[must_use]
pub(crate) fn evaluate_peers(requests: &[Scored], forms: &[Form], terms: &Terms<'_>) -> Vec<Evaluation> {
    let after = VariantName::ALL.len();
    evaluate_each(requests, (after..).zip(forms.iter().copied().map(Ranker::Peer)), terms)
}

/// Evaluates those whose scores are at these places of a request's.
fn evaluate_each(
    requests: &[Scored],
    rankers: impl Iterator<Item = (usize, Ranker)>,
    terms: &Terms<'_>,
) -> Vec<Evaluation> {
    let looks = |own: usize| -> Vec<Look> {
        requests.par_iter().map(|r| Look::new(r, own, REFERENCE, terms.k as usize)).collect()
    };
    let reference = looks(REFERENCE);
    let groups = cohort::groups(requests, terms.catalog);
    let one = |(own, variant)| {
        let looks = if own == REFERENCE { None } else { Some(looks(own)) };
        let side = Side { own: looks.as_deref().unwrap_or(&reference), reference: &reference, requests };
        let (all, others) = (side.part(|_| true), looks.is_some());
        let relevance = mean(side.own.iter().filter_map(|l| l.relevance));
        let sets = mean(side.own.iter().filter_map(|l| l.set).map(|s| [s.overlap, s.regret]));
        let cohort = |group: &Group| {
            let part = side.part(|i| group.members[i]);
            let (requests, agreement) = part.agreement();
            let agreement_interval = part.agreement_interval();
            let (cohort, what) = (group.cohort, group.what.clone());
            CohortQuality { cohort, what, requests, agreement, agreement_interval, beside: part.beside() }
        };
        let (requests, agreement) = all.agreement();
        Evaluation {
            variant,
            requests,
            k: terms.k,
            relevance: relevance.map(|[hit_rate, ndcg, auc, loss]| Relevance {
                hit_rate,
                ndcg,
                auc,
                log_loss: (terms.link == Link::Sigmoid).then_some(loss),
            }),
            agreement,
            agreement_interval: all.agreement_interval().filter(|_| others),
            overlap: sets.map_or(1.0, |[overlap, _]| overlap),
            regret: sets.map_or(0.0, |[_, regret]| regret),
            beside: all.beside().filter(|_| others),
            cohorts: groups.iter().filter(|_| others).map(cohort).collect(),
        }
    };
    rankers.map(one).collect()
}

/// All requests, as a variant and the reference rank them.
struct Side<'a> {
    own: &'a [Look],
    reference: &'a [Look],
    requests: &'a [Scored],
}

/// Some of them, by user.
struct Part<'a> {
    users: Vec<Vec<(&'a Look, &'a Look)>>,
}

impl<'a> Side<'a> {
    fn part(&self, keep: impl Fn(usize) -> bool) -> Part<'a> {
        let mut users: BTreeMap<&str, Vec<(&Look, &Look)>> = BTreeMap::new();
        for (i, request) in self.requests.iter().enumerate().filter(|(i, _)| keep(*i)) {
            users.entry(&request.user).or_default().push((&self.own[i], &self.reference[i]));
        }
        Part { users: users.into_values().collect() }
    }
}

impl Part<'_> {
    /// For each user with a choice to make, the requests and how many of them have another set than the reference.
    fn disagreements(&self) -> impl Iterator<Item = (u64, u64)> + Clone {
        let count = |user: &Vec<(&Look, &Look)>| {
            let sets = user.iter().filter_map(|(own, _)| own.set);
            sets.fold((0, 0), |(n, errors), set| (n + 1, errors + u64::from(!set.agrees)))
        };
        self.users.iter().map(count).filter(|(n, _)| *n > 0)
    }

    fn agreement(&self) -> (u64, f64) {
        let (n, errors) = self.disagreements().fold((0, 0), |(n, e), (requests, errors)| (n + requests, e + errors));
        (n, 1.0 - errors as f64 / n.max(1) as f64)
    }

    fn agreement_interval(&self) -> Option<[f64; 2]> {
        interval_by_user(self.disagreements()).map(|[low, high]| [1.0 - high, 1.0 - low])
    }

    fn beside(&self) -> Option<Beside> {
        let sum = |user: &Vec<(&Look, &Look)>| {
            let pairs: Vec<_> =
                user.iter().filter_map(|(own, reference)| own.relevance.zip(reference.relevance)).collect();
            let of = |i: usize| [pairs.iter().map(|(own, _)| own[i]).sum(), pairs.iter().map(|(_, r)| r[i]).sum()];
            (!pairs.is_empty()).then(|| [of(0), of(1), of(2)])
        };
        let users: Vec<[[f64; 2]; 3]> = self.users.iter().filter_map(sum).collect();
        let [hit_rate, ndcg, auc] = ratios(&users);
        (!users.is_empty()).then_some(Beside { hit_rate, ndcg, auc })
    }
}

fn mean<const W: usize>(values: impl Iterator<Item = [f64; W]>) -> Option<[f64; W]> {
    let mut mean = Mean::default();
    values.for_each(|v| mean.add(v));
    mean.mean()
}
