//! What pair steps read of items, computed once for a whole catalog.

use super::memory::{Memory, Place};
use super::{Arena, Export, Plan, RunError};
use crate::encode::Block;
use crate::kernel::moves;

/// Derived values of items, a row each, exactly as the item section computes them.
#[derive(Clone, Debug)]
pub struct ItemTable {
    rows: usize,
    floats: Vec<f32>,
    ints: Vec<i32>,
}

/// Candidates by their rows in a table.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a> {
    /// The table.
    pub table: &'a ItemTable,
    /// For each candidate its row, none for one that is not in the table.
    pub rows: &'a [Option<u32>],
}

impl Plan {
    /// The bytes of a table of so many items.
    #[must_use]
    pub fn item_table_bytes(&self, items: usize) -> usize {
        4 * items.saturating_mul(self.exports.iter().map(|e| e.place.len).sum())
    }

    /// The table of the items that `inputs` describe; only those of item scope are read, a row an item.
    ///
    /// # Errors
    /// An input of another type or length; an id without a row.
    pub fn item_table(&self, arena: &mut Arena, inputs: &[&Block], items: usize) -> Result<ItemTable, RunError> {
        self.check(inputs, items, |place| place.per_candidate)?;
        let width =
            |floats: bool| self.exports.iter().filter(|e| e.floats == floats).map(|e| e.place.len).sum::<usize>();
        let (floats, ints) = (Vec::with_capacity(items * width(true)), Vec::with_capacity(items * width(false)));
        let mut table = ItemTable { rows: items, floats, ints };
        let Arena { memory, scratch } = arena;
        for first in (0..items).step_by(self.block) {
            let rows = self.block.min(items - first);
            self.run_items(memory, scratch, inputs, first, rows)?;
            for row in 0..rows {
                for Export { floats, place } in &self.exports {
                    if *floats {
                        table.floats.extend_from_slice(&memory.floats(*place, rows)[row * place.len..][..place.len]);
                    } else {
                        table.ints.extend_from_slice(&memory.ints(*place, rows)[row * place.len..][..place.len]);
                    }
                }
            }
        }
        Ok(table)
    }
}

impl ItemTable {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.floats.len() + self.ints.len())
    }
}

impl Items<'_> {
    /// Puts the values of candidates in their places; false, and nothing is done, if one of them is not in the table.
    pub(super) fn load(self, exports: &[Export], memory: &mut Memory, first: usize, rows: usize) -> bool {
        let of_block = &self.rows[first..first + rows];
        if of_block.iter().any(Option::is_none) {
            return false;
        }
        let ItemTable { rows: items, floats, ints } = self.table;
        let (mut from_floats, mut from_ints) = (0, 0);
        for Export { floats: is_float, place } in exports {
            if *is_float {
                copy(of_block, floats, floats.len() / items, from_floats, *place, memory.floats_mut(*place, rows));
                from_floats += place.len;
            } else {
                copy(of_block, ints, ints.len() / items, from_ints, *place, memory.ints_mut(*place, rows));
                from_ints += place.len;
            }
        }
        true
    }
}

/// The elements of one value, from `start` on in each of the rows.
fn copy<T: Copy>(rows: &[Option<u32>], table: &[T], width: usize, start: usize, place: Place, out: &mut [T]) {
    for (row, out) in rows.iter().flatten().zip(out.chunks_exact_mut(place.len)) {
        moves::copy(&table[*row as usize * width + start..][..place.len], out);
    }
}
