//! Values that join one another as they join a layer's outputs, without a layer: row by row, so that what is between
//! stays near.

use super::after::{Activation, Join, Operand};
use crate::kernel::elements::{each_two, in_place, onto};

/// Values that can join the first two.
pub(crate) const MORE: usize = 2;
/// The least numbers of a row that are worth it.
pub(crate) const WIDE: usize = 8;

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
            Join::Add => each_two(a, b, out, |a, b| a + b),
            Join::Multiply => each_two(a, b, out, |a, b| a * b),
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
