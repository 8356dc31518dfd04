//! Inputs rounded to 7 bits, with a scale and a minimum a row: `x ≈ a * step + low`, a ≤ 127.

use std::array::from_fn;

use super::{Packed, ROWS, Scales, room, scales_of, sum_each};
use crate::kernel::lanes::{F32x4, I8x16, I32x4, LANES, transpose};
use crate::kernel::math::ROUNDER;
use crate::kernel::turns;

/// The most that 7 bits hold.
pub(in super::super) const MOST: i64 = 127;

/// Rows of inputs rounded so.
pub(in super::super) struct Bytes<'a> {
    /// `[quads of inputs, rows]`, zeros after the last input.
    pub(in super::super) quads: &'a [[I8x16; ROWS]],
    /// The sum of each row.
    pub(in super::super) totals: [f32; ROWS],
    /// What 1 stands for; NaN if an input of the row is not finite, or the row spans more than f32 does.
    pub(in super::super) steps: [f32; ROWS],
    /// What 0 stands for.
    pub(in super::super) lows: [f32; ROWS],
}

impl Packed {
    /// Rounds to integers from 0 to `max`.
    pub(in super::super) fn bytes(&mut self, x: [&[f32]; ROWS], max: f32) -> Bytes<'_> {
        let inputs = x[0].len();
        let quads = room(&mut self.quads, inputs.div_ceil(LANES), [I8x16::load(&[0; 16]); ROWS]);
        let (lows, spans) = spans(x);
        let Scales { inverses: inverse, steps } = scales_of(spans, max);
        let low = lows.map(F32x4::splat);
        // Above the bits of `ROUNDER`, of which the low 16 are 0.
        let nothing = ROUNDER.to_bits().cast_signed();
        let rounded = |x: F32x4, r: usize| ((x - low[r]) * inverse[r] + F32x4::splat(ROUNDER)).to_bits();
        let mut sums = [I32x4::splat(nothing.wrapping_mul(-(quads.len() as i32))); ROWS];
        let whole = x.map(|row| row[..inputs].as_chunks::<LANES>().0);
        turns::each_large(quads.iter_mut().enumerate().take(whole[0].len()), |(q, quad)| {
            let rows: [I32x4; ROWS] = from_fn(|r| rounded(F32x4::load(&whole[r][q]), r));
            sums = from_fn(|r| sums[r] + rows[r]);
            *quad = rows.map(I32x4::splat_bytes);
        });
        let rest = x.map(|row| row[..inputs].as_chunks::<LANES>().1);
        if let (Some(quad), false) = (quads.last_mut(), rest[0].is_empty()) {
            let rows = from_fn(|r| {
                let mut lanes = rounded(F32x4::load_first(rest[r]), r).to_array();
                lanes[rest[r].len()..].fill(nothing);
                I32x4::load(&lanes)
            });
            sums = from_fn(|r| sums[r] + rows[r]);
            *quad = rows.map(I32x4::splat_bytes);
        }
        Bytes { quads, totals: sum_each(sums).map(|sum| sum as f32), steps, lows }
    }
}

/// The least number of each row and how far the largest is from it; not finite if a number of the row is not.
#[inline(always)]
fn spans(x: [&[f32]; ROWS]) -> ([f32; ROWS], F32x4) {
    // The last of each is 0 as long as all are finite.
    let mut rows = x.map(|x| [F32x4::splat(x[0]), F32x4::splat(x[0]), F32x4::zero()]);
    let look = |[low, high, nothing]: [F32x4; 3], x: F32x4| [low.min(x), high.max(x), nothing + x * F32x4::zero()];
    let whole = x.map(|row| row[..x[0].len()].as_chunks::<LANES>().0);
    turns::each(0..whole[0].len(), |c| rows = from_fn(|r| look(rows[r], F32x4::load(&whole[r][c]))));
    let rest = x.map(|row| row[..x[0].len()].as_chunks::<LANES>().1);
    if !rest[0].is_empty() {
        // The first of the row once more where there are no more.
        let padded = |r: usize| F32x4::load(&from_fn(|i| *rest[r].get(i).unwrap_or(&x[r][0])));
        rows = from_fn(|r| look(rows[r], padded(r)));
    }
    let across = |i: usize, f: fn(F32x4, F32x4) -> F32x4| {
        let [a, b, c, d] = transpose(rows.map(|row| row[i]));
        f(f(a, b), f(c, d))
    };
    // What is added makes -0 a 0, and what is not finite not a number.
    let nothing = across(2, |a, b| a + b);
    let (low, high) = (across(0, F32x4::min) + nothing, across(1, F32x4::max) + nothing);
    (low.to_array(), high - low)
}
