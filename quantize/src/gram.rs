//! Sums of outer products, and rounding by them: what an element loses, those after it make good for.
//!
//! The error of a rounded row `w + d` is taken to be `dᵀ G d`, with G summed over the inputs of a layer or the slopes of a
//! lookup. Elements are rounded one after another, the heaviest first; after each the others move to where the error is
//! least (Frantar et al. 2022, "GPTQ"; the order and the factor are those of LDLᵀ, Chee et al. 2023, "QuIP").

/// Added to the diagonal before it is divided by, as a share of its mean: directions that nothing was seen of.
const DAMPING: f64 = 0.01;

/// Times that a row is gone through for codes that are better moved.
const SWEEPS: usize = 8;
/// Elements that are judged together. Those of wider rows are judged in blocks, as if errors of two blocks were
/// independent: the memory for sums grows with the square of it, the time for the factor with the cube.
const BLOCK: usize = 2048;

/// A symmetric matrix of sums, in blocks along its diagonal.
#[derive(Clone, Debug)]
pub(crate) struct Gram {
    n: usize,
    blocks: Vec<Square>,
}

/// One block.
#[derive(Clone, Debug)]
struct Square {
    n: usize,
    /// Row by row, of which only the lower triangle is summed.
    sums: Vec<f64>,
}

impl Gram {
    pub(crate) fn zero(n: usize) -> Self {
        Self::in_blocks(n, BLOCK)
    }

    fn in_blocks(n: usize, most: usize) -> Self {
        let square = |at: usize| {
            let n = (n - at).min(most);
            Square { n, sums: vec![0.0; n * n] }
        };
        Self { n, blocks: (0..n).step_by(most).map(square).collect() }
    }

    /// The elements of a row that it judges.
    pub(crate) fn len(&self) -> usize {
        self.n
    }

    /// Adds `p · x xᵀ`.
    pub(crate) fn add(&mut self, p: f64, mut x: &[f64]) {
        if p == 0.0 {
            return;
        }
        for square in &mut self.blocks {
            let own = x.split_off(..square.n).expect("x has the width of the matrix");
            square.add(p, own);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, other) in self.blocks.iter_mut().zip(&other.blocks) {
            mine.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        }
    }

    /// `xᵀ G y`
    pub(crate) fn product(&self, x: &[f32], y: &[f32]) -> f64 {
        self.each().map(|(at, square)| square.product(&x[at..][..square.n], &y[at..][..square.n])).sum()
    }

    /// How rows are rounded by it.
    pub(crate) fn compensator(&self) -> Compensator {
        Compensator { blocks: self.each().map(|(at, square)| (at, square.carries())).collect() }
    }

    /// The blocks, and where each begins.
    fn each(&self) -> impl Iterator<Item = (usize, &Square)> {
        self.blocks.iter().scan(0, |next, square| {
            let at = *next;
            *next += square.n;
            Some((at, square))
        })
    }
}

impl Square {
    fn add(&mut self, p: f64, x: &[f64]) {
        for (i, a) in x.iter().enumerate() {
            if *a != 0.0 {
                let row = &mut self.sums[i * self.n..][..=i];
                row.iter_mut().zip(x).for_each(|(sum, b)| *sum += p * a * b);
            }
        }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.sums[i.max(j) * self.n + i.min(j)]
    }

    fn product(&self, x: &[f32], y: &[f32]) -> f64 {
        let row = |i: usize| -> f64 {
            let (before, rest) = (&self.sums[i * self.n..][..i], self.at(i, i));
            let below: f64 = before
                .iter()
                .zip(x.iter().zip(y))
                .map(|(g, (x_j, y_j))| g * (f64::from(x[i]) * f64::from(*y_j) + f64::from(y[i]) * f64::from(*x_j)))
                .sum();
            below + rest * f64::from(x[i]) * f64::from(y[i])
        };
        (0..self.n).map(row).sum()
    }

    fn carries(&self) -> Carries {
        let n = self.n;
        let mean = (0..n).map(|i| self.at(i, i)).sum::<f64>() / n.max(1) as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&i, &j| self.at(j, j).total_cmp(&self.at(i, i)).then(i.cmp(&j)));
        // G = R Rᵀ with R upper triangular; the inverse of R is what an error is carried by.
        let mut r = vec![0.0; n * n];
        for j in (0..n).rev() {
            for i in (0..=j).rev() {
                let g = self.at(order[i], order[j]) + if i == j { damping } else { 0.0 };
                let sum: f64 = (j + 1..n).map(|k| r[i * n + k] * r[j * n + k]).sum();
                r[i * n + j] = if i == j { (g - sum).max(damping * 1e-3).sqrt() } else { (g - sum) / r[j * n + j] };
            }
        }
        let mut carry = vec![0.0f32; n * n];
        let mut inverse = vec![0.0f64; n];
        for i in 0..n {
            // Row i of R⁻¹, over its own diagonal.
            inverse[i] = 1.0;
            for j in i + 1..n {
                let sum: f64 = (i..j).map(|k| inverse[k] * r[k * n + j]).sum();
                inverse[j] = -sum / r[j * n + j];
            }
            for j in i + 1..n {
                carry[i * n + j] = inverse[j] as f32;
            }
        }
        let whole = (0..n * n).map(|e| self.at(e / n, e % n) as f32).collect();
        Carries { order, carry, whole }
    }
}

/// Rounds rows of one width.
#[derive(Clone, Debug)]
pub(crate) struct Compensator {
    /// By block, and where each begins.
    blocks: Vec<(usize, Carries)>,
}

/// What errors are carried by, within a block.
#[derive(Clone, Debug)]
struct Carries {
    /// In which order elements are rounded.
    order: Vec<usize>,
    /// `[n, n]` in that order: by how much each later element moves for an error of 1.
    carry: Vec<f32>,
    /// The matrix, `[n, n]` in the order of a row.
    whole: Vec<f32>,
}

impl Compensator {
    /// The codes of a row; `nearest` gives the code and the value of what is left of element i.
    pub(crate) fn round(&self, row: &[f32], nearest: impl Fn(usize, f32) -> (u8, f32)) -> Vec<u8> {
        let mut codes = vec![0; row.len()];
        for (start, Carries { order, carry, .. }) in &self.blocks {
            let n = order.len();
            let mut left: Vec<f32> = order.iter().map(|&i| row[start + i]).collect();
            for (at, &i) in order.iter().enumerate() {
                let (code, value) = nearest(start + i, left[at]);
                codes[start + i] = code;
                let lost = left[at] - value;
                let carry = &carry[at * n + at + 1..(at + 1) * n];
                left[at + 1..].iter_mut().zip(carry).for_each(|(left, carry)| *left -= lost * carry);
            }
        }
        codes
    }

    /// How far the scale and the minimum of each group of elements should go for the error to be least with these codes, one
    /// group after another: `moved` is told both, and answers with how far they went.
    pub(crate) fn fit(
        &self,
        codes: &[u8],
        mut lost: Vec<f32>,
        group: usize,
        mut moved: impl FnMut(usize, [f64; 2]) -> [f64; 2],
    ) {
        for (start, Carries { order, whole, .. }) in &self.blocks {
            let n = order.len();
            let lost = &mut lost[*start..][..n];
            for from in (0..n).step_by(group) {
                let elements = from..n.min(from + group);
                let code = |i: usize| f64::from(codes[start + i]);
                // The normal equations of scale and minimum, over this group's codes and ones.
                let (mut of_codes, mut of_ones, [mut qq, mut q1, mut all]) = (0.0, 0.0, [0.0; 3]);
                for i in elements.clone() {
                    let g = &whole[i * n..][..n];
                    let slope = g.iter().zip(&*lost).map(|(g, d)| f64::from(g * d)).sum::<f64>();
                    (of_codes, of_ones) = (of_codes + code(i) * slope, of_ones + slope);
                    for j in elements.clone() {
                        let g = f64::from(g[j]);
                        (qq, q1, all) = (qq + code(i) * g * code(j), q1 + code(i) * g, all + g);
                    }
                }
                let determinant = qq * all - q1 * q1;
                let scale = (of_codes * all - of_ones * q1) / determinant;
                let min = (qq * of_ones - q1 * of_codes) / determinant;
                if !(scale.is_finite() && min.is_finite()) {
                    continue;
                }
                let [scale, min] = moved((start + from) / group, [scale, min]);
                for i in elements {
                    lost[i] -= (code(i) * scale + min) as f32;
                }
            }
        }
    }

    /// Moves single codes, of at most `top`, to the next as long as that lowers the error; `value` is what a code of element
    /// i stands for.
    pub(crate) fn polish(&self, row: &[f32], codes: &mut [u8], top: u8, value: impl Fn(usize, u8) -> f32) {
        for (start, Carries { order, whole, .. }) in &self.blocks {
            let n = order.len();
            let lost: Vec<f32> = (*start..start + n).map(|i| row[i] - value(i, codes[i])).collect();
            // G d: half of how fast the error grows with each element's.
            let mut slopes: Vec<f32> =
                whole.chunks_exact(n.max(1)).map(|g| g.iter().zip(&lost).map(|(g, d)| g * d).sum()).collect();
            for _ in 0..SWEEPS {
                let mut moved = false;
                for i in 0..n {
                    let (code, at) = (codes[start + i], start + i);
                    let next =
                        if slopes[i] > 0.0 { code.checked_add(1).filter(|c| *c <= top) } else { code.checked_sub(1) };
                    let Some(next) = next else { continue };
                    let less = value(at, next) - value(at, code);
                    let g = &whole[i * n..][..n];
                    if less * (less * g[i] - 2.0 * slopes[i]) < 0.0 {
                        codes[at] = next;
                        slopes.iter_mut().zip(g).for_each(|(slope, g)| *slope -= g * less);
                        moved = true;
                    }
                }
                if !moved {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gram(n: usize, samples: usize) -> Gram {
        let mut gram = Gram::zero(n);
        for s in 0..samples {
            // Inputs that are much alike, as those of a layer are.
            let x: Vec<f64> = (0..n).map(|i| 1.0 + 0.3 * ((s * n + i) as f64 * 0.77).sin()).collect();
            gram.add(1.0, &x);
        }
        gram
    }

    fn row(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 1.37).cos() * 4.0).collect()
    }

    fn nearest(_: usize, w: f32) -> (u8, f32) {
        let q = w.round().clamp(-8.0, 7.0);
        ((q + 8.0) as u8, q)
    }

    fn error(gram: &Gram, row: &[f32], codes: &[u8]) -> f64 {
        let lost: Vec<f32> = row.iter().zip(codes).map(|(w, q)| w - (f32::from(*q) - 8.0)).collect();
        gram.product(&lost, &lost)
    }

    #[test]
    fn later_elements_make_good_for_earlier_ones() {
        let (gram, row) = (gram(24, 100), row(24));
        let alone: Vec<u8> = row.iter().map(|w| nearest(0, *w).0).collect();
        let together = gram.compensator().round(&row, nearest);
        assert!(error(&gram, &row, &together) < 0.5 * error(&gram, &row, &alone));
    }

    #[test]
    fn of_two_elements_no_other_codes_are_better() {
        // With two elements the second is moved to the very least error, so rounding it is best for the first as rounded.
        let mut gram = Gram::zero(2);
        gram.add(1.0, &[1.0, 0.9]);
        gram.add(0.2, &[0.3, -1.0]);
        let row = [2.4f32, -1.3];
        let codes = gram.compensator().round(&row, nearest);
        let least = (0..16).map(|q| error(&gram, &row, &[codes[0], q])).fold(f64::INFINITY, f64::min);
        assert!((error(&gram, &row, &codes) - least).abs() < 1e-9);
    }

    #[test]
    fn no_single_code_is_better_moved_after_polishing() {
        let (gram, row) = (gram(24, 100), row(24));
        let compensator = gram.compensator();
        let value = |_: usize, code: u8| f32::from(code) - 8.0;
        for mut codes in [compensator.round(&row, nearest), vec![8; 24]] {
            let before = error(&gram, &row, &codes);
            compensator.polish(&row, &mut codes, 15, value);
            let after = error(&gram, &row, &codes);
            assert!(after <= before && codes.iter().all(|code| *code <= 15));
            for i in 0..24 {
                for code in [codes[i].saturating_sub(1), (codes[i] + 1).min(15)] {
                    let mut other = codes.clone();
                    other[i] = code;
                    assert!(error(&gram, &row, &other) >= after * (1.0 - 1e-4), "{i}");
                }
            }
        }
    }

    #[test]
    fn no_other_scale_and_minimum_of_the_last_group_are_better() {
        let (gram, row) = (gram(24, 100), row(24));
        let compensator = gram.compensator();
        let codes = compensator.round(&row, nearest);
        let mut ranges = [[1.0, -8.0]; 3];
        let lost = |ranges: &[[f64; 2]; 3]| -> Vec<f32> {
            let value = |i: usize| f64::from(codes[i]) * ranges[i / 8][0] + ranges[i / 8][1];
            (0..24).map(|i| (f64::from(row[i]) - value(i)) as f32).collect()
        };
        let error = |ranges: &[[f64; 2]; 3]| gram.product(&lost(ranges), &lost(ranges));
        let before = error(&ranges);
        compensator.fit(&codes, lost(&ranges), 8, |g, by| {
            ranges[g] = [ranges[g][0] + by[0], ranges[g][1] + by[1]];
            by
        });
        let after = error(&ranges);
        assert!(after < before);
        for by in [[1e-3, 0.0], [-1e-3, 0.0], [0.0, 1e-3], [0.0, -1e-3]] {
            let mut other = ranges;
            other[2] = [other[2][0] + by[0], other[2][1] + by[1]];
            assert!(error(&other) > after, "{by:?}");
        }
    }

    #[test]
    fn without_samples_every_element_is_rounded_alone() {
        let row = row(9);
        let alone: Vec<u8> = row.iter().map(|w| nearest(0, *w).0).collect();
        assert_eq!(Gram::zero(9).compensator().round(&row, nearest), alone);
    }

    #[test]
    fn a_product_is_symmetric_and_of_all_elements() {
        let (gram, a, b) = (gram(5, 7), row(5), [1.0, -2.0, 0.5, 0.0, 3.0]);
        let by_hand: f64 = (0..5)
            .flat_map(|i| (0..5).map(move |j| (i, j)))
            .map(|(i, j)| f64::from(a[i]) * gram.blocks[0].at(i, j) * f64::from(b[j]))
            .sum();
        assert!((gram.product(&a, &b) - by_hand).abs() < 1e-6);
        assert!((gram.product(&a, &b) - gram.product(&b, &a)).abs() < 1e-9);
    }

    #[test]
    fn a_wide_row_is_judged_in_blocks() {
        let (mut wide, mut parts) = (Gram::in_blocks(10, 4), [4, 4, 2].map(Gram::zero));
        let x: Vec<f64> = (0..10).map(|i| f64::from(i) - 4.5).collect();
        wide.add(2.0, &x);
        for (part, x) in parts.iter_mut().zip(x.chunks(4)) {
            part.add(2.0, x);
        }
        let row = row(10);
        let product: f64 = parts.iter().zip(row.chunks(4)).map(|(part, row)| part.product(row, row)).sum();
        assert!((wide.product(&row, &row) - product).abs() < 1e-9);
        let codes = parts.iter().zip(row.chunks(4)).flat_map(|(part, row)| part.compensator().round(row, nearest));
        assert_eq!(wide.compensator().round(&row, nearest), codes.collect::<Vec<_>>());
    }
}
