//! What follows the sums of a layer while they are in registers: other values, then an activation.

use super::layout::{Column, PANEL};
use crate::kernel::lanes::{F32x4, LANES};
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

/// The rows of an operand beside some rows of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a, const R: usize> {
    join: Join,
    rows: [&'a [f32]; R],
}

/// The same in panels, as far as they are whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels<'a, const R: usize> {
    join: Join,
    rows: [&'a [[f32; PANEL]]; R],
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

    /// Beside the next rows of outputs.
    pub(super) fn next<const R: usize>(&mut self) -> Beside<'a, R> {
        Beside { join: self.of.join, rows: std::array::from_fn(|_| self.row()) }
    }

    /// Joins the only outputs of the next rows, so many of which there are.
    pub(super) fn join_single(&mut self, y: F32x4, rows: usize) -> F32x4 {
        let x = F32x4::load(&std::array::from_fn(|r| if r < rows { self.row()[0] } else { 0.0 }));
        match self.of.join {
            Join::Add => y + x,
            Join::Multiply => y * x,
        }
    }
}

impl<'a, const R: usize> Beside<'a, R> {
    /// The first panels, so many.
    #[inline(always)]
    pub(super) fn panels(&self, count: usize) -> Panels<'a, R> {
        Panels { join: self.join, rows: self.rows.map(|row| &row.as_chunks::<PANEL>().0[..count]) }
    }

    /// Joins the outputs from `first` on, which are less than a panel.
    pub(super) fn apply_last(&self, first: usize, y: &mut [Column; R]) {
        let rows = self.rows.map(|row| row[first..].chunks(LANES));
        let x = rows.map(|mut row| [(); 2].map(|()| F32x4::load_first(row.next().unwrap_or_default())));
        self.join.apply(y.as_flattened_mut(), x.as_flattened());
    }
}

impl<const R: usize> Panels<'_, R> {
    /// Joins the outputs of panel `p`.
    #[inline(always)]
    pub(super) fn apply(&self, p: usize, y: &mut [Column; R]) {
        let halves = |row: &[[f32; PANEL]]| {
            let (halves, _) = row[p].as_chunks();
            [F32x4::load(&halves[0]), F32x4::load(&halves[1])]
        };
        self.join.apply(y.as_flattened_mut(), self.rows.map(halves).as_flattened());
    }
}

impl Join {
    /// Joins as many numbers to `y`.
    #[inline(always)]
    pub(super) fn apply(self, y: &mut [F32x4], x: &[F32x4]) {
        match self {
            Self::Add => y.iter_mut().zip(x).for_each(|(y, x)| *y = *y + *x),
            Self::Multiply => y.iter_mut().zip(x).for_each(|(y, x)| *y = *y * *x),
        }
    }
}

impl Activation {
    /// What can be done in registers.
    #[inline(always)]
    pub(super) fn apply(self, y: &mut [F32x4]) {
        match self {
            Self::None | Self::Gelu => {}
            Self::Relu => y.iter_mut().for_each(|y| *y = y.relu()),
            Self::Leaky(slope) => y.iter_mut().for_each(|y| *y = y.or_if_negative(F32x4::splat(slope) * *y)),
        }
    }

    /// The rest, over outputs just written.
    pub(super) fn apply_rest(self, out: &mut [f32]) {
        if self == Self::Gelu {
            let (blocks, rest) = out.as_chunks_mut::<{ 2 * LANES }>();
            turns::each(blocks.iter_mut(), |y| *y = y.map(math::gelu));
            rest.iter_mut().for_each(|y| *y = math::gelu(*y));
        }
    }
}
