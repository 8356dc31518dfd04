//! Which tables the indices of an input are looked up in: what bounds an index that a client gives as such, what the
//! origin checks on the host, and what a first draft of a schema is guessed from.
//!
//! Indices are followed through ops that only move elements. What is computed with before is left out, and so is what a
//! graph, which may be anyone's, has too much of.

use std::collections::BTreeMap;

use super::{DType, Graph, Node, Op, Type, Value, ValueId};
use crate::limits;
use crate::shape::{broadcast, strides, walk};

/// The most elements of all values that are followed: far more than any schema's indices, and a few tens of MiB.
const MAX_PLACES: usize = 1 << 20;

/// The elements of inputs that are looked up in tables as they are.
#[derive(Clone, Debug)]
pub struct Lookups {
    /// Each of them, in the order of inputs and elements.
    pub found: Vec<Lookup>,
    /// By node.
    covered: Vec<bool>,
}

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

/// Where an element of a value comes from: an input and the element of its row, if it is one of them as it is.
type Place = Option<(ValueId, usize)>;

impl Lookups {
    /// Whether this node is an embedding all of whose indices are among those found.
    #[must_use]
    pub fn covers(&self, node: usize) -> bool {
        self.covered[node]
    }
}

impl Graph {
    /// Every element of an input that is looked up in a table as it is.
    #[must_use]
    pub fn lookups(&self) -> Lookups {
        let mut left = MAX_PLACES;
        let mut places: Vec<Option<Vec<Place>>> = vec![None; self.values.len()];
        for (id, Value { ty, .. }) in self.inputs().filter(|(_, value)| bounded(&value.ty)) {
            let Some(rest) = left.checked_sub(ty.len()) else { break };
            left = rest;
            places[id.index()] = Some((0..ty.len()).map(|element| Some((id, element))).collect());
        }
        let mut found: BTreeMap<(ValueId, usize), (usize, ValueId)> = BTreeMap::new();
        let mut covered = vec![false; self.nodes.len()];
        for (n, node) in self.nodes.iter().enumerate() {
            let looks_up = node.op == Op::Embedding;
            let ty = &self.value(if looks_up { node.inputs[1] } else { node.output }).ty;
            let Some(rest) = left.checked_sub(ty.len()).filter(|_| bounded(ty)) else { continue };
            if looks_up {
                let (table, ids) = (node.inputs[0], places[node.inputs[1].index()].as_deref());
                let Some(ids) = ids else { continue };
                let rows = self.value(table).ty.shape[0];
                for place in ids.iter().flatten() {
                    let least = found.entry(*place).or_insert((rows, table));
                    *least = (*least).min((rows, table));
                }
                covered[n] = ids.iter().all(Option::is_some);
            } else {
                let Some(moved) = self.moved(node, &places) else { continue };
                places[node.output.index()] = Some(moved);
            }
            left = rest;
        }
        let lookup = |((input, element), (rows, table))| Lookup { input, element, table, rows };
        Lookups { found: found.into_iter().map(lookup).collect(), covered }
    }

    /// The places of a node's result, if its op only moves elements; those of constants are none.
    fn moved(&self, node: &Node, places: &[Option<Vec<Place>>]) -> Option<Vec<Place>> {
        let shape = |i: usize| &self.value(node.inputs[i]).ty.shape[..];
        let operand = |i: usize| places[node.inputs[i].index()].as_deref();
        let pick = |indices: Vec<usize>| operand(0).map(|from| indices.into_iter().map(|i| from[i]).collect());
        match &node.op {
            Op::Reshape { .. } | Op::Cast { .. } => operand(0).map(<[Place]>::to_vec),
            Op::Transpose { perm } => {
                let strides = strides(shape(0));
                let dims: Vec<usize> = perm.iter().map(|&p| shape(0)[p]).collect();
                pick(walk(&dims, &perm.iter().map(|&p| strides[p]).collect::<Vec<_>>()))
            }
            Op::Expand { shape: wide } => pick(walk(wide, &broadcast(shape(0), wide))),
            Op::Select { axis, indices } => {
                let [outer, inner] =
                    [shape(0)[..*axis].iter(), shape(0)[axis + 1..].iter()].map(Iterator::product::<usize>);
                let length = shape(0)[*axis];
                let row =
                    |o: usize| indices.iter().flat_map(move |i| (0..inner).map(move |e| (o * length + i) * inner + e));
                pick((0..outer).flat_map(row).collect())
            }
            Op::Concat { axis } if (0..node.inputs.len()).any(|i| operand(i).is_some()) => {
                let outer: usize = shape(0)[..*axis].iter().product();
                let mut result = Vec::new();
                for o in 0..outer {
                    for i in 0..node.inputs.len() {
                        let run = shape(i).iter().product::<usize>() / outer;
                        match operand(i) {
                            Some(from) => result.extend_from_slice(&from[o * run..][..run]),
                            None => result.extend(std::iter::repeat_n(None, run)),
                        }
                    }
                }
                Some(result)
            }
            _ => None,
        }
    }
}

/// Whether it is of indices that a feature can give; nothing larger is followed.
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
        let lookups = graph.lookups();
        let found: Vec<_> = lookups.found.iter().map(|l| (name(l.input), l.element, name(l.table), l.rows)).collect();
        let want = [
            ("columns", 0, "large", 50),
            ("columns", 2, "small", 4),
            ("history", 0, "small", 4),
            ("history", 1, "small", 4),
        ];
        assert_eq!(found, want, "and not `item`, which was computed with");
    }

    /// One table of 7 rows, indexed by what `route` makes of an input of this shape; and where it is indexed.
    fn routed(shape: &[usize], route: impl Fn(&mut Builder, ValueId) -> ValueId) -> (Vec<usize>, bool) {
        let mut b = Builder::new();
        let ids = b.input("ids", Type { dtype: DType::I32, shape: shape.to_vec(), scope: Scope::Item }).unwrap();
        let table = b.constant("table", DType::F32, &[7, 1]).unwrap();
        let routed = route(&mut b, ids);
        let rows = b.push("rows", Op::Embedding, &[table, routed]).unwrap();
        let axes = (0..b.ty(rows).shape.len()).collect();
        let score = b.push("score", Op::Reduce { kind: Reduce::Sum, axes, keep: false }, &[rows]).unwrap();
        let graph = b.finish(score, Link::Identity).unwrap();
        let embedding = graph.nodes().iter().position(|n| n.op == Op::Embedding).unwrap();
        let lookups = graph.lookups();
        (lookups.found.iter().map(|l| l.element).collect(), lookups.covers(embedding))
    }

    #[test]
    fn follows_every_op_that_moves_elements() {
        // Elements 0 1 2 / 3 4 5, transposed 0 3 / 1 4 / 2 5, its last row 2 5.
        let found = routed(&[2, 3], |b, ids| {
            let turned = b.push("turned", Op::Transpose { perm: vec![1, 0] }, &[ids]).unwrap();
            let last = b.push("last", Op::Select { axis: 0, indices: vec![2] }, &[turned]).unwrap();
            let wide = b.push("wide", Op::Expand { shape: vec![3, 2] }, &[last]).unwrap();
            let first = b.push("first", Op::Select { axis: 1, indices: vec![0] }, &[ids]).unwrap();
            let first = b.push("first", Op::Reshape { shape: vec![1, 2] }, &[first]).unwrap();
            b.push("both", Op::Concat { axis: 0 }, &[wide, first]).unwrap()
        });
        assert_eq!(found, (vec![0, 2, 3, 5], true));
    }

    #[test]
    fn an_embedding_of_some_computed_indices_is_not_covered() {
        let found = routed(&[2, 3], |b, ids| {
            let sum = b.push("sum", Op::Binary(Binary::Add), &[ids, ids]).unwrap();
            b.push("both", Op::Concat { axis: 0 }, &[sum, ids]).unwrap()
        });
        assert_eq!(found, (vec![0, 1, 2, 3, 4, 5], false), "those that are not computed are still found");
    }

    #[test]
    fn a_value_as_large_as_no_feature_gives_is_not_followed() {
        // Each of the values would take 24 MiB.
        let found = routed(&[1], |b, ids| {
            let mut wide = b.push("wide", Op::Expand { shape: vec![limits::MAX_ROW_ELEMENTS] }, &[ids]).unwrap();
            for _ in 0..2000 {
                wide = b.push("again", Op::Cast { to: DType::I32 }, &[wide]).unwrap();
            }
            wide
        });
        assert_eq!(found, (vec![], false));
    }

    #[test]
    fn many_values_are_followed_to_an_end() {
        let copied = |times: usize| {
            routed(&[limits::MAX_LIST], |b, ids| {
                (0..times).fold(ids, |ids, _| b.push("again", Op::Cast { to: DType::I32 }, &[ids]).unwrap())
            })
        };
        // With the input and the embedding.
        let most = MAX_PLACES / limits::MAX_LIST - 2;
        assert_eq!(copied(most), ((0..limits::MAX_LIST).collect(), true));
        assert_eq!(copied(most + 1), (vec![], false));
    }
}
