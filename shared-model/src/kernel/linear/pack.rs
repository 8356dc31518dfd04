//! The inputs of a few rows as the loops read them: each spread over a register, the rows side by side. With integer
//! weights they are rounded to 16 bits first, one scale a row.

use std::array::from_fn;

use crate::kernel::lanes::{F32x4, I16x8, I32x4, LANES};
use crate::kernel::math::ROUNDER;

/// Inputs that are rounded together.
const CHUNK: usize = 2 * LANES;

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
        let scales = x.map(|x| scale(x, max));
        for ((i, pairs), totals) in
            (0..).step_by(part).zip(pairs.chunks_mut(part.next_multiple_of(CHUNK) / 2)).zip(&mut *totals)
        {
            let end = inputs.min(i + part);
            let sums = round(x.map(|x| &x[i..end]), scales.each_ref().map(|s| s.inverse), max, pairs);
            *totals = sums.map(|sum| F32x4::splat(sum as f32));
        }
        Rounded { pairs, totals, steps: scales.map(|s| F32x4::splat(s.step)) }
    }
}

/// How a row is rounded.
struct Scale {
    inverse: f32,
    step: f32,
}

fn scale(x: &[f32], max: f32) -> Scale {
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

/// Rounds as long a part of each row and sums it.
#[inline(always)]
fn round<const R: usize>(x: [&[f32]; R], inverse: [f32; R], max: f32, pairs: &mut [[I16x8; R]]) -> [i64; R] {
    // Chunks of which the sum fits 32 bits.
    const EXACT: usize = 1 << 12;
    let len = x[0].len();
    let x = x.map(|x| &x[..len]);
    let (chunks, _) = pairs.as_chunks_mut::<{ CHUNK / 2 }>();
    let mut totals = [0; R];
    for (part, chunks) in chunks.chunks_mut(EXACT).enumerate() {
        let mut sums = [I32x4::splat(0); R];
        for (c, chunk) in chunks.iter_mut().enumerate() {
            let first = (part * EXACT + c) * CHUNK;
            for r in 0..R {
                let [a, b] = halves(&x[r][first..]).map(|x| nearest(x * F32x4::splat(inverse[r]), max));
                sums[r] = sums[r] + (a + b);
                for (pairs, pair) in chunk.iter_mut().zip(a.narrow(b).splat_pairs()) {
                    pairs[r] = pair;
                }
            }
        }
        totals = from_fn(|r| totals[r] + sums[r].to_array().into_iter().map(i64::from).sum::<i64>());
    }
    totals
}

/// The next [`CHUNK`] inputs, zeros after the last.
#[inline(always)]
fn halves(x: &[f32]) -> [F32x4; 2] {
    let chunk = x.first_chunk::<CHUNK>().copied().unwrap_or_else(|| {
        let mut chunk = [0.0; CHUNK];
        chunk[..x.len()].copy_from_slice(x);
        chunk
    });
    let (halves, _) = chunk.as_chunks::<LANES>();
    [F32x4::load(&halves[0]), F32x4::load(&halves[1])]
}

/// The nearest integers within ±max, ties to even; max < 2²².
#[inline(always)]
fn nearest(x: F32x4, max: f32) -> I32x4 {
    let limited = x.max(F32x4::splat(-max)).min(F32x4::splat(max));
    // The sum's low bits are the integer: those of ROUNDER are zeros.
    (limited + F32x4::splat(ROUNDER)).to_bits() - F32x4::splat(ROUNDER).to_bits()
}
