//! Ops along an axis of one row: softmax, normalization, extremes.

use super::lanes::F32x4;
use super::{across, math};

/// `exp(x - max) / sum` along an axis of length `len` whose elements are `stride` apart.
pub(crate) fn softmax(len: usize, stride: usize, x: &[f32], out: &mut [f32]) {
    if stride == 1 {
        return softmax_rows(len, x, out);
    }
    for (x, out) in x.chunks_exact(len * stride).zip(out.chunks_exact_mut(len * stride)) {
        for lane in 0..stride {
            let index = |i: usize| i * stride + lane;
            let max = (0..len).map(|i| x[index(i)]).fold(f32::NEG_INFINITY, maximum);
            let mut sum = 0.0;
            for i in 0..len {
                let e = math::exp(x[index(i)] - max);
                out[index(i)] = e;
                sum += e;
            }
            for i in 0..len {
                out[index(i)] /= sum;
            }
        }
    }
}

fn softmax_rows(len: usize, x: &[f32], out: &mut [f32]) {
    let mut outs = out.chunks_exact_mut(len);
    across::rows(len, x, |rows| {
        // Neither which of two zeros is the largest nor a number beside what is none can be seen in the end.
        let largest = across::fold(rows, f32::NEG_INFINITY, |_, max, x, _| max.max(x));
        for ((max, x), out) in across::numbers(largest).into_iter().zip(rows).zip(&mut outs) {
            for (y, x) in out.iter_mut().zip(x) {
                *y = x - max;
            }
        }
    });
    // All rows in one go: short ones would leave many elements beside the vectors.
    for y in &mut *out {
        *y = math::exp(*y);
    }
    for out in out.chunks_mut(across::ROWS * len) {
        let mut sums = [0.0; across::ROWS];
        across::rows(len, out, |rows| sums = across::numbers(across::fold(rows, 0.0, |_, sum, e, _| sum + e)));
        for (out, sum) in out.chunks_exact_mut(len).zip(sums) {
            for y in out {
                *y /= sum;
            }
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over consecutive runs as long as `scale`.
pub(crate) fn layer_norm(epsilon: f32, scale: &[f32], bias: Option<&[f32]>, x: &[f32], out: &mut [f32]) {
    let width = scale.len();
    let count = F32x4::splat(width as f32);
    let mut outs = out.chunks_exact_mut(width);
    across::rows(width, x, |rows| {
        let mean = across::fold(rows, 0.0, |_, sum, x, _| sum + x).map(|sum| sum / count);
        let squares = across::fold(rows, 0.0, |w, sum, x, _| sum + (x - mean[w]) * (x - mean[w]));
        let inverse = squares.map(|sum| F32x4::splat(1.0) / (sum / count + F32x4::splat(epsilon)).sqrt());
        let numbers = across::numbers(mean).into_iter().zip(across::numbers(inverse));
        for ((x, (mean, inverse)), out) in rows.into_iter().zip(numbers).zip(&mut outs) {
            for ((y, x), s) in out.iter_mut().zip(x).zip(scale) {
                *y = (x - mean) * inverse * s;
            }
            for (y, b) in out.iter_mut().zip(bias.unwrap_or_default()) {
                *y += b;
            }
        }
    });
}

/// The larger, `a` if they are equal; not a number if one is not.
pub(crate) fn maximum(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The smaller, `a` if they are equal; not a number if one is not.
pub(crate) fn minimum(a: f32, b: f32) -> f32 {
    if b < a || b.is_nan() { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::reference::{self, Numbers, assert_same};

    #[test]
    fn softmax_has_the_bits_of_its_definition() {
        let mut numbers = Numbers::new();
        for (rows, len, stride) in (1..10).flat_map(|r| (1..40).map(move |l| (r, l, if l % 5 == 4 { 3 } else { 1 }))) {
            for x in [numbers.usual(rows * len * stride), numbers.any(rows * len * stride)] {
                let [mut got, mut want] = [(); 2].map(|()| vec![0.0; x.len()]);
                softmax(len, stride, &x, &mut got);
                reference::softmax(len, stride, &x, &mut want);
                assert_same(&got, &want, &format!("{rows} x {len} x {stride}"));
            }
        }
    }

    #[test]
    fn layer_norm_has_the_bits_of_its_definition() {
        let mut numbers = Numbers::new();
        for (rows, width) in (1..10).flat_map(|r| (1..40).map(move |w| (r, w))) {
            let (scale, bias) = (numbers.any(width), numbers.any(width));
            for (x, bias) in [(numbers.usual(rows * width), None), (numbers.rows(rows, width), Some(&bias[..]))] {
                let [mut got, mut want] = [(); 2].map(|()| vec![0.0; x.len()]);
                layer_norm(1e-5, &scale, bias, &x, &mut got);
                reference::layer_norm(1e-5, &scale, bias, &x, &mut want);
                assert_same(&got, &want, &format!("{rows} x {width}"));
            }
        }
    }

    #[test]
    fn softmax_works_along_any_axis() {
        let x = [1.0, 5.0, 1.0, 5.0];
        let mut out = [0.0; 4];
        softmax(2, 2, &x, &mut out);
        assert_eq!(out, [0.5; 4], "column-wise both elements are equal");
        softmax(2, 1, &x, &mut out);
        assert!((out[0] + out[1] - 1.0).abs() < 1e-6 && out[1] > 0.98);
    }

    #[test]
    fn a_masked_softmax_gives_exact_zeros() {
        let mut out = [0.0; 3];
        softmax(3, 1, &[0.3, -1e9, 0.3], &mut out);
        assert_eq!(out, [0.5, 0.0, 0.5]);
    }

    #[test]
    fn what_is_not_a_number_is_not_lost() {
        for f in [maximum, minimum] {
            assert!(f(f32::NAN, 1.0).is_nan() && f(1.0, f32::NAN).is_nan());
        }
    }

    #[test]
    fn layer_norm_gives_zero_mean_and_unit_variance() {
        let mut out = [0.0; 4];
        layer_norm(0.0, &[1.0; 4], Some(&[10.0; 4]), &[1.0, 2.0, 3.0, 4.0], &mut out);
        let mean: f32 = out.iter().sum::<f32>() / 4.0;
        let variance = out.iter().map(|y| (y - mean).powi(2)).sum::<f32>() / 4.0;
        assert!((mean - 10.0).abs() < 1e-5 && (variance - 1.0).abs() < 1e-5);
    }
}
