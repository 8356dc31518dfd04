//! How noisy a quantized variant's scores are, by the bits of an item's row.

use std::collections::BTreeMap;

use serde::Serialize;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};

/// A variant whose gate counts distances in noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Noisy {
    /// Whose.
    pub variant: VariantName,
    /// The table of the rows.
    pub table: String,
    /// By the bits that rows of it have: what scores may be off by, over what the quietest may.
    pub by_bits: BTreeMap<u8, f32>,
}

pub(super) fn noisy(variant: &Variant) -> Option<Noisy> {
    let noise = variant.noise.as_ref()?;
    let Some(Tensor::TableMixed { bits, .. }) = variant.tensors.get(&noise.table) else { return None };
    let by_bits = (0..bits.rows()).map(|row| bits.of(row)).map(|bits| (bits, noise.of(bits))).collect();
    Some(Noisy { variant: variant.name, table: noise.table.clone(), by_bits })
}

#[cfg(test)]
mod tests {
    use half::f16;
    use shared_model::graph::{Builder, DType, Link, Op, Scope, Type};
    use shared_model::tensor::RowBits;
    use shared_model::variant::RowNoise;

    use super::*;

    #[test]
    fn tells_of_the_bits_that_rows_have() {
        let mut b = Builder::new();
        let id = b.input("id", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
        let table = b.constant("items", DType::F32, &[3, 1]).unwrap();
        let row = b.push("row", Op::Embedding, &[table, id]).unwrap();
        let score = b.push("score", Op::Reshape { shape: vec![] }, &[row]).unwrap();
        let graph = b.finish(score, Link::Identity).unwrap();
        let bits = RowBits::new(1, &[8, 4, 8]).unwrap();
        let table = Tensor::TableMixed { bits, q: vec![0; 3], scale: vec![f16::ONE; 3], min: vec![f16::ZERO; 3] };
        let noise = RowNoise { input: "id".into(), table: "items".into(), by_bits: [6.5, 1.0, 6.5] };
        let mut variant =
            Variant { name: VariantName::W4, graph, tensors: [("items".into(), table)].into(), noise: Some(noise) };
        let found = noisy(&variant).unwrap();
        assert_eq!((found.table.as_str(), found.by_bits), ("items", BTreeMap::from([(4, 6.5), (8, 1.0)])));
        variant.noise = None;
        assert_eq!(noisy(&variant), None);
    }
}
