//! What follows the sums of a layer: other values, then an activation, row by row over outputs just written. They are
//! in the first cache then, and an engine that keeps little in registers across a loop loses nothing by that.

use crate::kernel::elements::{in_place, onto, onto_two};
use crate::kernel::lanes::LANES;
use crate::kernel::{math, turns};

/// The last thing a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    None,
    /// `y <= 0 ? 0 : y`
    Relu,
    /// `y < 0 ? slope * y : y`
    Leaky(f32),
    Gelu,
}

/// How a value joins the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Add,
    Multiply,
}

/// A value that joins the outputs, in rows as wide as theirs: each for so many rows of outputs, then the next, and from
/// the last on to the first again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    pub(crate) join: Join,
    pub(crate) data: &'a [f32],
    pub(crate) rows_each: usize,
}

impl<'a> Operand<'a> {
    /// From its first row on, each as wide as `width`.
    pub(super) fn turns(self, width: usize) -> Turns<'a> {
        Turns { of: self, width, at: 0, left: self.rows_each }
    }
}

/// The rows of an operand, one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns<'a> {
    of: Operand<'a>,
    width: usize,
    /// Where the next row begins, and for how many more rows of outputs it is.
    at: usize,
    left: usize,
}

impl<'a> Turns<'a> {
    /// Beside the next row of outputs.
    pub(super) fn row(&mut self) -> &'a [f32] {
        let Operand { data, rows_each, .. } = self.of;
        let row = &data[self.at..][..self.width];
        self.left -= 1;
        if self.left == 0 {
            (self.at, self.left) = (self.at + self.width, rows_each);
            if self.at == data.len() {
                self.at = 0;
            }
        }
        row
    }

    /// Joins the next rows of outputs.
    fn join(&mut self, out: &mut [f32]) {
        let out = out.chunks_exact_mut(self.width);
        match self.of.join {
            Join::Add => out.for_each(|out| onto(self.row(), out, |y, x| y + x)),
            Join::Multiply => out.for_each(|out| onto(self.row(), out, |y, x| y * x)),
        }
    }
}

/// Joins values to rows of outputs, in this order, and activates those.
pub(super) fn follow<const N: usize>(operands: &mut [Option<Turns<'_>>; N], activation: Activation, out: &mut [f32]) {
    match activation {
        Activation::None => join(operands, out, |y| y),
        Activation::Relu => join(operands, out, |y| if y <= 0.0 { 0.0 } else { y }),
        // The larger of two is one instruction. Times 0 it would differ for an infinity.
        Activation::Leaky(slope) if slope <= 1.0 && slope != 0.0 => join(operands, out, |y| {
            let less = slope * y;
            if y < less { less } else { y }
        }),
        Activation::Leaky(slope) => join(operands, out, |y| if y < 0.0 { slope * y } else { y }),
        Activation::Gelu => {
            join(operands, out, |y| y);
            let (blocks, rest) = out.as_chunks_mut::<{ 2 * LANES }>();
            turns::each(blocks.iter_mut(), |y| *y = y.map(math::gelu));
            rest.iter_mut().for_each(|y| *y = math::gelu(*y));
        }
    }
}

/// Joins values and takes what comes of it through `f`, in one pass where two are added.
fn join<const N: usize>(operands: &mut [Option<Turns<'_>>; N], out: &mut [f32], f: impl Fn(f32) -> f32) {
    let adds = |of: &Turns<'_>| of.of.join == Join::Add;
    match operands.as_mut_slice() {
        [Some(a), Some(b)] if adds(a) && adds(b) => {
            let out = out.chunks_exact_mut(a.width);
            out.for_each(|out| onto_two(a.row(), b.row(), out, |y, a, b| f(y + a + b)));
        }
        operands => {
            operands.iter_mut().flatten().for_each(|of| of.join(out));
            in_place(out, f);
        }
    }
}
