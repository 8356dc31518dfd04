//! A layer of one output: registers of rows, where others have registers of outputs.

use std::array::from_fn;

use super::ROWS;
use super::pack::{self, Scales};
use crate::kernel::across;
use crate::kernel::lanes::{F32x4, I16x8, I32x4};

/// One row of 8-bit weights, paired as inputs are.
#[derive(Clone, Debug)]
pub(super) struct Row8 {
    pub(super) q: Vec<I16x8>,
    pub(super) scale: f32,
    pub(super) offset: f32,
    pub(super) max_activation: f32,
}

impl Row8 {
    /// The sums of rows of inputs, before the bias.
    pub(super) fn sums(&self, x: [&[f32]; ROWS]) -> F32x4 {
        let Scales { inverses, steps } = pack::scales(x, self.max_activation);
        let mut dots = [I32x4::splat(0); ROWS];
        // No part of the exact sum is larger than the whole may be, so its parts may be added in any order.
        let mut q = self.q.iter();
        let totals = pack::round(x, inverses, |rows| {
            if let Some(q) = q.next() {
                dots = from_fn(|r| dots[r] + rows[r].as_pairs().dot(*q));
            }
        });
        let dots = F32x4::load(&pack::sum_each(dots).map(|dot| dot as f32));
        let [scale, offset] = [self.scale, self.offset].map(F32x4::splat);
        (scale * dots + offset * F32x4::load(&totals)) * F32x4::load(&steps)
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
