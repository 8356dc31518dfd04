//! Values that join one another as they join a layer's outputs, without a layer: row by row, so that what is between
//! stays near.

use super::after::{Activation, Join, Operand};

/// Values that can join the first two.
pub(crate) const MORE: usize = 2;
/// The least numbers of a row that are worth it.
pub(crate) const WIDE: usize = 8;
/// Numbers of a turn: a few registers.
const BLOCK: usize = 32;

/// Joins values, of so many numbers a row, in this order; how the first would join is not looked at.
pub(crate) fn joined(
    width: usize,
    [first, second]: [Operand<'_>; 2],
    more: [Option<Operand<'_>>; MORE],
    activation: Activation,
    out: &mut [f32],
) {
    let join = second.join;
    let [mut first, mut second] = [first, second].map(|of| of.turns(width));
    let mut more = more.map(|of| of.map(|of| (of.join, of.turns(width))));
    for out in out.chunks_exact_mut(width) {
        let (a, b) = (first.row(), second.row());
        match join {
            Join::Add => of_two(a, b, out, |a, b| a + b),
            Join::Multiply => of_two(a, b, out, |a, b| a * b),
        }
        for (join, of) in more.iter_mut().flatten() {
            match join {
                Join::Add => onto(of.row(), out, |y, x| y + x),
                Join::Multiply => onto(of.row(), out, |y, x| y * x),
            }
        }
        match activation {
            Activation::Relu => in_place(out, |y| if y <= 0.0 { 0.0 } else { y }),
            Activation::Leaky(slope) => in_place(out, |y| if y < 0.0 { slope * y } else { y }),
            Activation::None | Activation::Gelu => {}
        }
    }
    activation.apply_rest(out);
}

fn of_two(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<BLOCK>(), b.as_chunks::<BLOCK>());
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for ((out, a), b) in blocks.iter_mut().zip(a).zip(b) {
        out.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b));
    }
    rest.iter_mut().zip(a_rest).zip(b_rest).for_each(|((y, &a), &b)| *y = f(a, b));
}

fn onto(x: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let ((x, x_rest), (blocks, rest)) = (x.as_chunks::<BLOCK>(), out.as_chunks_mut::<BLOCK>());
    for (out, x) in blocks.iter_mut().zip(x) {
        out.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x));
    }
    rest.iter_mut().zip(x_rest).for_each(|(y, &x)| *y = f(*y, x));
}

fn in_place(out: &mut [f32], f: impl Fn(f32) -> f32) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for out in blocks {
        out.iter_mut().for_each(|y| *y = f(*y));
    }
    rest.iter_mut().for_each(|y| *y = f(*y));
}
