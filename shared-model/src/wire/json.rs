//! JSON, as clients speak it: requests in, answers out, and the lines of request and item files.
//!
//! A request is decoded in one pass, straight into its type; every length and the depth are bounded on the way. A fault
//! names its field. A key that is given twice is refused, for parsers differ in which one they take and two tiers must
//! not. What a field of `user`, `context` or an item means is the schema's business, not known here.

mod answer;
mod fault;
mod fields;
mod request;
mod scalar;

pub use answer::encode;
pub use fault::FieldError;

use crate::limits;
use crate::wire::{RankRequest, Record};
use fault::Faults;

/// The bounds of one request; a tier may lower them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// How deep objects and lists nest; the request itself is 1.
    pub max_depth: usize,
    /// The most candidates, and excluded or relevant ids.
    pub max_candidates: usize,
    /// The most fields of `user`, `context` or an inline item.
    pub max_fields: usize,
    /// The longest list in them.
    pub max_list: usize,
    /// The bytes of the longest text in them.
    pub max_text: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            max_depth: limits::MAX_DEPTH,
            max_candidates: limits::MAX_CANDIDATES,
            max_fields: limits::MAX_FIELDS,
            max_list: limits::MAX_LIST,
            max_text: limits::MAX_TEXT_BYTES,
        }
    }
}

/// A decoded request and what is beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The request.
    pub request: RankRequest,
    /// The ids that were relevant, of a line of a request file.
    pub relevant: Vec<String>,
    /// What was ignored.
    pub warnings: Vec<String>,
}

/// Decodes the body of `POST /v1/rank`.
///
/// # Errors
/// Names the field; a fault of JSON itself has line and column in its message and no field.
pub fn decode(body: &[u8], limits: &JsonLimits) -> Result<Decoded, FieldError> {
    let faults = Faults::new(limits);
    faults.read(request::Request { faults: &faults, file: None }, body)
}

/// Decodes a line of a request file: a request that may have a list of `relevant` ids, and no `model`: then it is for
/// the one given here.
///
/// # Errors
/// As [`decode`].
pub fn decode_line(line: &[u8], model: &str, limits: &JsonLimits) -> Result<Decoded, FieldError> {
    let faults = Faults::new(limits);
    faults.read(request::Request { faults: &faults, file: Some(model) }, line)
}

/// Decodes an object of raw fields.
pub(crate) fn record(body: &[u8], limits: &JsonLimits) -> Result<Record, FieldError> {
    let faults = Faults::new(limits);
    faults.read(fields::Object { faults: &faults, depth: 1 }, body)
}

#[cfg(test)]
mod tests;
