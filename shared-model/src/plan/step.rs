//! One step of a plan: a kernel, its operands' places and its result's.

mod elementwise;

use std::array::from_fn;

use super::RunError;
use super::broadcast::Access;
use super::memory::{Memory, Place, Reading, Rows};
use crate::graph::{Binary, Compare, Logic, Reduce, Unary};
use crate::kernel::elements::each;
use crate::kernel::linear::{self, Activation, Join, Linear, Operand};
use crate::kernel::matmul::{self, Spaced};
use crate::kernel::moves::{self, Gather};
use crate::kernel::reduce::{self, Targets};
use crate::kernel::row;
use crate::tensor::Tensor;
use elementwise::{binary, choose, compare, unary, zip};

pub(super) type Scratch = linear::Scratch;

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kernel: Kernel,
    pub(super) inputs: Vec<Place>,
    pub(super) output: Place,
}

/// What a step computes on each row. The names say f32 or i32 where an op has both; booleans are i32.
#[derive(Clone, Debug)]
pub(super) enum Kernel {
    Unary(Unary),
    Not,
    Clip {
        min: f32,
        max: f32,
    },
    Binary(Binary, [Access; 2]),
    BinaryI32(Binary, [Access; 2]),
    Compare(Compare, [Access; 2]),
    CompareI32(Compare, [Access; 2]),
    Logic(Logic, [Access; 2]),
    Where([Access; 3]),
    WhereI32([Access; 3]),
    /// f32 → i32 by truncation.
    Truncate,
    /// i32 or bool → f32.
    Widen,
    /// f32 → bool.
    NonZero,
    /// i32 → bool.
    NonZeroI32,
    /// The same numbers: i32 ↔ bool where the values are known to fit.
    CopyI32,
    Copy,
    /// Elements by their index.
    Gather(Gather),
    GatherI32(Gather),
    /// Each operand's run of elements, `outer` times.
    Concat {
        outer: usize,
    },
    ConcatI32 {
        outer: usize,
    },
    /// The layer and how the operands after its input join the outputs.
    Linear(Box<Linear>, Vec<Join>),
    /// How the operands after the first join it, in rows so wide, and what follows.
    Joined {
        width: usize,
        joins: Vec<Join>,
        activation: Activation,
    },
    MatMul {
        k: usize,
        n: usize,
        pairs: Vec<[usize; 2]>,
        a: usize,
        b: usize,
    },
    Embedding {
        table: Box<Tensor>,
        name: String,
        rows: usize,
        width: usize,
    },
    Softmax {
        len: usize,
        stride: usize,
    },
    Reduce {
        kind: Reduce,
        targets: Targets,
        count: usize,
    },
    ReduceI32 {
        kind: Reduce,
        map: Vec<u32>,
    },
    LayerNorm {
        epsilon: f32,
        scale: Vec<f32>,
        bias: Option<Vec<f32>>,
    },
}

impl Step {
    /// Computes the result for `rows` candidates (or its one row).
    pub(super) fn run(&self, memory: &mut Memory, scratch: &mut Scratch, rows: usize) -> Result<(), RunError> {
        if self.kernel.gives_ints() {
            let (out, reading) = memory.write_ints(self.output, rows);
            self.run_ints(out, &reading);
            Ok(())
        } else {
            let (out, reading) = memory.write_floats(self.output, rows);
            self.run_floats(out, &reading, scratch)
        }
    }

    fn run_floats(&self, out: &mut [f32], read: &Reading<'_>, scratch: &mut Scratch) -> Result<(), RunError> {
        let x = |i: usize| read.floats(self.inputs[i]);
        let len = self.output.len;
        match &self.kernel {
            Kernel::Unary(f) => unary(*f, x(0).data, out),
            Kernel::Clip { min, max } => each(x(0).data, out, |x| row::minimum(row::maximum(x, *min), *max)),
            Kernel::Binary(f, access) => binary(*f, access, x(0), x(1), len, out),
            Kernel::Where(access) => choose(access, read.ints(self.inputs[0]), x(1), x(2), len, out),
            Kernel::Widen => each(read.ints(self.inputs[0]).data, out, |x| x as f32),
            Kernel::Copy => out.copy_from_slice(x(0).data),
            Kernel::Gather(gather) => rows(len, out, |r, out| gather.run(x(0).row(r), out)),
            Kernel::Concat { outer } => {
                concat(*outer, self.inputs.iter().map(|&p| read.floats(p)), len, out);
            }
            Kernel::Linear(linear, joins) => {
                let others = from_fn(|i| joins.get(i).map(|&join| operand(join, x(i + 1), len)));
                linear.run(x(0).data, others, out, scratch);
            }
            Kernel::Joined { width, joins, activation } => {
                let (join, more) = joins.split_first().expect("two join at least");
                let first = [operand(*join, x(0), len), operand(*join, x(1), len)];
                let more = from_fn(|i| more.get(i).map(|&join| operand(join, x(i + 2), len)));
                linear::joined(*width, first, more, *activation, out);
            }
            // The rows of all candidates by the one matrix that they share.
            Kernel::MatMul { k, n, pairs, .. } if pairs.len() == 1 && !x(1).per_candidate => {
                matmul::matmul(*k, *n, x(0).data, x(1).data, out);
            }
            // A row of each candidate by a matrix of its own.
            Kernel::MatMul { k, n, pairs, a, .. } if pairs.len() == 1 && a == k => {
                matmul::each_own(*k, *n, spaced(x(0)), spaced(x(1)), out);
            }
            Kernel::MatMul { k, n, pairs, a, b } => {
                for (r, out) in out.chunks_exact_mut(len).enumerate() {
                    let (x, y) = (x(0).row(r), x(1).row(r));
                    for (&[i, j], out) in pairs.iter().zip(out.chunks_exact_mut(len / pairs.len())) {
                        matmul::matmul(*k, *n, &x[i * a..][..*a], &y[j * b..][..*b], out);
                    }
                }
            }
            Kernel::Embedding { table, name, rows, width } => {
                for (&id, out) in read.ints(self.inputs[0]).data.iter().zip(out.chunks_exact_mut(*width)) {
                    match usize::try_from(id) {
                        Ok(r) if r < *rows => table.copy_row(r, out),
                        _ => return Err(RunError::Index { table: name.clone(), index: id, rows: *rows }),
                    }
                }
            }
            Kernel::Softmax { len, stride } => row::softmax(*len, *stride, x(0).data, out),
            Kernel::Reduce { kind, targets, count } => reduce::f32(*kind, targets, *count, len, x(0).data, out),
            Kernel::LayerNorm { epsilon, scale, bias } => {
                row::layer_norm(*epsilon, scale, bias.as_deref(), x(0).data, out);
            }
            _ => unreachable!("`gives_ints` sends the others to `run_ints`"),
        }
        Ok(())
    }

    fn run_ints(&self, out: &mut [i32], read: &Reading<'_>) {
        let x = |i: usize| read.ints(self.inputs[i]);
        let f = |i: usize| read.floats(self.inputs[i]);
        let len = self.output.len;
        match &self.kernel {
            Kernel::Not => each(x(0).data, out, |x| i32::from(x == 0)),
            Kernel::BinaryI32(op, [p, q]) => {
                // A call an element: integers are few, and each function of its own would be a loop of its own.
                let f: fn(i32, i32) -> i32 = match op {
                    Binary::Add => i32::wrapping_add,
                    Binary::Sub => i32::wrapping_sub,
                    Binary::Mul => i32::wrapping_mul,
                    Binary::Min => Ord::min,
                    Binary::Max | Binary::Div | Binary::PRelu => Ord::max,
                };
                zip([p, q], x(0), x(1), len, out, f);
            }
            Kernel::Compare(op, access) => compare(*op, access, f(0), f(1), len, out),
            Kernel::CompareI32(op, access) => compare(*op, access, x(0), x(1), len, out),
            Kernel::Logic(op, [p, q]) => {
                let (both, one) = match op {
                    Logic::And => (1, 0),
                    Logic::Or => (1, 1),
                    Logic::Xor => (0, 1),
                };
                zip([p, q], x(0), x(1), len, out, |a, b| a & b & both | (a ^ b) & one);
            }
            Kernel::WhereI32(access) => choose(access, x(0), x(1), x(2), len, out),
            // `as` saturates and takes NaN to 0: every f32 has one result.
            Kernel::Truncate => each(f(0).data, out, |x| x as i32),
            Kernel::NonZero => each(f(0).data, out, |x| i32::from(x != 0.0)),
            Kernel::NonZeroI32 => each(x(0).data, out, |x| i32::from(x != 0)),
            Kernel::CopyI32 => out.copy_from_slice(x(0).data),
            Kernel::GatherI32(gather) => rows(len, out, |r, out| gather.run(x(0).row(r), out)),
            Kernel::ConcatI32 { outer } => {
                concat(*outer, self.inputs.iter().map(|&p| read.ints(p)), len, out);
            }
            Kernel::ReduceI32 { kind, map } => reduce::i32(*kind, map, len, x(0).data, out),
            _ => unreachable!("`gives_ints` sends the others to `run_floats`"),
        }
    }
}

impl Kernel {
    /// The entries of the tables it was made with, beside weights.
    pub(super) fn table_len(&self) -> usize {
        let of = |access: &Access| if let Access::Map(map) = access { map.len() } else { 0 };
        match self {
            Self::Binary(_, access) | Self::BinaryI32(_, access) | Self::Logic(_, access) => {
                access.iter().map(of).sum()
            }
            Self::Compare(_, access) | Self::CompareI32(_, access) => access.iter().map(of).sum(),
            Self::Where(access) | Self::WhereI32(access) => access.iter().map(of).sum(),
            Self::Gather(gather) | Self::GatherI32(gather) => gather.table_len(),
            Self::Reduce { targets: Targets::Map(map), .. } | Self::ReduceI32 { map, .. } => map.len(),
            Self::MatMul { pairs, .. } => 2 * pairs.len(),
            _ => 0,
        }
    }

    fn gives_ints(&self) -> bool {
        matches!(
            self,
            Self::Not
                | Self::BinaryI32(..)
                | Self::Compare(..)
                | Self::CompareI32(..)
                | Self::Logic(..)
                | Self::WhereI32(_)
                | Self::Truncate
                | Self::NonZero
                | Self::NonZeroI32
                | Self::CopyI32
                | Self::GatherI32(_)
                | Self::ConcatI32 { .. }
                | Self::ReduceI32 { .. }
        )
    }
}

/// The matrix of each candidate.
fn spaced(x: Rows<'_, f32>) -> Spaced<'_> {
    Spaced { data: x.data, step: if x.per_candidate { x.len } else { 0 } }
}

/// What joins rows of `len` numbers.
fn operand(join: Join, x: Rows<'_, f32>, len: usize) -> Operand<'_> {
    Operand { join, data: x.data, rows_each: if x.per_candidate { len / x.len } else { 1 } }
}

fn rows<T>(len: usize, out: &mut [T], f: impl Fn(usize, &mut [T])) {
    out.chunks_exact_mut(len).enumerate().for_each(|(r, out)| f(r, out));
}

fn concat<'a, T: Copy + 'a>(outer: usize, parts: impl Iterator<Item = Rows<'a, T>> + Clone, len: usize, out: &mut [T]) {
    for (r, out) in out.chunks_exact_mut(len).enumerate() {
        for (o, mut out) in out.chunks_exact_mut(len / outer).enumerate() {
            for part in parts.clone() {
                let run = part.len / outer;
                let (head, tail) = out.split_at_mut(run);
                moves::copy(&part.row(r)[o * run..][..run], head);
                out = tail;
            }
        }
    }
}
