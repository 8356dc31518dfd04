//! The ladder, sans I/O: what a tier does with a request, and with what the tier above says.
//!
//! ```text
//! rank(call) ──► Answer | Refused | Escalate { held, message }
//!                                       │ the host sends `message` up, keeps `held`
//! resume(held, outcome) ◄───────────────┘
//!      └──► Answer | Refused
//! ```
//!
//! Every host (`pop`, a CDN's runtime, a test) only moves bytes and keeps time. The origin shares [`prepare`] and
//! [`Prepared::ranked`] and scores on its own.

mod prepare;

pub use prepare::{BindError, Binding, Prepared, Ranking, prepare};

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::bundle::{self, Bundle, BundleError, CATALOG, MANIFEST};
use crate::catalog::{Catalog, CatalogError};
use crate::gate::{self, Policy, Verdict};
use crate::plan::{Arena, Plan, PlanError, RunError};
use crate::schema::{Schema, SchemaFaults};
use crate::topk;
use crate::variant::{Variant, VariantError, VariantName};
use crate::wire::{
    Agreement, Answer, Escalation, RankRequest, Ranked, Reason, Refusal, Reply, Stamp, Tier, TierChoice, Timing, Why,
};

/// The bytes a worker is made of; a host that has verified a bundle hands them over.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `manifest.json`.
    pub manifest: &'a [u8],
    /// The schema, as [`Schema::to_json`] writes it.
    pub schema: &'a [u8],
    /// The variant's file.
    pub variant: &'a [u8],
    /// The catalog's file.
    pub catalog: &'a [u8],
}

/// What a tier accepts for its own scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TierLimits {
    /// More candidates go up whole.
    #[n(0)]
    pub max_candidates: u32,
    /// A larger k goes up whole.
    #[n(1)]
    pub max_k: u32,
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

/// Why a worker cannot be made of these parts.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] BundleError),
    /// The schema.
    #[error("features: {0}")]
    Schema(#[from] SchemaFaults),
    /// The variant's file.
    #[error("{file}: {error}")]
    Variant {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: VariantError,
    },
    /// The variant cannot be run.
    #[error("{file}: {error}")]
    Plan {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: PlanError,
    },
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
    /// A file of another variant.
    #[error("{file}: holds the variant {holds:?}: the bundle is mixed up")]
    Mixed {
        /// Its name.
        file: &'static str,
        /// What it holds.
        holds: VariantName,
    },
    /// Schema and graph disagree.
    #[error("{MANIFEST}: the schema does not feed the model: {0}")]
    Bind(#[from] BindError),
}

/// One tier's worker for one bundle. Deterministic: the same calls give the same bits.
#[derive(Debug)]
pub struct Ladder {
    tier: Tier,
    limits: TierLimits,
    variant: VariantName,
    model: String,
    version: String,
    stamp: Stamp,
    policies: Vec<Policy>,
    schema: Schema,
    catalog: Catalog,
    binding: Binding,
    plan: Plan,
    arena: Arena,
}

/// What is kept while the tier above is asked.
#[derive(Debug, Encode, Decode)]
struct Held {
    #[n(0)]
    request: RankRequest,
    /// This tier's own ranking, if it scored.
    #[n(1)]
    own: Option<Vec<Ranked>>,
}

/// Why a request has no scores.
enum NoScores {
    /// It is at fault.
    Refused(Refusal),
    /// The model is: a score is not a number.
    Failed,
}

impl Ladder {
    /// A worker for `tier`, running that tier's variant.
    ///
    /// # Errors
    /// The parts are not those of a bundle; the error names the file and the reason.
    pub fn load(tier: Tier, limits: TierLimits, parts: Parts<'_>) -> Result<Self, LoadError> {
        let bundle = Bundle::read(&[], |_, _| Ok(parts.manifest.to_vec()))?;
        let schema = Schema::from_json(parts.schema)?;
        let file = VariantName::of(tier).file();
        let variant = Variant::from_bytes(parts.variant).map_err(|error| LoadError::Variant { file, error })?;
        if variant.name != VariantName::of(tier) {
            return Err(LoadError::Mixed { file, holds: variant.name });
        }
        let catalog = Catalog::from_safetensors(parts.catalog, &schema)?;
        let binding = Binding::new(&variant.graph, &schema)?;
        let plan = Plan::new(&variant.graph, &variant.tensors).map_err(|error| LoadError::Plan { file, error })?;
        let arena = plan.arena();
        let stamp = Stamp { catalog: catalog.revision(), ..bundle.stamp() };
        let bundle::Manifest { model, version, policies, .. } = bundle.manifest;
        let variant = variant.name;
        Ok(Self { tier, limits, variant, model, version, stamp, policies, schema, catalog, binding, plan, arena })
    }

    /// Answers, refuses or escalates.
    pub fn rank(&mut self, call: &Call) -> Step {
        let request = &call.request;
        if over_limit(request, self.limits) {
            return self.escalate(request, None, Why::OverLimit);
        }
        let prepared = match prepare(&self.schema, &self.catalog, request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Step::Refused(refusal),
        };
        if prepared.is_empty() {
            return self.answer(Reason::Trivial, 0, Vec::new(), None, Vec::new());
        }
        if let Some(why) = self.up_unscored(request, &prepared) {
            return self.escalate(request, None, why);
        }
        let scores = match self.score(&prepared) {
            Ok(scores) => scores,
            Err(NoScores::Refused(refusal)) => return Step::Refused(refusal),
            Err(NoScores::Failed) => return self.escalate(request, None, Why::WorkerFailed),
        };
        let ranked = prepared.ranked(&scores, request, self.ranking());
        if request.tier.names(self.tier) {
            return self.answer(Reason::Asked, 0, ranked, None, Vec::new());
        }
        let policies = if call.below.is_none_or(|below| below == self.stamp) { &self.policies[..] } else { &[] };
        match gate::decide(policies, self.variant, self.tier, &scores, request.k) {
            Verdict::Sure(agreement) => self.answer(Reason::Sure, 0, ranked, Some(agreement), Vec::new()),
            Verdict::Trivial(agreement) => self.answer(Reason::Trivial, 0, ranked, Some(agreement), Vec::new()),
            Verdict::Unsure { .. } => self.escalate(request, Some(ranked), Why::Unsure),
            Verdict::NoPolicy => self.escalate(request, Some(ranked), Why::NoPolicy),
        }
    }

    /// Goes on with an escalation once its outcome is known.
    ///
    /// `held` comes from [`Step::Escalate`] of the same bundle, perhaps of another instance; what is not is refused.
    pub fn resume(&mut self, held: &[u8], outcome: Outcome) -> Step {
        let held: Held = match crate::wire::from_cbor(held) {
            Ok(held) => held,
            Err(error) => {
                return Step::Refused(Refusal { field: String::new(), message: format!("held state: {error}") });
            }
        };
        match outcome {
            // Scores of this tier's own are better than a ranking that no model made.
            Outcome::Reply(Reply::Answer(answer)) if answer.degradation >= 3 && held.own.is_some() => self.alone(held),
            Outcome::Reply(Reply::Answer(answer)) => Step::Answer(answer),
            Outcome::Reply(Reply::Refused(refusal)) => Step::Refused(refusal),
            Outcome::Gone => self.alone(held),
        }
    }

    /// What this worker's scores are stamped with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The best this tier can say without the one above: level 1, or level 3 when it cannot score.
    fn alone(&mut self, held: Held) -> Step {
        let Held { request, own } = held;
        if let Some(own) = own {
            return self.answer(Reason::UpstreamGone, 1, own, None, Vec::new());
        }
        if over_limit(&request, self.limits) {
            return self.popular(Reason::UpstreamGone, &request);
        }
        let prepared = match prepare(&self.schema, &self.catalog, &request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Step::Refused(refusal),
        };
        let scores = match self.score(&prepared) {
            Ok(scores) => scores,
            Err(NoScores::Refused(refusal)) => return Step::Refused(refusal),
            Err(NoScores::Failed) => return self.popular(Reason::WorkerFailed, &request),
        };
        let ranked = prepared.ranked(&scores, &request, self.ranking());
        self.answer(Reason::UpstreamGone, 1, ranked, None, prepared.defaulted())
    }

    fn popular(&self, reason: Reason, request: &RankRequest) -> Step {
        let ranked = by_popularity(&self.catalog, request, self.tier);
        Step::Answer(Box::new(Answer { variant: None, ..self.blank(reason, 3, ranked, None, Vec::new()) }))
    }

    fn up_unscored(&self, request: &RankRequest, prepared: &Prepared) -> Option<Why> {
        let asked_above = match request.tier {
            TierChoice::Auto | TierChoice::Edge => false,
            TierChoice::Region => self.tier < Tier::Region,
            TierChoice::Origin => self.tier < Tier::Origin,
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
        let inputs = self.binding.inputs(prepared);
        match self.plan.run(&mut self.arena, &inputs, &mut scores) {
            Ok(()) if topk::first_nan(&scores).is_none() => Ok(scores),
            // An index of the request's own that the model has no row for; every tier would say the same.
            Err(error @ RunError::Index { .. }) => {
                Err(NoScores::Refused(Refusal { field: String::new(), message: error.to_string() }))
            }
            Ok(()) | Err(RunError::Input { .. }) => Err(NoScores::Failed),
        }
    }

    fn ranking(&self) -> Ranking {
        Ranking { link: self.plan.link(), by: self.tier }
    }

    fn escalate(&self, request: &RankRequest, own: Option<Vec<Ranked>>, why: Why) -> Step {
        let ready = own.clone().map(|own| Box::new(self.blank(Reason::UpstreamGone, 1, own, None, Vec::new())));
        let held = crate::wire::to_cbor(&Held { request: request.clone(), own });
        let request = request.clone();
        let message = Escalation { request, stamp: self.stamp, from: self.tier, why, remaining_us: 0 };
        Step::Escalate { held, message: Box::new(message), ready }
    }

    fn answer(
        &self,
        reason: Reason,
        degradation: u8,
        ranked: Vec<Ranked>,
        agreement: Option<Agreement>,
        warnings: Vec<String>,
    ) -> Step {
        Step::Answer(Box::new(self.blank(reason, degradation, ranked, agreement, warnings)))
    }

    fn blank(
        &self,
        reason: Reason,
        degradation: u8,
        ranked: Vec<Ranked>,
        agreement: Option<Agreement>,
        warnings: Vec<String>,
    ) -> Answer {
        Answer {
            model: self.model.clone(),
            version: self.version.clone(),
            tier: self.tier,
            variant: Some(self.variant.as_str().to_owned()),
            degradation,
            reason,
            ranked,
            agreement,
            timing: Timing::default(),
            warnings,
            stamp: Some(self.stamp),
            explanation: None,
        }
    }
}

/// Whether a request is more than a tier scores itself; candidates that are excluded do not count.
#[must_use]
pub fn over_limit(request: &RankRequest, limits: TierLimits) -> bool {
    let n = prepare::ranked_ids(request).count();
    n > limits.max_candidates as usize || (request.k as usize).min(n) > limits.max_k as usize
}

/// Level 3: the candidates by the catalog's popularity, for when no model can score. Unknown items come last.
#[must_use]
pub fn by_popularity(catalog: &Catalog, request: &RankRequest, by: Tier) -> Vec<Ranked> {
    let ids: Vec<&str> = prepare::ranked_ids(request).collect();
    let popularity: Vec<f32> = ids
        .iter()
        .map(|id| catalog.row(id).map_or(f32::NEG_INFINITY, |row| catalog.popularity()[row as usize]))
        .collect();
    let order = topk::top(&popularity, request.k as usize);
    order.into_iter().map(|i| Ranked { id: ids[i].to_owned(), score: None, by }).collect()
}
