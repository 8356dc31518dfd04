//! Lanes as arrays, for every machine.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

#[derive(Clone, Copy, Debug)]
pub(crate) struct F32x4([f32; 4]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct I32x4([i32; 4]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct I16x8([i16; 8]);

impl F32x4 {
    #[inline(always)]
    pub(crate) const fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    pub(crate) fn load(x: &[f32; 4]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [f32; 4] {
        self.0
    }

    /// `other < self ? other : self`
    #[inline(always)]
    pub(crate) fn min(self, other: Self) -> Self {
        self.with(other, |a, b| if b < a { b } else { a })
    }

    /// `self < other ? other : self`
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        self.with(other, |a, b| if a < b { b } else { a })
    }

    /// The smaller, `self` if they are equal; not a number if one is not.
    #[inline(always)]
    pub(crate) fn minimum(self, other: Self) -> Self {
        self.with(other, |a, b| if b < a || b.is_nan() { b } else { a })
    }

    /// The larger, `self` if they are equal; not a number if one is not.
    #[inline(always)]
    pub(crate) fn maximum(self, other: Self) -> Self {
        self.with(other, |a, b| if b > a || b.is_nan() { b } else { a })
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    pub(crate) fn from_bits(bits: I32x4) -> Self {
        Self(bits.0.map(|x| f32::from_bits(x.cast_unsigned())))
    }

    #[inline(always)]
    pub(crate) fn to_bits(self) -> I32x4 {
        I32x4(self.0.map(|x| x.to_bits().cast_signed()))
    }

    /// `[a0, b0, a1, b1]` and `[a2, b2, a3, b3]`
    #[inline(always)]
    pub(crate) fn zip(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        (Self([a[0], b[0], a[1], b[1]]), Self([a[2], b[2], a[3], b[3]]))
    }

    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl I32x4 {
    #[inline(always)]
    pub(crate) fn load(x: &[i32; 4]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    pub(crate) const fn splat(x: i32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [i32; 4] {
        self.0
    }

    #[inline(always)]
    pub(crate) fn to_f32(self) -> F32x4 {
        F32x4(self.0.map(|x| x as f32))
    }

    #[inline(always)]
    pub(crate) fn max_unsigned(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].cast_unsigned().max(other.0[i].cast_unsigned()).cast_signed()))
    }

    /// All bits one place up.
    #[inline(always)]
    pub(crate) fn doubled(self) -> Self {
        Self(self.0.map(|x| x << 1))
    }

    /// All bits one place down.
    #[inline(always)]
    pub(crate) fn halved(self) -> Self {
        Self(self.0.map(|x| (x.cast_unsigned() >> 1).cast_signed()))
    }

    /// In each lane the low 16 bits of both, those of `high` above.
    #[inline(always)]
    pub(crate) fn pair(self, high: Self) -> Self {
        Self(from_fn(|i| self.0[i] & 0xffff | high.0[i] << 16))
    }

    /// Each lane, four times.
    #[inline(always)]
    pub(crate) fn splat_lanes(self) -> [Self; 4] {
        self.0.map(Self::splat)
    }

    /// The low 16 bits of the first two lanes, four times, and those of the other two.
    #[inline(always)]
    pub(super) fn splat_halves(self) -> [I16x8; 2] {
        from_fn(|half| I16x8(from_fn(|i| self.0[2 * half + i % 2] as i16)))
    }

    /// Each lane as the two numbers of 16 bits that it holds.
    #[inline(always)]
    pub(crate) fn as_pairs(self) -> I16x8 {
        I16x8(from_fn(|i| (self.0[i / 2] >> (16 * (i % 2))) as i16))
    }
}

impl I16x8 {
    #[inline(always)]
    pub(crate) fn load(x: &[i16; 8]) -> Self {
        Self(*x)
    }

    /// `a0 · b0 + a1 · b1`, and so on for the other pairs; wraps.
    #[inline(always)]
    pub(crate) fn dot(self, other: Self) -> I32x4 {
        let product = |i: usize| i32::from(self.0[i]) * i32::from(other.0[i]);
        I32x4(from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
    }
}

macro_rules! lane_by_lane {
    ($type:ident: $($op:ident $method:ident $scalar:expr),*) => {$(
        impl $op for $type {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|i| $scalar(self.0[i], other.0[i])))
            }
        }
    )*};
}

lane_by_lane!(F32x4: Add add f32::add, Sub sub f32::sub, Mul mul f32::mul, Div div f32::div);
lane_by_lane!(I32x4: Add add i32::wrapping_add);
