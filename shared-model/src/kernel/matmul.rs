//! A product of two matrices of a row.

use std::array::from_fn;

use super::lanes::{F32x4, LANES};
use super::{across, turns};

/// `out[m, n] = Σ_k a[m, k] · b[k, n]`, ascending k.
pub(crate) fn matmul(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    match n {
        0 => return,
        1..LANES if out.len() / n >= across::ROWS => return narrow(k, n, a, b, out),
        1 => return few::<1>(a, b, out),
        2 => return few::<2>(a, b, out),
        3 => return few::<3>(a, b, out),
        _ => {}
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
    for (i, b) in b.chunks_exact(n).take(k).enumerate() {
        let (b, _) = b[first..][..V * LANES].as_chunks::<LANES>();
        let b: [F32x4; V] = from_fn(|v| F32x4::load(&b[v]));
        for r in 0..R {
            let a = F32x4::splat(a[r][i]);
            sums[r] = from_fn(|v| sums[r][v] + a * b[v]);
        }
    }
    for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(n)) {
        let (out, _) = out[first..][..V * LANES].as_chunks_mut::<LANES>();
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum.to_array());
    }
}

/// A few columns: several rows at once instead.
fn narrow(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let mut outs = out.chunks_mut(across::ROWS * n);
    across::rows(k, a, |rows| {
        let out = outs.next().unwrap_or_default();
        for column in 0..n {
            let sums = across::fold(rows, 0.0, |_, sum, a, i| sum + a * F32x4::splat(b[i * n + column]));
            for (out, sum) in out.iter_mut().skip(column).step_by(n).zip(across::numbers(sums)) {
                *out = sum;
            }
        }
    });
}

/// A few columns of a few rows: not enough to fill registers of either.
fn few<const N: usize>(a: &[f32], b: &[f32], out: &mut [f32]) {
    let (b, _) = b.as_chunks::<N>();
    for (a, out) in a.chunks_exact(b.len()).zip(out.as_chunks_mut::<N>().0) {
        let mut sums = [0.0; N];
        turns::each(a.iter().zip(b), |(a, b)| sums = from_fn(|c| sums[c] + a * b[c]));
        *out = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::reference::{self, Numbers, assert_same};

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
