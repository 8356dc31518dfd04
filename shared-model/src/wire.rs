//! The messages that cross a boundary: client to tier, tier to tier, host to guest.
//!
//! One set of types. Clients speak JSON ([`json`]); tiers, and a host with its guest, speak CBOR with integer keys, so
//! that a field can be added without a flag day. Decoding bounds every length and names the field at fault.

mod between;
mod cbor;
pub mod json;
mod memory;
mod raw;

pub use between::{Escalation, Part, Refusal, Reply, Whole, Why};
pub use cbor::{CborError, from_cbor, to_cbor};
pub use json::{Decoded, FieldError};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A raw value of a field, as the client sent it or the catalog holds it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Raw {
    /// Absent or null.
    #[n(0)]
    Null,
    /// A boolean.
    #[n(1)]
    Bool(#[n(0)] bool),
    /// An integer.
    #[n(2)]
    Int(#[n(0)] i64),
    /// A finite number.
    #[n(3)]
    Float(#[cbor(n(0), with = "raw::finite")] f64),
    /// Text.
    #[n(4)]
    Text(#[n(0)] String),
    /// A list of scalars.
    #[n(5)]
    List(#[cbor(n(0), with = "raw::flat")] Vec<Raw>),
}

/// Named raw values: a user, a context or an item; nested objects are flattened to dotted names.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(transparent)]
pub struct Record(#[n(0)] pub Vec<(String, Raw)>);

impl Record {
    /// The value of a field; absent is [`Raw::Null`].
    #[must_use]
    pub fn field(&self, name: &str) -> &Raw {
        self.0.iter().find(|(n, _)| n == name).map_or(&Raw::Null, |(_, v)| v)
    }
}

/// One item of a request.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Candidate {
    /// The item's id.
    #[n(0)]
    pub id: String,
    /// Its features, when the client sends them itself: they take the place of the catalog's.
    #[n(1)]
    pub features: Option<Record>,
}

/// Which tier the client wants the answer of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TierChoice {
    /// The lowest that is sure.
    #[default]
    #[n(0)]
    Auto,
    /// The edge's own, sure or not.
    #[n(1)]
    Edge,
    /// The region's own, sure or not.
    #[n(2)]
    Region,
    /// Full precision.
    #[n(3)]
    Origin,
}

impl TierChoice {
    /// Whether it is this tier that is asked for.
    #[must_use]
    pub fn names(self, tier: Tier) -> bool {
        match self {
            Self::Auto => false,
            Self::Edge => tier == Tier::Edge,
            Self::Region => tier == Tier::Region,
            Self::Origin => tier == Tier::Origin,
        }
    }
}

/// A place where requests are answered, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// A POP.
    #[n(0)]
    Edge,
    /// Between the POPs and the origin.
    #[n(1)]
    Region,
    /// Full precision.
    #[n(2)]
    Origin,
}

impl Tier {
    /// The tier's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Region => "region",
            Self::Origin => "origin",
        }
    }
}

/// A decoded `POST /v1/rank`.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RankRequest {
    /// Which model.
    #[n(0)]
    pub model: String,
    /// How many candidates make the answer; at least 1.
    #[n(1)]
    pub k: u32,
    /// The user's fields.
    #[n(2)]
    pub user: Record,
    /// The context's fields.
    #[n(3)]
    pub context: Record,
    /// The candidates, no id twice.
    #[n(4)]
    pub candidates: Vec<Candidate>,
    /// Ids that must not be ranked.
    #[n(5)]
    pub exclude: Vec<String>,
    /// How long the client waits, in milliseconds; `None` leaves it to the tier.
    #[n(6)]
    pub timeout_ms: Option<u32>,
    /// Whose answer.
    #[n(7)]
    pub tier: TierChoice,
    /// Whether to explain the answer.
    #[n(8)]
    pub explain: bool,
}

/// The SHA-256 of a bundle's manifest, which holds the digest of every other file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What a tier's scores come from: two tiers whose stamps differ make no claim about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Stamp {
    /// The bundle.
    #[n(0)]
    pub bundle: Digest,
    /// The revision of its catalog: 0 as bundled, one more with each delta.
    #[n(1)]
    pub catalog: u64,
}

/// By what right an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The gate is sure.
    #[n(0)]
    Sure,
    /// Every candidate is in the answer: the set cannot differ.
    #[n(1)]
    Trivial,
    /// The client asked for this tier.
    #[n(2)]
    Asked,
    /// This is the reference itself.
    #[n(3)]
    Reference,
    /// The upstream is gone or did not answer in time.
    #[n(4)]
    UpstreamGone,
    /// The worker failed and nobody above answered.
    #[n(5)]
    WorkerFailed,
    /// The candidates in doubt were ranked above, the certain ones by the tiers below.
    #[n(6)]
    Merged,
    /// The full-precision model, computed in a lower precision, which is named where the variant is.
    #[n(7)]
    Rounded,
}

impl Reason {
    /// The reason's name in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::Trivial => "trivial",
            Self::Asked => "asked",
            Self::Reference => "reference",
            Self::UpstreamGone => "upstream_gone",
            Self::WorkerFailed => "worker_failed",
            Self::Merged => "merged",
            Self::Rounded => "rounded",
        }
    }
}

/// An entry of an answer.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
pub struct Ranked {
    /// The item.
    #[n(0)]
    pub id: String,
    /// The model's output for it; null when it was ranked without the model (levels 2 to 4).
    #[n(1)]
    pub score: Option<f32>,
    /// The tier that scored it.
    #[n(2)]
    pub by: Tier,
}

/// The claim of an answer (DESIGN: «of the answers so tagged by this tier, at most α have another top-k set»).
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
pub struct Agreement {
    /// The share of tagged answers that may have another top-k set than the full-precision model's.
    #[n(0)]
    pub alpha: f64,
    /// The probability that the certification errs.
    #[n(1)]
    pub delta: f64,
    /// The size of the set.
    #[n(2)]
    pub k: u32,
    /// By which path the answer came.
    #[n(3)]
    pub class: String,
    /// Twice the distance to the boundary, over its noise, of the candidate that is nearest so, at the tier that decided;
    /// null when every candidate is in the answer, and where the origin decided.
    #[n(4)]
    pub margin: Option<f32>,
    /// What the margin had to reach.
    #[n(5)]
    pub threshold: Option<f32>,
}

/// Where the time went, in microseconds, at the tier that talks to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Timing {
    /// Waiting for a worker.
    #[n(0)]
    pub queue: u64,
    /// Features, plan, top-k and gate of this tier.
    #[n(1)]
    pub score: u64,
    /// Waiting for the tier above.
    #[n(2)]
    pub upstream: u64,
    /// All of it.
    #[n(3)]
    pub total: u64,
}

/// The answer to a [`RankRequest`].
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
pub struct Answer {
    /// The model.
    #[n(0)]
    pub model: String,
    /// Its version.
    #[n(1)]
    pub version: String,
    /// The tier that answered.
    #[n(2)]
    pub tier: Tier,
    /// The variant that scored: `w4`, `w8` or `f32`, which is `tf32` or `bf16` where the origin multiplies so; null when
    /// it was ranked without the model.
    #[n(3)]
    pub variant: Option<String>,
    /// 0 is normal; see DESIGN §10.
    #[n(4)]
    pub degradation: u8,
    /// By what right it stands.
    #[n(5)]
    pub reason: Reason,
    /// The best first, at most k.
    #[n(6)]
    pub ranked: Vec<Ranked>,
    /// The claim, when there is one.
    #[n(7)]
    pub agreement: Option<Agreement>,
    /// Where the time went; filled by the host, for the guest has no clock.
    #[n(8)]
    #[serde(rename = "timing_us")]
    pub timing: Timing,
    /// What the client should know of its request.
    #[n(9)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What the answer was computed from.
    #[n(10)]
    #[serde(skip)]
    pub stamp: Option<Stamp>,
    /// Encoded features, scores and the policy used, when asked for; JSON text.
    #[n(11)]
    #[serde(skip)]
    pub explanation: Option<String>,
}

#[cfg(test)]
mod tests;
