//! The ladder, sans I/O: what a tier does with a request, and with what the tier above says.
//!
//! ```text
//! rank(call) ──► Answer | Refused | Whole | Escalate { held, message }
//!                                              │ the host sends `message` up, keeps `held`
//! resume(held, outcome) ◄──────────────────────┘
//!      └──► Answer | Refused | Whole | Escalate (once more: all of the request)
//! ```
//!
//! When the gate is not sure, only the candidates in doubt go up; the certain ones stay in `held`, and the tier above
//! is asked for the rest of the top k. A tier that cannot decide on candidates alone asks for the whole request.
//!
//! Every host (`pop`, a CDN's runtime, a test) only moves bytes and keeps time. The origin shares [`prepare`] and
//! [`Prepared::ranked`] and scores on its own.

mod fallback;
mod load;
mod message;
mod noise;
mod prepare;
mod resume;
mod similarity;

pub use fallback::{Fallback, without_model};
pub use load::{LoadError, Loaded, Parts, Payload, Terms};
pub use message::ABI_VERSION;
pub use noise::{ItemBits, Noise};
pub use prepare::{BindError, Binding, Prepared, Ranking, prepare};

use minicbor::{Decode, Encode};

use crate::explain::Basis;
use crate::gate::{self, Class, Policy, Scores, Split, Thresholds, Verdict};
use crate::plan::{Items, RunError};
use crate::topk;
use crate::wire::{
    Agreement, Answer, Escalation, Part, RankRequest, Reason, Refusal, Reply, Stamp, Tier, TierChoice, Timing, Whole,
    Why,
};
use resume::{Held, Own};

/// What a tier accepts for its own scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TierLimits {
    /// More candidates go up whole.
    #[n(0)]
    pub max_candidates: u32,
    /// A larger k goes up whole.
    #[n(1)]
    pub max_k: u32,
    /// The memory for what is computed of the catalog's items ahead, in bytes; where it would not do, none is.
    #[n(2)]
    pub item_table_bytes: u32,
}

/// A request at a tier.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Call {
    /// The request.
    #[n(0)]
    pub request: RankRequest,
    /// What the tier below scored with, when it comes from one.
    #[n(1)]
    pub below: Option<Stamp>,
    /// Set when it is only the candidates that the tier below is in doubt about.
    #[n(2)]
    pub part: Option<Part>,
}

/// What a tier does with a [`Call`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Step {
    /// It answers.
    #[n(0)]
    Answer(#[n(0)] Box<Answer>),
    /// The request is at fault.
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// It asks the tier above.
    #[n(2)]
    Escalate {
        /// What [`Ladder::resume`] needs; opaque to the host.
        #[cbor(n(0), with = "minicbor::bytes")]
        held: Vec<u8>,
        /// What goes up; the host fills in the time that is left.
        #[n(1)]
        message: Box<Escalation>,
        /// The answer if nobody above replies, when it is known already: the tier's own ranking, at level 1.
        #[n(2)]
        ready: Option<Box<Answer>>,
    },
    /// To the tier below: it needs the whole request.
    #[n(3)]
    Whole(#[n(0)] Whole),
}

/// What became of an escalation.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Outcome {
    /// The tier above replied.
    #[n(0)]
    Reply(#[n(0)] Reply),
    /// It is not there, failed, or was too late.
    #[n(1)]
    Gone,
}

/// One tier's worker for one bundle. Deterministic: the same calls give the same bits.
#[derive(Debug)]
pub struct Ladder {
    loaded: Loaded,
    limits: TierLimits,
    model: String,
    version: String,
    stamp: Stamp,
    policies: Vec<Policy>,
    static_list: Vec<String>,
}

/// Why a request has no scores.
enum NoScores {
    /// It is at fault.
    Refused(Refusal),
    /// The model is: a score is not a number.
    Failed,
}

impl Ladder {
    /// Answers, refuses, escalates, or asks for more.
    pub fn rank(&mut self, call: &Call) -> Step {
        match call.part {
            None => self.rank_whole(&call.request, call.below),
            Some(_) if call.below != Some(self.stamp) => Step::Whole(Whole::OtherBundle),
            Some(part) => self.rank_part(&call.request, part),
        }
    }

    fn rank_whole(&mut self, request: &RankRequest, below: Option<Stamp>) -> Step {
        if over_limit(request, self.limits) {
            return self.escalate_whole(request, None, Why::OverLimit);
        }
        let prepared = match self.loaded.prepare(request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Step::Refused(refusal),
        };
        if prepared.is_empty() {
            return self.answer(Reason::Trivial, 0, Own::default(), None, Vec::new());
        }
        if let Some(why) = self.up_unscored(request, &prepared) {
            return self.escalate_whole(request, None, why);
        }
        let asked = request.tier.names(self.loaded.tier);
        let k = request.k as usize;
        let policies = if below.is_none_or(|below| below == self.stamp) { &self.policies[..] } else { &[] };
        let policy = gate::policy(policies, request.k, prepared.len());
        let thresholds = policy.map_or_else(Thresholds::default, |p| p.of(self.loaded.tier));
        if !asked && !thresholds.is_useful() && k < prepared.len() {
            // Scores that cannot lead to an answer are not worth their time; without the tier above they are made then.
            return self.escalate_whole(request, None, Why::NoPolicy);
        }
        let claim = policy.map(|p| (p.alpha, p.delta));
        let scores = match self.score(&prepared) {
            Ok(scores) => scores,
            Err(NoScores::Refused(refusal)) => return Step::Refused(refusal),
            Err(NoScores::Failed) => return self.escalate_whole(request, None, Why::WorkerFailed),
        };
        let own = self.own(request, &prepared, &scores);
        if asked {
            return self.answer(Reason::Asked, 0, own, None, Vec::new());
        }
        match (self.decide(thresholds, &prepared, &scores, k), claim) {
            (Verdict::Trivial, _) => {
                let agreement = self.agreement((0.0, 0.0), request.k, self.alone_class(), None);
                self.answer(Reason::Trivial, 0, own, Some(agreement), Vec::new())
            }
            (Verdict::Sure { margin, threshold }, Some(claim)) => {
                let agreement = self.agreement(claim, request.k, self.alone_class(), Some((margin, threshold)));
                self.answer(Reason::Sure, 0, own, Some(agreement), Vec::new())
            }
            (Verdict::Doubt(split), Some(_)) => {
                let n = u32::try_from(prepared.len()).unwrap_or(u32::MAX);
                self.escalate_doubt(request, &prepared, own, &split, Part { k: request.k, n }, None)
            }
            (Verdict::Sure { .. } | Verdict::Doubt(_) | Verdict::Whole, _) => {
                self.escalate_whole(request, Some(own), Why::Unsure)
            }
        }
    }

    /// The tier below keeps the certain candidates; what it sends is decided on by the policy of its whole request.
    fn rank_part(&mut self, request: &RankRequest, part: Part) -> Step {
        let whole = Step::Whole(Whole::NoPolicy);
        let Some(policy) = gate::policy(&self.policies, part.k, part.n as usize) else { return whole };
        let (claim, thresholds) = ((policy.alpha, policy.delta), policy.of(self.loaded.tier));
        if over_limit(request, self.limits) || !thresholds.is_useful() {
            return whole;
        }
        let prepared = match self.loaded.prepare(request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Step::Refused(refusal),
        };
        if prepared.has_unknown_items() || prepared.breaks_a_rule() {
            return whole;
        }
        let scores = match self.score(&prepared) {
            Ok(scores) => scores,
            Err(NoScores::Refused(refusal)) => return Step::Refused(refusal),
            Err(NoScores::Failed) => return whole,
        };
        let own = self.own(request, &prepared, &scores);
        match self.decide(thresholds, &prepared, &scores, request.k as usize) {
            Verdict::Trivial => {
                let agreement = self.agreement(claim, part.k, Class::MergedRegion, None);
                self.answer(Reason::Trivial, 0, own, Some(agreement), Vec::new())
            }
            Verdict::Sure { margin, threshold } => {
                let agreement = self.agreement(claim, part.k, Class::MergedRegion, Some((margin, threshold)));
                self.answer(Reason::Sure, 0, own, Some(agreement), Vec::new())
            }
            Verdict::Doubt(split) => self.escalate_doubt(request, &prepared, own, &split, part, Some(part)),
            Verdict::Whole => whole,
        }
    }

    /// What this worker's scores are stamped with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn up_unscored(&self, request: &RankRequest, prepared: &Prepared) -> Option<Why> {
        let asked_above = match request.tier {
            TierChoice::Auto | TierChoice::Edge => false,
            TierChoice::Region => self.loaded.tier < Tier::Region,
            TierChoice::Origin => self.loaded.tier < Tier::Origin,
        };
        if asked_above {
            Some(Why::Asked)
        } else if prepared.has_unknown_items() {
            Some(Why::UnknownItem)
        } else if prepared.breaks_a_rule() {
            Some(Why::SchemaRule)
        } else {
            None
        }
    }

    /// The scores before the link.
    fn score(&mut self, prepared: &Prepared) -> Result<Vec<f32>, NoScores> {
        let mut scores = vec![0.0; prepared.len()];
        let inputs = self.loaded.binding.inputs(prepared);
        let items = self.loaded.items.as_ref().map(|table| Items { table, rows: prepared.rows() });
        match self.loaded.plan.run_with(&mut self.loaded.arena, &inputs, items, &mut scores) {
            Ok(()) if topk::first_nan(&scores).is_none() => Ok(scores),
            // An index of the request's own that the model has no row for; every tier would say the same.
            Err(error @ RunError::Index { .. }) => {
                Err(NoScores::Refused(Refusal { field: String::new(), message: error.to_string() }))
            }
            Ok(()) | Err(RunError::Input { .. }) => Err(NoScores::Failed),
        }
    }

    fn decide(&self, thresholds: Thresholds, prepared: &Prepared, values: &[f32], k: usize) -> Verdict {
        let noise = self.loaded.noise.of_candidates(&self.loaded.catalog, prepared);
        gate::decide(thresholds, Scores { values, noise: &noise }, k)
    }

    fn own(&self, request: &RankRequest, prepared: &Prepared, scores: &[f32]) -> Own {
        let link = self.loaded.plan.link();
        let ranked = prepared.ranked(scores, request, Ranking { link, by: self.loaded.tier });
        let explanation = request.explain.then(|| {
            let &Self { loaded: Loaded { tier, variant, ref schema, ref catalog, .. }, stamp, .. } = self;
            let policy = gate::policy(&self.policies, request.k, scores.len());
            let noise = self.loaded.noise.of_candidates(catalog, prepared);
            let scores = Scores { values: scores, noise: &noise };
            Basis { tier, variant, stamp, schema, catalog, request, prepared, scores, link, policy }.explain().to_json()
        });
        Own { ranked, explanation }
    }

    /// The class of what this tier answers on its own.
    fn alone_class(&self) -> Class {
        if self.loaded.tier == Tier::Edge { Class::Edge } else { Class::Region }
    }

    fn agreement(&self, (alpha, delta): (f64, f64), k: u32, class: Class, margin: Option<(f32, f32)>) -> Agreement {
        let class = class.as_str().to_owned();
        Agreement { alpha, delta, k, class, margin: margin.map(|m| m.0), threshold: margin.map(|m| m.1) }
    }

    fn escalate_whole(&self, request: &RankRequest, own: Option<Own>, why: Why) -> Step {
        let message = self.message(request.clone(), None, why);
        self.escalate(Held::whole(request.clone(), own), message)
    }

    /// Sends up the candidates in doubt of `request`, which is itself what `from_below` says.
    fn escalate_doubt(
        &self,
        request: &RankRequest,
        prepared: &Prepared,
        own: Own,
        split: &Split,
        of: Part,
        from_below: Option<Part>,
    ) -> Step {
        let doubt = in_doubt(request, prepared, split);
        let held = Held::in_doubt(request.clone(), own, &doubt, of, from_below);
        let message = self.message(doubt, Some(of), Why::Unsure);
        self.escalate(held, message)
    }

    fn message(&self, request: RankRequest, part: Option<Part>, why: Why) -> Escalation {
        Escalation { request, stamp: self.stamp, from: self.loaded.tier, why, remaining_us: 0, part }
    }

    fn escalate(&self, held: Held, message: Escalation) -> Step {
        let ready = held.own.clone();
        let ready = ready.map(|own| Box::new(self.blank(Reason::UpstreamGone, 1, own, None, Vec::new())));
        Step::Escalate { held: crate::wire::to_cbor(&held), message: Box::new(message), ready }
    }

    fn answer(
        &self,
        reason: Reason,
        degradation: u8,
        own: Own,
        agreement: Option<Agreement>,
        warnings: Vec<String>,
    ) -> Step {
        Step::Answer(Box::new(self.blank(reason, degradation, own, agreement, warnings)))
    }

    fn blank(
        &self,
        reason: Reason,
        degradation: u8,
        own: Own,
        agreement: Option<Agreement>,
        warnings: Vec<String>,
    ) -> Answer {
        Answer {
            model: self.model.clone(),
            version: self.version.clone(),
            tier: self.loaded.tier,
            variant: Some(self.loaded.variant.as_str().to_owned()),
            degradation,
            reason,
            ranked: own.ranked,
            agreement,
            timing: Timing::default(),
            warnings,
            stamp: Some(self.stamp),
            explanation: own.explanation,
        }
    }
}

/// The request for the candidates in doubt alone: they fill what the certain ones leave of the top k. The tier that asks
/// explains the answer.
#[must_use]
pub fn in_doubt(request: &RankRequest, prepared: &Prepared, split: &Split) -> RankRequest {
    let k = request.k - u32::try_from(split.certain.len()).unwrap_or(request.k);
    let candidates = split.doubt.iter().map(|i| request.candidates[prepared.position(*i)].clone()).collect();
    RankRequest { k, candidates, exclude: Vec::new(), explain: false, ..request.clone() }
}

/// Whether a request is more than a tier scores itself; candidates that are excluded do not count.
#[must_use]
pub fn over_limit(request: &RankRequest, limits: TierLimits) -> bool {
    let n = prepare::ranked_ids(request).count();
    n > limits.max_candidates as usize || (request.k as usize).min(n) > limits.max_k as usize
}
