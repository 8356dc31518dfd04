//! A product of two matrices of a row.

use std::array::from_fn;

use super::lanes::{F32x4, LANES, transpose};
use super::turns;

/// `out[m, n] = Σ_k a[m, k] · b[k, n]`, ascending k.
pub(crate) fn matmul(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    if n < LANES {
        return each_own(k, n, Spaced { data: a, step: k }, Spaced { data: b, step: 0 }, out);
    }
    for (a, out) in a.chunks(LANES * k).zip(out.chunks_mut(LANES * n)) {
        if out.len() == LANES * n {
            block::<LANES>(k, n, a, b, out);
        } else {
            a.chunks_exact(k).zip(out.chunks_exact_mut(n)).for_each(|(a, out)| block::<1>(k, n, a, b, out));
        }
    }
}

/// `R` rows; the last columns are computed twice where their number is no multiple.
fn block<const R: usize>(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let mut first = 0;
    while first < n {
        if R == 1 && n - first >= 8 * LANES {
            columns::<R, 8>(k, n, first, a, b, out);
            first += 8 * LANES;
        } else if n - first >= 2 * LANES {
            columns::<R, 2>(k, n, first, a, b, out);
            first += 2 * LANES;
        } else {
            columns::<R, 1>(k, n, first.min(n - LANES), a, b, out);
            first += LANES;
        }
    }
}

/// `R` rows of `V` registers of columns from `first` on.
#[inline(always)]
fn columns<const R: usize, const V: usize>(k: usize, n: usize, first: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let mut sums = [[F32x4::zero(); V]; R];
    let a: [&[f32]; R] = from_fn(|r| &a[r * k..][..k]);
    // An input of each row, and the row of `b` that it is multiplied with.
    let mut add = |a: [F32x4; R], b: &[f32]| {
        let b = &b[first..].as_chunks::<LANES>().0[..V];
        let b: [F32x4; V] = from_fn(|v| F32x4::load(&b[v]));
        for r in 0..R {
            sums[r] = from_fn(|v| sums[r][v] + a[r] * b[v]);
        }
    };
    let (whole, rest) = (a.map(|a| a.as_chunks::<LANES>().0), a.map(|a| a.as_chunks::<LANES>().1));
    let (many, last) = b.split_at(whole[0].len() * LANES * n);
    for (i, b) in many.chunks_exact(LANES * n).enumerate() {
        let a: [_; R] = from_fn(|r| F32x4::load(&whole[r][i]).to_bits().splat_lanes().map(F32x4::from_bits));
        for step in 0..LANES {
            add(a.map(|a| a[step]), &b[step * n..][..n]);
        }
    }
    for (i, b) in last.chunks_exact(n).enumerate() {
        add(rest.map(|a| F32x4::splat(a[i])), b);
    }
    for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(n)) {
        let (out, _) = out[first..][..V * LANES].as_chunks_mut::<LANES>();
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum.to_array());
    }
}

/// Matrices of one shape, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spaced<'a> {
    pub(crate) data: &'a [f32],
    /// From the beginning of one to that of the next; 0 if it is the same one.
    pub(crate) step: usize,
}

impl<'a> Spaced<'a> {
    fn part(self, r: usize, len: usize) -> &'a [f32] {
        &self.data[r * self.step..][..len]
    }
}

/// As [`matmul`] for each row of `a`, `[k]`, with a matrix of its own.
pub(crate) fn each_own(k: usize, n: usize, a: Spaced<'_>, b: Spaced<'_>, out: &mut [f32]) {
    match n {
        0 => {}
        1 => lanes::<1>(k, a, b, out),
        2 => lanes::<2>(k, a, b, out),
        3 => lanes::<3>(k, a, b, out),
        _ => {
            let rows = out.chunks_exact_mut(n).enumerate();
            rows.for_each(|(r, out)| matmul(k, n, a.part(r, k), b.part(r, k * n), out));
        }
    }
}

/// A few columns: a row in each lane, the last repeated where there are fewer.
fn lanes<const N: usize>(k: usize, a: Spaced<'_>, b: Spaced<'_>, out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<N>();
    let last = out.len().saturating_sub(1);
    for (first, out) in (0..).step_by(LANES).zip(out.chunks_mut(LANES)) {
        let rows = from_fn(|lane| last.min(first + lane));
        let sums = lanes_of::<N>(rows.map(|r| a.part(r, k)), rows.map(|r| b.part(r, k * N))).map(F32x4::to_array);
        out.iter_mut().enumerate().for_each(|(lane, out)| *out = sums.map(|sums| sums[lane]));
    }
}

/// The sums of four rows, each by its matrix: `[columns, rows]`.
#[inline(always)]
fn lanes_of<const N: usize>(a: [&[f32]; LANES], b: [&[f32]; LANES]) -> [F32x4; N] {
    let across = |x: [&[f32; LANES]; LANES]| transpose(x.map(F32x4::load));
    let mut sums = [F32x4::zero(); N];
    let (a, rest_a) = (a.map(|a| a.as_chunks::<LANES>().0), a.map(|a| a.as_chunks::<LANES>().1));
    let whole = a[0].len();
    let (b, rest_b) = (b.map(|b| &b.as_chunks::<LANES>().0[..whole * N]), b.map(|b| &b[whole * LANES * N..]));
    turns::each(0..whole, |c| {
        let inputs = across(a.map(|a| &a[c]));
        // As many inputs' weights, in the order of the matrix.
        let weights: [_; N] = from_fn(|j| across(b.map(|b| &b[c * N + j])));
        for (i, input) in inputs.into_iter().enumerate() {
            sums = from_fn(|n| sums[n] + input * weights[(i * N + n) / LANES][(i * N + n) % LANES]);
        }
    });
    for i in 0..rest_a[0].len() {
        let input = F32x4::load(&rest_a.map(|a| a[i]));
        sums = from_fn(|n| sums[n] + input * F32x4::load(&rest_b.map(|b| b[i * N + n])));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::reference::{self, Numbers, assert_same};

    #[test]
    fn rows_with_matrices_of_their_own_have_the_bits_of_one_product_each() {
        let mut numbers = Numbers::new();
        for (rows, k) in (1..10).flat_map(|rows| [1, 2, 3, 4, 5, 8, 31, 32].map(|k| (rows, k))) {
            for (n, shared) in [1, 2, 3, 4, 5, 9].into_iter().flat_map(|n| [(n, false), (n, true)]) {
                let (a, b) = (numbers.any(rows * k), numbers.any(rows * k * n));
                let [mut got, mut want] = [(); 2].map(|()| vec![1.0; rows * n]);
                let step = if shared { 0 } else { k };
                each_own(k, n, Spaced { data: &a, step }, Spaced { data: &b, step: k * n }, &mut got);
                for (r, want) in want.chunks_exact_mut(n).enumerate() {
                    reference::matmul(k, n, &a[r * step..][..k], &b[r * k * n..][..k * n], want);
                }
                assert_same(&got, &want, &format!("{rows} x {k} x {n}, {shared}"));
            }
        }
    }

    #[test]
    fn products_have_the_bits_of_their_definition() {
        let mut numbers = Numbers::new();
        for (m, k) in (1..10).flat_map(|m| [1, 2, 3, 4, 5, 8, 31, 32].map(|k| (m, k))) {
            for n in [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 31, 32, 33, 39, 64] {
                let (a, b) = (numbers.any(m * k), numbers.any(k * n));
                let [mut got, mut want] = [(); 2].map(|()| vec![1.0; m * n]);
                matmul(k, n, &a, &b, &mut got);
                reference::matmul(k, n, &a, &b, &mut want);
                assert_same(&got, &want, &format!("{m} x {k} x {n}"));
            }
        }
    }
}
