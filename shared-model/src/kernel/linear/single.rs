//! A layer of one output: registers of inputs or rows, where others have registers of outputs.

use super::pack::{self, CHUNK};
use crate::kernel::across;
use crate::kernel::lanes::{F32x4, I16x8, I32x4};

/// One row of 8-bit weights.
#[derive(Clone, Debug)]
pub(super) struct Row8 {
    pub(super) q: Vec<I16x8>,
    pub(super) scale: f32,
    pub(super) offset: f32,
    pub(super) max_activation: f32,
}

/// A row of integers, zeros after the last.
pub(super) fn chunks(q: &[i16]) -> Vec<I16x8> {
    q.chunks(CHUNK).map(|q| I16x8::load(&std::array::from_fn(|i| q.get(i).copied().unwrap_or(0)))).collect()
}

impl Row8 {
    /// The sum of one row of inputs, before the bias.
    pub(super) fn sum(&self, x: &[f32]) -> f32 {
        let pack::Scale { inverse, step } = pack::scale(x, self.max_activation);
        // No part of the exact sum is larger than the whole may be, so its parts may be added in any order.
        let mut dots = I32x4::splat(0);
        let total = pack::round(x, inverse, self.max_activation, |c, x| dots = dots + x.dot(self.q[c]));
        (self.scale * dots.sum() as f32 + self.offset * total as f32) * step
    }
}

/// The sums of rows of inputs, before the bias; ascending inputs.
pub(super) fn sums(w: &[f32], x: &[f32], out: &mut [f32]) {
    let mut outs = out.chunks_mut(across::ROWS);
    across::rows(w.len(), x, |rows| {
        let sums = across::fold(rows, 0.0, |_, sum, x, i| sum + x * F32x4::splat(w[i]));
        for (y, sum) in outs.next().into_iter().flatten().zip(across::numbers(sums)) {
            *y = sum;
        }
    });
}
