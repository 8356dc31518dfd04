//! `x · wᵀ + b` with full, 8-bit and 4-bit weights, and the activation after it.
//!
//! Weights are laid out once for the loops of [`products`], which take a few rows by a panel of outputs. With integer
//! weights the activations of a row are rounded to 16 bits with one scale a row, and the products are summed exactly in
//! i32: |a| ≤ min(32767, (2³¹ − 1) / max_o Σ|w_o|).

mod layout;
mod pack;
mod products;
mod single;

use std::array::from_fn;

use half::f16;

use super::lanes::{F32x4, LANES};
use crate::tensor::{self, GROUP};
use layout::{Column, PANEL, PairColumn};
pub(crate) use pack::Packed as Scratch;

/// Rows computed together, each weight read once for them all.
const ROWS: usize = 4;
const MAX_ACTIVATION: i64 = 32_767;

/// A linear layer, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    weight: Weight,
    bias: Vec<Column>,
    activation: Activation,
}

/// What follows the bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    None,
    /// `y <= 0 ? 0 : y`
    Relu,
    /// `y < 0 ? slope * y : y`
    Leaky(f32),
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
    pub(crate) fn int8(inputs: usize, q: &[i8], scale: &[f32], offset: &[f32], bias: Option<&[f32]>) -> Self {
        let sums = q.chunks_exact(inputs).map(|row| row.iter().map(|&w| i64::from(w).abs()).sum::<i64>());
        let heaviest = sums.max().unwrap_or(0).max(1);
        let max_activation = (i64::from(i32::MAX) / heaviest).min(MAX_ACTIVATION) as f32;
        let q: Vec<i16> = q.iter().map(|&w| i16::from(w)).collect();
        let weight = match (scale, offset) {
            (&[scale], &[offset]) => {
                Weight::Row8(single::Row8 { q: single::chunks(&q), scale, offset, max_activation })
            }
            _ => Weight::Int8 {
                q: layout::pair_columns(inputs, &q),
                scale: layout::columns(1, scale, 0.0),
                offset: layout::columns(1, offset, 0.0),
                max_activation,
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
        // To add -0 changes no number; to add 0 would change -0.
        let none = vec![-0.0; outputs];
        let bias = layout::columns(1, bias.unwrap_or(&none), -0.0);
        Self { inputs, outputs, weight, bias, activation: Activation::None }
    }

    /// The same layer, with an activation.
    pub(crate) fn then(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Computes one row or several, contiguous in `x` and `out`.
    pub(crate) fn run(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        match &self.weight {
            Weight::Row(w) => single::sums(w, x, out),
            Weight::Row8(w) => x.chunks_exact(self.inputs).zip(&mut *out).for_each(|(x, y)| *y = w.sum(x)),
            _ => return self.blocks(x, out, scratch),
        }
        let bias = F32x4::splat(self.bias[0][0].to_array()[0]);
        let (whole, rest) = out.as_chunks_mut::<LANES>();
        for y in whole {
            *y = self.activation.apply(F32x4::load(y) + bias).to_array();
        }
        self.activation.apply(F32x4::load_first(rest) + bias).store_first(rest);
    }

    fn blocks(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let blocks = x.chunks(ROWS * self.inputs).zip(out.chunks_mut(ROWS * self.outputs));
        for (x, out) in blocks {
            if out.len() == ROWS * self.outputs {
                self.block::<ROWS>(x, out, scratch);
            } else {
                let rows = x.chunks_exact(self.inputs).zip(out.chunks_exact_mut(self.outputs));
                rows.for_each(|(x, out)| self.block::<1>(x, out, scratch));
            }
        }
    }

    fn block<const R: usize>(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let x: [&[f32]; R] = from_fn(|r| &x[r * self.inputs..][..self.inputs]);
        match &self.weight {
            Weight::Row(_) | Weight::Row8(_) => unreachable!("`run` computes these"),
            Weight::F32(w) => self.block_f32(x, w, out, scratch),
            Weight::Int8 { q, scale, offset, max_activation } => {
                let x = scratch.rounded(x, self.inputs, *max_activation);
                let panels = q.chunks_exact(self.inputs.div_ceil(2)).zip(scale.iter().zip(offset));
                for (p, (q, (s, m))) in panels.enumerate() {
                    let dots = products::integers(x.pairs, q);
                    let sum = |r: usize, half: usize| s[half] * dots[r][half].to_f32() + m[half] * x.totals[0][r];
                    self.finish::<R>(p, out, from_fn(|r| from_fn(|half| sum(r, half) * x.steps[r])));
                }
            }
            Weight::Int4 { q, scale, min } => {
                const PAIRS: usize = GROUP / 2;
                let x = scratch.rounded(x, GROUP, MAX_ACTIVATION as f32);
                let groups = x.totals.len();
                let numbers = scale.chunks_exact(groups).zip(min.chunks_exact(groups));
                for (p, (q, (scale, min))) in q.chunks_exact(self.inputs.div_ceil(2)).zip(numbers).enumerate() {
                    let mut sums = [[F32x4::zero(); 2]; R];
                    let groups = x.pairs.chunks(PAIRS).zip(x.totals).zip(q.chunks(PAIRS).zip(scale.iter().zip(min)));
                    for ((pairs, totals), (q, (s, m))) in groups {
                        let dots = products::integers(pairs, q);
                        let sum = |r: usize, half: usize| s[half] * dots[r][half].to_f32() + m[half] * totals[r];
                        sums = from_fn(|r| from_fn(|half| sums[r][half] + sum(r, half)));
                    }
                    self.finish::<R>(p, out, from_fn(|r| sums[r].map(|sum| sum * x.steps[r])));
                }
            }
        }
    }

    fn block_f32<const R: usize>(&self, x: [&[f32]; R], w: &[Column], out: &mut [f32], scratch: &mut Scratch) {
        let x = scratch.floats(x);
        let panel = |p: usize| &w[p * self.inputs..][..self.inputs];
        let (panels, mut p) = (self.bias.len(), 0);
        // One row alone takes two panels at once: sums enough that none waits for its last addition.
        while R == 1 && p + 1 < panels {
            let [a, b] = products::floats(x, [panel(p), panel(p + 1)]);
            self.finish(p, out, a);
            self.finish(p + 1, out, b);
            p += 2;
        }
        for p in p..panels {
            let [sums] = products::floats(x, [panel(p)]);
            self.finish(p, out, sums);
        }
    }

    /// Adds the bias of panel `p` to the sums of `R` rows, applies the activation and writes the outputs.
    #[inline(always)]
    fn finish<const R: usize>(&self, p: usize, out: &mut [f32], sums: [Column; R]) {
        for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(self.outputs)) {
            let y: Column = from_fn(|half| self.activation.apply(sums[half] + self.bias[p][half]));
            let out = &mut out[p * PANEL..];
            if let Some(out) = out.first_chunk_mut::<PANEL>() {
                y.iter().zip(out.as_chunks_mut().0).for_each(|(y, out)| *out = y.to_array());
            } else {
                y.iter().zip(out.chunks_mut(LANES)).for_each(|(y, out)| y.store_first(out));
            }
        }
    }
}

impl Activation {
    #[inline(always)]
    fn apply(self, y: F32x4) -> F32x4 {
        match self {
            Self::None => y,
            Self::Relu => y.relu(),
            Self::Leaky(slope) => y.or_if_negative(F32x4::splat(slope) * y),
        }
    }
}

#[cfg(test)]
mod tests;
