//! Raw items into a catalog.

use super::geos::Geos;
use super::{Catalog, CatalogError};
use crate::encode::{Encoded, Encoder};
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
            let fault = |field, message| CatalogError::Item { item, id: Some(id.to_owned()), field, message };
            encoder.append_item(id, record, &mut encoded).map_err(|refusal| fault(refusal.field, refusal.message))?;
            if let Some(field) = encoded.escalate.pop() {
                let message = "is missing or unknown, and the schema says `escalate`: nobody knows more of an item of \
                               the catalog, so give the value or let the schema say `default`";
                return Err(fault(field, message.to_owned()));
            }
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
        Ok(Self { ids, blocks, popularity, geos, revision: 0 })
    }
}

fn add_id(ids: &mut Names, item: usize, record: &Record) -> Result<(), CatalogError> {
    let fault = |id: Option<&str>, message: String| CatalogError::Item {
        item,
        id: id.map(str::to_owned),
        field: "id".to_owned(),
        message,
    };
    match record.field("id") {
        Raw::Text(id) if (1..=limits::MAX_ID_BYTES).contains(&id.len()) => ids.push(id).map_err(|e| match e {
            NameError::Duplicate(at) => fault(Some(id), format!("is that of item {}, too: give each its own", at + 1)),
            NameError::Full => fault(Some(id), "does not fit: all ids together must be below 4 GiB".to_owned()),
        }),
        Raw::Text(_) => Err(fault(None, format!("must have 1 to {} bytes", limits::MAX_ID_BYTES))),
        Raw::Null => Err(fault(None, "is missing".to_owned())),
        _ => Err(fault(None, "must be a text".to_owned())),
    }
}
