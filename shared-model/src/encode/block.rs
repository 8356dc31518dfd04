//! Encoded rows of one input.

use crate::graph::DType;

/// Rows of one input, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The elements of one row.
    pub width: usize,
    /// The elements of all rows.
    pub data: Data,
}

/// The elements of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Numbers.
    F32(Vec<f32>),
    /// Indices, none negative.
    I32(Vec<i32>),
}

/// What one feature writes to: its columns of one row, and those after them.
#[derive(Debug)]
pub(crate) enum Columns<'a> {
    F32(&'a mut [f32]),
    I32(&'a mut [i32]),
}

impl Block {
    /// A block of no rows.
    #[must_use]
    pub fn empty(dtype: DType, width: usize) -> Self {
        let data = if dtype == DType::F32 { Data::F32(Vec::new()) } else { Data::I32(Vec::new()) };
        Self { width, data }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    /// Adds a row of zeros.
    pub(crate) fn append_row(&mut self) {
        match &mut self.data {
            Data::F32(v) => v.resize(v.len() + self.width, 0.0),
            Data::I32(v) => v.resize(v.len() + self.width, 0),
        }
    }

    /// Adds a copy of one row of a block of the same input.
    pub(crate) fn append_row_of(&mut self, other: &Self, row: usize) {
        let row = row * other.width..(row + 1) * other.width;
        match (&mut self.data, &other.data) {
            (Data::F32(to), Data::F32(from)) => to.extend_from_slice(&from[row]),
            (Data::I32(to), Data::I32(from)) => to.extend_from_slice(&from[row]),
            (Data::F32(_), Data::I32(_)) | (Data::I32(_), Data::F32(_)) => {
                unreachable!("blocks of one input have one element type")
            }
        }
    }

    /// Puts the first row of a block of the same input in the place of a row, or after the last.
    pub(crate) fn put_row(&mut self, row: usize, other: &Self) {
        if row == self.rows() {
            return self.append_row_of(other, 0);
        }
        let place = row * self.width..(row + 1) * self.width;
        match (&mut self.data, &other.data) {
            (Data::F32(to), Data::F32(from)) => to[place].copy_from_slice(&from[..self.width]),
            (Data::I32(to), Data::I32(from)) => to[place].copy_from_slice(&from[..self.width]),
            (Data::F32(_), Data::I32(_)) | (Data::I32(_), Data::F32(_)) => {
                unreachable!("blocks of one input have one element type")
            }
        }
    }

    /// The last row from a column on; there must be a row.
    pub(crate) fn last_row(&mut self, column: usize) -> Columns<'_> {
        let start = self.data.len() - self.width + column;
        match &mut self.data {
            Data::F32(v) => Columns::F32(&mut v[start..]),
            Data::I32(v) => Columns::I32(&mut v[start..]),
        }
    }
}

impl Data {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I32(v) => v.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I32(_) => DType::I32,
        }
    }
}
