//! Weights and numbers of outputs as the loops read them: in panels of eight outputs, the last padded.

use std::array::from_fn;

use super::pack::CHUNK;
use crate::kernel::lanes::{F32x4, I8x16, I16x8, LANES};

/// Outputs of a panel.
pub(super) const PANEL: usize = 8;

/// A number for each output of a panel.
pub(super) type Column = [F32x4; 2];
/// Two inputs' integer weights, side by side as the inputs are packed, for each output of a panel.
pub(super) type PairColumn = [I16x8; 2];

/// Four inputs' integer weights for each output of a panel.
pub(super) type QuadColumn = [I8x16; 2];

/// `[outputs, inputs]` as `[panels, inputs]`.
pub(super) fn columns(inputs: usize, weight: &[f32], filler: f32) -> Vec<Column> {
    let rows: Vec<&[f32]> = weight.chunks_exact(inputs).collect();
    let column = |rows: &[&[f32]], i: usize| -> Column {
        let weight = |o: usize| rows.get(o).map_or(filler, |row| row[i]);
        from_fn(|half| F32x4::load(&from_fn(|lane| weight(half * LANES + lane))))
    };
    rows.chunks(PANEL).flat_map(|rows| (0..inputs).map(move |i| column(rows, i))).collect()
}

/// `[outputs, inputs]` as `[panels, pairs of inputs]`, so that a product of registers is one of pairs.
pub(super) fn pair_columns(inputs: usize, weight: &[i16]) -> Vec<PairColumn> {
    let rows: Vec<&[i16]> = weight.chunks_exact(inputs).collect();
    let column = |rows: &[&[i16]], first: usize| -> PairColumn {
        let weight = |o: usize, i: usize| rows.get(o).and_then(|row| row.get(i)).copied().unwrap_or(0);
        from_fn(|half| I16x8::load(&from_fn(|j| weight(half * LANES + j / 2, first + j % 2 * LANES))))
    };
    rows.chunks(PANEL).flat_map(|rows| firsts(inputs).map(move |i| column(rows, i))).collect()
}

/// `[outputs, inputs]` as `[panels, quads of inputs]`, the last filled up with zeros.
pub(super) fn quad_columns(inputs: usize, weight: &[i8]) -> Vec<QuadColumn> {
    let rows: Vec<&[i8]> = weight.chunks_exact(inputs).collect();
    let column = |rows: &[&[i8]], first: usize| -> QuadColumn {
        let weight = |o: usize, i: usize| rows.get(o).and_then(|row| row.get(i)).copied().unwrap_or(0);
        from_fn(|half| I8x16::load(&from_fn(|j| weight(half * LANES + j / LANES, first + j % LANES))))
    };
    rows.chunks(PANEL).flat_map(|rows| (0..inputs).step_by(LANES).map(move |i| column(rows, i))).collect()
}

/// One output's weights, in the same pairs.
pub(super) fn pairs(weight: &[i16]) -> Vec<I16x8> {
    let pair = |i: usize, j: usize| i / CHUNK * CHUNK + j / 2 + j % 2 * LANES;
    let of = |i: usize| weight.get(i).copied().unwrap_or(0);
    (0..weight.len()).step_by(CHUNK).map(|i| I16x8::load(&from_fn(|j| of(pair(i, j))))).collect()
}

/// The first input of each pair, with as many pairs as whole chunks have.
fn firsts(inputs: usize) -> impl Iterator<Item = usize> {
    (0..inputs).step_by(CHUNK).flat_map(|chunk| chunk..chunk + LANES)
}

/// The pairs of so many inputs.
pub(super) fn pair_count(inputs: usize) -> usize {
    inputs.div_ceil(CHUNK) * LANES
}
