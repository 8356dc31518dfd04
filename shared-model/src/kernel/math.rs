//! Elementary functions as polynomials of our own, so that every machine gives the same bits.
//!
//! Reductions and coefficients follow Cephes' single-precision set (S. Moshier) but for `erf`; the tests state and check
//! the bound of each in ULP against f64. Those that run over whole layers compute every case and choose last, so that a
//! loop over them becomes one over vectors.

use std::f32::consts::{FRAC_2_SQRT_PI, LOG2_E};

/// 1.5 · 2²³: adding and subtracting it rounds to the nearest integer, ties to even, for |x| < 2²²; after adding it the
/// low bits of the sum are the integer.
pub(crate) const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts; the product of the first with any exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// eˣ, within 2 ULP, denormal results included.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH;
    let r = r - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    // The integer, without a conversion: the low bits of the sum, for those of ROUNDER are zeros.
    let n = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
    // Two factors, for 2ⁿ alone is not representable where the result is denormal or nearly infinite.
    let half = n >> 1;
    let y = y * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    // Beyond these the result is exactly infinity or rounds to 0; NaN fails both comparisons and has flowed through.
    if x > 88.722_84 {
        f32::INFINITY
    } else if x < -103.972_08 {
        0.0
    } else {
        y
    }
}

/// ln x, within 2 ULP; -∞ for 0, NaN below.
pub(crate) fn ln(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x == f32::INFINITY {
        return x;
    }
    // A denormal is scaled into the normal range first.
    let (x, shift) = if x < f32::MIN_POSITIVE { (x * 16_777_216.0, -24) } else { (x, 0) };
    let bits = x.to_bits();
    let mut exponent = (bits >> 23) as i32 - 126 + shift;
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    // m in [√½, √2)
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        m += m;
        exponent -= 1;
    }
    let m = m - 1.0;
    let z = m * m;
    let p = 7.037_683_6e-2;
    let p = p * m - 1.151_461e-1;
    let p = p * m + 1.167_699_84e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    let e = exponent as f32;
    let y = p * m * z + e * LN_2_LOW - 0.5 * z;
    m + y + e * LN_2_HIGH
}

/// tanh x, within 3 ULP.
#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let large = 1.0 - 2.0 / (exp(a + a) + 1.0);
    let z = x * x;
    let p = -5.704_988_6e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z - 5.373_971_5e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    if a >= 0.625 { large.copysign(x) } else { small }
}

/// erf x, within 4 ULP.
///
/// Near 0 an odd polynomial; further out 1 - p⁻⁸, where p is close to (1 - erf)^(-1/8), which a short polynomial
/// follows to where the result rounds to 1. Both are least-squares fits in f64 at 2000 Chebyshev points of [0, 0.9] and
/// [0.9, 4.05], reweighted (Lawson's iteration) until the largest error of erf is as small as it gets.
#[inline]
pub(crate) fn erf(x: f32) -> f32 {
    let z = x * x;
    let p = -6.090_454_4e-4;
    let p = p * z + 5.011_984_6e-3;
    let p = p * z - 2.677_892_7e-2;
    let p = p * z + 0.112_821_415;
    let p = p * z - 0.376_125_25;
    let p = p * z + FRAC_2_SQRT_PI;
    let small = x * p;
    let a = x.abs();
    let p = 4.833_611_3e-4;
    let p = p * a - 3.292_506_3e-3;
    let p = p * a + 1.424_559_8e-2;
    let p = p * a - 2.360_752e-2;
    let p = p * a + 5.883_575_2e-2;
    let p = p * a + 6.328_194e-2;
    let p = p * a + 0.152_176_41;
    let p = p * a + 0.997_989_06;
    let p = p * p;
    let p = p * p;
    let large = 1.0 - 1.0 / (p * p);
    if a > 0.9 { large.copysign(x) } else { small }
}

/// 1 / (1 + e⁻ˣ), within 4 ULP where it is normal.
#[inline]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x · Φ(x), the distribution of normal numbers, within 4e-7.
///
/// The positive part of x less |x| · Φ(-|x|), an even function that fades out. Φ(-t) is p⁻¹⁶, where p is close to
/// Φ(-t)^(-1/16), a short polynomial's to follow: fitted as that of [`erf`], on [0, 5.6], to the least error of t · p⁻¹⁶.
#[inline]
pub(crate) fn gelu(x: f32) -> f32 {
    // Beyond 8 nothing is left of it.
    let t = x.abs();
    let t = if t > 8.0 { 8.0 } else { t };
    let p = 9.360_285e-7;
    let p = p * t - 3.123_964e-6;
    let p = p * t + 8.246_792e-5;
    let p = p * t - 1.544_932_5e-5;
    let p = p * t + 3.472_462_8e-3;
    let p = p * t + 2.205_48e-2;
    let p = p * t + 5.207_947_6e-2;
    let p = p * t + 1.044_273_5;
    let p = p * p;
    let p = p * p;
    let p = p * p;
    let p = p * p;
    let positive = if x < 0.0 { 0.0 } else { x };
    positive - t / p
}

/// ln(1 + eˣ).
pub(crate) fn softplus(x: f32) -> f32 {
    let e = exp(-x.abs());
    // ln(1 + e) loses e's low bits; its series does not.
    let tail = if e < 1e-3 { e - 0.5 * e * e } else { ln(1.0 + e) };
    x.max(0.0) + tail
}

/// 2ⁿ for -126 ≤ n ≤ 127; something for others.
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(n.wrapping_add(127).cast_unsigned() << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance in units of the last place of the true value.
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got == rounded || (got.is_nan() && want.is_nan()) {
            return 0.0;
        }
        let ulp = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
        ((f64::from(got) - want) / ulp).abs()
    }

    fn worst(f: fn(f32) -> f32, truth: fn(f64) -> f64, from: f32, to: f32) -> (f64, f32) {
        let steps = 400_000;
        (0..=steps)
            .map(|i| from + (to - from) * (i as f32 / steps as f32))
            .map(|x| (ulps(f(x), truth(f64::from(x))), x))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .expect("there are steps")
    }

    #[test]
    fn exp_is_within_2_ulp() {
        for (from, to) in [(-87.3, 88.72), (-103.9, -87.0), (-1.0, 1.0)] {
            let (ulp, x) = worst(exp, f64::exp, from, to);
            assert!(ulp <= 2.0, "{ulp} at {x}");
        }
    }

    #[test]
    fn ln_is_within_2_ulp() {
        for (from, to) in [(0.1, 10.0), (0.9, 1.1), (1e-38, 1e-37), (1.0, 1e30)] {
            let (ulp, x) = worst(ln, f64::ln, from, to);
            assert!(ulp <= 2.0, "{ulp} at {x}");
        }
    }

    #[test]
    fn tanh_is_within_3_ulp() {
        for (from, to) in [(-10.0, 10.0), (-0.7, 0.7)] {
            let (ulp, x) = worst(tanh, f64::tanh, from, to);
            assert!(ulp <= 3.0, "{ulp} at {x}");
        }
    }

    #[test]
    fn erf_is_within_4_ulp() {
        for (from, to) in [(-5.0, 5.0), (-1.1, 1.1)] {
            let (ulp, x) = worst(erf, libm::erf, from, to);
            assert!(ulp <= 4.0, "{ulp} at {x}");
        }
    }

    #[test]
    fn sigmoid_is_within_4_ulp() {
        let (ulp, x) = worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 40.0);
        assert!(ulp <= 4.0, "{ulp} at {x}");
    }

    #[test]
    fn gelu_is_within_4e_7() {
        for i in 0..=800_000 {
            let x = i as f32 / 50_000.0 - 8.0;
            let truth = f64::from(x) * 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            let error = (f64::from(gelu(x)) - truth).abs();
            assert!(error <= 4e-7, "{error:e} at {x}");
        }
        assert_eq!((gelu(0.0), gelu(f32::INFINITY), gelu(1e30)), (0.0, f32::INFINITY, 1e30));
        assert!(gelu(f32::NAN).is_nan() && gelu(-1e30).abs() < 1e-13);
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert!(ln(-1.0).is_nan() && exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((tanh(50.0), tanh(-50.0), erf(9.0), erf(-9.0)), (1.0, -1.0, 1.0, -1.0));
        assert_eq!((sigmoid(-200.0), sigmoid(200.0)), (0.0, 1.0));
        assert!(softplus(-40.0) > 0.0 && softplus(100.0) == 100.0);
    }
}
