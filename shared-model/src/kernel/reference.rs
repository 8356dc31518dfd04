//! The definition of the kernels: plain loops over single numbers, in the order that counts. The tests hold the fast
//! kernels to their bits.

use half::f16;

use super::math::{self, ROUNDER};
use super::row::{maximum, minimum};
use crate::graph::Reduce;
use crate::tensor::{self, GROUP};

/// `x · wᵀ + b` with full weights: ascending inputs, the bias last.
pub(super) fn linear_f32(inputs: usize, weight: &[f32], bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
    let row = |x: &[f32]| -> Vec<f32> {
        weight.chunks_exact(inputs).map(|w| w.iter().zip(x).fold(0.0, |sum, (w, x)| sum + x * w)).collect()
    };
    x.chunks_exact(inputs).flat_map(|x| with_bias(row(x), bias)).collect()
}

/// With 8-bit weights: one exact sum an output.
pub(super) fn linear_int8(
    inputs: usize,
    q: &[i8],
    scale: &[f32],
    offset: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let heaviest = q.chunks_exact(inputs).map(|w| w.iter().map(|&w| i64::from(w).abs()).sum::<i64>()).max();
    let max = (i64::from(i32::MAX) / heaviest.unwrap_or(0).max(1)).min(32_767) as f32;
    let row = |x: &[f32]| -> Vec<f32> {
        let Some((a, step)) = round(x, max) else { return vec![f32::NAN; scale.len()] };
        let total = a.iter().map(|&a| i64::from(a)).sum::<i64>() as f32;
        let weights = q.chunks_exact(inputs).zip(scale.iter().zip(offset));
        weights.map(|(w, (s, m))| (s * dot(w.iter().map(|&w| i32::from(w)), &a) as f32 + m * total) * step).collect()
    };
    x.chunks_exact(inputs).flat_map(|x| with_bias(row(x), bias)).collect()
}

/// With 8-bit weights and inputs of 7 bits: `x ≈ a * step + low`, one exact sum an output.
pub(super) fn linear_bytes(
    inputs: usize,
    q: &[i8],
    scale: &[f32],
    offset: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let heaviest = q.chunks_exact(inputs).map(|w| w.iter().map(|&w| i64::from(w).abs()).sum::<i64>()).max();
    let max = (i64::from(i32::MAX) / heaviest.unwrap_or(0).max(1)).min(127) as f32;
    let row = |x: &[f32]| -> Vec<f32> {
        let low = x.iter().fold(f32::INFINITY, |m, v| m.min(*v)) + 0.0;
        let span = x.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v)) + 0.0 - low;
        if !span.is_finite() || x.iter().any(|v| !v.is_finite()) {
            return vec![f32::NAN; scale.len()];
        }
        let (inverse, step) = ((max / span).min(f32::MAX), span / max);
        let a: Vec<i16> = x.iter().map(|v| nearest((v - low) * inverse) as i16).collect();
        let total = a.iter().map(|&a| i64::from(a)).sum::<i64>() as f32;
        let weights = q.chunks_exact(inputs).zip(scale.iter().zip(offset));
        let output = |(w, (s, m)): (&[i8], (&f32, &f32))| {
            let whole = s * w.iter().map(|&w| i64::from(w)).sum::<i64>() as f32 + m * inputs as f32;
            (s * dot(w.iter().map(|&w| i32::from(w)), &a) as f32 + m * total) * step + whole * low
        };
        weights.map(output).collect()
    };
    x.chunks_exact(inputs).flat_map(|x| with_bias(row(x), bias)).collect()
}

/// With 4-bit weights: one exact sum an output and group, the groups' in ascending order.
pub(super) fn linear_int4(
    inputs: usize,
    q: &[u8],
    scale: &[f16],
    min: &[f16],
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let groups = inputs.div_ceil(GROUP);
    let row = |x: &[f32]| -> Vec<f32> {
        let weights = q.chunks_exact(inputs.div_ceil(2)).zip(scale.chunks_exact(groups).zip(min.chunks_exact(groups)));
        let Some((a, step)) = round(x, 32_767.0) else { return vec![f32::NAN; weights.len()] };
        let output = |(w, (scale, min)): (&[u8], (&[f16], &[f16]))| {
            let mut sum = 0.0f32;
            for (g, a) in a.chunks(GROUP).enumerate() {
                let w = (0..a.len()).map(|i| i32::from(tensor::nibble(w, g * GROUP + i)));
                let total = a.iter().map(|&a| i32::from(a)).sum::<i32>();
                sum += scale[g].to_f32() * dot(w, a) as f32 + min[g].to_f32() * total as f32;
            }
            sum * step
        };
        weights.map(output).collect()
    };
    x.chunks_exact(inputs).flat_map(|x| with_bias(row(x), bias)).collect()
}

fn with_bias(mut row: Vec<f32>, bias: Option<&[f32]>) -> Vec<f32> {
    row.iter_mut().zip(bias.unwrap_or_default()).for_each(|(y, b)| *y += b);
    row
}

/// Rounds a row to integers of at most `max` and gives the scale back; `None` if a value is not finite.
fn round(x: &[f32], max: f32) -> Option<(Vec<i16>, f32)> {
    let largest = x.iter().fold(0.0f32, |m, v| if v.abs() > m || v.is_nan() { v.abs() } else { m });
    if !largest.is_finite() {
        return None;
    }
    let inverse = (max / largest).min(f32::MAX);
    let rounded = x.iter().map(|v| nearest((v * inverse).clamp(-max, max)) as i16).collect();
    Some((rounded, largest / max))
}

/// The nearest integer, ties to even; |x| < 2²².
fn nearest(x: f32) -> f32 {
    (x + ROUNDER) - ROUNDER
}

fn dot(w: impl Iterator<Item = i32>, a: &[i16]) -> i32 {
    w.zip(a).map(|(w, &a)| w * i32::from(a)).sum()
}

/// `exp(x - max) / sum` along an axis of length `len` whose elements are `stride` apart.
pub(super) fn softmax(len: usize, stride: usize, x: &[f32], out: &mut [f32]) {
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
pub(super) fn reduce_f32(kind: Reduce, target: &[u32], count: usize, x: &[f32], out: &mut [f32]) {
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

fn fold<T: Copy>(start: T, f: impl Fn(T, T) -> T, target: &[u32], x: &[T], out: &mut [T]) {
    out.fill(start);
    for (&t, &x) in target.iter().zip(x) {
        let y = &mut out[t as usize];
        *y = f(*y, x);
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over consecutive runs as long as `scale`.
pub(super) fn layer_norm(epsilon: f32, scale: &[f32], bias: Option<&[f32]>, x: &[f32], out: &mut [f32]) {
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

/// `out[m, n] = Σ_k a[m, k] · b[k, n]`, ascending k.
pub(super) fn matmul(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    for (a, out) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        out.fill(0.0);
        for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (y, b) in out.iter_mut().zip(b) {
                *y += a * b;
            }
        }
    }
}

/// Equal bits, but that one NaN is as good as another.
#[track_caller]
pub(crate) fn assert_same(got: &[f32], want: &[f32], case: &str) {
    assert_eq!(got.len(), want.len(), "{case}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan()), "{case}, element {i}: {g:e} for {w:e}");
    }
}

/// Numbers to try, the same in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// xorshift64*
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Between -2 and 2.
    pub(crate) fn usual(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.bits() as f32 / (1u64 << 30) as f32 - 2.0).collect()
    }

    /// Mostly usual ones, and all sorts of others.
    pub(crate) fn any(&mut self, n: usize) -> Vec<f32> {
        const ODD: [f32; 10] =
            [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-45, 3e38, -1e30, f32::MIN_POSITIVE];
        let mut x = self.usual(n);
        for x in &mut x {
            match self.bits() % 64 {
                i @ 0..10 => *x = ODD[i as usize],
                10..14 => *x = f32::from_bits(self.bits()),
                _ => {}
            }
        }
        x
    }

    /// Rows most of which are finite throughout.
    pub(crate) fn rows(&mut self, rows: usize, width: usize) -> Vec<f32> {
        let row = |_| match self.bits() % 8 {
            0 => self.any(width),
            1 => vec![-0.0; width],
            2 => self.usual(width).into_iter().map(|x| x * 1e-39).collect(),
            3 => self.usual(width).into_iter().map(|x| x * 1e38).collect(),
            _ => self.usual(width),
        };
        (0..rows).flat_map(row).collect()
    }
}
