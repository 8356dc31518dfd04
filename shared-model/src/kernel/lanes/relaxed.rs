//! Bytes as registers of WASM's relaxed SIMD.
//!
//! A relaxed product of bytes is the same on every machine as long as one side has 7 bits: then no sum of two products
//! leaves 16 bits, and no machine saturates it.

use core::arch::wasm32 as arch;
use core::arch::wasm32::v128;

use super::I32x4;

/// Sixteen numbers of 8 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8x16(v128);

impl I8x16 {
    #[inline(always)]
    pub(crate) fn load(x: &[i8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *x;
        Self(arch::i8x16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))
    }

    /// `sum + a0 · b0 + a1 · b1 + a2 · b2 + a3 · b3`, and so on for the other fours; those of `other` are 0 to 127.
    #[inline(always)]
    pub(crate) fn dot_add(self, other: Self, sum: I32x4) -> I32x4 {
        I32x4(arch::i32x4_relaxed_dot_i8x16_i7x16_add(self.0, other.0, sum.0))
    }
}

impl I32x4 {
    /// The low 16 bits of the four lanes, each 0 to 127, four times.
    #[inline(always)]
    pub(crate) fn splat_bytes(self) -> I8x16 {
        I8x16(arch::i8x16_shuffle::<0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12>(self.0, self.0))
    }
}
