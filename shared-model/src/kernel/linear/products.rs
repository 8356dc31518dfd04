//! The inner loops: some rows by some panels of outputs, every sum in a register.

use std::array::from_fn;

use super::ROWS;
use super::layout::{Column, PairColumn, QuadColumn};
use crate::kernel::lanes::{F32x4, I8x16, I16x8, I32x4};
use crate::kernel::turns;

/// `Σ_k x[k][r] · panels[p][k]` for the first `R` rows, ascending k.
#[inline(always)]
pub(super) fn floats<const R: usize, const P: usize>(x: &[[F32x4; ROWS]], panels: [&[Column]; P]) -> [[Column; R]; P] {
    let mut sums = [[[F32x4::zero(); 2]; R]; P];
    let panels = panels.map(|panel| &panel[..x.len()]);
    turns::each(x.iter().enumerate(), |(k, x)| {
        sums = from_fn(|p| from_fn(|r| from_fn(|half| sums[p][r][half] + x[r] * panels[p][k][half])));
    });
    sums
}

/// The exact sums of the products of rounded inputs of the first `R` rows and a panel's weights.
#[inline(always)]
pub(super) fn integers<const R: usize>(x: &[[I16x8; ROWS]], panel: &[PairColumn]) -> [[I32x4; 2]; R] {
    let mut sums = [[I32x4::splat(0); 2]; R];
    turns::each_longer(x.iter().zip(panel), |(x, weights)| {
        sums = from_fn(|r| from_fn(|half| sums[r][half] + weights[half].dot(x[r])));
    });
    sums
}

/// The same of inputs rounded to 7 bits.
#[inline(always)]
pub(super) fn bytes<const R: usize>(x: &[[I8x16; ROWS]], panel: &[QuadColumn]) -> [[I32x4; 2]; R] {
    let mut sums = [[I32x4::splat(0); 2]; R];
    turns::each(x.iter().zip(panel), |(x, weights)| {
        sums = from_fn(|r| from_fn(|half| weights[half].dot_add(x[r], sums[r][half])));
    });
    sums
}
