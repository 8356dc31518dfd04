//! What a quality is told of: a variant of the bundle, or what another tool makes of the same model.

use serde::{Deserialize, Serialize, Serializer};
use shared_model::variant::VariantName;

/// One that ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranker {
    /// A variant.
    Variant(VariantName),
    /// A form of a peer, which no bundle holds.
    Peer(Form),
}

/// What ONNX Runtime's quantizer makes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Weights of 8 bits; the ranges of activations are found anew in every run.
    Int8Dynamic,
    /// Weights and activations of 8 bits, with ranges from calibration requests.
    Int8Static,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Int8Dynamic, Self::Int8Static];

    /// With the name of its runtime.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8Dynamic => "onnxruntime int8 dynamic",
            Self::Int8Static => "onnxruntime int8 static",
        }
    }
}

impl Ranker {
    /// For people, and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Variant(variant) => variant.as_str(),
            Self::Peer(form) => form.as_str(),
        }
    }

    /// Whether no bundle holds it.
    #[must_use]
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Peer(_))
    }

    /// The tier that runs it, or that it is a peer.
    #[must_use]
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Variant(variant) => variant.tier().as_str(),
            Self::Peer(_) => "peer",
        }
    }

    /// The name of its colour on a page.
    #[must_use]
    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::Variant(variant) => variant.as_str(),
            Self::Peer(_) => "peer",
        }
    }
}

impl From<VariantName> for Ranker {
    fn from(variant: VariantName) -> Self {
        Self::Variant(variant)
    }
}

impl Serialize for Ranker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
