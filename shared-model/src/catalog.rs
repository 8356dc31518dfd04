//! The catalog: the items that a tier knows, encoded once by `quantize` and held resident.
//!
//! It is built from raw items, written to `catalog.safetensors` of a bundle and read back from there; a [`Delta`] makes
//! its next revision. What a candidate is in it, it tells by id; what its features mean, only [`crate::schema`] and
//! [`crate::encode`] know.

mod apply;
mod build;
mod delta;
mod file;
mod geos;

pub use delta::{Change, Delta, DeltaError};
pub use geos::Geo;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::encode::Block;
use crate::schema::Names;
use crate::wire::{FieldError, Record, json};
use geos::Geos;

/// The items of one model, a row each.
///
/// The rows as bundled keep their places in every revision, for the model has learnt what they are by their indices. An
/// item that is removed leaves its row; one that is added gets the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// As bundled: the vocabulary that the schema calls the catalog's.
    ids: Names,
    /// Of items that came later; their rows follow those of `ids`.
    added: Names,
    /// By input of the schema; `None` for those of request scope.
    blocks: Vec<Option<Block>>,
    popularity: Vec<f32>,
    /// Of items that are there.
    geos: Geos,
    /// The rows of items that are not there any more.
    removed: BTreeSet<u32>,
    revision: u64,
}

/// Why a catalog cannot be built or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// An item is at fault.
    #[error("item {item}{id}: `{field}` {message}", id = id.as_ref().map_or(String::new(), |id| format!(" (`{id}`)")))]
    Item {
        /// Its number, from 1: the line, where each item has one.
        item: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// The field.
        field: String,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// There are more items than indices.
    #[error("more than {max} items: a catalog may not have more")]
    TooMany {
        /// The most there may be.
        max: usize,
    },
    /// The file is not one of safetensors.
    #[error("not a safetensors file: {0}")]
    Format(String),
    /// A part of the file is not what the schema makes of a catalog.
    #[error("`{tensor}` {message}; build the bundle again")]
    Tensor {
        /// The tensor, or `rung` for the metadata.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Catalog {
    /// The number of items that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows() - self.removed.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of rows, those of removed items included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ids.len() + self.added.len()
    }

    /// Every item that is there: its row and its id.
    pub fn items(&self) -> impl Iterator<Item = (u32, &str)> {
        let all = (0..).zip(self.ids.iter().chain(self.added.iter()));
        all.filter(|(row, _)| !self.removed.contains(row))
    }

    /// The row of an item that is there.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<u32> {
        self.any_row(id).filter(|row| !self.removed.contains(row))
    }

    /// The id of a row.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn id(&self, row: u32) -> &str {
        let row = row as usize;
        if row < self.ids.len() { self.ids.name(row) } else { self.added.name(row - self.ids.len()) }
    }

    /// The row of an item that is, or was, there.
    fn any_row(&self, id: &str) -> Option<u32> {
        let row = self.ids.position(id).or_else(|| Some(self.ids.len() + self.added.position(id)?))?;
        u32::try_from(row).ok()
    }

    /// The encoded rows of an input, by its index into [`crate::schema::Schema::inputs`]; `None` in request scope.
    #[must_use]
    pub fn block(&self, input: usize) -> Option<&Block> {
        self.blocks.get(input)?.as_ref()
    }

    /// How popular the item of each row is everywhere: its raw field `popularity` where that is a number; where it is an object with
    /// a number for each geo, what that has under `*`, else their sum; 0 where nothing is said,
    /// and where the item is gone.
    #[must_use]
    pub fn popularity(&self) -> &[f32] {
        &self.popularity
    }

    /// What is popular in a geo, in whatever letters it is named; `None` if the catalog says nothing of it.
    #[must_use]
    pub fn geo(&self, name: &str) -> Option<&Geo> {
        self.geos.get(name)
    }

    /// 0 as bundled, one more with each delta.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The ids that indices are counted by: those of the bundle, in every revision.
    pub(crate) fn names(&self) -> &Names {
        &self.ids
    }
}

/// Reads one line of a file of items, by the rules of a request's JSON: an object with an `id` and raw fields.
///
/// # Errors
/// The line is not JSON, or a field is not one that an item may have.
pub fn item_from_json(line: &str) -> Result<Record, FieldError> {
    json::record(line.as_bytes(), &json::JsonLimits::default())
}

#[cfg(test)]
mod tests;
