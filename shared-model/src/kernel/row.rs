//! Ops along an axis of one row: softmax, reductions, normalization.

use super::math;
use crate::graph::Reduce;

/// `exp(x - max) / sum` along an axis of length `len` whose elements are `stride` apart.
pub(crate) fn softmax(len: usize, stride: usize, x: &[f32], out: &mut [f32]) {
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

/// Folds element `i` into `out[target[i]]`, ascending i; a mean divides by `count` last.
pub(crate) fn reduce_f32(kind: Reduce, target: &[u32], count: usize, x: &[f32], out: &mut [f32]) {
    match kind {
        Reduce::Sum | Reduce::Mean => fold(0.0, |a, b| a + b, target, x, out),
        Reduce::Min => fold(f32::INFINITY, minimum, target, x, out),
        Reduce::Max => fold(f32::NEG_INFINITY, maximum, target, x, out),
    }
    if kind == Reduce::Mean {
        let count = count as f32;
        out.iter_mut().for_each(|y| *y /= count);
    }
}

/// The same for integers, of which only the order is used.
pub(crate) fn reduce_i32(kind: Reduce, target: &[u32], x: &[i32], out: &mut [i32]) {
    match kind {
        Reduce::Min => fold(i32::MAX, Ord::min, target, x, out),
        Reduce::Max | Reduce::Sum | Reduce::Mean => fold(i32::MIN, Ord::max, target, x, out),
    }
}

fn fold<T: Copy>(start: T, f: impl Fn(T, T) -> T, target: &[u32], x: &[T], out: &mut [T]) {
    out.fill(start);
    for (&t, &x) in target.iter().zip(x) {
        let y = &mut out[t as usize];
        *y = f(*y, x);
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over consecutive runs as long as `scale`.
pub(crate) fn layer_norm(epsilon: f32, scale: &[f32], bias: Option<&[f32]>, x: &[f32], out: &mut [f32]) {
    let width = scale.len();
    let count = width as f32;
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = x.iter().fold(0.0, |s, v| s + v) / count;
        let variance = x.iter().fold(0.0, |s, v| s + (v - mean) * (v - mean)) / count;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for ((y, x), s) in out.iter_mut().zip(x).zip(scale) {
            *y = (x - mean) * inverse * s;
        }
        if let Some(bias) = bias {
            for (y, b) in out.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
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
    fn reductions_follow_their_targets() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let mut out = [0.0; 2];
        reduce_f32(Reduce::Sum, &[0, 1, 0, 1], 2, &x, &mut out);
        assert_eq!(out, [4.0, 6.0]);
        reduce_f32(Reduce::Mean, &[0, 0, 1, 1], 2, &x, &mut out);
        assert_eq!(out, [1.5, 3.5]);
        reduce_f32(Reduce::Max, &[0, 0, 1, 1], 2, &x, &mut out);
        assert_eq!(out, [2.0, 4.0]);
        let mut ints = [0];
        reduce_i32(Reduce::Min, &[0, 0], &[-3, 7], &mut ints);
        assert_eq!(ints, [-3]);
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
