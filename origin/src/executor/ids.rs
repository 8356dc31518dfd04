//! Which ids of a batch index a table: followed once from the embeddings back to the inputs, so that an id without a row
//! is refused on the host, as the reference refuses it, and the device need not look.
//!
//! Ids are followed through ops that only move elements. Ids that are computed cannot be: [`super::op`] keeps those
//! within the table.

use shared_model::encode::Data;
use shared_model::graph::{DType, Graph, Node, Op};

use super::RunError;

/// Elements of the inputs that index a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    bounds: Vec<Bound>,
    /// By node: an embedding all of whose ids are bounded here.
    bounded: Vec<bool>,
}

/// One element of an input's row, and the rows of the table it indexes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bound {
    /// Among the graph's inputs.
    input: usize,
    /// Elements of a row of it.
    width: usize,
    element: usize,
    rows: usize,
    table: String,
}

/// Where an element of an i32 value comes from.
#[derive(Clone, Copy, Debug)]
enum From {
    Input { input: usize, width: usize, element: usize },
    Elsewhere,
}

impl Ids {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut from: Vec<Option<Vec<From>>> = vec![None; graph.values().len()];
        for (input, (id, value)) in graph.inputs().enumerate() {
            if value.ty.dtype == DType::I32 {
                let width = value.ty.len();
                from[id.index()] = Some((0..width).map(|element| From::Input { input, width, element }).collect());
            }
        }
        let mut ids = Self { bounds: Vec::new(), bounded: vec![false; graph.nodes().len()] };
        for (n, node) in graph.nodes().iter().enumerate() {
            if node.op == Op::Embedding {
                if let Some(from) = &from[node.inputs[1].index()] {
                    ids.bounded[n] = ids.bind(graph, node, from);
                }
            } else if graph.value(node.output).ty.dtype == DType::I32 {
                from[node.output.index()] = moved(graph, node, &from);
            }
        }
        ids.bounds.sort();
        ids.bounds.dedup();
        ids
    }

    /// Whether every id of an embedding is checked by [`Ids::check`].
    pub(super) fn bounds(&self, node: usize) -> bool {
        self.bounded[node]
    }

    /// Refuses an id without a row. The blocks have been checked to be those of the graph's inputs.
    pub(super) fn check(&self, inputs: &[Data]) -> Result<(), RunError> {
        for Bound { input, width, element, rows, table } in &self.bounds {
            let Data::I32(data) = &inputs[*input] else { continue };
            let outside = |id: &&i32| usize::try_from(**id).map_or(true, |id| id >= *rows);
            if let Some(&index) = data.iter().skip(*element).step_by(*width).find(outside) {
                return Err(RunError::Index { table: table.clone(), index, rows: *rows });
            }
        }
        Ok(())
    }

    fn bind(&mut self, graph: &Graph, node: &Node, from: &[From]) -> bool {
        let table = graph.value(node.inputs[0]);
        let mut all = true;
        for from in from {
            match *from {
                From::Input { input, width, element } => {
                    let (rows, table) = (table.ty.shape[0], table.name.clone());
                    self.bounds.push(Bound { input, width, element, rows, table });
                }
                From::Elsewhere => all = false,
            }
        }
        all
    }
}

/// The origins of a result's elements, if its op only moves them; constants come from elsewhere.
fn moved(graph: &Graph, node: &Node, from: &[Option<Vec<From>>]) -> Option<Vec<From>> {
    let shape = |i: usize| &graph.value(node.inputs[i]).ty.shape[..];
    let operand = |i: usize| from[node.inputs[i].index()].as_deref();
    let pick = |indices: Vec<usize>| operand(0).map(|from| indices.into_iter().map(|i| from[i]).collect());
    match &node.op {
        Op::Reshape { .. } | Op::Cast { .. } => operand(0).map(<[From]>::to_vec),
        Op::Transpose { perm } => {
            let strides = strides(shape(0));
            let dims: Vec<usize> = perm.iter().map(|&p| shape(0)[p]).collect();
            pick(walk(&dims, &perm.iter().map(|&p| strides[p]).collect::<Vec<_>>()))
        }
        Op::Expand { shape: wide } => {
            let aligned: Vec<usize> =
                std::iter::repeat_n(1, wide.len() - shape(0).len()).chain(shape(0).iter().copied()).collect();
            let repeated = aligned.iter().zip(strides(&aligned)).map(|(&d, s)| if d == 1 { 0 } else { s });
            pick(walk(wide, &repeated.collect::<Vec<_>>()))
        }
        Op::Select { axis, indices } => {
            let [outer, inner] =
                [shape(0)[..*axis].iter(), shape(0)[axis + 1..].iter()].map(Iterator::product::<usize>);
            let length = shape(0)[*axis];
            let row =
                |o: usize| indices.iter().flat_map(move |i| (0..inner).map(move |e| (o * length + i) * inner + e));
            pick((0..outer).flat_map(row).collect())
        }
        Op::Concat { axis } => {
            let outer: usize = shape(0)[..*axis].iter().product();
            let mut result = Vec::new();
            for o in 0..outer {
                for i in 0..node.inputs.len() {
                    let run = shape(i).iter().product::<usize>() / outer;
                    match operand(i) {
                        Some(from) => result.extend_from_slice(&from[o * run..][..run]),
                        None => result.extend(std::iter::repeat_n(From::Elsewhere, run)),
                    }
                }
            }
            Some(result)
        }
        _ => None,
    }
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// The offsets of the elements of `shape`, in order, at these strides.
fn walk(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for (&length, &stride) in shape.iter().zip(strides) {
        offsets = offsets.iter().flat_map(|&base| (0..length).map(move |i| base + i * stride)).collect();
    }
    offsets
}

#[cfg(test)]
mod tests {
    use shared_model::graph::{Binary, Builder, Link, Reduce, Scope, Type, ValueId};

    use super::*;

    /// One table of 7 rows, indexed by what `route` makes of an input `[2, 3]`.
    fn graph(route: impl Fn(&mut Builder, ValueId) -> ValueId) -> Graph {
        let mut b = Builder::new();
        let ids = b.input("ids", Type { dtype: DType::I32, shape: vec![2, 3], scope: Scope::Item }).unwrap();
        let table = b.constant("table", DType::F32, &[7, 1]).unwrap();
        let routed = route(&mut b, ids);
        let rows = b.push("rows", Op::Embedding, &[table, routed]).unwrap();
        let axes = (0..b.ty(rows).shape.len()).collect();
        let score = b.push("score", Op::Reduce { kind: Reduce::Sum, axes, keep: false }, &[rows]).unwrap();
        b.finish(score, Link::Identity).unwrap()
    }

    fn elements(ids: &Ids) -> Vec<usize> {
        ids.bounds.iter().map(|b| b.element).collect()
    }

    #[test]
    fn ids_are_followed_through_ops_that_move_them() {
        // Elements 0 1 2 / 3 4 5, transposed 0 3 / 1 4 / 2 5, its last row 2 5.
        let graph = graph(|b, ids| {
            let turned = b.push("turned", Op::Transpose { perm: vec![1, 0] }, &[ids]).unwrap();
            let last = b.push("last", Op::Select { axis: 0, indices: vec![2] }, &[turned]).unwrap();
            let wide = b.push("wide", Op::Expand { shape: vec![3, 2] }, &[last]).unwrap();
            let first = b.push("first", Op::Select { axis: 1, indices: vec![0] }, &[ids]).unwrap();
            let first = b.push("first", Op::Reshape { shape: vec![1, 2] }, &[first]).unwrap();
            b.push("both", Op::Concat { axis: 0 }, &[wide, first]).unwrap()
        });
        let ids = Ids::of(&graph);
        assert_eq!(elements(&ids), [0, 2, 3, 5]);
        let embedding = graph.nodes().iter().position(|n| n.op == Op::Embedding).unwrap();
        assert!(ids.bounds(embedding));
    }

    #[test]
    fn refuses_an_id_without_a_row_where_it_is_used_and_nowhere_else() {
        let graph = graph(|b, ids| b.push("one", Op::Select { axis: 1, indices: vec![1] }, &[ids]).unwrap());
        let ids = Ids::of(&graph);
        let check = |data: Vec<i32>| ids.check(&[Data::I32(data)]);
        assert_eq!(check(vec![9, 6, -1, 9, 0, 9]), Ok(()), "columns 0 and 2 index nothing");
        for (bad, data) in
            [(7, vec![0, 0, 0, 0, 7, 0]), (-1, vec![0; 6].into_iter().chain([0, -1, 0, 0, 0, 0]).collect())]
        {
            assert_eq!(check(data), Err(RunError::Index { table: "table".into(), index: bad, rows: 7 }));
        }
    }

    #[test]
    fn computed_ids_are_left_to_the_device() {
        let graph = graph(|b, ids| {
            let sum = b.push("sum", Op::Binary(Binary::Add), &[ids, ids]).unwrap();
            b.push("both", Op::Concat { axis: 0 }, &[sum, ids]).unwrap()
        });
        let ids = Ids::of(&graph);
        assert_eq!(elements(&ids), [0, 1, 2, 3, 4, 5], "those that are not computed are still checked");
        let embedding = graph.nodes().iter().position(|n| n.op == Op::Embedding).unwrap();
        assert!(!ids.bounds(embedding));
    }
}
