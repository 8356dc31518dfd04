//! Features as an explanation shows them, within a bound on the bytes of all of them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::catalog::Catalog;
use crate::encode::{Data, Encoder, Taken, Trace};
use crate::graph::Scope;
use crate::limits;
use crate::schema::{Feature, Schema};
use crate::wire::{Candidate, RankRequest, Raw};

/// The elements shown of a raw list.
const RAW_ELEMENTS: usize = 16;
/// The characters shown of a raw text.
const RAW_CHARS: usize = 64;
/// The encoded values shown of one feature.
const ENCODED_VALUES: usize = 32;

/// How one feature was encoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureExplained {
    /// Its name.
    pub feature: String,
    /// The model input that it feeds.
    pub input: String,
    /// Its column there, when it shares the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Where its raw value is looked for.
    pub fields: Vec<String>,
    /// What the fields held, cut where long; left out for an item of the catalog, which holds encoded values alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Vec<Value>>,
    /// What is done with it.
    pub transform: String,
    /// What the encoded value is made of.
    pub from: ValueSource,
    /// The first of its encoded values.
    pub encoded: Vec<Number>,
    /// How many more there are.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub encoded_left_out: usize,
}

/// An encoded value. An f32 is shown by its own shortest digits, not those of the f64 next to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Of an input of f32s.
    F32(f32),
    /// Of an input of i32s.
    I32(i32),
}

/// What an encoded value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueSource {
    /// The value given.
    Given,
    /// The schema's default.
    Default,
    /// A value of which some is not in the vocabulary.
    Unknown,
    /// What the catalog holds.
    Catalog,
}

/// What may still be shown.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    left_out: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: limits::MAX_EXPLAINED_BYTES, left_out: 0 }
    }
}

impl Budget {
    /// The features of the user and the context.
    pub(super) fn request(
        &mut self,
        schema: &Schema,
        encoder: Encoder<'_>,
        request: &RankRequest,
    ) -> Vec<FeatureExplained> {
        // What was ranked was encoded without a refusal.
        self.fitting(encoder.trace_request(request).flatten().map(|trace| traced(schema, trace)))
    }

    /// The features of a candidate, from the request or else from the catalog.
    pub(super) fn candidate(
        &mut self,
        schema: &Schema,
        catalog: &Catalog,
        encoder: Encoder<'_>,
        candidate: &Candidate,
    ) -> Vec<FeatureExplained> {
        let row = catalog.row(&candidate.id).filter(|_| candidate.features.is_none());
        if let Some(row) = row {
            let of_item = schema.features().iter().filter(|f| f.scope == Scope::Item);
            let held = of_item.filter_map(|feature| {
                let encoded = encoder.columns(feature, catalog.block(feature.input)?, row as usize);
                Some(explained(schema, feature, None, &encoded, ValueSource::Catalog))
            });
            return self.fitting(held);
        }
        let features = candidate.features.as_ref();
        self.fitting(encoder.trace_item(&candidate.id, features).flatten().map(|trace| traced(schema, trace)))
    }

    /// How many did not fit.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    fn fitting(&mut self, features: impl Iterator<Item = FeatureExplained>) -> Vec<FeatureExplained> {
        let mut shown = Vec::new();
        for feature in features {
            let bytes = serde_json::to_string(&feature).map_or(usize::MAX, |text| text.len());
            match self.bytes.checked_sub(bytes) {
                Some(left) => {
                    self.bytes = left;
                    shown.push(feature);
                }
                None => self.left_out += 1,
            }
        }
        shown
    }
}

fn traced(schema: &Schema, trace: Trace<'_>) -> FeatureExplained {
    let Trace { feature, raw, encoded, taken } = trace;
    let from = match taken {
        Taken::Given => ValueSource::Given,
        Taken::Default => ValueSource::Default,
        Taken::Unknown => ValueSource::Unknown,
    };
    explained(schema, feature, Some(raw.iter().map(shown).collect()), &encoded, from)
}

fn explained(
    schema: &Schema,
    feature: &Feature,
    raw: Option<Vec<Value>>,
    encoded: &Data,
    from: ValueSource,
) -> FeatureExplained {
    FeatureExplained {
        feature: feature.name.clone(),
        input: schema.inputs()[feature.input].name.clone(),
        column: feature.column,
        fields: feature.fields.clone(),
        raw,
        transform: schema.describe(feature),
        from,
        encoded: match encoded {
            Data::F32(v) => v.iter().take(ENCODED_VALUES).copied().map(Number::F32).collect(),
            Data::I32(v) => v.iter().take(ENCODED_VALUES).copied().map(Number::I32).collect(),
        },
        encoded_left_out: encoded.len().saturating_sub(ENCODED_VALUES),
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(value) => write!(f, "{value:?}"),
            Self::I32(value) => write!(f, "{value}"),
        }
    }
}

/// A raw value, cut where it is long.
fn shown(raw: &Raw) -> Value {
    match raw {
        Raw::Null => Value::Null,
        Raw::Bool(v) => (*v).into(),
        Raw::Int(v) => (*v).into(),
        Raw::Float(v) => (*v).into(),
        Raw::Text(text) => match text.char_indices().nth(RAW_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => text.as_str().into(),
        },
        Raw::List(values) => {
            let mut list: Vec<Value> = values.iter().take(RAW_ELEMENTS).map(shown).collect();
            if values.len() > list.len() {
                list.push(format!("… and {} more", values.len() - list.len()).into());
            }
            list.into()
        }
    }
}
