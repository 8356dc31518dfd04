//! Certifies when a tier may answer: one threshold on the margin for whole requests (DESIGN §7).
//!
//! Thresholds are fixed on a third of the users, the strictest first, and certified in that order on the others by an
//! exact Clopper-Pearson bound; the first that fails ends the sequence and the last that passed is the policy. Testing
//! in a fixed order needs no correction. All requests of a user are in one part, and counts are divided by a design
//! effect, because requests of one user are not independent.
//!
//! A tier is asked what the tier below it does not answer, and by clients directly: a threshold must hold for both.

use std::collections::{BTreeMap, HashMap, HashSet};

use puruspe::invbetai;
use shared_model::gate::{Evidence, Policy, Verdict, decide, margin};
use shared_model::topk::{same_set, top};
use shared_model::variant::VariantName;
use xxhash_rust::xxh64::xxh64;

/// What a certification must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// At most this share of answers has another top-k set than the reference.
    pub alpha: f64,
    /// The probability that the certification errs.
    pub delta: f64,
    /// The size of the set.
    pub k: u32,
}

/// One gate request as a variant scored it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Who asked.
    pub user: String,
    /// The variant's margin; `None` if every candidate is in the answer.
    pub margin: Option<f32>,
    /// Whether its top-k set is the reference's.
    pub agrees: bool,
    /// The number of candidates.
    pub n: u32,
}

impl Outcome {
    /// Compares a variant's scores with the reference's.
    #[must_use]
    pub fn of(user: &str, scores: &[f32], reference: &[f32], k: u32) -> Self {
        let k = k as usize;
        Self {
            user: user.to_owned(),
            margin: margin(scores, k),
            agrees: same_set(&top(scores, k), &top(reference, k)),
            n: u32::try_from(scores.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The steps between thresholds, as shares of the tuning requests answered.
const STEPS: u32 = 100;

/// Whether the tier of a variant answers a request with these scores.
#[must_use]
pub fn answers(policies: &[Policy], variant: VariantName, scores: &[f32], k: u32) -> bool {
    match decide(policies, variant, variant.tier(), scores, k) {
        Verdict::Sure(_) | Verdict::Trivial(_) => true,
        Verdict::Unsure { .. } | Verdict::NoPolicy => false,
    }
}

/// The policy of a variant from all gate requests, of which those at the positions that `reaches` is true for are not
/// answered by a tier below. The evidence is that of the latter; the claim holds for all of them as well.
#[must_use]
pub fn certify(variant: VariantName, outcomes: &[Outcome], reaches: impl Fn(usize) -> bool, claim: Claim) -> Policy {
    let parts = split(outcomes);
    let sent = Sample::new(outcomes, &parts, reaches);
    let all = Sample::new(outcomes, &parts, |_| true);
    let both = [&sent, &all];
    let mut last = None;
    let mut failed = None;
    for threshold in thresholds(both, claim) {
        // That both hold is one hypothesis, rejected only by both tests: the sequence stays one of level delta.
        let tested = both.map(|s| s.tested(threshold, claim.delta));
        failed = tested.into_iter().find(|(_, bound)| bound.is_nan() || *bound > claim.alpha);
        if failed.is_some() {
            break;
        }
        let [(counts, bound), _] = tested;
        last = Some((threshold, counts, bound));
    }
    let reason = last.is_none().then(|| match failed {
        Some((counts, bound)) => format!(
            "of {} gate requests above the strictest threshold {} have another top-{} set: the bound is {bound:.4}, above alpha = {}",
            counts.answered, counts.errors, claim.k, claim.alpha
        ),
        None => nothing_promising(both, claim),
    });
    let none = Counts { answered: 0, errors: 0 };
    let counts = last.map_or(none, |(_, counts, _)| counts);
    let ns = || outcomes.iter().map(|o| o.n);
    Policy {
        variant,
        k: claim.k,
        n_min: ns().min().unwrap_or(0),
        n_max: ns().max().unwrap_or(0),
        alpha: claim.alpha,
        delta: claim.delta,
        threshold: last.map(|(threshold, _, _)| threshold),
        reason,
        evidence: Evidence {
            requests: sent.rest.len() as u64,
            users: sent.rest.iter().map(|o| o.user.as_str()).collect::<HashSet<_>>().len() as u64,
            answered: counts.answered,
            errors: counts.errors,
            design_effect: sent.effect,
            bound: last.map(|(_, _, bound)| bound),
        },
    }
}

/// Requests of one kind, in two parts by user: what thresholds are chosen on, and what they are tested on.
struct Sample<'a> {
    tuning: Vec<&'a Outcome>,
    rest: Vec<&'a Outcome>,
    effect: f64,
}

impl<'a> Sample<'a> {
    fn new(
        outcomes: &'a [Outcome],
        (tuning, rest): &(Vec<usize>, Vec<usize>),
        belongs: impl Fn(usize) -> bool,
    ) -> Self {
        let part = |positions: &[usize]| -> Vec<&'a Outcome> {
            positions.iter().filter(|i| belongs(**i)).map(|i| &outcomes[*i]).collect()
        };
        let tuning = part(tuning);
        Self { effect: design_effect(&tuning), tuning, rest: part(rest) }
    }

    /// What a threshold does to the certifying part.
    fn tested(&self, threshold: f32, delta: f64) -> (Counts, f64) {
        let counts = Counts::at(&self.rest, threshold);
        (counts, upper_bound(counts.answered as f64 / self.effect, counts.errors as f64 / self.effect, delta))
    }

    /// The bound there if it were like the tuning part.
    fn projected(&self, threshold: f32, delta: f64) -> f64 {
        let counts = Counts::at(&self.tuning, threshold);
        let scale = self.rest.len() as f64 / self.tuning.len().max(1) as f64 / self.effect;
        upper_bound(counts.answered as f64 * scale, counts.errors as f64 * scale, delta)
    }
}

/// Requests above a threshold, and those of them that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    answered: u64,
    errors: u64,
}

impl Counts {
    fn at(outcomes: &[&Outcome], threshold: f32) -> Self {
        let answered = outcomes.iter().filter(|o| o.margin.is_some_and(|m| m >= threshold));
        let (answered, errors) = answered.fold((0, 0), |(n, e), o| (n + 1, e + u64::from(!o.agrees)));
        Self { answered, errors }
    }
}

/// The exact Clopper-Pearson upper bound on a probability, at level `delta`, of `errors` among `n`.
#[must_use]
pub fn upper_bound(n: f64, errors: f64, delta: f64) -> f64 {
    if n <= errors { 1.0 } else { invbetai(1.0 - delta, errors + 1.0, n - errors) }
}

/// The positions of a third of the requests for tuning, by whole users, and of the rest. Which users are where depends
/// on who asked how often and on nothing that was scored, so it is the same for every variant.
fn split(outcomes: &[Outcome]) -> (Vec<usize>, Vec<usize>) {
    let mut users: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, outcome) in outcomes.iter().enumerate() {
        users.entry(&outcome.user).or_default().push(i);
    }
    let mut users: Vec<(&str, Vec<usize>)> = users.into_iter().collect();
    users.sort_by_key(|(user, _)| (xxh64(user.as_bytes(), 0), *user));
    let (mut tuning, mut rest) = (Vec::new(), Vec::new());
    for (_, requests) in users {
        let part = if 3 * tuning.len() < outcomes.len() { &mut tuning } else { &mut rest };
        part.extend(requests);
    }
    (tuning, rest)
}

/// How many times larger the variance of the error rate is with users drawn as a whole than with requests drawn one by
/// one; at least 1. The ratio estimator of cluster sampling (Kish, Survey Sampling, 1965, §6.3 and §8.2). Where errors
/// say nothing of how alike a user's requests are, they count as all alike.
fn design_effect(outcomes: &[&Outcome]) -> f64 {
    let n = outcomes.len() as f64;
    let rate = outcomes.iter().filter(|o| !o.agrees).count() as f64 / n.max(1.0);
    let mut users: HashMap<&str, (f64, f64)> = HashMap::new();
    for o in outcomes {
        let (requests, errors) = users.entry(&o.user).or_default();
        *requests += 1.0;
        *errors += f64::from(u8::from(!o.agrees));
    }
    let clusters = users.len() as f64;
    let spread = rate * (1.0 - rate) * n;
    if clusters < 2.0 || spread == 0.0 {
        let squares: f64 = users.values().map(|(requests, _)| requests * requests).sum();
        return (squares / n.max(1.0)).max(1.0);
    }
    // Summed in a fixed order, for the same bits on every run.
    let mut residuals: Vec<f64> = users.values().map(|(requests, errors)| (errors - rate * requests).powi(2)).collect();
    residuals.sort_by(f64::total_cmp);
    (residuals.iter().sum::<f64>() * clusters / (clusters - 1.0) / spread).max(1.0)
}

/// The sequence to test, strictest first: those that would pass if the certifying parts were like the tuning parts.
///
/// The strictest of all have few requests above them, and one too few there would end the sequence before it began: it
/// starts where half of alpha is in sight, or else where the bound is lowest.
fn thresholds(samples: [&Sample; 2], claim: Claim) -> Vec<f32> {
    let bounds = candidates(&samples[0].tuning).into_iter().map(|t| (t, projected(samples, t, claim)));
    let passing: Vec<(f32, f64)> = bounds.filter(|(_, bound)| *bound <= claim.alpha).collect();
    let comfortable = passing.iter().position(|(_, bound)| *bound <= claim.alpha / 2.0);
    let lowest = || (0..passing.len()).min_by(|a, b| passing[*a].1.total_cmp(&passing[*b].1));
    let start = comfortable.or_else(lowest).unwrap_or(0);
    passing[start..].iter().map(|(t, _)| *t).collect()
}

/// The larger of the bounds projected for both samples.
fn projected(samples: [&Sample; 2], threshold: f32, claim: Claim) -> f64 {
    samples.map(|s| s.projected(threshold, claim.delta)).into_iter().max_by(f64::total_cmp).unwrap_or(1.0)
}

/// The tuning margins at even steps, the largest first, none twice.
fn candidates(tuning: &[&Outcome]) -> Vec<f32> {
    let mut margins: Vec<f32> = tuning.iter().filter_map(|o| o.margin).collect();
    margins.sort_by(|a, b| b.total_cmp(a));
    let at =
        |step: u32| margins.get((margins.len() * step as usize).div_ceil(STEPS as usize).saturating_sub(1)).copied();
    let mut steps: Vec<f32> = (1..=STEPS).filter_map(at).collect();
    steps.dedup();
    steps
}

fn nothing_promising(samples: [&Sample; 2], claim: Claim) -> String {
    let [sent, all] = samples;
    if all.tuning.iter().all(|o| o.margin.is_none()) {
        return format!("no gate request has more than {} candidates", claim.k);
    }
    if sent.tuning.iter().all(|o| o.margin.is_none()) {
        return "no gate request to tune on reaches it: the tier below answers all of them".to_owned();
    }
    let (certifying, effect) = (sent.rest.len(), sent.effect);
    let needed = (claim.delta.ln() / (1.0 - claim.alpha).ln() * effect).ceil();
    if (certifying as f64) < needed {
        return format!(
            "{certifying} gate requests to certify on are too few: alpha = {} needs {needed} without an error (design effect {effect:.2})",
            claim.alpha
        );
    }
    let best = candidates(&sent.tuning)
        .into_iter()
        .map(|t| (projected(samples, t, claim), t))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(
        || "there are no gate requests".to_owned(),
        |(bound, t)| format!("no threshold comes near alpha = {}: the best, {t:.3}, has a bound of {bound:.3} on the tuning requests", claim.alpha),
    )
}

#[cfg(test)]
mod tests;
