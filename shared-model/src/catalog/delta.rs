//! A catalog delta as a file: JSON Lines, the first of which says what the others are and what they lead to.
//!
//! ```text
//! {"kind":"catalog_delta","schema_version":1,"model":"movies","bundle":"9f…","base":0,"revision":1,"sha256":"…","catalog_sha256":"…"}
//! {"id":"m9","year":2016,"genres":["Drama"]}        added, or changed as a whole
//! {"id":"m7","removed":true}
//! ```
//!
//! `sha256` is of all bytes after the first line; `catalog_sha256` of the `catalog.safetensors` that the new revision is
//! written to, so that two tiers at one revision hold the same rows. What an item means is known in [`super::apply`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::build::{fault, id_of};
use super::{Catalog, CatalogError, item_from_json};
use crate::bundle::sha256_hex;
use crate::limits::{MAX_DELTA_BYTES, MAX_DELTA_HEADER_BYTES};
use crate::schema::Schema;
use crate::wire::{FieldError, Raw, Record, Stamp};

const SCHEMA_VERSION: u32 = 1;

/// What leads from one revision of a catalog to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    header: Header,
    changes: Vec<Change>,
}

/// What becomes of one item.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is added, or takes the place of the one with its id.
    Put {
        /// Its id.
        id: String,
        /// Its raw fields.
        fields: Record,
    },
    /// It is no longer there.
    Remove {
        /// Its id.
        id: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: Kind,
    schema_version: u32,
    model: String,
    bundle: String,
    base: u64,
    revision: u64,
    sha256: String,
    catalog_sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    CatalogDelta,
}

/// Why a delta is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeltaError {
    /// It is longer than any may be.
    #[error("has more than {MAX_DELTA_BYTES} bytes: split it")]
    TooLong,
    /// Its first line is not the header of a delta.
    #[error("line 1 is not the header of a catalog delta: {0}")]
    Header(String),
    /// It was damaged on its way.
    #[error("does not match the digest in its first line: expected {expected}, got {got}; fetch it again")]
    Body {
        /// What the header says.
        expected: String,
        /// What the bytes give.
        got: String,
    },
    /// A line is not an item.
    #[error("item {item}: {error}")]
    Line {
        /// Its number, from 1.
        item: usize,
        /// What is wrong with it.
        error: FieldError,
    },
    /// An item is at fault.
    #[error(transparent)]
    Item(#[from] CatalogError),
    /// It changes nothing.
    #[error("has no items")]
    Empty,
    /// It is for another catalog than this one.
    #[error("is for {wants}, this is {have}")]
    Base {
        /// What it is for.
        wants: String,
        /// What it was to be applied to.
        have: String,
    },
    /// It leads to other rows than its maker's.
    #[error("leads to a catalog of digest {got}, but its first line says {expected}: make it again")]
    Outcome {
        /// What the header says.
        expected: String,
        /// What it leads to.
        got: String,
    },
}

impl Delta {
    /// Reads a delta and verifies that it is whole. The bytes may be anyone's.
    ///
    /// # Errors
    /// It is none, or damaged, or an item is not one.
    pub fn read(bytes: &[u8]) -> Result<Self, DeltaError> {
        if bytes.len() as u64 > MAX_DELTA_BYTES {
            return Err(DeltaError::TooLong);
        }
        let end = bytes.iter().take(MAX_DELTA_HEADER_BYTES).position(|b| *b == b'\n');
        let end = end.ok_or_else(|| {
            DeltaError::Header(format!("it does not end within its first {MAX_DELTA_HEADER_BYTES} bytes"))
        })?;
        let (line, body) = (&bytes[..end], &bytes[end + 1..]);
        let header: Header = serde_json::from_slice(line).map_err(|e| DeltaError::Header(e.to_string()))?;
        if header.schema_version != SCHEMA_VERSION {
            let got = header.schema_version;
            let what = format!("schema_version {got} is not supported (this is version {SCHEMA_VERSION}): update Rung");
            return Err(DeltaError::Header(what));
        }
        if header.base.checked_add(1) != Some(header.revision) {
            let what = format!("revision {} does not follow base {}", header.revision, header.base);
            return Err(DeltaError::Header(what));
        }
        let got = sha256_hex(body);
        if got != header.sha256 {
            return Err(DeltaError::Body { expected: header.sha256, got });
        }
        Ok(Self { header, changes: changes(body)? })
    }

    /// Makes the delta of `items`, one JSON object a line, and the catalog that it leads to. `base` is what `catalog` is
    /// stamped with.
    ///
    /// # Errors
    /// An item is at fault, or there is none.
    pub fn make(
        schema: &Schema,
        base: Stamp,
        catalog: &Catalog,
        items: &[u8],
    ) -> Result<(Vec<u8>, Catalog), DeltaError> {
        let lines = items.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let body: Vec<u8> = lines.flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
        let next = catalog.changed(schema, &changes(&body)?)?;
        let header = Header {
            kind: Kind::CatalogDelta,
            schema_version: SCHEMA_VERSION,
            model: schema.model().to_owned(),
            bundle: base.bundle.to_string(),
            base: base.catalog,
            revision: next.revision(),
            sha256: sha256_hex(&body),
            catalog_sha256: sha256_hex(&next.to_safetensors(schema)),
        };
        let mut bytes = serde_json::to_vec(&header).expect("plain data");
        bytes.push(b'\n');
        bytes.extend(body);
        if bytes.len() as u64 > MAX_DELTA_BYTES { Err(DeltaError::TooLong) } else { Ok((bytes, next)) }
    }

    /// The next revision of `catalog`, which is stamped with `base`.
    ///
    /// # Errors
    /// It is for another one, or an item is at fault, or what it leads to is not what its maker had.
    pub fn apply(&self, schema: &Schema, base: Stamp, catalog: &Catalog) -> Result<Catalog, DeltaError> {
        let name = |model: &str, bundle: &str, revision: u64| {
            format!("revision {revision} of the catalog of model `{model}`, bundle {bundle}")
        };
        let Header { model, bundle, base: revision, catalog_sha256: expected, .. } = &self.header;
        let (wants, have) =
            (name(model, bundle, *revision), name(schema.model(), &base.bundle.to_string(), base.catalog));
        if wants != have {
            return Err(DeltaError::Base { wants, have });
        }
        let next = catalog.changed(schema, &self.changes)?;
        let got = sha256_hex(&next.to_safetensors(schema));
        if got == *expected { Ok(next) } else { Err(DeltaError::Outcome { expected: expected.clone(), got }) }
    }

    /// Whose items it changes.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.header.model
    }

    /// The revision that it leads to.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.header.revision
    }

    /// How many items it changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Never: a delta without items is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// One change a line.
fn changes(body: &[u8]) -> Result<Vec<Change>, DeltaError> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    if body.is_empty() {
        return Err(DeltaError::Empty);
    }
    (1..).zip(body.split(|b| *b == b'\n')).map(|(item, line)| change(item, line)).collect()
}

fn change(item: usize, line: &[u8]) -> Result<Change, DeltaError> {
    let line_fault = |error| DeltaError::Line { item, error };
    let not_text = |e: std::str::Utf8Error| line_fault(FieldError { field: String::new(), message: e.to_string() });
    let fields = item_from_json(std::str::from_utf8(line).map_err(not_text)?).map_err(line_fault)?;
    let id = id_of(item, &fields)?.to_owned();
    match fields.field("removed") {
        Raw::Null => Ok(Change::Put { id, fields }),
        Raw::Bool(true) if fields.0.len() == 2 => Ok(Change::Remove { id }),
        _ => Err(fault((item, Some(&id)), "removed", "must be true, with no field but `id` beside it").into()),
    }
}

impl Change {
    /// Whom it is about.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Put { id, .. } | Self::Remove { id } => id,
        }
    }
}

#[cfg(test)]
mod tests;
