//! Values that join one another as they join a layer's outputs, without a layer: row by row, so that what is between
//! stays near.

use super::after::{Activation, Join, Operand, follow};
use crate::kernel::elements::each_two;

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
    let mut more = more.map(|of| of.map(|of| of.turns(width)));
    for out in out.chunks_exact_mut(width) {
        let (a, b) = (first.row(), second.row());
        match join {
            Join::Add => each_two(a, b, out, |a, b| a + b),
            Join::Multiply => each_two(a, b, out, |a, b| a * b),
        }
        follow(&mut more, activation, out);
    }
}
