//! The inputs of four rows as the loops read them: each spread over a register, the rows side by side. With integer
//! weights they are rounded to 16 bits first, one scale a row, and two of them share a register; [`bytes`] has those of 7.

pub(super) mod bytes;

use std::array::from_fn;

use super::ROWS;
use crate::kernel::lanes::{F32x4, I8x16, I16x8, I32x4, LANES, transpose};
use crate::kernel::math::ROUNDER;
use crate::kernel::turns;

/// Inputs that are rounded together; a pair is one of the first half and the one as far into the second.
pub(super) const CHUNK: usize = 2 * LANES;

/// Packed rows; reused from call to call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    floats: Vec<[F32x4; ROWS]>,
    pairs: Vec<[I16x8; ROWS]>,
    quads: Vec<[I8x16; ROWS]>,
    totals: Vec<[f32; ROWS]>,
}

/// Rows of rounded inputs.
pub(super) struct Rounded<'a> {
    /// `[pairs of inputs, rows]`, zeros after the last input.
    pub(super) pairs: &'a [[I16x8; ROWS]],
    /// The sum of each part of the inputs.
    pub(super) totals: &'a [[f32; ROWS]],
    /// What 1 stands for; NaN if an input of the row is not finite.
    pub(super) steps: [f32; ROWS],
}

impl Packed {
    /// `[inputs, rows]`
    pub(super) fn floats(&mut self, x: [&[f32]; ROWS]) -> &[[F32x4; ROWS]] {
        let x = x.map(|row| &row[..x[0].len()]);
        let packed = room(&mut self.floats, x[0].len(), [F32x4::zero(); ROWS]);
        turns::each(packed.iter_mut().enumerate(), |(i, packed)| *packed = x.map(|x| F32x4::splat(x[i])));
        packed
    }

    /// Rounds to integers of at most `max` and sums parts of `part` inputs, a multiple of [`CHUNK`] unless it is all.
    pub(super) fn rounded(&mut self, x: [&[f32]; ROWS], part: usize, max: f32) -> Rounded<'_> {
        let inputs = x[0].len();
        let pairs = room(&mut self.pairs, inputs.div_ceil(CHUNK) * LANES, [I16x8::load(&[0; 8]); ROWS]);
        let totals = room(&mut self.totals, inputs.div_ceil(part), [0.0; ROWS]);
        let Scales { inverses, steps } = scales(x, max);
        let (chunks, _) = pairs.as_chunks_mut::<LANES>();
        let of_parts = chunks.chunks_mut(part.div_ceil(CHUNK));
        for ((p, total), chunks) in totals.iter_mut().enumerate().zip(of_parts) {
            let x = x.map(|x| &x[p * part..inputs.min((p + 1) * part)]);
            let mut chunks = chunks.iter_mut();
            *total = round(x, inverses, |rows| {
                let rows = rows.map(I32x4::splat_lanes);
                if let Some(chunk) = chunks.next() {
                    *chunk = from_fn(|pair| from_fn(|r| rows[r][pair].as_pairs()));
                }
            });
        }
        Rounded { pairs, totals, steps }
    }
}

/// The first `len` of a buffer that grows when it must: to empty and fill it each time would take as long as its use.
fn room<T: Copy>(buffer: &mut Vec<T>, len: usize, filler: T) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, filler);
    }
    &mut buffer[..len]
}

/// How rows are rounded.
pub(super) struct Scales {
    /// What each is multiplied by.
    pub(super) inverses: [F32x4; ROWS],
    /// What 1 stands for then; NaN if an input of the row is not finite.
    pub(super) steps: [f32; ROWS],
}

#[inline(always)]
pub(super) fn scales(x: [&[f32]; ROWS], max: f32) -> Scales {
    scales_of(largest(x), max)
}

/// Of rows of numbers as large as these.
#[inline(always)]
fn scales_of(largest: F32x4, max: f32) -> Scales {
    // All zero, or so small that the quotient is beyond f32: still nothing is larger than `max` then.
    let inverses = (F32x4::splat(max) / largest).min(F32x4::splat(f32::MAX));
    // What is added is 0, or not a number.
    let steps = largest / F32x4::splat(max) + largest * F32x4::zero();
    Scales { inverses: inverses.to_array().map(F32x4::splat), steps: steps.to_array() }
}

/// The largest number of each row, signs aside; if one is not a number, that.
#[inline(always)]
fn largest(x: [&[f32]; ROWS]) -> F32x4 {
    // Without their signs floats are ordered as their bits are, and what is not a number comes last. One shift leaves
    // the sign out, where WASM's absolute value is three instructions in some engines.
    let larger =
        |m: I32x4, [a, b]: [F32x4; 2]| m.max_unsigned(a.to_bits().doubled()).max_unsigned(b.to_bits().doubled());
    let mut m = [I32x4::splat(0); ROWS];
    let whole = x.map(|row| row[..x[0].len()].as_chunks::<CHUNK>().0);
    turns::each(0..whole[0].len(), |c| m = from_fn(|r| larger(m[r], halves(&whole[r][c]))));
    let rest = x.map(|x| x.as_chunks::<CHUNK>().1);
    if !rest[0].is_empty() {
        m = from_fn(|r| larger(m[r], first_halves(rest[r])));
    }
    let [a, b, c, d] = transpose(m.map(F32x4::from_bits)).map(F32x4::to_bits);
    F32x4::from_bits(a.max_unsigned(b).max_unsigned(c.max_unsigned(d)).halved())
}

/// Rounds numbers and gives their sums. What is put are a chunk's pairs of each row, zeros after the last.
#[inline(always)]
pub(super) fn round(x: [&[f32]; ROWS], inverses: [F32x4; ROWS], mut put: impl FnMut([I32x4; ROWS])) -> [f32; ROWS] {
    /// Chunks of which the sums fit 32 bits.
    const EXACT: usize = 1 << 12;
    let ones = I16x8::load(&[1; CHUNK]);
    let mut totals = [0i64; ROWS];
    for x in parts(x, EXACT * CHUNK) {
        let mut sums = [I32x4::splat(0); ROWS];
        let mut chunk = |x: [[F32x4; 2]; ROWS]| {
            let rows = from_fn(|r| {
                let [a, b] = x[r].map(|x| nearest(x * inverses[r]));
                a.pair(b)
            });
            sums = from_fn(|r| sums[r] + rows[r].as_pairs().dot(ones));
            put(rows);
        };
        let whole = x.map(|row| row[..x[0].len()].as_chunks::<CHUNK>().0);
        turns::each_large(0..whole[0].len(), |c| chunk(whole.map(|x| halves(&x[c]))));
        let rest = x.map(|x| x.as_chunks::<CHUNK>().1);
        if !rest[0].is_empty() {
            chunk(rest.map(first_halves));
        }
        for (total, sum) in totals.iter_mut().zip(sum_each(sums)) {
            *total += i64::from(sum);
        }
    }
    totals.map(|total| total as f32)
}

/// The rows in parts of so many numbers.
fn parts(x: [&[f32]; ROWS], len: usize) -> impl Iterator<Item = [&[f32]; ROWS]> {
    let inputs = x[0].len();
    (0..inputs).step_by(len).map(move |first| x.map(|x| &x[first..inputs.min(first + len)]))
}

/// The sum of each register's lanes; wraps.
#[inline(always)]
pub(super) fn sum_each(x: [I32x4; ROWS]) -> [i32; ROWS] {
    let [a, b, c, d] = transpose(x.map(F32x4::from_bits)).map(F32x4::to_bits);
    ((a + b) + (c + d)).to_array()
}

/// The nearest integer, ties to even, in the low 16 bits.
///
/// Those of `ROUNDER` are zeros. A scaled input is at most `max` but for the rounding of `max / largest` and of the
/// product, together less than max / 2²¹ < 1/2 even where the quotient is denormal: it rounds to at most `max` unlimited.
#[inline(always)]
fn nearest(x: F32x4) -> I32x4 {
    (x + F32x4::splat(ROUNDER)).to_bits()
}

#[inline(always)]
fn halves(x: &[f32; CHUNK]) -> [F32x4; 2] {
    let (halves, _) = x.as_chunks::<LANES>();
    [&halves[0], &halves[1]].map(F32x4::load)
}

/// The same of what is less than a chunk, zeros after it.
#[inline(always)]
fn first_halves(x: &[f32]) -> [F32x4; 2] {
    [x, x.get(LANES..).unwrap_or_default()].map(F32x4::load_first)
}
