//! Four rows at once, a lane each, so that every row is folded in ascending order and none waits for itself.

use super::lanes::{F32x4, LANES, transpose};

/// Folds each row; `f` is given the accumulators, the rows' next elements and their index. Rows are equally long.
#[inline(always)]
pub(super) fn fold(rows: [&[f32]; LANES], start: F32x4, mut f: impl FnMut(F32x4, F32x4, usize) -> F32x4) -> F32x4 {
    let len = rows[0].len();
    let chunks = rows.map(|row| row[..len].as_chunks::<LANES>());
    let (whole, rest) = (chunks.map(|(whole, _)| whole), chunks.map(|(_, rest)| rest));
    let mut folded = start;
    for c in 0..len / LANES {
        let columns = transpose(whole.map(|row| F32x4::load(&row[c])));
        for (i, column) in columns.into_iter().enumerate() {
            folded = f(folded, column, c * LANES + i);
        }
    }
    for i in 0..len % LANES {
        folded = f(folded, F32x4::load(&rest.map(|row| row[i])), len / LANES * LANES + i);
    }
    folded
}

/// Gives rows of `width` to `f` by fours, and how many of them count: at the end the last is repeated.
#[inline(always)]
pub(super) fn rows(width: usize, x: &[f32], mut f: impl FnMut([&[f32]; LANES], usize)) {
    for block in x.chunks(LANES * width) {
        let count = block.len() / width;
        f(std::array::from_fn(|r| &block[r.min(count - 1) * width..][..width]), count);
    }
}
