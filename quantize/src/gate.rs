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
mod tests {
    use super::*;

    const CLAIM: Claim = Claim { alpha: 0.05, delta: 0.05, k: 10 };

    /// `n` requests with margins spread over 0..1, wrong with a share that falls from `worst` to 0 as the margin grows.
    fn outcomes(n: u32, per_user: u32, worst: f64) -> Vec<Outcome> {
        (0..n)
            .map(|i| {
                let draw = |salt: u64| xxh64(&i.to_le_bytes(), salt) as f64 / u64::MAX as f64;
                let margin = draw(1);
                Outcome {
                    user: format!("u{}", i / per_user),
                    margin: Some(margin as f32),
                    agrees: draw(2) >= worst * (1.0 - margin).powi(2),
                    n: 100,
                }
            })
            .collect()
    }

    #[test]
    fn the_bound_is_that_of_the_exact_test() {
        // Zero of 59: 1 - 0.05^(1/59); values for 3 of 100 from R's binom.test.
        assert!((upper_bound(59.0, 0.0, 0.05) - (1.0 - 0.05f64.powf(1.0 / 59.0))).abs() < 1e-9);
        assert!((upper_bound(100.0, 3.0, 0.05) - 0.075_712).abs() < 1e-5, "{}", upper_bound(100.0, 3.0, 0.05));
        assert!((upper_bound(5.0, 5.0, 0.05) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn certifies_the_margins_that_agree() {
        let policy = certify(VariantName::W8, &outcomes(6000, 1, 0.4), |_| true, CLAIM);
        let threshold = policy.threshold.unwrap();
        assert!((0.1..0.6).contains(&threshold), "{threshold}");
        assert!(policy.evidence.bound.unwrap() <= 0.05 && policy.evidence.errors > 0);
        assert_eq!((policy.n_min, policy.n_max, policy.reason), (100, 100, None));
    }

    #[test]
    fn certifies_nothing_for_a_variant_that_is_never_right() {
        let mut all = outcomes(3000, 1, 1.0);
        all.iter_mut().for_each(|o| o.agrees = o.agrees && o.n == 0);
        let policy = certify(VariantName::W4, &all, |_| true, CLAIM);
        assert_eq!((policy.threshold, policy.evidence.bound), (None, None));
        assert!(policy.reason.unwrap().contains("no threshold comes near alpha"));
    }

    #[test]
    fn says_how_many_requests_are_missing() {
        let policy = certify(VariantName::W8, &outcomes(60, 1, 0.0), |_| true, CLAIM);
        assert!(policy.reason.unwrap().contains("needs 59 without an error"));
    }

    #[test]
    fn keeps_all_requests_of_a_user_in_one_part() {
        let all = outcomes(900, 7, 0.3);
        let (tuning, rest) = split(&all);
        let users = |part: &[usize]| part.iter().map(|i| all[*i].user.as_str()).collect::<HashSet<_>>();
        assert!(users(&tuning).is_disjoint(&users(&rest)));
        assert!((300..310).contains(&tuning.len()) && tuning.len() + rest.len() == 900);
    }

    #[test]
    fn repeated_requests_of_a_user_count_less() {
        let alone = outcomes(3000, 1, 0.4);
        let repeated: Vec<Outcome> =
            outcomes(1000, 1, 0.4).into_iter().flat_map(|o| [o.clone(), o.clone(), o]).collect();
        let effect = |all: &[Outcome]| design_effect(&all.iter().collect::<Vec<_>>());
        assert!(effect(&alone) < 1.01, "{}", effect(&alone));
        assert!((effect(&repeated) - 3.0).abs() < 0.01, "{}", effect(&repeated));
    }

    #[test]
    fn without_an_error_the_requests_of_a_user_count_as_one() {
        let all = outcomes(900, 3, 0.0);
        let effect = |all: &[Outcome]| design_effect(&all.iter().collect::<Vec<_>>());
        assert!((effect(&all) - 3.0).abs() < 1e-9, "{}", effect(&all));
        assert!((effect(&all[..3]) - 3.0).abs() < 1e-9, "one user");
        assert!((effect(&[]) - 1.0).abs() < 1e-9);
    }

    /// Wrong once in eight where the margin is within `wrong`, right elsewhere.
    fn wrong_within(n: u32, wrong: std::ops::Range<f32>) -> Vec<Outcome> {
        let mut all = outcomes(n, 1, 0.0);
        for (i, o) in (0u32..).zip(&mut all) {
            let drawn = xxh64(&i.to_le_bytes(), 3).is_multiple_of(8);
            o.agrees = !(drawn && o.margin.is_some_and(|m| wrong.contains(&m)));
        }
        all
    }

    #[test]
    fn certifies_nothing_when_what_the_tier_below_leaves_is_hard() {
        // Margins are the same on both tiers: the one below answers what is easy.
        let all = wrong_within(9000, 0.0..0.3);
        let alone = certify(VariantName::W8, &all, |_| true, CLAIM);
        assert!(alone.threshold.is_some_and(|t| t < 0.1), "{alone:?}");
        let above = certify(VariantName::W8, &all, |i| all[i].margin.is_some_and(|m| m < 0.3), CLAIM);
        assert_eq!((above.threshold, above.evidence.bound), (None, None), "{above:?}");
        assert!((1600..2000).contains(&above.evidence.requests), "{above:?}");
    }

    #[test]
    fn certifies_nothing_that_does_not_hold_for_clients_that_ask_directly() {
        let mut all = wrong_within(9000, 0.3..1.1);
        let sent = |o: &Outcome| o.margin.is_some_and(|m| m < 0.3);
        let alone: Vec<Outcome> = all.iter().filter(|o| sent(o)).cloned().collect();
        assert!(certify(VariantName::W8, &alone, |_| true, CLAIM).threshold.is_some());
        let reaching: Vec<bool> = all.iter().map(sent).collect();
        let policy = certify(VariantName::W8, &all, |i| reaching[i], CLAIM);
        assert_eq!(policy.threshold, None, "{policy:?}");
        // Nothing to say of a tier that is asked nothing.
        all.iter_mut().for_each(|o| o.agrees = true);
        let unasked = certify(VariantName::W8, &all, |_| false, CLAIM);
        assert!(unasked.reason.unwrap().contains("the tier below answers all"));
    }

    #[test]
    fn starts_where_one_request_fewer_does_not_end_it() {
        let all = outcomes(2000, 1, 0.0);
        let sample = Sample::new(&all, &split(&all), |_| true);
        let first = thresholds([&sample, &sample], CLAIM)[0];
        let answered =
            Counts::at(&sample.tuning, first).answered as f64 * sample.rest.len() as f64 / sample.tuning.len() as f64;
        assert!((110.0..150.0).contains(&answered), "59 would do, twice as many are sought: {answered}");
    }

    #[test]
    fn stops_at_the_first_failure() {
        // The margins between 0.5 and 0.6 are wrong in the certifying part alone: what is looser must not be taken.
        let mut all = outcomes(6000, 1, 0.0);
        let (_, rest) = split(&all);
        let certifying: HashSet<String> = rest.iter().map(|i| all[*i].user.clone()).collect();
        for o in &mut all {
            let within = o.margin.is_some_and(|m| (0.5..0.6).contains(&m));
            o.agrees = !(within && certifying.contains(&o.user));
        }
        let threshold = certify(VariantName::W8, &all, |_| true, CLAIM).threshold.unwrap();
        assert!(threshold > 0.55, "{threshold}");
    }
}
