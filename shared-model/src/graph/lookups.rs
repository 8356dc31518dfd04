//! Which tables the indices of an input are looked up in: what bounds an index that a client gives as such, and what a
//! first draft of a schema is guessed from.

use std::collections::BTreeMap;

use super::{DType, Graph, Op, Type, ValueId};
use crate::limits;

/// An element of an input that is looked up in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The input.
    pub input: ValueId,
    /// The element of its row.
    pub element: usize,
    /// The table; of several, one of the fewest rows.
    pub table: ValueId,
    /// Its rows.
    pub rows: usize,
}

/// Where an element of a value comes from: an input and the element of its row.
type Place = (ValueId, usize);

impl Graph {
    /// Every element of an input that is looked up in a table as it is, in the order of inputs and elements. What is
    /// computed with before is left out.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookup> {
        let mut places: Vec<Option<Vec<Place>>> = vec![None; self.values.len()];
        for (id, value) in self.inputs().filter(|(_, v)| bounded(&v.ty)) {
            places[id.index()] = Some((0..value.ty.len()).map(|element| (id, element)).collect());
        }
        let mut found: BTreeMap<Place, (usize, ValueId)> = BTreeMap::new();
        for node in &self.nodes {
            if let (Op::Embedding, &[table, ids]) = (&node.op, &node.inputs[..]) {
                let rows = self.value(table).ty.shape[0];
                for place in places[ids.index()].iter().flatten() {
                    let least = found.entry(*place).or_insert((rows, table));
                    *least = (*least).min((rows, table));
                }
            } else if bounded(&self.value(node.output).ty) {
                places[node.output.index()] = self.moved(&node.op, &node.inputs, &places);
            }
        }
        let lookup = |((input, element), (rows, table))| Lookup { input, element, table, rows };
        found.into_iter().map(lookup).collect()
    }

    /// The places of an op's result, if it only moves elements.
    fn moved(&self, op: &Op, inputs: &[ValueId], places: &[Option<Vec<Place>>]) -> Option<Vec<Place>> {
        let of = |id: &ValueId| places[id.index()].as_deref();
        match op {
            Op::Reshape { .. } | Op::Cast { to: DType::I32 } => Some(of(inputs.first()?)?.to_vec()),
            Op::Select { axis, indices } => {
                let (shape, from) = (&self.value(*inputs.first()?).ty.shape, of(inputs.first()?)?);
                let inner: usize = shape[axis + 1..].iter().product();
                let blocks = from.chunks(shape[*axis] * inner);
                Some(
                    blocks
                        .flat_map(|b| indices.iter().flat_map(move |i| &b[i * inner..(i + 1) * inner]))
                        .copied()
                        .collect(),
                )
            }
            Op::Concat { axis } => {
                let parts = inputs.iter().map(|id| {
                    let inner: usize = self.value(*id).ty.shape[*axis..].iter().product();
                    Some(of(id)?.chunks(inner))
                });
                let mut parts = parts.collect::<Option<Vec<_>>>()?;
                let mut all = Vec::new();
                while let Some(row) = parts.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
                    all.extend(row.into_iter().flatten().copied());
                }
                Some(all)
            }
            _ => None,
        }
    }
}

/// Whether it is of indices that a feature can give; nothing larger is followed, for a graph may be anyone's.
fn bounded(ty: &Type) -> bool {
    ty.dtype == DType::I32 && (1..=limits::MAX_LIST).contains(&ty.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Binary, Builder, Link, Reduce, Scope};

    #[test]
    fn follows_indices_to_their_tables() {
        let mut builder = Builder::new();
        let ints = |shape: &[usize]| Type { dtype: DType::I32, shape: shape.to_vec(), scope: Scope::Item };
        let columns = builder.input("columns", ints(&[3])).unwrap();
        let history = builder.input("history", ints(&[2])).unwrap();
        let item = builder.input("item", ints(&[])).unwrap();
        let small = builder.constant("small", DType::F32, &[4, 1]).unwrap();
        let large = builder.constant("large", DType::F32, &[50, 1]).unwrap();
        let mut sums = Vec::new();
        let mut sum = |builder: &mut Builder, ids, table, name: &str| {
            let rows = builder.push(name, Op::Embedding, &[table, ids]).unwrap();
            let axes = (0..builder.ty(rows).shape.len()).collect();
            sums.push(builder.push(name, Op::Reduce { kind: Reduce::Sum, axes, keep: false }, &[rows]).unwrap());
        };
        let last = builder.push("last", Op::Select { axis: 0, indices: vec![2] }, &[columns]).unwrap();
        let flat = builder.push("flat", Op::Reshape { shape: vec![] }, &[last]).unwrap();
        sum(&mut builder, flat, small, "a");
        let first = builder.push("first", Op::Select { axis: 0, indices: vec![0] }, &[columns]).unwrap();
        let both = builder.push("both", Op::Concat { axis: 0 }, &[history, first]).unwrap();
        sum(&mut builder, both, large, "b");
        sum(&mut builder, history, small, "c");
        let shifted = builder.push("shifted", Op::Cast { to: DType::F32 }, &[item]).unwrap();
        let back = builder.push("back", Op::Cast { to: DType::I32 }, &[shifted]).unwrap();
        sum(&mut builder, back, small, "d");
        let score =
            sums.into_iter().reduce(|a, b| builder.push("s", Op::Binary(Binary::Add), &[a, b]).unwrap()).unwrap();
        let graph = builder.finish(score, Link::Identity).unwrap();

        let name = |id: ValueId| graph.value(id).name.as_str();
        let found: Vec<_> = graph.lookups().iter().map(|l| (name(l.input), l.element, name(l.table), l.rows)).collect();
        let want = [
            ("columns", 0, "large", 50),
            ("columns", 2, "small", 4),
            ("history", 0, "small", 4),
            ("history", 1, "small", 4),
        ];
        assert_eq!(found, want, "and not `item`, which was computed with");
    }
}
