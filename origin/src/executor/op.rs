//! One node on the device: operands in, result out.
//!
//! Every operand has the batch of the node's scope, or 1 where it is the same for every row; axes of a row are one
//! further on the device, where dimension 0 counts rows. Types and shapes were checked when the graph was built; no
//! value is without elements.

use burn::backend::ops::{ActivationOps, FloatTensorOps, IntTensorOps, ModuleOps};
use burn::backend::{Dispatch, DispatchDevice};

use shared_model::graph::{Op, Reduce, Type};

use super::RunError;
use super::elementwise;
use super::product::product;
use super::value::{Int, Value, indices};
use crate::device::Precision;

/// What of a node is made ready once, when its graph is loaded.
#[derive(Clone, Debug)]
pub(super) enum Ready {
    /// Nothing.
    Nothing,
    /// The indices of a select that is not a range.
    Indices(Int),
    /// An embedding whose ids were checked on the host.
    Checked,
}

impl Ready {
    pub(super) fn new(op: &Op, device: &DispatchDevice) -> Self {
        match op {
            Op::Select { indices: at, .. } if range(at).is_none() => {
                // An index is below MAX_ROW_ELEMENTS or the length of a constant's axis; both fit.
                let at: Vec<i32> = at.iter().map(|&i| i32::try_from(i).expect("an index fits i32")).collect();
                let length = at.len();
                Self::Indices(indices(at, vec![length], device))
            }
            _ => Self::Nothing,
        }
    }

    /// The same on another device.
    pub(super) fn on(self, device: &DispatchDevice) -> Result<Self, RunError> {
        match self {
            Self::Indices(at) => Ok(Self::Indices(Value::I32(at).on(device)?.i32())),
            Self::Nothing | Self::Checked => Ok(self),
        }
    }
}

/// A node's result.
///
/// `rows` is the batch of the result, `types` are those of `operands`, `out` that of the result.
pub(super) fn apply(
    op: &Op,
    ready: &Ready,
    operands: Vec<Value>,
    types: &[&Type],
    out: &Type,
    rows: usize,
    precision: Precision,
) -> Value {
    let rank = types.iter().map(|t| t.shape.len()).max().unwrap_or(0);
    let mut operands = operands.into_iter();
    let mut next = || operands.next().expect("the graph's builder checked the arity");
    match op {
        Op::Unary(f) => elementwise::unary(*f, next()),
        Op::Binary(f) => elementwise::binary(*f, next().align(rank), next().align(rank)),
        Op::Compare(f) => elementwise::compare(*f, next().align(rank), next().align(rank)),
        Op::Logic(f) => elementwise::logic(*f, next().align(rank), next().align(rank)),
        Op::Clip { min, max } => elementwise::clip(next(), *min, *max),
        Op::Cast { to } => elementwise::cast(next(), *to),
        Op::Where => elementwise::select(next().align(rank).bool(), next().align(rank), next().align(rank)),
        Op::Linear => {
            let (x, weight, bias) = (next(), next(), operands.next());
            linear(x, weight, bias, out, rows, precision)
        }
        Op::MatMul => {
            let (a, b) = (next().align(rank).f32(), next().align(rank).f32());
            Value::F32(product(a, b, precision)).reshape(batched(rows, &out.shape))
        }
        Op::Embedding => {
            let (table, ids) = (next(), next());
            let [height, width] = types[0].shape[..] else { unreachable!("the graph's builder checked the table") };
            let count = ids.dims().iter().product();
            let mut ids = ids.reshape(vec![count]).i32();
            if !matches!(ready, Ready::Checked) {
                ids = within(ids, height);
            }
            table.reshape(vec![height, width]).select(0, ids).reshape(batched(rows, &out.shape))
        }
        Op::Select { axis, indices } => match (ready, range(indices)) {
            (Ready::Indices(at), _) => next().select(axis + 1, at.clone()),
            (_, Some((start, end))) => next().slice(axis + 1, start, end),
            (_, None) => unreachable!("`Ready::new` uploads what is not a range"),
        },
        Op::Concat { axis } => {
            let parts = types.iter().map(|t| next().expand(batched(rows, &t.shape))).collect();
            Value::concat(parts, axis + 1)
        }
        Op::Reshape { shape } => next().reshape(batched(rows, shape)),
        Op::Transpose { perm } => {
            let axes: Vec<usize> = std::iter::once(0).chain(perm.iter().map(|p| p + 1)).collect();
            next().permute(&axes)
        }
        Op::Expand { shape } => next().align(shape.len()).expand(batched(rows, shape)),
        Op::Reduce { kind, axes, .. } => {
            let reduced = axes.iter().fold(next(), |x, axis| reduce(*kind, x, axis + 1));
            reduced.reshape(batched(rows, &out.shape))
        }
        Op::Softmax { axis } => Value::F32(Dispatch::softmax(next().f32(), axis + 1)),
        Op::LayerNorm { epsilon } => {
            let width = types[0].shape.last().copied().unwrap_or(1);
            let (x, scale, bias) = (next().f32(), next(), operands.next());
            let row = |v: Value| v.reshape(vec![width]).f32();
            Value::F32(Dispatch::layer_norm(x, row(scale), bias.map(row), f64::from(*epsilon)))
        }
    }
}

/// The dimensions on the device of `rows` rows of this shape.
pub(super) fn batched(rows: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(rows).chain(shape.iter().copied()).collect()
}

/// One product for all rows: `[rows · …, K] · [K, O] + [O]`.
fn linear(x: Value, weight: Value, bias: Option<Value>, out: &Type, rows: usize, precision: Precision) -> Value {
    let dims = weight.dims();
    let [.., outputs, inputs] = dims[..] else { unreachable!("the graph's builder checked the weight") };
    let count = rows * out.len() / outputs;
    let weight = weight.reshape(vec![outputs, inputs]).f32();
    let mut y = product(x.reshape(vec![count, inputs]).f32(), Dispatch::float_transpose(weight), precision);
    if let Some(bias) = bias {
        y = Dispatch::float_add(y, bias.reshape(vec![1, outputs]).f32());
    }
    Value::F32(y).reshape(batched(rows, &out.shape))
}

/// An id outside a table takes its nearest row, so that no id reads other memory.
fn within(ids: Int, height: usize) -> Int {
    let last = i32::try_from(height - 1).unwrap_or(i32::MAX);
    Dispatch::int_clamp(ids, 0i32.into(), last.into())
}

fn reduce(kind: Reduce, x: Value, dim: usize) -> Value {
    match x {
        Value::F32(x) => Value::F32(match kind {
            Reduce::Sum => Dispatch::float_sum_dim(x, dim),
            Reduce::Mean => Dispatch::float_mean_dim(x, dim),
            Reduce::Min => Dispatch::float_min_dim(x, dim),
            Reduce::Max => Dispatch::float_max_dim(x, dim),
        }),
        x => Value::I32(match kind {
            Reduce::Min => Dispatch::int_min_dim(x.i32(), dim),
            Reduce::Max => Dispatch::int_max_dim(x.i32(), dim),
            Reduce::Sum | Reduce::Mean => unreachable!("the graph defines {kind:?} on f32 alone"),
        }),
    }
}

/// `start..end` when the indices are that range, which is a view instead of a copy.
fn range(indices: &[usize]) -> Option<(usize, usize)> {
    let (&start, &last) = (indices.first()?, indices.last()?);
    indices.iter().copied().eq(start..=last).then_some((start, last + 1))
}

#[cfg(test)]
mod tests;
