//! Raw fields into the inputs of a model, by the rules of a schema (docs/features.md says them in words).
//!
//! The one place where encoding is done: `quantize` encodes the catalog and its requests here, the guest and the origin
//! their requests. Arithmetic is in f64, by means that are the same on every machine, and rounded once to f32. Nothing
//! here scores or decides; it tells what the schema's rules say.

mod block;
mod ln;
mod trace;
mod value;

pub use block::{Block, Data};
pub use trace::Trace;
pub use value::Taken;
pub(crate) use value::check_default;

use crate::catalog::Catalog;
use crate::graph::Scope;
use crate::schema::{Feature, Names, Schema};
use crate::wire::{RankRequest, Raw, Record, Refusal};
use value::Encoding;

/// Encodes by one schema and one catalog. It holds nothing of its own: make one whenever there is something to encode.
#[derive(Clone, Copy, Debug)]
pub struct Encoder<'a> {
    schema: &'a Schema,
    ids: &'a Names,
    /// Whether what the schema would reject is encoded as its default.
    lenient: bool,
}

/// What a request or an item is encoded to.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// One row an input, in the order of [`Schema::inputs_of`] the scope.
    pub blocks: Vec<Block>,
    /// The fields for which the schema says `escalate`; they are encoded as their default.
    pub escalate: Vec<String>,
}

impl<'a> Encoder<'a> {
    /// An encoder.
    #[must_use]
    pub fn new(schema: &'a Schema, catalog: &'a Catalog) -> Self {
        Self::with_ids(schema, catalog.names())
    }

    pub(crate) fn with_ids(schema: &'a Schema, ids: &'a Names) -> Self {
        Self { schema, ids, lenient: false }
    }

    /// Encodes the user and the context of a request.
    ///
    /// # Errors
    /// A field is mistyped, or missing or unknown where the schema says `reject`.
    pub fn request(&self, request: &RankRequest) -> Result<Encoded, Refusal> {
        let mut encoded = Encoded { blocks: self.empty_blocks(Scope::Request), escalate: Vec::new() };
        self.append(Scope::Request, &mut encoded, |path| request_field(request, path))?;
        Ok(encoded)
    }

    /// Encodes an item; its field `id` is `id`, whatever the record says. A refusal names the item's own field.
    ///
    /// # Errors
    /// A field is mistyped, or missing or unknown where the schema says `reject`.
    pub fn item(&self, id: &str, features: &Record) -> Result<Encoded, Refusal> {
        let mut encoded = Encoded { blocks: self.empty_blocks(Scope::Item), escalate: Vec::new() };
        self.append_item(id, features, &mut encoded)?;
        Ok(encoded)
    }

    /// Blocks of no rows for the inputs of a scope.
    pub(crate) fn empty_blocks(&self, scope: Scope) -> Vec<Block> {
        self.schema.inputs_of(scope).map(|(_, input)| Block::empty(input.dtype, input.width())).collect()
    }

    /// Adds one row to each block of item scope; when refused, the blocks are of no further use.
    pub(crate) fn append_item(&self, id: &str, features: &Record, to: &mut Encoded) -> Result<(), Refusal> {
        let id = Raw::Text(id.to_owned());
        self.append(Scope::Item, to, |path| if path == "id" { &id } else { features.field(path) })
    }

    /// As [`Self::append_item`], of an item of which only the id is known. Nobody left its fields out, so that the schema
    /// needs one is no reason to refuse it.
    pub(crate) fn append_unknown(&self, id: &str, to: &mut Encoded) -> Result<(), Refusal> {
        Self { lenient: true, ..*self }.append_item(id, &Record::default(), to)
    }

    fn append<'r>(&self, scope: Scope, to: &mut Encoded, field: impl Fn(&str) -> &'r Raw) -> Result<(), Refusal> {
        let Encoded { blocks, escalate } = to;
        for ((input, _), block) in self.schema.inputs_of(scope).zip(blocks) {
            block.append_row();
            for feature in self.schema.features_of(input) {
                self.encoding(feature).encode(&field, block.last_row(feature.column.unwrap_or(0)), escalate)?;
            }
        }
        Ok(())
    }

    fn encoding(&self, feature: &'a Feature) -> Encoding<'a> {
        Encoding { feature, vocabularies: self.schema.vocabularies(), ids: self.ids, lenient: self.lenient }
    }
}

/// The field of a request at a path.
pub(crate) fn request_field<'r>(request: &'r RankRequest, path: &str) -> &'r Raw {
    match path.split_once('.') {
        Some(("user", name)) => request.user.field(name),
        Some(("context", name)) => request.context.field(name),
        _ => &Raw::Null,
    }
}

#[cfg(test)]
mod tests;
