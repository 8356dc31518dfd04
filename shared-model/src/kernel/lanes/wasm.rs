//! Lanes as registers of WASM's 128-bit SIMD.

use core::arch::wasm32 as arch;
use core::arch::wasm32::v128;
use std::ops::{Add, Div, Mul, Sub};

#[derive(Clone, Copy, Debug)]
pub(crate) struct F32x4(v128);

#[derive(Clone, Copy, Debug)]
pub(crate) struct I32x4(pub(super) v128);

#[derive(Clone, Copy, Debug)]
pub(crate) struct I16x8(v128);

impl F32x4 {
    #[inline(always)]
    pub(crate) const fn splat(x: f32) -> Self {
        Self(arch::f32x4(x, x, x, x))
    }

    #[inline(always)]
    pub(crate) fn load(x: &[f32; 4]) -> Self {
        Self(arch::f32x4(x[0], x[1], x[2], x[3]))
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [f32; 4] {
        [
            arch::f32x4_extract_lane::<0>(self.0),
            arch::f32x4_extract_lane::<1>(self.0),
            arch::f32x4_extract_lane::<2>(self.0),
            arch::f32x4_extract_lane::<3>(self.0),
        ]
    }

    /// `other < self ? other : self`
    #[inline(always)]
    pub(crate) fn min(self, other: Self) -> Self {
        Self(arch::f32x4_pmin(self.0, other.0))
    }

    /// `self < other ? other : self`
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        Self(arch::f32x4_pmax(self.0, other.0))
    }

    /// The smaller, `self` if they are equal; not a number if one is not.
    #[inline(always)]
    pub(crate) fn minimum(self, other: Self) -> Self {
        self.or_if(other, arch::f32x4_lt(other.0, self.0))
    }

    /// The larger, `self` if they are equal; not a number if one is not.
    #[inline(always)]
    pub(crate) fn maximum(self, other: Self) -> Self {
        self.or_if(other, arch::f32x4_gt(other.0, self.0))
    }

    /// `which || other != other ? other : self`
    #[inline(always)]
    fn or_if(self, other: Self, which: v128) -> Self {
        let which = arch::v128_or(which, arch::f32x4_ne(other.0, other.0));
        Self(arch::v128_bitselect(other.0, self.0, which))
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self(arch::f32x4_sqrt(self.0))
    }

    #[inline(always)]
    pub(crate) fn to_bits(self) -> I32x4 {
        I32x4(self.0)
    }

    #[inline(always)]
    pub(crate) fn from_bits(bits: I32x4) -> Self {
        Self(bits.0)
    }

    /// `[a0, b0, a1, b1]` and `[a2, b2, a3, b3]`
    #[inline(always)]
    pub(crate) fn zip(self, other: Self) -> (Self, Self) {
        (
            Self(arch::i32x4_shuffle::<0, 4, 1, 5>(self.0, other.0)),
            Self(arch::i32x4_shuffle::<2, 6, 3, 7>(self.0, other.0)),
        )
    }
}

impl I32x4 {
    #[inline(always)]
    pub(crate) fn load(x: &[i32; 4]) -> Self {
        Self(arch::i32x4(x[0], x[1], x[2], x[3]))
    }

    #[inline(always)]
    pub(crate) const fn splat(x: i32) -> Self {
        Self(arch::i32x4(x, x, x, x))
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [i32; 4] {
        [
            arch::i32x4_extract_lane::<0>(self.0),
            arch::i32x4_extract_lane::<1>(self.0),
            arch::i32x4_extract_lane::<2>(self.0),
            arch::i32x4_extract_lane::<3>(self.0),
        ]
    }

    #[inline(always)]
    pub(crate) fn to_f32(self) -> F32x4 {
        F32x4(arch::f32x4_convert_i32x4(self.0))
    }

    #[inline(always)]
    pub(crate) fn max_unsigned(self, other: Self) -> Self {
        Self(arch::u32x4_max(self.0, other.0))
    }

    /// All bits one place up.
    #[inline(always)]
    pub(crate) fn doubled(self) -> Self {
        Self(arch::i32x4_shl(self.0, 1))
    }

    /// All bits one place down.
    #[inline(always)]
    pub(crate) fn halved(self) -> Self {
        Self(arch::u32x4_shr(self.0, 1))
    }

    /// In each lane the low 16 bits of both, those of `high` above.
    #[inline(always)]
    pub(crate) fn pair(self, high: Self) -> Self {
        Self(arch::i16x8_shuffle::<0, 9, 2, 11, 4, 13, 6, 15>(self.0, arch::i32x4_shl(high.0, 16)))
    }

    /// Each lane, four times.
    #[inline(always)]
    pub(crate) fn splat_lanes(self) -> [Self; 4] {
        [
            Self(arch::i32x4_shuffle::<0, 0, 0, 0>(self.0, self.0)),
            Self(arch::i32x4_shuffle::<1, 1, 1, 1>(self.0, self.0)),
            Self(arch::i32x4_shuffle::<2, 2, 2, 2>(self.0, self.0)),
            Self(arch::i32x4_shuffle::<3, 3, 3, 3>(self.0, self.0)),
        ]
    }

    /// The low 16 bits of the first two lanes, four times, and those of the other two.
    #[cfg(not(target_feature = "relaxed-simd"))]
    #[inline(always)]
    pub(super) fn splat_halves(self) -> [I16x8; 2] {
        [
            I16x8(arch::i16x8_shuffle::<0, 2, 0, 2, 0, 2, 0, 2>(self.0, self.0)),
            I16x8(arch::i16x8_shuffle::<4, 6, 4, 6, 4, 6, 4, 6>(self.0, self.0)),
        ]
    }

    /// Each lane as the two numbers of 16 bits that it holds.
    #[inline(always)]
    pub(crate) fn as_pairs(self) -> I16x8 {
        I16x8(self.0)
    }
}

impl I16x8 {
    #[inline(always)]
    pub(crate) fn load(x: &[i16; 8]) -> Self {
        Self(arch::i16x8(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]))
    }

    /// `a0 · b0 + a1 · b1`, and so on for the other pairs; wraps.
    #[inline(always)]
    pub(crate) fn dot(self, other: Self) -> I32x4 {
        I32x4(arch::i32x4_dot_i16x8(self.0, other.0))
    }
}

macro_rules! lane_by_lane {
    ($type:ident: $($op:ident $method:ident $instruction:ident),*) => {$(
        impl $op for $type {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(arch::$instruction(self.0, other.0))
            }
        }
    )*};
}

lane_by_lane!(F32x4: Add add f32x4_add, Sub sub f32x4_sub, Mul mul f32x4_mul, Div div f32x4_div);
lane_by_lane!(I32x4: Add add i32x4_add);
