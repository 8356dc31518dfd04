//! `x · wᵀ + b` with full, 8-bit and 4-bit weights.
//!
//! Weights are laid out once for the loops below. With integer weights the activations of a row are rounded to 16 bits
//! with one scale a row, and the products are summed exactly in i32: |a| ≤ min(32767, (2³¹ − 1) / max_o Σ|w_o|).

use half::f16;

use super::math;
use crate::tensor::{self, GROUP};

/// Outputs computed together: one register block.
const PANEL: usize = 16;
const MAX_ACTIVATION: i64 = 32_767;

/// A linear layer, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    bias: Option<Vec<f32>>,
    weight: Weight,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Panels of [`PANEL`] outputs, each `[inputs, PANEL]`; the last is padded with zeros.
    F32(Vec<f32>),
    /// `[outputs, inputs]`, widened once so that the product is one of 16-bit numbers.
    Int8 { q: Vec<i16>, scale: Vec<f32>, offset: Vec<f32>, max_activation: f32 },
    /// `[outputs, inputs]`, unpacked once; a scale and a minimum for each group of [`GROUP`] inputs.
    Int4 { q: Vec<i16>, scale: Vec<f32>, min: Vec<f32> },
}

/// The activations of one row in 16 bits; reused from row to row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    q: Vec<i16>,
    group_sums: Vec<i32>,
}

impl Linear {
    /// With weights `[outputs, inputs]` in full precision.
    pub(crate) fn f32(inputs: usize, outputs: usize, weight: &[f32], bias: Option<Vec<f32>>) -> Self {
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * PANEL * inputs];
        for (o, row) in weight.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[o / PANEL * PANEL * inputs..];
            for (i, &w) in row.iter().enumerate() {
                panel[i * PANEL + o % PANEL] = w;
            }
        }
        Self { inputs, outputs, bias, weight: Weight::F32(panels) }
    }

    /// With 8-bit weights, `w = q * scale[o] + offset[o]`.
    pub(crate) fn int8(inputs: usize, q: &[i8], scale: &[f32], offset: &[f32], bias: Option<Vec<f32>>) -> Self {
        let sums = q.chunks_exact(inputs).map(|row| row.iter().map(|&w| i64::from(w).abs()).sum::<i64>());
        let heaviest = sums.max().unwrap_or(0).max(1);
        let max_activation = (i64::from(i32::MAX) / heaviest).min(MAX_ACTIVATION) as f32;
        let q = q.iter().map(|&w| i16::from(w)).collect();
        let weight = Weight::Int8 { q, scale: scale.to_vec(), offset: offset.to_vec(), max_activation };
        Self { inputs, outputs: scale.len(), bias, weight }
    }

    /// With packed 4-bit weights, `w = q * scale[o, g] + min[o, g]`.
    pub(crate) fn int4(
        inputs: usize,
        outputs: usize,
        q: &[u8],
        scale: &[f16],
        min: &[f16],
        bias: Option<Vec<f32>>,
    ) -> Self {
        let rows = q.chunks_exact(inputs.div_ceil(2));
        let q = rows.flat_map(|row| (0..inputs).map(|i| i16::from(tensor::nibble(row, i)))).collect();
        let widen = |v: &[f16]| v.iter().map(|x| x.to_f32()).collect();
        Self { inputs, outputs, bias, weight: Weight::Int4 { q, scale: widen(scale), min: widen(min) } }
    }

    /// Computes one row or several, contiguous in `x` and `out`.
    pub(crate) fn run(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        for (x, out) in x.chunks_exact(self.inputs).zip(out.chunks_exact_mut(self.outputs)) {
            match &self.weight {
                Weight::F32(panels) => self.row_f32(panels, x, out),
                Weight::Int8 { q, scale, offset, max_activation } => {
                    row_int8(q, scale, offset, *max_activation, x, out, scratch);
                }
                Weight::Int4 { q, scale, min } => row_int4(q, scale, min, x, out, scratch),
            }
            if let Some(bias) = &self.bias {
                for (y, b) in out.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        }
    }

    fn row_f32(&self, panels: &[f32], x: &[f32], out: &mut [f32]) {
        for (panel, out) in panels.chunks_exact(self.inputs * PANEL).zip(out.chunks_mut(PANEL)) {
            let mut acc = [0.0f32; PANEL];
            for (&x, w) in x.iter().zip(panel.as_chunks::<PANEL>().0) {
                for (a, w) in acc.iter_mut().zip(w) {
                    *a += x * w;
                }
            }
            out.copy_from_slice(&acc[..out.len()]);
        }
    }
}

fn row_int8(
    q: &[i16],
    scale: &[f32],
    offset: &[f32],
    max_activation: f32,
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let Some(step) = round_activations(x, max_activation, &mut scratch.q) else { return out.fill(f32::NAN) };
    let total = scratch.q.iter().map(|&a| i64::from(a)).sum::<i64>() as f32;
    for ((w, (s, m)), y) in q.chunks_exact(x.len()).zip(scale.iter().zip(offset)).zip(out) {
        *y = (s * dot(w, &scratch.q) as f32 + m * total) * step;
    }
}

fn row_int4(q: &[i16], scale: &[f32], min: &[f32], x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
    let Some(step) = round_activations(x, MAX_ACTIVATION as f32, &mut scratch.q) else { return out.fill(f32::NAN) };
    let Scratch { q: a, group_sums } = scratch;
    group_sums.clear();
    group_sums.extend(a.chunks(GROUP).map(|g| g.iter().map(|&a| i32::from(a)).sum::<i32>()));
    let groups = group_sums.len();
    let rows = q.chunks_exact(x.len()).zip(scale.chunks_exact(groups).zip(min.chunks_exact(groups)));
    for ((w, (scale, min)), y) in rows.zip(out) {
        let mut sum = 0.0f32;
        for (((w, a), (s, m)), total) in
            w.chunks(GROUP).zip(a.chunks(GROUP)).zip(scale.iter().zip(min)).zip(&*group_sums)
        {
            sum += s * dot(w, a) as f32 + m * *total as f32;
        }
        *y = sum * step;
    }
}

/// Rounds a row to integers of at most `max` and gives the scale back; `None` if a value is not finite.
fn round_activations(x: &[f32], max: f32, q: &mut Vec<i16>) -> Option<f32> {
    let largest = x.iter().fold(0.0f32, |m, v| if v.abs() > m || v.is_nan() { v.abs() } else { m });
    if !largest.is_finite() {
        return None;
    }
    q.clear();
    let inverse = max / largest;
    if !inverse.is_finite() {
        // All zero, or so small that 16 bits cannot tell it from zero.
        q.resize(x.len(), 0);
        return Some(0.0);
    }
    q.extend(x.iter().map(|v| math::nearest((v * inverse).clamp(-max, max)) as i16));
    Some(largest / max)
}

fn dot(w: &[i16], a: &[i16]) -> i32 {
    w.iter().zip(a).map(|(&w, &a)| i32::from(w) * i32::from(a)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_sums_in_ascending_order_and_adds_the_bias_last() {
        let weight: Vec<f32> = (0..17 * 3).map(|i| (i as f32).sin()).collect();
        let (x, bias) = ([1e8f32, 1.0, -1e8], vec![0.25f32; 17]);
        let mut out = [0.0; 17];
        Linear::f32(3, 17, &weight, Some(bias)).run(&x, &mut out, &mut Scratch::default());
        for (o, y) in out.iter().enumerate() {
            let mut sum = 0.0f32;
            for k in 0..3 {
                sum += x[k] * weight[o * 3 + k];
            }
            assert_eq!(y.to_bits(), (sum + 0.25).to_bits(), "output {o}");
        }
    }

    #[test]
    fn int8_is_close_to_its_meaning() {
        let q: Vec<i8> = (0..40i16).map(|i| ((i * 37) % 255 - 127) as i8).collect();
        let (scale, offset) = ([0.01f32, 0.02], [0.3f32, -0.1]);
        let x: Vec<f32> = (0..20).map(|i| (i as f32 * 0.7).cos()).collect();
        let mut out = [0.0; 2];
        Linear::int8(20, &q, &scale, &offset, None).run(&x, &mut out, &mut Scratch::default());
        for o in 0..2 {
            let want: f32 = (0..20).map(|i| x[i] * (f32::from(q[o * 20 + i]) * scale[o] + offset[o])).sum();
            assert!((out[o] - want).abs() < 1e-4, "{} for {want}", out[o]);
        }
    }

    #[test]
    fn int4_groups_have_their_own_scale() {
        let q = [0x21u8; 40 / 2].to_vec();
        let (scale, min) = ([1.0, 0.5].map(f16::from_f32), [0.0, -1.0].map(f16::from_f32));
        let mut out = [0.0];
        Linear::int4(40, 1, &q, &scale, &min, None).run(&[1.0; 40], &mut out, &mut Scratch::default());
        // 32 weights alternate 1, 2; 8 weights alternate -0.5, 0.
        assert!((out[0] - (48.0 - 2.0)).abs() < 1e-3, "{}", out[0]);
    }

    #[test]
    fn heavy_weights_limit_the_activations_so_that_sums_stay_exact() {
        let q = vec![127i8; 4096];
        let mut out = [0.0];
        Linear::int8(4096, &q, &[1.0], &[0.0], None).run(&vec![1.0; 4096], &mut out, &mut Scratch::default());
        assert!((out[0] / (127.0 * 4096.0) - 1.0).abs() < 1e-3, "{}", out[0]);
    }

    #[test]
    fn a_value_that_is_not_finite_gives_no_number() {
        let layer = Linear::int8(2, &[1, 1], &[1.0], &[0.5], None);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut out = [0.0];
            layer.run(&[bad, 1.0], &mut out, &mut Scratch::default());
            assert!(out[0].is_nan());
        }
    }

    #[test]
    fn zeros_stay_zero() {
        let mut out = [1.0];
        Linear::int8(2, &[1, 1], &[1.0], &[0.5], None).run(&[0.0, -0.0], &mut out, &mut Scratch::default());
        assert_eq!(out, [0.0]);
    }
}
