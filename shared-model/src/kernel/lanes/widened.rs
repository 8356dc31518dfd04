//! Bytes as numbers of 16 bits, where products of bytes are no faster.

use std::array::from_fn;

use super::{I16x8, I32x4};

/// Sixteen numbers of 8 bits: the first two of every four, and the other two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8x16([I16x8; 2]);

impl I8x16 {
    #[inline(always)]
    pub(crate) fn load(x: &[i8; 16]) -> Self {
        Self(from_fn(|half| I16x8::load(&from_fn(|j| i16::from(x[j / 2 * 4 + half * 2 + j % 2])))))
    }

    /// `sum + a0 · b0 + a1 · b1 + a2 · b2 + a3 · b3`, and so on for the other fours; those of `other` are 0 to 127.
    #[inline(always)]
    pub(crate) fn dot_add(self, other: Self, sum: I32x4) -> I32x4 {
        sum + self.0[0].dot(other.0[0]) + self.0[1].dot(other.0[1])
    }
}

impl I32x4 {
    /// The low 16 bits of the four lanes, each 0 to 127, four times.
    #[inline(always)]
    pub(crate) fn splat_bytes(self) -> I8x16 {
        I8x16(self.splat_halves())
    }
}
