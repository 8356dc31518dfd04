//! The inputs of a few rows as the loops read them: each spread over a register, the rows side by side. With integer
//! weights they are rounded to 16 bits first, one scale a row.

use crate::kernel::lanes::{F32x4, I16x8, I32x4, LANES};
use crate::kernel::math::ROUNDER;

/// Inputs that are rounded together.
pub(super) const CHUNK: usize = 2 * LANES;

/// Packed rows; reused from call to call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    floats: Vec<F32x4>,
    pairs: Vec<I16x8>,
    totals: Vec<F32x4>,
}

/// Rows of rounded inputs.
pub(super) struct Rounded<'a, const R: usize> {
    /// `[pairs of inputs]`, at least.
    pub(super) pairs: &'a [[I16x8; R]],
    /// The sum of each part of the inputs.
    pub(super) totals: &'a [[F32x4; R]],
    /// What 1 stands for; NaN if an input of the row is not finite.
    pub(super) steps: [F32x4; R],
}

impl Packed {
    pub(super) fn floats<const R: usize>(&mut self, x: [&[f32]; R]) -> &[[F32x4; R]] {
        let inputs = x[0].len();
        self.floats.resize(R * inputs, F32x4::zero());
        let (packed, _) = self.floats.as_chunks_mut::<R>();
        let x = x.map(|x| &x[..inputs]);
        for (i, packed) in packed.iter_mut().enumerate() {
            *packed = x.map(|x| F32x4::splat(x[i]));
        }
        packed
    }

    /// Rounds to integers of at most `max` and sums parts of `part` inputs, a multiple of [`CHUNK`] unless it is all.
    pub(super) fn rounded<const R: usize>(&mut self, x: [&[f32]; R], part: usize, max: f32) -> Rounded<'_, R> {
        let inputs = x[0].len();
        self.pairs.resize(R * inputs.next_multiple_of(CHUNK) / 2, I16x8::load(&[0; 8]));
        self.totals.resize(R * inputs.div_ceil(part), F32x4::zero());
        let ((pairs, _), (totals, _)) = (self.pairs.as_chunks_mut::<R>(), self.totals.as_chunks_mut::<R>());
        let mut steps = [F32x4::zero(); R];
        for (r, x) in x.into_iter().enumerate() {
            let Scale { inverse, step } = scale(x, max);
            steps[r] = F32x4::splat(step);
            let parts = x.chunks(part).zip(pairs.chunks_mut(part.next_multiple_of(CHUNK) / 2));
            for ((x, pairs), totals) in parts.zip(&mut *totals) {
                let (chunks, _) = pairs.as_chunks_mut::<{ CHUNK / 2 }>();
                let total = round(x, inverse, max, |c, pairs| {
                    for (rows, pair) in chunks[c].iter_mut().zip(pairs.splat_pairs()) {
                        rows[r] = pair;
                    }
                });
                totals[r] = F32x4::splat(total as f32);
            }
        }
        Rounded { pairs, totals, steps }
    }
}

/// How a row is rounded.
pub(super) struct Scale {
    pub(super) inverse: f32,
    /// What 1 stands for; NaN if an input is not finite.
    pub(super) step: f32,
}

pub(super) fn scale(x: &[f32], max: f32) -> Scale {
    // Without their signs floats are ordered as their bits are, and what is not a number comes last.
    let largest = f32::from_bits(x.iter().fold(0, |m, v| m.max(v.abs().to_bits())));
    let inverse = max / largest;
    if !largest.is_finite() {
        Scale { inverse: 0.0, step: f32::NAN }
    } else if inverse.is_finite() {
        Scale { inverse, step: largest / max }
    } else {
        // All zero, or so small that 16 bits cannot tell it from zero.
        Scale { inverse: 0.0, step: 0.0 }
    }
}

/// Rounds numbers, [`CHUNK`] by `CHUNK`, zeros after the last, and gives their sum.
#[inline(always)]
pub(super) fn round(x: &[f32], inverse: f32, max: f32, mut put: impl FnMut(usize, I16x8)) -> i64 {
    // Chunks of which the sum fits 32 bits.
    const EXACT: usize = 1 << 12;
    let mut total = 0;
    for (part, x) in x.chunks(EXACT * CHUNK).enumerate() {
        let mut sum = I32x4::splat(0);
        let mut chunk = |c: usize, x: &[f32; CHUNK]| {
            let (halves, _) = x.as_chunks::<LANES>();
            let [a, b] = [&halves[0], &halves[1]].map(|x| nearest(F32x4::load(x) * F32x4::splat(inverse), max));
            sum = sum + (a + b);
            put(part * EXACT + c, a.narrow(b));
        };
        let (whole, rest) = x.as_chunks::<CHUNK>();
        whole.iter().enumerate().for_each(|(c, x)| chunk(c, x));
        if !rest.is_empty() {
            let mut last = [0.0; CHUNK];
            last[..rest.len()].copy_from_slice(rest);
            chunk(whole.len(), &last);
        }
        total += i64::from(sum.sum());
    }
    total
}

/// The nearest integers within ±max, ties to even; max < 2²².
#[inline(always)]
fn nearest(x: F32x4, max: f32) -> I32x4 {
    let limited = x.max(F32x4::splat(-max)).min(F32x4::splat(max));
    // The sum's low bits are the integer: those of ROUNDER are zeros.
    (limited + F32x4::splat(ROUNDER)).to_bits() - F32x4::splat(ROUNDER).to_bits()
}
