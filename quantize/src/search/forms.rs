//! The forms of one tensor: what each takes, what each is expected to damage.

use half::f16;
use rayon::prelude::*;
use shared_model::tensor::{GROUP, RowBits, Tensor};

use crate::round::{self, Grid, Rounded, together};
use crate::sense::{LinearSense, TableSense};

/// The bits of a linear's forms.
pub(super) const LINEAR: [u8; 3] = [4, 8, 32];
/// The form of a linear in full precision.
pub(super) const FULL: usize = 2;
/// The bits of the forms of a table's row.
pub(super) const TABLE: [u8; 3] = [4, 8, 16];
/// Rows that are rounded at once: each has allocations of its own until then.
const AT_ONCE: usize = 1 << 14;
/// Bytes of a scale and a minimum.
const RANGE: usize = 4;

/// Of a linear.
#[derive(Debug)]
pub(super) struct LinearForms {
    forms: [Tensor; 2],
    /// What the bias gains in each.
    shifts: [Vec<f32>; 2],
    bytes: [usize; LINEAR.len()],
    damage: [f64; LINEAR.len()],
}

impl LinearForms {
    /// Of a layer that has a bias to make good for what errors are on average, or none.
    pub(super) fn of(w: &[f32], sense: &LinearSense, has_bias: bool) -> Self {
        let outputs = sense.outputs.len();
        let inputs = w.len() / outputs;
        let gram = if has_bias { sense.about_the_mean() } else { sense.inputs.clone() };
        let compensator = gram.compensator();
        let rows: Vec<(Vec<Grid>, Vec<u8>, Rounded)> = w
            .par_chunks_exact(inputs)
            .map(|row| {
                let (grids, four) = round::in_groups(row, &gram, &compensator);
                (grids, four, together(row, 255, &gram, &compensator, true))
            })
            .collect();
        let all: f64 = sense.outputs.iter().sum();
        let share = |o: usize| if all == 0.0 { 1.0 / outputs as f64 } else { sense.outputs[o] / all };
        let damage = |lost: &dyn Fn(usize) -> Vec<f32>| -> f64 {
            (0..outputs).map(lost).enumerate().map(|(o, lost)| share(o) * gram.product(&lost, &lost)).sum()
        };
        let row = |o: usize| &w[o * inputs..][..inputs];
        let lost4 = |o: usize| -> Vec<f32> {
            let (grids, codes, _) = &rows[o];
            row(o).iter().enumerate().map(|(i, w)| w - grids[i / GROUP].value(codes[i])).collect()
        };
        let lost8 = |o: usize| rows[o].2.lost(row(o));
        let shift = |lost: &dyn Fn(usize) -> Vec<f32>| (0..outputs).map(|o| sense.average(&lost(o))).collect();
        let (damage, shifts) = ([damage(&lost4), damage(&lost8), 0.0], [shift(&lost4), shift(&lost8)]);
        let grids = || rows.iter().flat_map(|(grids, ..)| grids);
        let four = Tensor::Linear4 {
            outputs,
            inputs,
            q: rows.iter().flat_map(|(_, codes, _)| round::pack(codes)).collect(),
            scale: grids().map(|g| g.scale).collect(),
            min: grids().map(|g| g.min).collect(),
        };
        let eight: Vec<Rounded> = rows.into_iter().map(|(.., eight)| eight).collect();
        let forms = [four, round::linear8_of(outputs, inputs, &eight)];
        let bytes = [forms[0].bytes(), forms[1].bytes(), 4 * w.len()];
        Self { forms, shifts, bytes, damage }
    }

    pub(super) fn bytes(&self, form: usize) -> usize {
        self.bytes[form]
    }

    pub(super) fn damage(&self, form: usize) -> f64 {
        self.damage[form]
    }

    /// Expects so many times the damage.
    pub(super) fn scale(&mut self, by: f64) {
        self.damage.iter_mut().for_each(|damage| *damage *= by);
    }

    /// `None` for full precision.
    pub(super) fn tensor(&self, form: usize) -> Option<Tensor> {
        self.forms.get(form).cloned()
    }

    /// The bias that goes with a form.
    pub(super) fn bias(&self, form: usize, bias: &[f32]) -> Vec<f32> {
        match self.shifts.get(form) {
            Some(shift) => bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect(),
            None => bias.to_vec(),
        }
    }
}

/// Of a table.
#[derive(Debug)]
pub(super) struct TableForms<'a> {
    width: usize,
    full: &'a [f32],
    four: Codes,
    eight: Codes,
    damage: Vec<[f32; TABLE.len()]>,
}

/// Rows that are rounded: a table may be most of a model, so they have no allocation each.
#[derive(Debug, Default)]
struct Codes {
    q: Vec<u8>,
    scale: Vec<f16>,
    min: Vec<f16>,
}

impl Codes {
    fn push(&mut self, q: impl Iterator<Item = u8>, row: &Rounded) {
        self.q.extend(q);
        self.scale.push(row.scale);
        self.min.push(row.min);
    }

    /// The codes of a row of so many bytes.
    fn row(&self, row: usize, bytes: usize) -> &[u8] {
        &self.q[row * bytes..][..bytes]
    }
}

impl<'a> TableForms<'a> {
    pub(super) fn of(full: &'a [f32], sense: &TableSense) -> Self {
        let width = sense.elements.len();
        let rows = full.len() / width;
        let compensator = sense.elements.compensator();
        let rounded = |(row, w): (usize, &[f32])| {
            let seen = u32::try_from(row).is_ok_and(|row| sense.rows.contains_key(&row));
            let [four, eight] = [15, 255].map(|steps| together(w, steps, &sense.elements, &compensator, seen));
            let halves: Vec<f32> = w.iter().map(|w| w - round::half(*w).to_f32()).collect();
            let share = sense.share(row, rows);
            let damage = [four.lost(w), eight.lost(w), halves];
            (four, eight, damage.map(|lost| (share * sense.elements.product(&lost, &lost)) as f32))
        };
        let damage = Vec::with_capacity(rows);
        let mut forms = Self { width, full, four: Codes::default(), eight: Codes::default(), damage };
        for (block, w) in full.chunks(AT_ONCE * width).enumerate() {
            let row = |(i, w)| rounded((block * AT_ONCE + i, w));
            let rows: Vec<(Rounded, Rounded, [f32; TABLE.len()])> =
                w.par_chunks_exact(width).enumerate().map(row).collect();
            for (four, eight, damage) in rows {
                forms.four.push(round::pack(&four.q), &four);
                forms.eight.push(eight.q.iter().copied(), &eight);
                forms.damage.push(damage);
            }
        }
        forms
    }

    pub(super) fn rows(&self) -> usize {
        self.damage.len()
    }

    pub(super) fn row_bytes(&self, form: usize) -> usize {
        RANGE + [self.width.div_ceil(2), self.width, 2 * self.width][form]
    }

    /// Of rows in these forms.
    pub(super) fn bytes(&self, forms: &[u8]) -> usize {
        // As if they differed: what says so costs next to nothing.
        forms.iter().map(|form| self.row_bytes(usize::from(*form))).sum::<usize>() + forms.len().div_ceil(4)
    }

    pub(super) fn damage(&self, row: usize, form: usize) -> f64 {
        f64::from(self.damage[row][form])
    }

    /// Expects so many times the damage.
    pub(super) fn scale(&mut self, by: f64) {
        self.damage.as_flattened_mut().iter_mut().for_each(|damage| *damage *= by as f32);
    }

    pub(super) fn tensor(&self, forms: &[u8]) -> Tensor {
        let (rows, width) = (forms.len(), self.width);
        if forms.iter().all(|form| *form == 0) {
            let Codes { q, scale, min } = &self.four;
            return Tensor::Table4 { rows, width, q: q.clone(), scale: scale.clone(), min: min.clone() };
        }
        if forms.iter().all(|form| *form == 1) {
            let Codes { q, scale, min } = &self.eight;
            return Tensor::Table8 { rows, width, q: q.clone(), scale: scale.clone(), min: min.clone() };
        }
        let bits: Vec<u8> = forms.iter().map(|form| TABLE[usize::from(*form)]).collect();
        let bits = RowBits::new(width, &bits).expect("a table in f32 has at most 4 GiB");
        let (mut q, mut scale, mut min) = (Vec::with_capacity(bits.bytes()), Vec::new(), Vec::new());
        for (row, form) in forms.iter().enumerate() {
            let codes = if *form == 0 { &self.four } else { &self.eight };
            scale.push(codes.scale[row]);
            min.push(codes.min[row]);
            match form {
                0 => q.extend_from_slice(codes.row(row, width.div_ceil(2))),
                1 => q.extend_from_slice(codes.row(row, width)),
                _ => q.extend(self.full[row * width..][..width].iter().flat_map(|w| round::half(*w).to_le_bytes())),
            }
        }
        Tensor::TableMixed { bits, q, scale, min }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::gram::Gram;

    const ROWS: usize = 9;
    const WIDTH: usize = 7;

    fn weights() -> Vec<f32> {
        (0..ROWS * WIDTH).map(|i| (i as f32 * 0.73).sin() + (i as f32 * 0.11).cos()).collect()
    }

    fn gram() -> Gram {
        let mut gram = Gram::zero(WIDTH);
        for s in 0..40 {
            let x: Vec<f64> = (0..WIDTH).map(|i| (f64::from(s) * 0.9 + i as f64 * 0.4).sin()).collect();
            gram.add(1.0, &x);
        }
        gram
    }

    /// What a tensor of these rows loses, each row by its share.
    fn damage(tensor: &Tensor, share: impl Fn(usize) -> f64) -> f64 {
        let (w, back) = (weights(), tensor.to_f32().unwrap());
        let lost: Vec<f32> = w.iter().zip(back).map(|(w, b)| w - b).collect();
        lost.chunks(WIDTH).enumerate().map(|(row, lost)| share(row) * gram().product(lost, lost)).sum()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-5 * a.abs().max(b.abs()).max(1e-9)
    }

    #[test]
    fn the_damage_of_a_linear_is_that_of_the_tensor_it_gives() {
        let outputs: Vec<f64> = (0..ROWS).map(|o| o as f64).collect();
        let all: f64 = outputs.iter().sum();
        let mut sense = LinearSense::zero(ROWS, WIDTH);
        (sense.inputs, sense.outputs) = (gram(), outputs.clone());
        let forms = LinearForms::of(&weights(), &sense, false);
        for form in [0, 1] {
            let tensor = forms.tensor(form).unwrap();
            assert!(close(forms.damage(form), damage(&tensor, |o| outputs[o] / all)), "{form}");
            assert_eq!(forms.bytes(form), tensor.bytes());
        }
        assert!(forms.damage(0) > forms.damage(1) && forms.damage(1) > forms.damage(FULL));
    }

    #[test]
    fn a_bias_makes_good_for_what_errors_are_on_average() {
        let mut sense = LinearSense::zero(ROWS, WIDTH);
        sense.outputs = vec![1.0; ROWS];
        let inputs: Vec<Vec<f64>> =
            (0..40).map(|s| (0..WIDTH).map(|i| 1.0 + (f64::from(s) * 0.9 + i as f64 * 0.4).sin()).collect()).collect();
        inputs.iter().for_each(|x| sense.add(0.5, x));
        let (w, bias) = (weights(), vec![0.25f32; ROWS]);
        let error = |tensor: &Tensor, bias: &[f32]| -> f64 {
            let back = tensor.to_f32().unwrap();
            let of = |o: usize, x: &[f64]| -> f64 {
                let lost = w[o * WIDTH..].iter().zip(&back[o * WIDTH..]).zip(x).map(|((w, b), x)| f64::from(w - b) * x);
                (lost.sum::<f64>() + 0.25 - f64::from(bias[o])).powi(2)
            };
            inputs.iter().flat_map(|x| (0..ROWS).map(move |o| (o, x))).map(|(o, x)| of(o, x)).sum()
        };
        let [with, without] = [true, false].map(|has_bias| LinearForms::of(&w, &sense, has_bias));
        for form in [0, 1] {
            let [own, other] = [&with, &without].map(|forms| forms.tensor(form).unwrap());
            let corrected = error(&own, &with.bias(form, &bias));
            assert!(corrected < 0.7 * error(&other, &bias), "{form}: {corrected} for {}", error(&other, &bias));
            // What is expected is what is seen: of 40 inputs that count a half, an output a share.
            assert!((with.damage(form) * 2.0 * ROWS as f64 / corrected - 1.0).abs() < 1e-3, "{form}");
        }
        assert_eq!(with.bias(FULL, &bias), bias);
    }

    #[test]
    fn the_damage_of_a_table_is_that_of_the_rows_it_gives() {
        let mut sense = TableSense::zero(WIDTH);
        (sense.elements, sense.all, sense.rows) = (gram(), 4.0, HashMap::from([(2, 3.0), (5, 1.0)]));
        let (w, shares) = (weights(), |row| sense.share(row, ROWS));
        let forms = TableForms::of(&w, &sense);
        let uniform = [0, 1, 2].map(|form| vec![form; ROWS]);
        let tensors = uniform.each_ref().map(|uniform| forms.tensor(uniform));
        for (form, tensor) in tensors.iter().enumerate() {
            let expected: f64 = (0..ROWS).map(|row| forms.damage(row, form)).sum();
            assert!(close(expected, damage(tensor, shares)), "{form}");
        }
        let mixed: Vec<u8> = (0..ROWS as u8).map(|row| row % 3).collect();
        let back = forms.tensor(&mixed).to_f32().unwrap();
        for (row, form) in mixed.iter().enumerate() {
            let uniform = tensors[usize::from(*form)].to_f32().unwrap();
            assert_eq!(back[row * WIDTH..][..WIDTH], uniform[row * WIDTH..][..WIDTH], "row {row}");
        }
        assert!(forms.tensor(&mixed).bytes() <= forms.bytes(&mixed));
    }
}
