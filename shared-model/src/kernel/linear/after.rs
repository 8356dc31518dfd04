//! What follows the sums of a layer while they are in registers: other values, then an activation.

use super::ROWS;
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
pub(super) struct Beside<'a> {
    join: Join,
    rows: [&'a [f32]; ROWS],
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
    /// Beside the next `count` rows of outputs, of which the last is repeated.
    pub(super) fn beside(&mut self, count: usize) -> Beside<'a> {
        let Operand { join, data, rows_each } = self.of;
        let mut row = &data[self.at..][..self.width];
        let rows = std::array::from_fn(|r| {
            if r < count {
                row = &data[self.at..][..self.width];
                self.left -= 1;
                if self.left == 0 {
                    (self.at, self.left) = (self.at + self.width, rows_each);
                    if self.at == data.len() {
                        self.at = 0;
                    }
                }
            }
            row
        });
        Beside { join, rows }
    }
}

impl Beside<'_> {
    /// Joins the outputs of the panel that begins at `first`.
    #[inline(always)]
    pub(super) fn apply<const R: usize>(&self, first: usize, y: &mut [Column; R]) {
        match self.join {
            Join::Add => self.each(first, y, |y, x| y + x),
            Join::Multiply => self.each(first, y, |y, x| y * x),
        }
    }

    /// Joins the only output of each row.
    pub(super) fn apply_single(&self, y: F32x4) -> F32x4 {
        let x = F32x4::load(&self.rows.map(|row| row[0]));
        match self.join {
            Join::Add => y + x,
            Join::Multiply => y * x,
        }
    }

    #[inline(always)]
    fn each<const R: usize>(&self, first: usize, y: &mut [Column; R], f: impl Fn(F32x4, F32x4) -> F32x4) {
        for (y, row) in y.iter_mut().zip(&self.rows) {
            let [a, b] = load(&row[first..]);
            *y = [f(y[0], a), f(y[1], b)];
        }
    }
}

/// The first numbers of `x`, zeros after the last.
#[inline(always)]
fn load(x: &[f32]) -> Column {
    match x.first_chunk::<PANEL>() {
        Some(x) => {
            let (halves, _) = x.as_chunks();
            [F32x4::load(&halves[0]), F32x4::load(&halves[1])]
        }
        None => load_part(x),
    }
}

#[inline(never)]
fn load_part(x: &[f32]) -> Column {
    [x, x.get(LANES..).unwrap_or_default()].map(F32x4::load_first)
}

impl Activation {
    /// What can be done in registers.
    #[inline(always)]
    pub(super) fn apply<const R: usize>(self, y: &mut [Column; R]) {
        let y = y.as_flattened_mut();
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
