//! The way of a request up the ladder: the code that serves, with the tiers in one process.

use serde::Serialize;
use shared_model::bundle::{CATALOG, MANIFEST};
use shared_model::ladder::{Call, Ladder, Outcome, Parts, Ranking, Step, TierLimits, prepare};
use shared_model::limits;
use shared_model::variant::VariantName;
use shared_model::wire::{Answer, RankRequest, Reason, Refusal, Reply, Tier, Timing, Why};

use super::Options;
use crate::build::REFERENCE;
use crate::eval::Opened;
use crate::failure::Failure;
use crate::score::Scorer;
use crate::source::{self, SourceError};

/// A tier on the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Which.
    pub tier: Tier,
    /// What it does.
    #[serde(flatten)]
    pub does: Does,
}

/// What a tier does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "does")]
pub enum Does {
    /// It answers, by this right.
    Answers {
        /// The right.
        reason: Reason,
    },
    /// It asks the tier above.
    Escalates {
        /// For this reason.
        why: Why,
        /// With so many candidates.
        candidates: usize,
    },
    /// It was sent the candidates in doubt, and asks the tier below for the whole request.
    AsksForAll,
}

/// The stages of a request that comes in at the edge, and its answer. `reference` scores at full precision.
pub(super) fn replay(
    options: &Options,
    opened: &Opened,
    request: &RankRequest,
    reference: &Scorer,
) -> Result<(Vec<Stage>, Answer), Failure> {
    let manifest = source::bytes(&options.bundle.join(MANIFEST), limits::MAX_MANIFEST_BYTES)?;
    let schema = opened.schema.to_json();
    let of_bundle = |e: String| SourceError::file(&options.bundle, e);
    let catalog = opened.bundle.file(CATALOG).map_err(|e| of_bundle(e.to_string()))?;
    let ladder = |tier: Tier| -> Result<Ladder, SourceError> {
        let file = VariantName::of(tier).file();
        let variant = opened.bundle.file(file).map_err(|e| of_bundle(e.to_string()))?;
        // The limits of a tier are its configuration's, not the bundle's: here they are out of the way.
        let limits = TierLimits { max_candidates: u32::MAX, max_k: u32::MAX, item_table_bytes: 0 };
        let parts = Parts { manifest: &manifest, schema: &schema, variant, catalog };
        Ladder::load(tier, limits, parts).map_err(|e| of_bundle(e.to_string()))
    };
    let origin = Origin { opened, reference };
    let mut tiers = [(Tier::Edge, ladder(Tier::Edge)?), (Tier::Region, ladder(Tier::Region)?)];
    let call = Call { request: RankRequest { explain: false, ..request.clone() }, below: None, part: None };
    let mut path = Vec::new();
    let at_fault = |field: String, message: String| {
        Failure::from(SourceError::file(&options.request, format!("`{field}`: {message}")))
    };
    match up(&mut tiers, &origin, &call, &mut path) {
        Reply::Answer(answer) => Ok((path, *answer)),
        Reply::Refused(refusal) => Err(at_fault(refusal.field, refusal.message)),
        Reply::Whole(_) => Err(at_fault(String::new(), "the edge asks for more than all of it".to_owned())),
    }
}

/// What these tiers, and then the origin, make of a call.
fn up(tiers: &mut [(Tier, Ladder)], origin: &Origin<'_>, call: &Call, path: &mut Vec<Stage>) -> Reply {
    let Some(((tier, ladder), above)) = tiers.split_first_mut() else {
        path.push(Stage { tier: Tier::Origin, does: Does::Answers { reason: Reason::Reference } });
        return origin.answer(&call.request);
    };
    let tier = *tier;
    let mut step = ladder.rank(call);
    if let Step::Answer(answer) = &step {
        path.push(Stage { tier, does: Does::Answers { reason: answer.reason } });
    }
    loop {
        step = match step {
            Step::Escalate { held, message, .. } => {
                let does = Does::Escalates { why: message.why, candidates: message.request.candidates.len() };
                path.push(Stage { tier, does });
                let call = Call { below: Some(message.stamp), part: message.part, request: message.request };
                ladder.resume(&held, Outcome::Reply(up(above, origin, &call, path)))
            }
            Step::Answer(answer) => return Reply::Answer(answer),
            Step::Refused(refusal) => return Reply::Refused(refusal),
            Step::Whole(whole) => {
                path.push(Stage { tier, does: Does::AsksForAll });
                return Reply::Whole(whole);
            }
        };
    }
}

/// The origin's answers, scored at full precision.
struct Origin<'a> {
    opened: &'a Opened,
    reference: &'a Scorer,
}

impl Origin<'_> {
    fn answer(&self, request: &RankRequest) -> Reply {
        match self.scored(request) {
            Ok(answer) => Reply::Answer(Box::new(answer)),
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn scored(&self, request: &RankRequest) -> Result<Answer, Refusal> {
        let prepared = prepare(&self.opened.schema, &self.opened.catalog, request)?;
        let scores = self.reference.score(&mut self.reference.arena(), &prepared);
        let scores = scores.map_err(|e| Refusal { field: String::new(), message: e.to_string() })?;
        let ranking = Ranking { link: self.opened.variants[REFERENCE].graph.link(), by: Tier::Origin };
        let manifest = &self.opened.bundle.manifest;
        Ok(Answer {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            tier: Tier::Origin,
            variant: Some(VariantName::F32.as_str().to_owned()),
            degradation: 0,
            reason: Reason::Reference,
            ranked: prepared.ranked(&scores, request, ranking),
            agreement: None,
            timing: Timing::default(),
            warnings: prepared.defaulted(),
            stamp: Some(self.opened.bundle.stamp()),
            explanation: None,
        })
    }
}
