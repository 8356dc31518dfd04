//! The messages between two tiers: an escalation, and the reply to it.

use minicbor::{Decode, Encode};
use serde::Serialize;

use super::{Answer, RankRequest, Stamp, Tier};

/// A request, or its candidates in doubt, on the way one rung up.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Escalation {
    /// The request, as `part` says.
    #[n(0)]
    pub request: RankRequest,
    /// What the lower tier scored with.
    #[n(1)]
    pub stamp: Stamp,
    /// The lower tier.
    #[n(2)]
    pub from: Tier,
    /// Why it comes up.
    #[n(3)]
    pub why: Why,
    /// What is left of the client's timeout, in microseconds, when the message is sent.
    #[n(4)]
    pub remaining_us: u64,
    /// Set when only the candidates in doubt come up; k is then how many of them are in the answer.
    #[n(5)]
    pub part: Option<Part>,
}

/// The request that the candidates in doubt are of: its policy decides on them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    /// Its k.
    #[n(0)]
    pub k: u32,
    /// How many candidates it has.
    #[n(1)]
    pub n: u32,
}

/// Why a tier wants the whole request instead of the candidates in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Whole {
    /// It has another bundle or catalog revision: it answers alone.
    #[n(0)]
    OtherBundle,
    /// It is not sure of them, and no policy covers what it would send up: the origin has to rank all.
    #[n(1)]
    NoPolicy,
}

/// Why a tier did not answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The margin is below the threshold.
    #[n(0)]
    Unsure,
    /// No certified policy for this k, this N or these tiers.
    #[n(1)]
    NoPolicy,
    /// The client asked for a higher tier.
    #[n(2)]
    Asked,
    /// A candidate is not in the catalog and has no inline features.
    #[n(3)]
    UnknownItem,
    /// The schema says `escalate` for a missing or unknown value.
    #[n(4)]
    SchemaRule,
    /// k or N is above this tier's limit.
    #[n(5)]
    OverLimit,
    /// The worker failed or ran out of time.
    #[n(6)]
    WorkerFailed,
}

impl Why {
    /// The reason's name in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsure => "unsure",
            Self::NoPolicy => "no_policy",
            Self::Asked => "asked",
            Self::UnknownItem => "unknown_item",
            Self::SchemaRule => "schema_rule",
            Self::OverLimit => "over_limit",
            Self::WorkerFailed => "worker_failed",
        }
    }
}

/// What a tier says to an [`Escalation`], or a guest to its host: an answer, a refusal, or that it wants all of the request.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Reply {
    /// The answer.
    #[n(0)]
    Answer(#[n(0)] Box<Answer>),
    /// The request is at fault and no tier can answer it.
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// To candidates in doubt: send the whole request.
    #[n(2)]
    Whole(#[n(0)] Whole),
}

/// A request that the schema or the model refuses.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Refusal {
    /// The field at fault: `user.mean_rating`, `candidates[3].year`.
    #[n(0)]
    pub field: String,
    /// What is wrong with it and what to do.
    #[n(1)]
    pub message: String,
}
