//! The bits of each row of a table whose rows differ, and where each row begins.

use thiserror::Error;

/// The bits that a row may have, by their code.
const BITS: [u8; 3] = [4, 8, 16];
/// Rows whose codes share a byte.
const PER_BYTE: usize = 4;

/// The bits of every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBits {
    width: usize,
    /// Two bits a row, the first row lowest.
    codes: Vec<u8>,
    /// Where each row begins, and the end of the last.
    starts: Vec<u32>,
}

/// Why codes are not those of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RowBitsError {
    /// A code that means nothing.
    #[error("row {row} has the code {code}, which means nothing")]
    Code {
        /// The row.
        row: usize,
        /// Its code.
        code: u8,
    },
    /// Not as many codes as rows.
    #[error("{got} bytes of codes for {rows} rows")]
    Count {
        /// The bytes there are.
        got: usize,
        /// The table's rows.
        rows: usize,
    },
    /// The rows take more than 4 GiB.
    #[error("the rows take more than 4 GiB")]
    TooLarge,
}

impl RowBits {
    /// From the bits of each row: 4, 8 or 16, and 16 for any other number.
    ///
    /// # Errors
    /// The rows would take more than 4 GiB.
    pub fn new(width: usize, bits: &[u8]) -> Result<Self, RowBitsError> {
        let code = |bits: &u8| BITS.iter().position(|b| b == bits).unwrap_or(BITS.len() - 1) as u8;
        let byte = |rows: &[u8]| rows.iter().rev().fold(0, |byte, bits| byte << 2 | code(bits));
        Self::from_codes(bits.len(), width, bits.chunks(PER_BYTE).map(byte).collect())
    }

    /// From what a file holds.
    ///
    /// # Errors
    /// The codes are not those of so many rows.
    pub fn from_codes(rows: usize, width: usize, codes: Vec<u8>) -> Result<Self, RowBitsError> {
        if codes.len() != rows.div_ceil(PER_BYTE) {
            return Err(RowBitsError::Count { got: codes.len(), rows });
        }
        let mut starts = Vec::with_capacity(rows + 1);
        let mut end = 0u32;
        starts.push(end);
        for row in 0..rows {
            let code = code(&codes, row);
            let bits = *BITS.get(usize::from(code)).ok_or(RowBitsError::Code { row, code })?;
            let bytes = u32::try_from(row_bytes(width, bits)).map_err(|_| RowBitsError::TooLarge)?;
            end = end.checked_add(bytes).ok_or(RowBitsError::TooLarge)?;
            starts.push(end);
        }
        Ok(Self { width, codes, starts })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The elements of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// What a file holds.
    #[must_use]
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The bytes of all rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.starts.last().map_or(0, |&end| end as usize)
    }

    /// The bits of one row.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn of(&self, row: usize) -> u8 {
        BITS[usize::from(code(&self.codes, row))]
    }

    /// Where a row begins.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn start(&self, row: usize) -> usize {
        self.starts[row] as usize
    }

    /// The mean over the rows.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let sum: f64 = (0..self.rows()).map(|r| f64::from(self.of(r))).sum();
        sum / self.rows().max(1) as f64
    }
}

/// The bytes of a row.
fn row_bytes(width: usize, bits: u8) -> usize {
    match bits {
        4 => width.div_ceil(2),
        8 => width,
        _ => 2 * width,
    }
}

fn code(codes: &[u8], row: usize) -> u8 {
    (codes[row / PER_BYTE] >> (2 * (row % PER_BYTE))) & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_one_after_another() {
        let bits = RowBits::new(3, &[8, 4, 16, 4, 8]).unwrap();
        let starts: Vec<usize> = (0..5).map(|r| bits.start(r)).collect();
        assert_eq!((starts, bits.bytes(), bits.rows()), (vec![0, 3, 5, 11, 13], 16, 5));
        assert_eq!((0..5).map(|r| bits.of(r)).collect::<Vec<_>>(), [8, 4, 16, 4, 8]);
        assert_eq!(RowBits::from_codes(5, 3, bits.codes().to_vec()), Ok(bits));
    }

    #[test]
    fn codes_that_are_not_the_rows_are_refused() {
        assert_eq!(RowBits::from_codes(5, 3, vec![0]), Err(RowBitsError::Count { got: 1, rows: 5 }));
        assert_eq!(RowBits::from_codes(2, 3, vec![0b1100]), Err(RowBitsError::Code { row: 1, code: 3 }));
        assert_eq!(RowBits::from_codes(3, 1 << 31, vec![0b10]), Err(RowBitsError::TooLarge));
    }

    #[test]
    fn a_table_without_rows_has_no_bytes() {
        let bits = RowBits::new(3, &[]).unwrap();
        assert_eq!((bits.rows(), bits.bytes()), (0, 0));
    }
}
