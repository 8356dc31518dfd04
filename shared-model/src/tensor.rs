//! Constant tensors of a variant, full or quantized.
//!
//! A quantized form is tied to its use: a linear's weight is quantized by output channel or group, a table by row.
//! [`Tensor::to_f32`] says what a quantized form means; the kernels compute with the integers themselves.

mod rows;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::graph::DType;
pub use rows::{RowBits, RowBitsError};

/// The input elements that share one scale and minimum in a 4-bit linear.
pub const GROUP: usize = 32;

/// What the inputs of a layer with integer weights are rounded to, row by row, when it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// 7 bits, with a scale and a minimum a row: fast where there is relaxed SIMD.
    Seven,
    /// 16 bits, with a scale a row.
    #[default]
    Sixteen,
}

/// A constant tensor; data is row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Full precision.
    F32 {
        /// The dimensions.
        shape: Vec<usize>,
        /// The elements.
        data: Vec<f32>,
    },
    /// Integers.
    I32 {
        /// The dimensions.
        shape: Vec<usize>,
        /// The elements.
        data: Vec<i32>,
    },
    /// A linear's weight `[outputs, inputs]`, 8 bits: `w = q * scale[o] + offset[o]`.
    Linear8 {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
        /// `[outputs, inputs]`
        q: Vec<i8>,
        /// One an output.
        scale: Vec<f32>,
        /// One an output: the weights of a channel are seldom centred.
        offset: Vec<f32>,
        /// What the inputs are rounded to.
        activations: Activations,
    },
    /// A linear's weight, 4 bits: `w = q * scale[o, g] + min[o, g]` with g = i / [`GROUP`].
    Linear4 {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
        /// Two a byte, low nibble first; each output starts a byte.
        q: Vec<u8>,
        /// `[outputs, groups]`
        scale: Vec<f16>,
        /// `[outputs, groups]`
        min: Vec<f16>,
    },
    /// An embedding table `[rows, width]`, 8 bits: `w = q * scale[r] + min[r]`.
    Table8 {
        /// Rows.
        rows: usize,
        /// Elements of a row.
        width: usize,
        /// `[rows, width]`
        q: Vec<u8>,
        /// One a row.
        scale: Vec<f16>,
        /// One a row.
        min: Vec<f16>,
    },
    /// An embedding table whose rows have 4, 8 or 16 bits each: those of 16 are f16 without a scale.
    TableMixed {
        /// The bits of each row, and so how many rows there are.
        bits: RowBits,
        /// The rows one after another, as in the other forms.
        q: Vec<u8>,
        /// One a row.
        scale: Vec<f16>,
        /// One a row.
        min: Vec<f16>,
    },
    /// An embedding table, 4 bits, otherwise as [`Tensor::Table8`].
    Table4 {
        /// Rows.
        rows: usize,
        /// Elements of a row.
        width: usize,
        /// Two a byte, low nibble first; each row starts a byte.
        q: Vec<u8>,
        /// One a row.
        scale: Vec<f16>,
        /// One a row.
        min: Vec<f16>,
    },
}

impl Tensor {
    /// The dimensions.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::F32 { shape, .. } | Self::I32 { shape, .. } => shape.clone(),
            Self::Linear8 { outputs, inputs, .. } | Self::Linear4 { outputs, inputs, .. } => vec![*outputs, *inputs],
            Self::Table8 { rows, width, .. } | Self::Table4 { rows, width, .. } => vec![*rows, *width],
            Self::TableMixed { bits, .. } => vec![bits.rows(), bits.width()],
        }
    }

    /// The element type a graph sees; every quantized form stands for f32.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::I32 { .. } => DType::I32,
            _ => DType::F32,
        }
    }

    /// The bytes its data takes in a bundle.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32 { data, .. } => 4 * data.len(),
            Self::I32 { data, .. } => 4 * data.len(),
            Self::Linear8 { q, scale, offset, .. } => q.len() + 4 * (scale.len() + offset.len()),
            Self::Linear4 { q, scale, min, .. }
            | Self::Table8 { q, scale, min, .. }
            | Self::Table4 { q, scale, min, .. } => q.len() + 2 * (scale.len() + min.len()),
            Self::TableMixed { bits, q, scale, min } => q.len() + 2 * (scale.len() + min.len()) + bits.codes().len(),
        }
    }

    /// The bits of one weight, on average.
    #[must_use]
    pub fn bits(&self) -> f64 {
        match self {
            Self::F32 { .. } | Self::I32 { .. } => 32.0,
            Self::Linear8 { .. } | Self::Table8 { .. } => 8.0,
            Self::Linear4 { .. } | Self::Table4 { .. } => 4.0,
            Self::TableMixed { bits, .. } => bits.mean(),
        }
    }

    /// The bits that a layer rounds its inputs to beside these weights; `None` if it does not.
    #[must_use]
    pub fn activation_bits(&self) -> Option<u8> {
        match self {
            Self::Linear8 { activations: Activations::Seven, .. } => Some(7),
            Self::Linear8 { .. } | Self::Linear4 { .. } => Some(16),
            _ => None,
        }
    }

    /// What the tensor means in full precision, `None` for integers.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        Some(match self {
            Self::F32 { data, .. } => data.clone(),
            Self::I32 { .. } => return None,
            Self::Linear8 { inputs, q, scale, offset, .. } => {
                let rows = q.chunks_exact(*inputs).zip(scale.iter().zip(offset));
                rows.flat_map(|(row, (s, m))| row.iter().map(move |&q| f32::from(q) * s + m)).collect()
            }
            Self::Linear4 { outputs, inputs, q, scale, min } => {
                let groups = inputs.div_ceil(GROUP);
                (0..*outputs)
                    .flat_map(|o| {
                        let row = &q[o * inputs.div_ceil(2)..];
                        (0..*inputs).map(move |i| {
                            let g = o * groups + i / GROUP;
                            f32::from(nibble(row, i)) * scale[g].to_f32() + min[g].to_f32()
                        })
                    })
                    .collect()
            }
            Self::Table8 { .. } | Self::Table4 { .. } | Self::TableMixed { .. } => {
                let [rows, width] = self.shape()[..] else { unreachable!("a table has two dimensions") };
                let mut data = vec![0.0; rows * width];
                for (r, row) in data.chunks_exact_mut(width.max(1)).enumerate() {
                    self.copy_row(r, row);
                }
                data
            }
        })
    }

    /// Writes row `r` of a table; `out` is one row wide.
    ///
    /// # Panics
    /// On a tensor that is not a table, or a row it does not have.
    pub fn copy_row(&self, r: usize, out: &mut [f32]) {
        let width = out.len();
        match self {
            Self::F32 { data, .. } => out.copy_from_slice(&data[r * width..][..width]),
            Self::Table8 { q, scale, min, .. } => widen8(&q[r * width..], scale[r], min[r], out),
            Self::Table4 { q, scale, min, .. } => widen4(&q[r * width.div_ceil(2)..], scale[r], min[r], out),
            Self::TableMixed { bits, q, scale, min } => {
                let row = &q[bits.start(r)..];
                match bits.of(r) {
                    4 => widen4(row, scale[r], min[r], out),
                    8 => widen8(row, scale[r], min[r], out),
                    _ => {
                        for (x, bytes) in out.iter_mut().zip(row.as_chunks().0) {
                            *x = f16::from_le_bytes(*bytes).to_f32();
                        }
                    }
                }
            }
            Self::I32 { .. } | Self::Linear8 { .. } | Self::Linear4 { .. } => panic!("not a table"),
        }
    }
}

fn widen8(row: &[u8], scale: f16, min: f16, out: &mut [f32]) {
    let (s, m) = (scale.to_f32(), min.to_f32());
    for (x, &q) in out.iter_mut().zip(row) {
        *x = f32::from(q) * s + m;
    }
}

fn widen4(row: &[u8], scale: f16, min: f16, out: &mut [f32]) {
    let (s, m) = (scale.to_f32(), min.to_f32());
    let widen = |q: u8| f32::from(q) * s + m;
    let last = out.len().wrapping_sub(1);
    let (pairs, odd) = out.as_chunks_mut::<2>();
    for (x, &byte) in pairs.iter_mut().zip(row) {
        *x = [byte & 15, byte >> 4].map(widen);
    }
    for x in odd {
        *x = widen(nibble(row, last));
    }
}

/// Element `i` of packed 4-bit values.
pub(crate) fn nibble(packed: &[u8], i: usize) -> u8 {
    (packed[i / 2] >> (4 * (i % 2))) & 15
}
