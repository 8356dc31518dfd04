//! Several rows at once, a lane each, so that every row is folded in ascending order and none waits for itself.

use std::array::from_fn;

use super::lanes::{F32x4, LANES, transpose};
use super::turns;

/// Registers of rows: one alone would still wait for its last addition.
const WIDE: usize = 2;
/// Rows folded together.
pub(super) const ROWS: usize = WIDE * LANES;

/// Folds each row; `f` is given the register, its accumulators, the rows' next elements and their index.
#[expect(clippy::needless_range_loop, reason = "one index into every row")]
#[inline(always)]
pub(super) fn fold(
    rows: [&[f32]; ROWS],
    start: f32,
    mut f: impl FnMut(usize, F32x4, F32x4, usize) -> F32x4,
) -> [F32x4; WIDE] {
    let len = rows[0].len();
    let chunks = rows.map(|row| row[..len].as_chunks::<LANES>());
    let (whole, rest) = (chunks.map(|(whole, _)| whole), chunks.map(|(_, rest)| rest));
    let mut folded = [F32x4::splat(start); WIDE];
    turns::each(0..len / LANES, |c| {
        let columns: [_; WIDE] = from_fn(|w| transpose(from_fn(|r| F32x4::load(&whole[w * LANES + r][c]))));
        for i in 0..LANES {
            folded = from_fn(|w| f(w, folded[w], columns[w][i], c * LANES + i));
        }
    });
    for i in 0..len % LANES {
        let column = |w: usize| F32x4::load(&from_fn(|r| rest[w * LANES + r][i]));
        folded = from_fn(|w| f(w, folded[w], column(w), len / LANES * LANES + i));
    }
    folded
}

/// Gives the rows of `x` to `f` by so many as are folded together; at the end the last is repeated.
#[inline(always)]
pub(super) fn rows(width: usize, x: &[f32], mut f: impl FnMut([&[f32]; ROWS])) {
    for block in x.chunks(ROWS * width) {
        let last = block.len() / width - 1;
        f(from_fn(|r| &block[r.min(last) * width..][..width]));
    }
}

/// What was folded, a number a row.
#[inline(always)]
pub(super) fn numbers(folded: [F32x4; WIDE]) -> [f32; ROWS] {
    let lanes = folded.map(F32x4::to_array);
    from_fn(|r| lanes[r / LANES][r % LANES])
}
