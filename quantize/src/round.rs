//! Rounds one tensor to 8 or 4 bits: to the nearest step of a range that is clipped where that lowers the squared error.
//!
//! Scales and minima are rounded to the precision they are stored in before they are judged, so that the search sees
//! what the kernels will.

use half::f16;
use rayon::prelude::*;
use shared_model::tensor::{GROUP, Tensor};

/// The shares of the range that are tried.
const CLIPS: [f32; 9] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6];

/// A linear's weight, scale and offset an output.
#[must_use]
pub fn linear8(outputs: usize, inputs: usize, w: &[f32]) -> Tensor {
    let rows = table(inputs, w, 255);
    // Signed weights, as products of small integers want them: 128 steps move from q to the offset.
    let q = rows.iter().flat_map(|r| r.q.iter().map(|q| (q ^ 128).cast_signed())).collect();
    let scale: Vec<f32> = rows.iter().map(|r| r.scale.to_f32()).collect();
    let offset = rows.iter().zip(&scale).map(|(r, s)| r.min.to_f32() + 128.0 * s).collect();
    Tensor::Linear8 { outputs, inputs, q, scale, offset }
}

/// A linear's weight, scale and minimum a group of [`GROUP`] inputs.
#[must_use]
pub fn linear4(outputs: usize, inputs: usize, w: &[f32]) -> Tensor {
    let rows: Vec<Vec<Rounded>> =
        w.par_chunks_exact(inputs.max(1)).map(|row| row.chunks(GROUP).map(|g| asymmetric(g, 15)).collect()).collect();
    let q = rows
        .iter()
        .flat_map(|groups| pack(&groups.iter().flat_map(|g| g.q.iter().copied()).collect::<Vec<_>>()))
        .collect();
    let scale = rows.iter().flatten().map(|g| g.scale).collect();
    let min = rows.iter().flatten().map(|g| g.min).collect();
    Tensor::Linear4 { outputs, inputs, q, scale, min }
}

/// A table, scale and minimum a row.
#[must_use]
pub fn table8(rows: usize, width: usize, w: &[f32]) -> Tensor {
    let rounded = table(width, w, 255);
    let (scale, min) = (rounded.iter().map(|r| r.scale).collect(), rounded.iter().map(|r| r.min).collect());
    Tensor::Table8 { rows, width, q: rounded.into_iter().flat_map(|r| r.q).collect(), scale, min }
}

/// A table in 4 bits, scale and minimum a row.
#[must_use]
pub fn table4(rows: usize, width: usize, w: &[f32]) -> Tensor {
    let rounded = table(width, w, 15);
    let (scale, min) = (rounded.iter().map(|r| r.scale).collect(), rounded.iter().map(|r| r.min).collect());
    Tensor::Table4 { rows, width, q: rounded.iter().flat_map(|r| pack(&r.q)).collect(), scale, min }
}

struct Rounded {
    q: Vec<u8>,
    scale: f16,
    min: f16,
}

/// Rows of `width`, each with its scale and minimum.
fn table(width: usize, w: &[f32], steps: u8) -> Vec<Rounded> {
    w.par_chunks_exact(width.max(1)).map(|row| asymmetric(row, steps)).collect()
}

/// Two a byte, low nibble first.
fn pack(q: &[u8]) -> Vec<u8> {
    q.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)).collect()
}

/// `w ≈ q * scale + min`, q in 0..=steps.
fn asymmetric(w: &[f32], steps: u8) -> Rounded {
    let (low, high) = w.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    let top = f32::from(steps);
    let tried = CLIPS.iter().map(|clip| {
        let min = finite(f16::from_f32(low * clip));
        let scale = finite(f16::from_f32((high - low) * clip / top));
        let scale = if scale.to_f32() > 0.0 { scale } else { f16::ONE };
        let (s, m) = (scale.to_f32(), min.to_f32());
        let error: f64 = w.iter().map(|x| squared(nearest(*x, s, m, top) * s + m - x)).sum();
        (error, (scale, min))
    });
    let (scale, min) = least(tried);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in 0..=steps")]
    let q = w.iter().map(|x| nearest(*x, scale.to_f32(), min.to_f32(), top) as u8).collect();
    Rounded { q, scale, min }
}

fn nearest(x: f32, scale: f32, min: f32, top: f32) -> f32 {
    ((x - min) / scale).round_ties_even().clamp(0.0, top)
}

/// Weights beyond f16 are clipped to what it holds.
fn finite(h: f16) -> f16 {
    if h.is_finite() { h } else { f16::MAX.copysign(h) }
}

fn squared(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

/// The first with the least error.
fn least<T: Copy>(tried: impl Iterator<Item = (f64, T)>) -> T {
    tried.reduce(|a, b| if b.0 < a.0 { b } else { a }).expect("there is more than one clip").1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    fn worst(tensor: &Tensor, w: &[f32]) -> f32 {
        tensor.to_f32().unwrap().iter().zip(w).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn eight_bits_stay_within_a_step() {
        let w = weights(6 * 70);
        assert!(worst(&linear8(6, 70, &w), &w) < 0.06);
        assert!(worst(&table8(6, 70, &w), &w) < 0.06);
    }

    #[test]
    fn four_bits_stay_within_a_clipped_step() {
        let w = weights(6 * 71);
        for tensor in [linear4(6, 71, &w), table4(6, 71, &w)] {
            assert_eq!(tensor.shape(), [6, 71]);
            assert!(worst(&tensor, &w) < 0.45, "an odd width keeps rows apart");
        }
    }

    #[test]
    fn a_constant_row_is_kept_to_f16() {
        let w = vec![0.3; 64];
        for tensor in [table8(2, 32, &w), table4(2, 32, &w), linear4(2, 32, &w), linear8(2, 32, &w)] {
            assert!(worst(&tensor, &w) < 0.003, "{tensor:?}");
        }
        assert!(worst(&table4(2, 32, &[0.0; 64]), &[0.0; 64]) == 0.0);
    }

    #[test]
    fn clips_an_outlier_when_that_lowers_the_error() {
        let mut w = vec![0.1; 32];
        for (i, x) in w.iter_mut().enumerate() {
            *x = if i % 2 == 0 { 0.1 } else { -0.1 };
        }
        w[0] = 0.25;
        let Tensor::Table4 { scale, .. } = table4(1, 32, &w) else { panic!() };
        assert!(scale[0].to_f32() < (0.35 / 15.0) * 0.99, "{}", scale[0]);
    }
}
