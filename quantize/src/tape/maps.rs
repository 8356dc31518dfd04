//! Where the elements of one row come from: worked out once for all candidates.

use shared_model::graph::{Graph, Node, Op};

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
                Self::Operands(vec![walk(out, &perm.iter().map(|&p| from[p]).collect::<Vec<_>>())])
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
                let to: Vec<usize> =
                    strides(&kept).iter().zip(&kept).map(|(&s, &n)| if n == 1 { 0 } else { s }).collect();
                Self::Targets(walk(shape(0), &to))
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

/// Row-major.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// For each element of `shape`, in order, the index that these strides lead to.
fn walk(shape: &[usize], strides: &[usize]) -> Vec<u32> {
    shape.iter().zip(strides).fold(vec![0], |map, (&len, &stride)| {
        map.iter().flat_map(|base| (0..len).map(move |i| base + index(i * stride))).collect()
    })
}

/// NumPy broadcasting.
fn broadcast(from: &[usize], to: &[usize]) -> Vec<u32> {
    let padded: Vec<usize> = std::iter::repeat_n(1, to.len() - from.len()).chain(from.iter().copied()).collect();
    let stretched: Vec<usize> =
        strides(&padded).iter().zip(&padded).map(|(&s, &n)| if n == 1 { 0 } else { s }).collect();
    walk(to, &stretched)
}
