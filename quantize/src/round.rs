//! Rounds one row of weights to 8 or 4 bits: to the nearest step of a range that is clipped where that lowers the error.
//!
//! Scales and minima are rounded to the precision they are stored in before they are judged, so that the search sees
//! what the kernels will.

use half::f16;
use rayon::prelude::*;
use shared_model::tensor::{Activations, GROUP, Tensor};

use crate::gram::{Compensator, Gram};

/// The shares of the range that are tried.
const CLIPS: [f32; 9] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6];
/// The same where each takes a rounding of its own.
const FEW_CLIPS: [f32; 4] = [1.0, 0.92, 0.84, 0.76];
/// Times that scale and minimum are fitted to the codes, and the codes to them.
const FITS: usize = 4;

/// A linear's weight, scale and offset an output; each weight alone.
#[must_use]
pub fn linear8(outputs: usize, inputs: usize, w: &[f32]) -> Tensor {
    let rows: Vec<Rounded> = w.par_chunks_exact(inputs.max(1)).map(|row| alone(row, 255)).collect();
    linear8_of(outputs, inputs, &rows)
}

/// The same of rows already rounded.
pub(crate) fn linear8_of(outputs: usize, inputs: usize, rows: &[Rounded]) -> Tensor {
    // Signed weights, as products of small integers want them: 128 steps move from q to the offset.
    let q = rows.iter().flat_map(|r| r.q.iter().map(|q| (q ^ 128).cast_signed())).collect();
    let scale: Vec<f32> = rows.iter().map(|r| r.scale.to_f32()).collect();
    let offset = rows.iter().zip(&scale).map(|(r, s)| r.min.to_f32() + 128.0 * s).collect();
    Tensor::Linear8 { outputs, inputs, q, scale, offset, activations: Activations::Sixteen }
}

/// Two a byte, low nibble first.
pub(crate) fn pack(q: &[u8]) -> impl Iterator<Item = u8> + '_ {
    q.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4))
}

/// `w ≈ q * scale + min`
#[derive(Clone, Debug)]
pub(crate) struct Rounded {
    pub(crate) q: Vec<u8>,
    pub(crate) scale: f16,
    pub(crate) min: f16,
}

impl Rounded {
    /// What is lost of each weight.
    pub(crate) fn lost(&self, w: &[f32]) -> Vec<f32> {
        let (scale, min) = (self.scale.to_f32(), self.min.to_f32());
        w.iter().zip(&self.q).map(|(w, q)| w - (f32::from(*q) * scale + min)).collect()
    }
}

/// Each weight to the nearest of `steps` steps.
pub(crate) fn alone(w: &[f32], steps: u8) -> Rounded {
    let grid = Grid::searched(w, steps);
    Rounded { q: w.iter().map(|x| grid.nearest(*x).0).collect(), scale: grid.scale, min: grid.min }
}

/// All weights of a row together, by what their errors do; `thoroughly` tries several ranges and fits them to the codes.
pub(crate) fn together(w: &[f32], steps: u8, gram: &Gram, compensator: &Compensator, thoroughly: bool) -> Rounded {
    if !thoroughly {
        return Grid::searched(w, steps).rounded(w, compensator);
    }
    let tried = FEW_CLIPS.iter().flat_map(|clip| {
        let mut grid = Grid::clipped(w, *clip, steps);
        (0..=FITS).map(move |_| {
            let rounded = grid.rounded(w, compensator);
            let lost = rounded.lost(w);
            grid = grid.fitted(w, &rounded.q, gram);
            (gram.product(&lost, &lost), rounded)
        })
    });
    least(tried)
}

/// The same with a range for each group of [`GROUP`] weights, of 15 steps: the groups' ranges and all codes.
pub(crate) fn in_groups(w: &[f32], gram: &Gram, compensator: &Compensator) -> (Vec<Grid>, Vec<u8>) {
    let lost = |grids: &[Grid], codes: &[u8]| -> Vec<f32> {
        w.iter().enumerate().map(|(i, w)| w - grids[i / GROUP].value(codes[i])).collect()
    };
    let searched = w.chunks(GROUP).map(|group| Grid::searched(group, 15)).collect();
    let clipped = FEW_CLIPS.iter().map(|clip| w.chunks(GROUP).map(|group| Grid::clipped(group, *clip, 15)).collect());
    let tried = std::iter::once(searched).chain(clipped).flat_map(|mut grids: Vec<Grid>| {
        (0..=FITS).map(move |_| {
            let mut codes = compensator.round(w, |i, x| grids[i / GROUP].nearest(x));
            compensator.polish(w, &mut codes, 15, |i, code| grids[i / GROUP].value(code));
            let (before, errors) = (grids.clone(), lost(&grids, &codes));
            let error = gram.product(&errors, &errors);
            compensator.fit(&codes, errors, GROUP, |g, by| grids[g].moved(by));
            (error, (before, codes))
        })
    });
    least(tried)
}

/// The steps of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) scale: f16,
    pub(crate) min: f16,
    /// The largest code.
    top: u8,
}

impl Grid {
    /// The one that loses least of these weights, each rounded alone.
    pub(crate) fn searched(w: &[f32], steps: u8) -> Self {
        least(CLIPS.iter().map(|clip| {
            let grid = Self::clipped(w, *clip, steps);
            (w.iter().map(|x| f64::from(grid.nearest(*x).1 - x).powi(2)).sum(), grid)
        }))
    }

    /// Over a share of the range of some weights.
    fn clipped(w: &[f32], clip: f32, steps: u8) -> Self {
        let (low, high) = w.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
        Self::of(low * clip, (high - low) * clip / f32::from(steps), steps)
    }

    fn of(min: f32, scale: f32, top: u8) -> Self {
        let (min, scale) = (half(min), half(scale));
        Self { min, scale: if scale.to_f32() > 0.0 { scale } else { f16::ONE }, top }
    }

    /// The code and the value of the nearest step.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in 0..=255")]
    pub(crate) fn nearest(&self, x: f32) -> (u8, f32) {
        let (scale, min) = (self.scale.to_f32(), self.min.to_f32());
        let q = ((x - min) / scale).round_ties_even().clamp(0.0, f32::from(self.top));
        (q as u8, q * scale + min)
    }

    /// What a code stands for.
    pub(crate) fn value(&self, code: u8) -> f32 {
        f32::from(code) * self.scale.to_f32() + self.min.to_f32()
    }

    /// Moves scale and minimum as far as the precision allows that they are stored in, and says how far that was.
    fn moved(&mut self, [scale, min]: [f64; 2]) -> [f64; 2] {
        let values = |grid: &Self| [grid.scale, grid.min].map(|x| f64::from(x.to_f32()));
        let before = values(self);
        if before[0] + scale > 0.0 {
            *self = Self::of((before[1] + min) as f32, (before[0] + scale) as f32, self.top);
        }
        let after = values(self);
        [after[0] - before[0], after[1] - before[1]]
    }

    fn rounded(self, w: &[f32], compensator: &Compensator) -> Rounded {
        let mut q = compensator.round(w, |_, x| self.nearest(x));
        compensator.polish(w, &mut q, self.top, |_, code| self.value(code));
        Rounded { q, scale: self.scale, min: self.min }
    }

    /// The scale and minimum that fit these codes best; itself if none does.
    fn fitted(self, w: &[f32], q: &[u8], gram: &Gram) -> Self {
        let q: Vec<f32> = q.iter().map(|q| f32::from(*q)).collect();
        let ones = vec![1.0; w.len()];
        let [qq, q1, all, qw, w1] = [(&q, &q), (&q, &ones), (&ones, &ones)]
            .map(|(a, b)| gram.product(a, b))
            .into_iter()
            .chain([gram.product(&q, w), gram.product(&ones, w)])
            .collect::<Vec<_>>()
            .try_into()
            .expect("five products");
        let determinant: f64 = qq * all - q1 * q1;
        let (scale, min) = ((qw * all - w1 * q1) / determinant, (qq * w1 - q1 * qw) / determinant);
        if scale.is_finite() && scale > 0.0 && min.is_finite() {
            Self::of(min as f32, scale as f32, self.top)
        } else {
            self
        }
    }
}

/// The nearest f16; weights beyond it are clipped to what it holds.
pub(crate) fn half(x: f32) -> f16 {
    finite(f16::from_f32(x))
}

fn finite(h: f16) -> f16 {
    if h.is_finite() { h } else { f16::MAX.copysign(h) }
}

/// The first with the least error.
fn least<T>(tried: impl Iterator<Item = (f64, T)>) -> T {
    tried.reduce(|a, b| if b.0 < a.0 { b } else { a }).expect("more than one was tried").1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.71).sin() * 2.0 + 0.3).collect()
    }

    fn squared(lost: &[f32]) -> f32 {
        lost.iter().map(|l| l * l).sum()
    }

    #[test]
    fn each_weight_stays_within_half_a_step_of_its_range() {
        let w = wave(40);
        for steps in [15, 255] {
            let rounded = alone(&w, steps);
            // Half a step of the whole range, and the clipping that pays for itself.
            let step = 4.0 / f32::from(steps);
            assert!(squared(&rounded.lost(&w)) <= 40.0 * (0.51 * step).powi(2), "{steps}: {:?}", rounded.lost(&w));
            assert!(rounded.q.iter().all(|q| *q <= steps));
        }
    }

    #[test]
    fn an_outlier_is_clipped_when_that_lowers_the_error() {
        let mut w = wave(200);
        w[7] = 5.0;
        let [searched, whole] = [Grid::searched(&w, 15), Grid::clipped(&w, 1.0, 15)];
        let lost = |grid: Grid| squared(&w.iter().map(|x| x - grid.nearest(*x).1).collect::<Vec<_>>());
        assert!(searched.scale < whole.scale && lost(searched) < lost(whole));
    }

    #[test]
    fn a_constant_row_is_kept_to_f16() {
        for value in [0.0f32, 0.7, -3.2] {
            for rounded in [alone(&[value; 5], 15), alone(&[value; 5], 255)] {
                assert!(rounded.lost(&[value; 5]).iter().all(|lost| lost.abs() <= value.abs() / 1024.0));
            }
        }
    }

    #[test]
    fn ranges_beyond_f16_are_clipped_to_it() {
        let rounded = alone(&[-1e30, 1e30], 15);
        assert!(rounded.min.is_finite() && rounded.scale.is_finite());
    }

    #[test]
    fn a_range_fitted_to_codes_is_that_of_least_squares() {
        let (w, mut gram) = (wave(16), Gram::zero(16));
        for i in 0..16 {
            let one: Vec<f64> = (0..16).map(|j| f64::from(u8::from(i == j))).collect();
            gram.add(1.0, &one);
        }
        let coarse = Grid::clipped(&w, 0.8, 15);
        let q: Vec<u8> = w.iter().map(|x| coarse.nearest(*x).0).collect();
        let fitted = coarse.fitted(&w, &q, &gram);
        let lost = |grid: Grid| squared(&Rounded { q: q.clone(), scale: grid.scale, min: grid.min }.lost(&w));
        assert!(lost(fitted) < lost(coarse));
        for (scale, min) in [(1.02, 0.0), (0.98, 0.0), (1.0, 0.02), (1.0, -0.02)] {
            let beside = Grid::of(fitted.min.to_f32() + min, fitted.scale.to_f32() * scale, 15);
            assert!(lost(fitted) <= lost(beside), "{scale} {min}");
        }
    }

    #[test]
    fn ranges_of_groups_are_fitted_to_their_codes() {
        let (w, mut gram) = (wave(80), Gram::zero(80));
        for s in 0..200 {
            let x: Vec<f64> = (0..80).map(|i| 1.0 + 0.5 * (f64::from(s * 80 + i) * 0.77).sin()).collect();
            gram.add(1.0, &x);
        }
        let compensator = gram.compensator();
        let error = |grids: &[Grid], codes: &[u8]| {
            let lost = |(i, w): (usize, &f32)| w - grids[i / GROUP].value(codes[i]);
            let lost: Vec<f32> = w.iter().enumerate().map(lost).collect();
            gram.product(&lost, &lost)
        };
        let searched: Vec<Grid> = w.chunks(GROUP).map(|group| Grid::searched(group, 15)).collect();
        let mut codes = compensator.round(&w, |i, x| searched[i / GROUP].nearest(x));
        compensator.polish(&w, &mut codes, 15, |i, code| searched[i / GROUP].value(code));
        let (fitted, fitted_codes) = in_groups(&w, &gram, &compensator);
        assert_eq!((fitted.len(), fitted_codes.len()), (3, 80));
        assert!(error(&fitted, &fitted_codes) < 0.8 * error(&searched, &codes));
    }

    #[test]
    fn a_row_of_an_odd_width_is_packed_by_itself() {
        assert_eq!(pack(&[1, 2, 3]).collect::<Vec<_>>(), [0x21, 0x03]);
    }

    #[test]
    fn weights_of_a_linear_are_within_a_step_of_its_output() {
        let w = wave(6 * 5);
        let tensor = linear8(6, 5, &w);
        let back = tensor.to_f32().unwrap();
        assert!(w.iter().zip(&back).all(|(w, b)| (w - b).abs() <= 4.0 / 255.0), "{back:?}");
    }
}
