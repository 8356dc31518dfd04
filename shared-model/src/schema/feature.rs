//! The parts of a schema, resolved: what [`crate::encode`] works from.

use super::names::Names;
use crate::graph::{DType, Scope};
use crate::wire::Raw;

/// A feature: one raw field, or several that are crossed, and how it becomes columns of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its name, unique in the schema.
    pub name: String,
    /// [`Scope::Request`] or [`Scope::Item`].
    pub scope: Scope,
    /// Where its value comes from.
    pub source: Origin,
    /// The paths of the raw fields: `user.id`, `context.timestamp`, or a field of the item. One, or for
    /// [`Coding::CrossHash`] two or more.
    pub fields: Vec<String>,
    /// The input it feeds: an index into [`super::Schema::inputs`].
    pub input: usize,
    /// Its column there; `None` when it is the whole input.
    pub column: Option<usize>,
    /// How a value is encoded.
    pub coding: Coding,
    /// What a missing value does.
    pub missing: Rule,
    /// What a value outside the vocabulary does.
    pub unknown: Rule,
    /// The raw value taken for a missing one; [`Raw::Null`] encodes to 0, index 0 or nothing.
    pub default: Raw,
}

/// Where the value of a feature comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request.
    Request,
    /// The catalog, or the features that a candidate carries in their place.
    Catalog,
    /// The feature store, when the request does not carry it.
    Store,
}

/// What a missing or unknown value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The default takes its place.
    Default,
    /// The request is refused.
    Reject,
    /// The request goes up whole; a tier that must answer all the same takes the default.
    Escalate,
}

/// How a value is encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Coding {
    /// A number, through these steps in order.
    Numeric(Vec<Step>),
    /// One index.
    Categorical(Index),
    /// One index of several fields together: xxh64 of their texts, each as a netstring, with seed 0, modulo this.
    CrossHash(u32),
    /// One index an element.
    List {
        /// How an element becomes an index.
        index: Index,
        /// The width of a row.
        max_length: usize,
        /// Which end of a longer list stays.
        keep: Keep,
        /// Fills a shorter list up, on the right.
        padding: i32,
    },
    /// One column a vocabulary entry: 1 where the list has it. An index into [`super::Schema::vocabularies`].
    MultiHot(usize),
    /// 1 + the number of boundaries at most the value; 0 is missing.
    Bucketized(Vec<f64>),
    /// As many numbers, each through these steps in order.
    Dense {
        /// The width of a row.
        length: usize,
        /// What is done with each.
        steps: Vec<Step>,
    },
}

impl Coding {
    /// The element type of the input it feeds.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::Numeric(_) | Self::MultiHot(_) | Self::Dense { .. } => DType::F32,
            Self::Categorical(_) | Self::CrossHash(_) | Self::List { .. } | Self::Bucketized(_) => DType::I32,
        }
    }

    /// What the schema calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Numeric(_) => "numeric",
            Self::Categorical(_) | Self::CrossHash(_) => "categorical",
            Self::List { .. } => "list",
            Self::MultiHot(_) => "multi_hot",
            Self::Bucketized(_) => "bucketized",
            Self::Dense { .. } => "dense",
        }
    }

    /// The vocabulary that values are looked up in: an index into [`super::Schema::vocabularies`].
    #[must_use]
    pub fn vocabulary(&self) -> Option<usize> {
        match self {
            Self::Categorical(Index::Vocabulary(v))
            | Self::List { index: Index::Vocabulary(v), .. }
            | Self::MultiHot(v) => Some(*v),
            Self::Numeric(_)
            | Self::Categorical(_)
            | Self::CrossHash(_)
            | Self::List { .. }
            | Self::Bucketized(_)
            | Self::Dense { .. } => None,
        }
    }
}

/// A step of a numeric transform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// ln(1 + x)
    Ln1p,
    /// x, but not below `min` and not above `max`
    Clip {
        /// The least; minus infinity is none.
        min: f64,
        /// The most; infinity is none.
        max: f64,
    },
    /// (x - mean) / std
    Standardize {
        /// Subtracted.
        mean: f64,
        /// Divides; not 0.
        std: f64,
    },
}

/// How a value becomes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Its position in a vocabulary: an index into [`super::Schema::vocabularies`].
    Vocabulary(usize),
    /// xxh64 of its UTF-8 bytes with seed 0, modulo this.
    Hash(u32),
    /// It is the index, below this if anything is known of how many there are.
    Identity(Option<u32>),
    /// The hour, UTC, of Unix seconds.
    Hour,
    /// The day of the week, UTC, of Unix seconds; Monday is 0.
    Weekday,
}

/// Which end of a list stays when it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first elements.
    First,
    /// The last elements.
    Last,
}

/// A set of values with an index each.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// Its name, unique in the schema.
    pub name: String,
    /// The index of the first value; what is not in it has index 0.
    pub first: u32,
    /// The values; `None` for the ids of the catalog.
    pub(crate) values: Option<Names>,
}

impl Vocabulary {
    /// The number of values, of which the schema alone does not know the catalog's.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        self.values.as_ref().map(Names::len)
    }

    /// Whether its values are the ids of the catalog.
    #[must_use]
    pub fn is_catalog(&self) -> bool {
        self.values.is_none()
    }
}
