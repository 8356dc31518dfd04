//! How noisy a candidate's score is: by the bits of its row in a table that the model looks items up in.

use super::Prepared;
use crate::catalog::Catalog;
use crate::encode::Data;
use crate::schema::Schema;
use crate::tensor::{RowBits, Tensor};
use crate::variant::{RowNoise, Variant};

/// A table whose rows have bits of their own, and an input with one index of it for each item.
#[derive(Clone, Debug)]
pub struct ItemBits {
    /// Among the inputs of the schema.
    input: usize,
    bits: RowBits,
}

/// What tells how noisy candidates are.
#[derive(Clone, Debug, Default)]
pub struct Noise(Option<(ItemBits, RowNoise)>);

impl ItemBits {
    /// `None` where the variant has no such table, or the schema no such input.
    #[must_use]
    pub fn find(variant: &Variant, schema: &Schema, input: &str, table: &str) -> Option<Self> {
        let Some(Tensor::TableMixed { bits, .. }) = variant.tensors.get(table) else { return None };
        let one = |shape: &[usize]| shape.iter().product::<usize>() == 1;
        let input = schema.inputs().iter().position(|spec| spec.name == input && one(&spec.shape))?;
        Some(Self { input, bits: bits.clone() })
    }

    /// The bits of each candidate's row; `None` for one that the request describes.
    pub fn of<'a>(&'a self, catalog: &'a Catalog, prepared: &'a Prepared) -> impl Iterator<Item = Option<u8>> + 'a {
        let indices = match catalog.block(self.input).map(|block| &block.data) {
            Some(Data::I32(indices)) => &indices[..],
            Some(Data::F32(_)) | None => &[],
        };
        let bits = |row: u32| {
            let index = usize::try_from(*indices.get(row as usize)?).ok()?;
            (index < self.bits.rows()).then(|| self.bits.of(index))
        };
        prepared.rows().iter().map(move |row| row.and_then(bits))
    }
}

impl Noise {
    /// Of a variant that says so; of any other all candidates are alike.
    #[must_use]
    pub fn of(variant: &Variant, schema: &Schema) -> Self {
        let noise = variant.noise.as_ref();
        Self(noise.and_then(|n| Some((ItemBits::find(variant, schema, &n.input, &n.table)?, n.clone()))))
    }

    /// Of each candidate, 1 or more. One that the request describes is as noisy as any.
    #[must_use]
    pub fn of_candidates(&self, catalog: &Catalog, prepared: &Prepared) -> Vec<f32> {
        match &self.0 {
            None => vec![1.0; prepared.len()],
            Some((items, noise)) => {
                items.of(catalog, prepared).map(|bits| bits.map_or(noise.most(), |bits| noise.of(bits))).collect()
            }
        }
    }
}
