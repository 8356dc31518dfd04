//! Changes into the next revision of a catalog. The same changes of the same catalog give the same bytes.

use std::collections::BTreeSet;

use super::build::{FULL, append, fault};
use super::{Catalog, CatalogError, Change};
use crate::encode::{Encoded, Encoder};
use crate::graph::Scope;
use crate::limits;
use crate::schema::Schema;

impl Catalog {
    /// The next revision. A row that is there keeps its place; a new item gets the next one. The ids of the bundle stay
    /// the vocabulary: to the model a later item is one that it has not seen.
    ///
    /// # Errors
    /// Names the item and the field; this revision is as it was.
    pub fn changed(&self, schema: &Schema, changes: &[Change]) -> Result<Self, CatalogError> {
        let encoder = Encoder::new(schema, self);
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        let mut seen = BTreeSet::new();
        for (item, change) in (1..).zip(changes) {
            let at_fault = |message: &str| fault((item, Some(change.id())), "id", message);
            if !seen.insert(change.id()) {
                return Err(at_fault("is in this delta twice: give the item's last form alone"));
            }
            match change {
                Change::Remove { id } => {
                    let row = next.row(id).ok_or_else(|| at_fault("is not in the catalog: nothing can be removed"))?;
                    next.removed.insert(row);
                    next.geos.forget(row);
                    next.popularity[row as usize] = 0.0;
                }
                Change::Put { id, fields } => {
                    let mut encoded = Encoded { blocks: encoder.empty_blocks(Scope::Item), escalate: Vec::new() };
                    append(&encoder, (item, id), fields, &mut encoded)?;
                    let row = match next.any_row(id) {
                        Some(row) => row,
                        None => next.add(id, &at_fault)?,
                    };
                    next.removed.remove(&row);
                    next.geos.forget(row);
                    next.popularity[row as usize] = next.geos.add(row, fields).map_err(|fault| fault.of(item, id))?;
                    for ((input, _), one) in schema.inputs_of(Scope::Item).zip(&encoded.blocks) {
                        let block = next.blocks[input].as_mut().expect("built with this schema");
                        block.put_row(row as usize, one);
                    }
                }
            }
        }
        Ok(next)
    }

    /// A row for an id that has none; its blocks are still to get theirs.
    fn add(&mut self, id: &str, at_fault: &impl Fn(&str) -> CatalogError) -> Result<u32, CatalogError> {
        let bytes = self.ids.parts().0.len() + self.added.parts().0.len() + id.len();
        let row = u32::try_from(self.rows()).ok().filter(|row| (*row as usize) < limits::MAX_ITEMS);
        let row = row.ok_or(CatalogError::TooMany { max: limits::MAX_ITEMS })?;
        if u32::try_from(bytes).is_err() || self.added.push(id).is_err() {
            return Err(at_fault(FULL));
        }
        self.popularity.push(0.0);
        Ok(row)
    }
}
