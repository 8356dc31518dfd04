//! Where the elements of one row come from: worked out once for all candidates.

use shared_model::graph::{Graph, Node, Op};
use shared_model::shape::{self, strides, walk};

/// Of a node, what its op needs.
#[derive(Debug)]
pub(super) enum Maps {
    /// For each operand, the element that each element of the result reads.
    Operands(Vec<Vec<u32>>),
    /// For each element of the result, which operand and which element of it.
    Pieces(Vec<(u32, u32)>),
    /// For each element of the operand, the element of the result that it goes into.
    Targets(Vec<u32>),
    /// The matrices of the operands that each matrix of the result is the product of, and their sizes.
    Products { pairs: Vec<(u32, u32)>, m: usize, k: usize, n: usize },
    /// Runs of `len` elements, `stride` apart.
    Runs { len: usize, stride: usize },
    /// None.
    Nothing,
}

impl Maps {
    pub(super) fn of(graph: &Graph, node: &Node) -> Self {
        let shape = |i: usize| &graph.value(node.inputs[i]).ty.shape[..];
        let out = &graph.value(node.output).ty.shape[..];
        let broadcasts = || Self::Operands((0..node.inputs.len()).map(|i| broadcast(shape(i), out)).collect());
        match &node.op {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Logic(_)
            | Op::Clip { .. }
            | Op::Cast { .. }
            | Op::Where => broadcasts(),
            Op::Expand { .. } => broadcasts(),
            Op::Reshape { .. } => Self::Operands(vec![(0..product(out)).collect()]),
            Op::Transpose { perm } => {
                let from = strides(shape(0));
                Self::Operands(vec![map(out, &perm.iter().map(|&p| from[p]).collect::<Vec<_>>())])
            }
            Op::Select { axis, indices } => {
                let inner = product(&shape(0)[axis + 1..]);
                let len = index(shape(0)[*axis]);
                let at = |i: u32| {
                    let (row, column) = (i / inner, i % inner);
                    let (outer, which) = (row as usize / indices.len(), row as usize % indices.len());
                    (index(outer) * len + index(indices[which])) * inner + column
                };
                Self::Operands(vec![(0..product(out)).map(at).collect()])
            }
            Op::Concat { axis } => {
                let outer = product(&out[..*axis]);
                let runs: Vec<u32> = (0..node.inputs.len()).map(|i| product(&shape(i)[*axis..])).collect();
                let row = |o: u32| {
                    let of = move |(i, &len): (usize, &u32)| (0..len).map(move |e| (index(i), o * len + e));
                    runs.iter().enumerate().flat_map(of).collect::<Vec<_>>()
                };
                Self::Pieces((0..outer).flat_map(row).collect())
            }
            Op::Reduce { axes, .. } => {
                let kept: Vec<usize> =
                    shape(0).iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n }).collect();
                Self::Targets(broadcast(&kept, shape(0)))
            }
            Op::MatMul => {
                let (a, b) = (shape(0), shape(1));
                let (m, k, n) = (a[a.len() - 2], a[a.len() - 1], b[b.len() - 1]);
                let batch = &out[..out.len() - 2];
                let pairs = broadcast(&a[..a.len() - 2], batch).into_iter().zip(broadcast(&b[..b.len() - 2], batch));
                Self::Products { pairs: pairs.collect(), m, k, n }
            }
            Op::Softmax { axis } => Self::Runs { len: out[*axis], stride: product(&out[axis + 1..]) as usize },
            Op::Linear | Op::Embedding | Op::LayerNorm { .. } => Self::Nothing,
        }
    }
}

/// A graph's rows have at most 2²⁰ elements.
fn index(i: usize) -> u32 {
    u32::try_from(i).expect("MAX_ROW_ELEMENTS fits u32")
}

fn product(shape: &[usize]) -> u32 {
    index(shape.iter().product())
}

/// As 32 bits: there may be many.
fn map(shape: &[usize], strides: &[usize]) -> Vec<u32> {
    walk(shape, strides).into_iter().map(index).collect()
}

/// NumPy broadcasting.
fn broadcast(from: &[usize], to: &[usize]) -> Vec<u32> {
    map(to, &shape::broadcast(from, to))
}
