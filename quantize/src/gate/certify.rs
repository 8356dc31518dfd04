//! The fixed sequence of tests on the certifying users.

use shared_model::gate::ClassEvidence;

use super::Level;
use super::bound::{design_effect, upper_bound};
use super::outlook::Outlook;
use super::path::path;
use super::tally::{Tally, is_used};
use super::trace::{Look, Steps, Trace};

/// What came of a certification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Certified {
    /// The last policy accepted, of edge and region.
    pub(crate) steps: Option<[Steps; 2]>,
    /// What was seen of each class that it uses.
    pub(crate) classes: Vec<ClassEvidence>,
    /// How many times fewer independent requests there are.
    pub(crate) design_effect: f64,
    /// Why nothing is certified.
    pub(crate) reason: Option<String>,
}

/// Certifies on the requests of `rest` a path fixed on those of `tuning`; both list each user's positions in `traces`.
pub(crate) fn certify(traces: &[Trace], tuning: &[Vec<usize>], rest: &[Vec<usize>], level: Level) -> Certified {
    let effect = effect(traces, tuning);
    let of = |users: &'_ [Vec<usize>]| -> Vec<&Trace> { users.iter().flatten().map(|i| &traces[*i]).collect() };
    let (tuned, tested) = (of(tuning), of(rest));
    let outlook = Outlook::new(tuned.len(), tested.len(), effect, level);
    let mut certified = Certified { steps: None, classes: Vec::new(), design_effect: effect, reason: None };
    for steps in path(&tuned, &outlook) {
        let classes = evidence(steps, &tested, effect, level);
        if let Some(failed) = classes.iter().find(|c| c.bound.is_nan() || c.bound > level.alpha) {
            certified.reason = Some(format!(
                "of {} gate requests of the class {} (entering at the {}) {} have another set: the bound is {:.4}, above alpha = {}",
                failed.answered,
                failed.class.as_str(),
                failed.entry.as_str(),
                failed.errors,
                failed.bound,
                level.alpha
            ));
            break;
        }
        (certified.steps, certified.classes) = (Some(steps), classes);
    }
    if certified.steps.is_some() {
        certified.reason = None;
    } else if certified.reason.is_none() {
        certified.reason = Some(nothing_promising(tested.len(), effect, level));
    }
    certified
}

/// What each class that a policy uses does to requests.
fn evidence(steps: [Steps; 2], traces: &[&Trace], effect: f64, level: Level) -> Vec<ClassEvidence> {
    let tally = Tally::of(steps, traces.iter().copied());
    let used = tally.iter().filter(|(entry, class, _)| is_used(steps, *entry, *class));
    used.map(|(entry, class, count)| {
        let (answered, errors) = (count.answered as f64 / effect, count.errors as f64 / effect);
        let bound = upper_bound(answered, errors, level.delta);
        ClassEvidence { entry, class, answered: count.answered, errors: count.errors, bound }
    })
    .collect()
}

/// The larger of the design effects of the two tiers' disagreements, on the tuning users.
fn effect(traces: &[Trace], users: &[Vec<usize>]) -> f64 {
    let of = |look: fn(&Trace) -> Look| {
        let wrong = |user: &[usize]| user.iter().filter(|i| !look(&traces[**i]).agrees).count() as u64;
        design_effect(users.iter().map(|user| (user.len() as u64, wrong(user))))
    };
    of(|t| t.edge).max(of(|t| t.region))
}

fn nothing_promising(requests: usize, effect: f64, level: Level) -> String {
    let needed = (level.delta.ln() / (1.0 - level.alpha).ln() * effect).ceil();
    let found = requests as f64;
    if found < needed {
        format!(
            "{found} gate requests to certify on are too few: alpha = {} needs {needed} of a class without an error (design effect {effect:.2})",
            level.alpha
        )
    } else {
        format!("no policy comes near alpha = {} on the tuning requests", level.alpha)
    }
}
