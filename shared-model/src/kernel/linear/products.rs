//! The inner loops: some rows by some panels of outputs, every sum in a register.

use std::array::from_fn;

use super::layout::{Column, PairColumn};
use crate::kernel::lanes::{F32x4, I16x8, I32x4};

/// `Σ_k x[k][r] · panels[p][k]`, ascending k.
#[inline(always)]
pub(super) fn floats<const R: usize, const P: usize>(x: &[[F32x4; R]], panels: [&[Column]; P]) -> [[Column; R]; P] {
    let mut sums = [[[F32x4::zero(); 2]; R]; P];
    let panels = panels.map(|panel| &panel[..x.len()]);
    for (k, x) in x.iter().enumerate() {
        for (sums, panel) in sums.iter_mut().zip(panels) {
            *sums = from_fn(|r| from_fn(|half| sums[r][half] + x[r] * panel[k][half]));
        }
    }
    sums
}

/// The exact sums of the products of rounded inputs and a panel's weights.
#[inline(always)]
pub(super) fn integers<const R: usize>(x: &[[I16x8; R]], panel: &[PairColumn]) -> [[I32x4; 2]; R] {
    let mut sums = [[I32x4::splat(0); 2]; R];
    for (x, weights) in x.iter().zip(panel) {
        sums = from_fn(|r| from_fn(|half| sums[r][half] + weights[half].dot(x[r])));
    }
    sums
}
