//! `x · wᵀ + b` with full, 8-bit and 4-bit weights, and what follows it row by row.
//!
//! Weights are laid out once for the loops of [`products`], which take a few rows by a panel of outputs. With integer
//! weights the activations of a row are rounded to 16 bits with one scale a row, and the products are summed exactly in
//! i32: |a| ≤ min(32767, (2³¹ − 1) / max_o Σ|w_o|). Beside 8-bit weights they may be rounded to 7 bits, from 0 to 127,
//! with a scale and a minimum a row: relaxed SIMD multiplies those in half the time.

mod after;
mod joined;
mod layout;
mod pack;
mod products;
mod single;

use std::array::from_fn;

use half::f16;

use super::lanes::{F32x4, LANES};
use crate::tensor::{self, Activations, GROUP};
use after::follow;
pub(crate) use after::{Activation, Join, Operand};
pub(crate) use joined::{MORE, WIDE, joined};
use layout::{Column, PANEL, PairColumn, QuadColumn};
pub(crate) use pack::Packed as Scratch;
use pack::bytes::{self, Bytes};

/// Rows computed together, each weight read once for them all.
const ROWS: usize = LANES;
/// Operands that can join a layer's outputs.
pub(crate) const JOINS: usize = 2;
const MAX_ACTIVATION: i64 = 32_767;

/// A linear layer, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    weight: Weight,
    /// Empty if there is none.
    bias: Vec<Column>,
    activation: Activation,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Of one output.
    Row(Vec<f32>),
    /// Of one output.
    Row8(single::Row8),
    F32(Vec<Column>),
    Int8 {
        q: Vec<PairColumn>,
        scale: Vec<Column>,
        offset: Vec<Column>,
        max_activation: f32,
    },
    /// Beside inputs of 7 bits.
    Bytes {
        q: Vec<QuadColumn>,
        scale: Vec<Column>,
        offset: Vec<Column>,
        /// The sum of each output's weights.
        whole: Vec<Column>,
        max_activation: f32,
    },
    /// A scale and a minimum for each group of [`GROUP`] inputs, `[panels, groups]`.
    Int4 {
        q: Vec<PairColumn>,
        scale: Vec<Column>,
        min: Vec<Column>,
    },
}

impl Linear {
    /// With weights `[outputs, inputs]` in full precision.
    pub(crate) fn f32(inputs: usize, outputs: usize, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let weight = match outputs {
            1 => Weight::Row(weight.to_vec()),
            _ => Weight::F32(layout::columns(inputs, weight, 0.0)),
        };
        Self::new(inputs, outputs, bias, weight)
    }

    /// With 8-bit weights, `w = q * scale[o] + offset[o]`.
    pub(crate) fn int8(
        inputs: usize,
        q: &[i8],
        scale: &[f32],
        offset: &[f32],
        activations: Activations,
        bias: Option<&[f32]>,
    ) -> Self {
        let sums = q.chunks_exact(inputs).map(|row| row.iter().map(|&w| i64::from(w).abs()).sum::<i64>());
        let heaviest = sums.max().unwrap_or(0).max(1);
        let most = |limit: i64| (i64::from(i32::MAX) / heaviest).min(limit) as f32;
        let numbers = |x: &[f32]| layout::columns(1, x, 0.0);
        let widened = || -> Vec<i16> { q.iter().map(|&w| i16::from(w)).collect() };
        let weight = match (activations, scale, offset) {
            (Activations::Seven, ..) => Weight::Bytes {
                q: layout::quad_columns(inputs, q),
                scale: numbers(scale),
                offset: numbers(offset),
                whole: numbers(&whole(inputs, q, scale, offset)),
                max_activation: most(bytes::MOST),
            },
            (Activations::Sixteen, &[scale], &[offset]) => {
                let (q, max_activation) = (layout::pairs(&widened()), most(MAX_ACTIVATION));
                Weight::Row8(single::Row8 { q, scale, offset, max_activation })
            }
            (Activations::Sixteen, ..) => Weight::Int8 {
                q: layout::pair_columns(inputs, &widened()),
                scale: numbers(scale),
                offset: numbers(offset),
                max_activation: most(MAX_ACTIVATION),
            },
        };
        Self::new(inputs, scale.len(), bias, weight)
    }

    /// With packed 4-bit weights, `w = q * scale[o, g] + min[o, g]`.
    pub(crate) fn int4(
        inputs: usize,
        outputs: usize,
        q: &[u8],
        scale: &[f16],
        min: &[f16],
        bias: Option<&[f32]>,
    ) -> Self {
        let rows = q.chunks_exact(inputs.div_ceil(2));
        let q: Vec<i16> = rows.flat_map(|row| (0..inputs).map(|i| i16::from(tensor::nibble(row, i)))).collect();
        let panels = |v: &[f16]| {
            let widened: Vec<f32> = v.iter().map(|x| x.to_f32()).collect();
            layout::columns(inputs.div_ceil(GROUP), &widened, 0.0)
        };
        let weight = Weight::Int4 { q: layout::pair_columns(inputs, &q), scale: panels(scale), min: panels(min) };
        Self::new(inputs, outputs, bias, weight)
    }

    fn new(inputs: usize, outputs: usize, bias: Option<&[f32]>, weight: Weight) -> Self {
        let bias = bias.map_or_else(Vec::new, |bias| layout::columns(1, bias, 0.0));
        Self { inputs, outputs, weight, bias, activation: Activation::None }
    }

    /// The same layer, with an activation.
    pub(crate) fn then(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Computes one row or several, contiguous in `x` and `out`, and joins the operands to them in this order.
    pub(crate) fn run(
        &self,
        x: &[f32],
        operands: [Option<Operand<'_>>; JOINS],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let mut operands = operands.map(|of| of.map(|of| of.turns(self.outputs)));
        if matches!(self.weight, Weight::Row(_) | Weight::Row8(_)) {
            self.sums(x, out);
            return follow(&mut operands, self.activation, out);
        }
        let (inputs, outputs) = (self.inputs, self.outputs);
        let whole = x.len() / inputs / ROWS * ROWS;
        let ((x, few_x), (out, few_out)) = (x.split_at(whole * inputs), out.split_at_mut(whole * outputs));
        for (x, out) in x.chunks_exact(ROWS * inputs).zip(out.chunks_exact_mut(ROWS * outputs)) {
            self.block::<ROWS, 1>(from_fn(|r| &x[r * inputs..][..inputs]), out, scratch);
            follow(&mut operands, self.activation, out);
        }
        for (x, out) in few_x.chunks_exact(inputs).zip(few_out.chunks_exact_mut(outputs)) {
            // One row alone takes two panels at once: sums enough that none waits for its last addition.
            self.block::<1, 2>([x; ROWS], out, scratch);
            follow(&mut operands, self.activation, out);
        }
    }

    /// The only output of each row.
    fn sums(&self, x: &[f32], out: &mut [f32]) {
        if let Weight::Row(w) = &self.weight {
            single::sums(w, x, out);
        }
        for (x, out) in x.chunks(ROWS * self.inputs).zip(out.chunks_mut(ROWS)) {
            let mut y = match &self.weight {
                Weight::Row8(w) => w.sums(from_fn(|r| &x[r.min(out.len() - 1) * self.inputs..][..self.inputs])),
                _ => F32x4::load_first(out),
            };
            if let Some(bias) = self.bias.first() {
                y = y + F32x4::splat(bias[0].to_array()[0]);
            }
            y.store_first(out);
        }
    }

    /// The sums and the bias of the first `R` of the rows, `P` panels at once.
    fn block<const R: usize, const P: usize>(&self, x: [&[f32]; ROWS], out: &mut [f32], scratch: &mut Scratch) {
        let (panels, whole) = (self.outputs.div_ceil(PANEL), self.outputs / PANEL);
        let (many, pairs) = (panels / P * P, layout::pair_count(self.inputs));
        let mut rows = out.chunks_exact_mut(self.outputs);
        let mut tails: [&mut [f32]; R] = from_fn(|_| Default::default());
        let mut outs: [_; R] = from_fn(|r| {
            let row = rows.next().expect("a row of outputs for each of inputs");
            let (panels, tail) = row.as_chunks_mut::<PANEL>();
            tails[r] = tail;
            &mut panels[..whole]
        });
        let mut put = |p: usize, sums: [Column; R]| {
            let y = match self.bias.get(p) {
                Some(bias) => sums.map(|y| [y[0] + bias[0], y[1] + bias[1]]),
                None => sums,
            };
            for (r, y) in y.iter().enumerate() {
                if p < whole {
                    let (halves, _) = outs[r][p].as_chunks_mut::<LANES>();
                    (halves[0], halves[1]) = (y[0].to_array(), y[1].to_array());
                } else {
                    y.iter().zip(tails[r].chunks_mut(LANES)).for_each(|(y, out)| y.store_first(out));
                }
            }
        };
        match &self.weight {
            Weight::Row(_) | Weight::Row8(_) => unreachable!("`sums` takes these"),
            Weight::F32(w) => {
                let x = scratch.floats(x);
                let panel = |p: usize| &w[p * self.inputs..][..self.inputs];
                for p in (0..many).step_by(P) {
                    let sums = products::floats::<R, P>(x, from_fn(|i| panel(p + i)));
                    sums.into_iter().enumerate().for_each(|(i, sums)| put(p + i, sums));
                }
                for p in many..panels {
                    let [sums] = products::floats::<R, 1>(x, [panel(p)]);
                    put(p, sums);
                }
            }
            Weight::Int8 { q, scale, offset, max_activation } => {
                let x = scratch.rounded(x, self.inputs, *max_activation);
                let panels = q.chunks_exact(pairs).zip(scale.iter().zip(offset));
                for (p, (q, (s, m))) in panels.enumerate() {
                    let dots = products::integers::<R>(x.pairs, q);
                    let sum = |r: usize, half: usize| {
                        s[half] * dots[r][half].to_f32() + m[half] * F32x4::splat(x.totals[0][r])
                    };
                    put(p, from_fn(|r| from_fn(|half| sum(r, half) * F32x4::splat(x.steps[r]))));
                }
            }
            Weight::Bytes { q, scale, offset, whole, max_activation } => {
                let Bytes { quads, totals, steps, lows } = scratch.bytes(x, *max_activation);
                let numbers = scale.iter().zip(offset).zip(whole);
                for (p, (q, ((s, m), whole))) in q.chunks_exact(quads.len()).zip(numbers).enumerate() {
                    let dots = products::bytes::<R>(quads, q);
                    let sum = |r: usize, half: usize| {
                        let sum = s[half] * dots[r][half].to_f32() + m[half] * F32x4::splat(totals[r]);
                        sum * F32x4::splat(steps[r]) + whole[half] * F32x4::splat(lows[r])
                    };
                    put(p, from_fn(|r| from_fn(|half| sum(r, half))));
                }
            }
            Weight::Int4 { q, scale, min } => {
                const PAIRS: usize = GROUP / 2;
                let x = scratch.rounded(x, GROUP, MAX_ACTIVATION as f32);
                let groups = x.totals.len();
                let numbers = scale.chunks_exact(groups).zip(min.chunks_exact(groups));
                for (p, (q, (scale, min))) in q.chunks_exact(pairs).zip(numbers).enumerate() {
                    let mut sums = [[F32x4::zero(); 2]; R];
                    let groups = x.pairs.chunks(PAIRS).zip(x.totals).zip(q.chunks(PAIRS).zip(scale.iter().zip(min)));
                    for ((pairs, totals), (q, (s, m))) in groups {
                        let dots = products::integers::<R>(pairs, q);
                        let sum = |r: usize, half: usize| {
                            s[half] * dots[r][half].to_f32() + m[half] * F32x4::splat(totals[r])
                        };
                        sums = from_fn(|r| from_fn(|half| sums[r][half] + sum(r, half)));
                    }
                    put(p, from_fn(|r| sums[r].map(|sum| sum * F32x4::splat(x.steps[r]))));
                }
            }
        }
    }
}

/// The sum of each output's weights.
fn whole(inputs: usize, q: &[i8], scale: &[f32], offset: &[f32]) -> Vec<f32> {
    let sum = |(q, (s, m)): (&[i8], (&f32, &f32))| {
        s * q.iter().map(|&w| i64::from(w)).sum::<i64>() as f32 + m * inputs as f32
    };
    q.chunks_exact(inputs).zip(scale.iter().zip(offset)).map(sum).collect()
}

#[cfg(test)]
mod tests;
