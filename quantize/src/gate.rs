//! Certifies the whole ladder: when a tier may answer, and which candidates go up when it may not (DESIGN §7).
//!
//! ```text
//! scores of every variant ─ trace ─┬─ tuning users:     path, a sequence of policies, safest first
//!                                  └─ certifying users: certify, the last policy before the first that fails
//! ```
//!
//! A policy is accepted if in every class that it uses the exact Clopper-Pearson bound on the error is at most alpha.
//! That all classes hold is one hypothesis, rejected only if every test rejects; testing policies in a fixed order and
//! stopping at the first failure needs no correction either. Several k and buckets of N share delta evenly.
//!
//! All requests of a user are in one part, and counts are divided by a design effect, because requests of one user are
//! not independent.

mod bound;
mod certify;
mod outlook;
mod path;
mod tally;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use bound::interval_by_user;
pub use bound::{interval, upper_bound};
pub use tally::{Count, Tally};

use rayon::prelude::*;
use shared_model::gate::{Evidence, Policy, Thresholds};
use xxhash_rust::xxh64::xxh64;

use crate::score::Scored;
use trace::{Grid, Trace};

/// Upper ends of the buckets of N; a policy holds for the smallest to the largest N that its gate requests have.
const BUCKETS: [usize; 6] = [16, 64, 256, 1024, 4096, usize::MAX];

/// What a certification must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// At most this share of answers has another top-k set than the reference.
    pub alpha: f64,
    /// The probability that the certification errs in any of the policies.
    pub delta: f64,
    /// The sizes of answers.
    pub ks: Vec<u32>,
}

/// What one policy must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// At most this share of answers is wrong, in every class.
    pub alpha: f64,
    /// The probability that the certification of this policy errs.
    pub delta: f64,
}

/// Certifies a policy for every k and bucket of N.
#[must_use]
pub fn calibrate(requests: &[Scored], claim: &Claim) -> Vec<Policy> {
    // Each k once: a second policy for it would never be looked at, and would cost the others delta.
    let ks: BTreeSet<u32> = claim.ks.iter().copied().collect();
    let jobs: Vec<(u32, Vec<&Scored>)> = ks
        .into_iter()
        .flat_map(|k| buckets(requests, k as usize).into_values().map(move |requests| (k, requests)))
        .collect();
    let level = Level { alpha: claim.alpha, delta: claim.delta / jobs.len().max(1) as f64 };
    jobs.into_iter().map(|(k, requests)| policy(k, &requests, claim, level)).collect()
}

/// The requests with more than k candidates, by bucket.
fn buckets(requests: &[Scored], k: usize) -> BTreeMap<usize, Vec<&Scored>> {
    let mut buckets: BTreeMap<usize, Vec<&Scored>> = BTreeMap::new();
    for request in requests.iter().filter(|r| r.n() > k) {
        let bucket = BUCKETS.iter().position(|end| request.n() <= *end).unwrap_or(BUCKETS.len());
        buckets.entry(bucket).or_default().push(request);
    }
    buckets
}

fn policy(k: u32, requests: &[&Scored], claim: &Claim, level: Level) -> Policy {
    let users = by_user(requests);
    let (tuning, rest) = split(&users, requests.len());
    let tuned: Vec<&Scored> = tuning.iter().flatten().map(|i| requests[*i]).collect();
    let grid = Grid::over(&tuned, k as usize);
    let traces: Vec<Trace> = requests.par_iter().map(|r| Trace::new(r, k as usize, &grid)).collect();
    let certified = certify::certify(&traces, tuning, rest, level);
    let n = |r: &&Scored| u32::try_from(r.n()).unwrap_or(u32::MAX);
    let [edge, region] = certified.steps.map_or([Thresholds::default(); 2], |steps| grid.thresholds(steps));
    Policy {
        k,
        n_min: requests.iter().map(n).min().unwrap_or(0),
        n_max: requests.iter().map(n).max().unwrap_or(0),
        alpha: claim.alpha,
        delta: claim.delta,
        edge,
        region,
        reason: certified.reason,
        evidence: Evidence {
            requests: rest.iter().map(|user| user.len() as u64).sum(),
            users: rest.len() as u64,
            design_effect: certified.design_effect,
            classes: certified.classes,
        },
    }
}

/// Requests that stand in for all there are, to draw gate sets from.
#[derive(Debug)]
pub(crate) struct Population {
    users: Vec<Vec<usize>>,
    traces: Vec<Trace>,
}

impl Population {
    pub(crate) fn new(requests: &[Scored], k: usize) -> Self {
        let requests: Vec<&Scored> = requests.iter().filter(|r| r.n() > k).collect();
        // One grid for all draws: it places the thresholds and looks at no reference.
        let grid = Grid::over(&requests, k);
        let traces = requests.par_iter().map(|r| Trace::new(r, k, &grid)).collect();
        Self { users: by_user(&requests), traces }
    }

    pub(crate) fn requests(&self) -> usize {
        self.traces.len()
    }

    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    /// Certifies on users drawn with replacement, and counts what the policy makes of the whole population.
    pub(crate) fn certified(&self, drawn: usize, random: &mut fastrand::Rng, level: Level) -> Option<Tally> {
        let users: Vec<Vec<usize>> = (0..drawn).filter_map(|_| random.choice(&self.users).cloned()).collect();
        let (tuning, rest) = split(&users, users.iter().map(Vec::len).sum());
        let steps = certify::certify(&self.traces, tuning, rest, level).steps?;
        Some(Tally::of(steps, self.traces.iter()))
    }
}

/// The positions of each user's requests, in an order that depends on nothing that was scored.
fn by_user(requests: &[&Scored]) -> Vec<Vec<usize>> {
    let mut users: BTreeMap<(u64, &str), Vec<usize>> = BTreeMap::new();
    for (i, request) in requests.iter().enumerate() {
        users.entry((xxh64(request.user.as_bytes(), 0), &request.user)).or_default().push(i);
    }
    users.into_values().collect()
}

/// Users with a third of the requests, for tuning, and the others.
fn split(users: &[Vec<usize>], requests: usize) -> (&[Vec<usize>], &[Vec<usize>]) {
    let before = users.iter().scan(0, |seen, user| {
        *seen += user.len();
        Some(*seen - user.len())
    });
    users.split_at(before.take_while(|before| 3 * before < requests).count())
}
