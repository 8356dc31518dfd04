//! Elementwise steps over the rows of a block, broadcasting included.

use crate::graph::{Binary, Compare, Unary};
use crate::kernel::elements::{each, each_two};
use crate::kernel::{math, moves, row};
use crate::plan::broadcast::{Access, Run};
use crate::plan::memory::Rows;

/// Runs not worth a loop of their own.
const SHORT: usize = 4;

pub(super) fn unary(f: Unary, x: &[f32], out: &mut [f32]) {
    match f {
        Unary::Neg => each(x, out, |x| -x),
        Unary::Abs => each(x, out, f32::abs),
        Unary::Reciprocal => each(x, out, |x| 1.0 / x),
        Unary::Sqrt => each(x, out, f32::sqrt),
        Unary::Exp => each(x, out, math::exp),
        Unary::Log => each(x, out, math::ln),
        Unary::Erf => each(x, out, math::erf),
        // What is not a number stays so, and is found in the score.
        Unary::Relu => each(x, out, |x| if x <= 0.0 { 0.0 } else { x }),
        Unary::LeakyRelu(alpha) => each(x, out, |x| if x < 0.0 { alpha * x } else { x }),
        Unary::Sigmoid => each(x, out, math::sigmoid),
        Unary::Tanh => each(x, out, math::tanh),
        Unary::Softplus => each(x, out, math::softplus),
        Unary::Gelu => each(x, out, math::gelu),
        Unary::Not => unreachable!("compiled to `Kernel::Not`"),
    }
}

pub(super) fn binary(f: Binary, [p, q]: &[Access; 2], a: Rows<'_, f32>, b: Rows<'_, f32>, len: usize, out: &mut [f32]) {
    match f {
        Binary::Add => zip([p, q], a, b, len, out, |a, b| a + b),
        Binary::Sub => zip([p, q], a, b, len, out, |a, b| a - b),
        Binary::Mul => zip([p, q], a, b, len, out, |a, b| a * b),
        Binary::Div => zip([p, q], a, b, len, out, |a, b| a / b),
        Binary::Min => zip([p, q], a, b, len, out, row::minimum),
        Binary::Max => zip([p, q], a, b, len, out, row::maximum),
        Binary::PRelu => zip([p, q], a, b, len, out, |a, b| if a < 0.0 { a * b } else { a }),
    }
}

pub(super) fn compare<T: Copy + PartialOrd>(
    op: Compare,
    [p, q]: &[Access; 2],
    a: Rows<'_, T>,
    b: Rows<'_, T>,
    len: usize,
    out: &mut [i32],
) {
    // One loop for all, by the outcomes that make each true: five would be five times the code.
    let [less, equal, greater] = match op {
        Compare::Equal => [0, 1, 0],
        Compare::Less => [1, 0, 0],
        Compare::LessOrEqual => [1, 1, 0],
        Compare::Greater => [0, 0, 1],
        Compare::GreaterOrEqual => [0, 1, 1],
    };
    zip([p, q], a, b, len, out, |a, b| {
        i32::from(a < b) & less | i32::from(a == b) & equal | i32::from(a > b) & greater
    });
}

pub(super) fn zip<T: Copy, U>(
    [p, q]: [&Access; 2],
    a: Rows<'_, T>,
    b: Rows<'_, T>,
    len: usize,
    out: &mut [U],
    f: impl Fn(T, T) -> U,
) {
    let run = Access::common_run([p, q], len);
    for (r, out) in out.chunks_exact_mut(len).enumerate() {
        let (a, b) = (a.row(r), b.row(r));
        if run < SHORT {
            for (i, y) in out.iter_mut().enumerate() {
                *y = f(a[p.at(i)], b[q.at(i)]);
            }
            continue;
        }
        for (start, out) in (0..).step_by(run).zip(out.chunks_exact_mut(run)) {
            match (p.run(a, start, run), q.run(b, start, run)) {
                (Run::Each(a), Run::Each(b)) => each_two(a, b, out, &f),
                (Run::Each(a), Run::One(b)) => each(a, out, |a| f(a, b)),
                (Run::One(a), Run::Each(b)) => each(b, out, |b| f(a, b)),
                (Run::One(a), Run::One(b)) => out.iter_mut().for_each(|y| *y = f(a, b)),
            }
        }
    }
}

pub(super) fn choose<T: Copy>(
    [p, q, s]: &[Access; 3],
    condition: Rows<'_, i32>,
    a: Rows<'_, T>,
    b: Rows<'_, T>,
    len: usize,
    out: &mut [T],
) {
    let run = Access::common_run([p, q, s], len);
    for (r, out) in out.chunks_exact_mut(len).enumerate() {
        let (condition, a, b) = (condition.row(r), a.row(r), b.row(r));
        for (start, out) in (0..).step_by(run).zip(out.chunks_exact_mut(run)) {
            match s.run(b, start, run) {
                Run::Each(b) => moves::copy(b, out),
                Run::One(b) => out.fill(b),
            }
            match (p.run(condition, start, run), q.run(a, start, run)) {
                (Run::Each(c), Run::Each(a)) => {
                    for ((y, &c), &a) in out.iter_mut().zip(c).zip(a) {
                        *y = if c != 0 { a } else { *y };
                    }
                }
                (Run::Each(c), Run::One(a)) => {
                    for (y, &c) in out.iter_mut().zip(c) {
                        *y = if c != 0 { a } else { *y };
                    }
                }
                (Run::One(0), _) => {}
                (Run::One(_), Run::Each(a)) => moves::copy(a, out),
                (Run::One(_), Run::One(a)) => out.fill(a),
            }
        }
    }
}
