//! Raw items into a catalog.

use std::collections::BTreeSet;

use super::geos::Geos;
use super::{Catalog, CatalogError};
use crate::encode::{Data, Encoded, Encoder};
use crate::graph::Scope;
use crate::limits;
use crate::schema::{NameError, Names, Schema};
use crate::wire::{Raw, Record};

impl Catalog {
    /// Encodes items, in the order of their indices; the revision is 0.
    ///
    /// A value for which the schema says `escalate` is refused here: no tier above knows more of an item of the catalog.
    ///
    /// # Errors
    /// Names the item and the field.
    pub fn build(schema: &Schema, items: impl IntoIterator<Item = Record>) -> Result<Self, CatalogError> {
        // All ids first, for any item may name any other.
        let mut ids = Names::default();
        let mut records = Vec::new();
        for (item, record) in (1..).zip(items) {
            if item > limits::MAX_ITEMS {
                return Err(CatalogError::TooMany { max: limits::MAX_ITEMS });
            }
            add_id(&mut ids, item, &record)?;
            records.push(record);
        }
        let encoder = Encoder::with_ids(schema, &ids);
        let mut encoded = Encoded { blocks: encoder.empty_blocks(Scope::Item), escalate: Vec::new() };
        for ((item, record), id) in (1..).zip(&records).zip(ids.iter()) {
            append(&encoder, (item, id), record, &mut encoded)?;
        }
        let mut blocks: Vec<_> = schema.inputs().iter().map(|_| None).collect();
        for ((input, _), block) in schema.inputs_of(Scope::Item).zip(encoded.blocks) {
            blocks[input] = Some(block);
        }
        let mut geos = Geos::default();
        let mut popularity = Vec::with_capacity(records.len());
        for ((row, record), id) in (0..).zip(&records).zip(ids.iter()) {
            popularity.push(geos.add(row, record).map_err(|fault| fault.of(row as usize + 1, id))?);
        }
        Ok(Self { ids, added: Names::default(), blocks, popularity, geos, removed: BTreeSet::new(), revision: 0 })
    }
}

impl Catalog {
    /// Checks its indices against a schema that knows more than the one it was built with: [`Schema::bounded_by`].
    ///
    /// # Errors
    /// Names the first item with an index that is not below its bound.
    pub fn check(&self, schema: &Schema) -> Result<(), CatalogError> {
        for (i, input) in schema.inputs_of(Scope::Item) {
            let (Some(block), Some(bound)) = (self.block(i), schema.cardinality(i, self.ids.len())) else { continue };
            let Data::I32(indices) = &block.data else { continue };
            let beyond = indices.iter().position(|index| usize::try_from(*index).is_ok_and(|index| index >= bound));
            if let Some(at) = beyond {
                let row = at / block.width;
                let id = self.id(row as u32);
                let message = format!("is {}, but the model's table has {bound} rows", indices[at]);
                return Err(fault((row + 1, Some(id)), &input.name, message));
            }
        }
        Ok(())
    }
}

/// Adds the row of an item to each block.
pub(super) fn append(
    encoder: &Encoder<'_>,
    (item, id): (usize, &str),
    record: &Record,
    to: &mut Encoded,
) -> Result<(), CatalogError> {
    encoder.append_item(id, record, to).map_err(|r| fault((item, Some(id)), r.field, r.message))?;
    match to.escalate.pop() {
        None => Ok(()),
        Some(field) => {
            let message = "is missing or unknown, and the schema says `escalate`: nobody knows more of an item of the \
                           catalog, so give the value or let the schema say `default`";
            Err(fault((item, Some(id)), field, message))
        }
    }
}

fn add_id(ids: &mut Names, item: usize, record: &Record) -> Result<(), CatalogError> {
    let id = id_of(item, record)?;
    let fault = |message: String| fault((item, Some(id)), "id", message);
    ids.push(id).map_err(|e| match e {
        NameError::Duplicate(at) => fault(format!("is that of item {}, too: give each its own", at + 1)),
        NameError::Full => fault(FULL.to_owned()),
    })
}

/// What is said of an id that has no room.
pub(super) const FULL: &str = "does not fit: all ids together must be below 4 GiB";

/// The id of a raw item.
pub(super) fn id_of(item: usize, record: &Record) -> Result<&str, CatalogError> {
    match record.field("id") {
        Raw::Text(id) if (1..=limits::MAX_ID_BYTES).contains(&id.len()) => Ok(id),
        Raw::Text(_) => Err(fault((item, None), "id", format!("must have 1 to {} bytes", limits::MAX_ID_BYTES))),
        Raw::Null => Err(fault((item, None), "id", "is missing")),
        _ => Err(fault((item, None), "id", "must be a text")),
    }
}

/// A fault of an item's field.
pub(super) fn fault(
    (item, id): (usize, Option<&str>),
    field: impl Into<String>,
    message: impl Into<String>,
) -> CatalogError {
    CatalogError::Item { item, id: id.map(str::to_owned), field: field.into(), message: message.into() }
}
