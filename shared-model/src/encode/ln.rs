//! ln(1 + x) in f64 from additions, multiplications and divisions alone.
//!
//! The one of the platform differs in the last bit from libm to libm, and with it, once in a while, the f32 that a
//! worker and the origin would make of the same field. The error here is below 4 ULP of f64, far within an f32's.

/// The terms of the series: with |s| <= 0.1716 the next one is below 2^-58 of the sum.
const TERMS: u32 = 11;

/// ln(1 + x); NaN below -1, -inf at -1.
pub(super) fn ln1p(x: f64) -> f64 {
    let u = 1.0 + x;
    if u == 1.0 {
        return x;
    }
    if u == 0.0 {
        return f64::NEG_INFINITY;
    }
    if u < 0.0 {
        return f64::NAN;
    }
    if !u.is_finite() {
        return u;
    }
    // 1 + x was rounded; x / (u - 1) puts back, to first order, what that lost (Kahan).
    if u < 2.0 && u > 0.5 { ln(u) * (x / (u - 1.0)) } else { ln(u) + (x - (u - 1.0)) / u }
}

/// ln(u) of a finite u > 0 that is at least 2^-53.
fn ln(u: f64) -> f64 {
    const BIAS: u64 = 1023;
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = u.to_bits();
    let exponent = (bits >> 52) as i32 - BIAS as i32;
    let mantissa = f64::from_bits(bits & MANTISSA | BIAS << 52);
    // To [sqrt(1/2), sqrt(2)), where the series below is short.
    let (m, e) =
        if mantissa >= std::f64::consts::SQRT_2 { (mantissa / 2.0, exponent + 1) } else { (mantissa, exponent) };
    // ln(m) = 2 atanh(s), s = (m - 1) / (m + 1)
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = (1..TERMS).rev().fold(0.0, |sum, i| (sum + 1.0 / f64::from(2 * i + 1)) * z);
    let e = f64::from(e);
    // ln(2) in two parts, the first of few bits, so that its product with e is exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    e * LN2_HIGH + (2.0 * s + (2.0 * s * series + e * LN2_LOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_platforms_to_a_few_ulp() {
        let mut x = -0.999_999;
        let mut checked = 0;
        while x < 1e18 {
            let (got, want) = (ln1p(x), f64::ln_1p(x));
            assert!((got - want).abs() <= 4.0 * f64::EPSILON * want.abs(), "ln1p({x}) is {got}, not {want}");
            x += (x.abs() * 1e-3).max(1e-3);
            checked += 1;
        }
        assert!(checked > 10_000);
        for x in [0.0, 1e-300, -1e-300, 1e-17, 1e-16, 2e-16, -1e-16, 1e-9, -1e-9, 1e-5, f64::MAX] {
            let (got, want) = (ln1p(x), f64::ln_1p(x));
            assert!((got - want).abs() <= 4.0 * f64::EPSILON * want.abs(), "ln1p({x}) is {got}, not {want}");
        }
    }

    #[test]
    fn is_no_finite_number_at_and_below_minus_one() {
        assert_eq!(ln1p(-1.0), f64::NEG_INFINITY);
        assert!(ln1p(-1.5).is_nan());
        assert!(ln1p(f64::NAN).is_nan());
        assert!(ln1p(f64::NEG_INFINITY).is_nan());
        assert_eq!(ln1p(f64::INFINITY), f64::INFINITY);
    }
}
