//! The tensors of a variant's file, which are written one after the other.

use std::borrow::Cow;

use half::f16;
use safetensors::tensor::{Dtype, SafeTensorError, View};

use crate::tensor::{GROUP, Tensor};

/// One tensor of the file; a quantized constant is several.
pub(super) struct Part<'a> {
    pub(super) name: String,
    shape: Vec<usize>,
    elements: Elements<'a>,
}

/// Bytes are made of them when they are written, for a variant may be most of the memory.
enum Elements<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
    F16(&'a [f16]),
    I8(&'a [i8]),
    U8(&'a [u8]),
}

impl Part<'_> {
    /// Whether its elements are as many as its shape says.
    pub(super) fn check(&self) -> Result<(), SafeTensorError> {
        let wanted = self.shape.iter().try_fold(self.dtype().bitsize() / 8, |n, &d| n.checked_mul(d));
        if wanted == Some(self.data_len()) {
            return Ok(());
        }
        Err(SafeTensorError::InvalidTensorView(self.dtype(), self.shape.clone(), self.data_len()))
    }
}

impl View for &Part<'_> {
    fn dtype(&self) -> Dtype {
        match self.elements {
            Elements::F32(_) => Dtype::F32,
            Elements::I32(_) => Dtype::I32,
            Elements::F16(_) => Dtype::F16,
            Elements::I8(_) => Dtype::I8,
            Elements::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.elements {
            Elements::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::I8(v) => v.iter().map(|x| x.cast_unsigned()).collect(),
            Elements::U8(v) => Cow::Borrowed(v),
        }
    }

    fn data_len(&self) -> usize {
        match self.elements {
            Elements::F32(v) => size_of_val(v),
            Elements::I32(v) => size_of_val(v),
            Elements::F16(v) => size_of_val(v),
            Elements::I8(v) => size_of_val(v),
            Elements::U8(v) => v.len(),
        }
    }
}

/// What a constant is in the file.
pub(super) fn parts<'a>(name: &str, tensor: &'a Tensor) -> Vec<Part<'a>> {
    let part = |suffix: &str, shape: Vec<usize>, elements| Part { name: format!("{name}{suffix}"), shape, elements };
    match tensor {
        Tensor::F32 { shape, data } => {
            vec![part("", shape.clone(), Elements::F32(data))]
        }
        Tensor::I32 { shape, data } => {
            vec![part("", shape.clone(), Elements::I32(data))]
        }
        Tensor::Linear8 { outputs, inputs, q, scale, offset, .. } => vec![
            part(".q", vec![*outputs, *inputs], Elements::I8(q)),
            part(".scale", vec![*outputs], Elements::F32(scale)),
            part(".offset", vec![*outputs], Elements::F32(offset)),
        ],
        Tensor::Linear4 { outputs, inputs, q, scale, min } => {
            let groups = vec![*outputs, inputs.div_ceil(GROUP)];
            vec![
                part(".q", vec![*outputs, inputs.div_ceil(2)], Elements::U8(q)),
                part(".scale", groups.clone(), Elements::F16(scale)),
                part(".min", groups, Elements::F16(min)),
            ]
        }
        Tensor::Table8 { rows, width, q, scale, min } => vec![
            part(".q", vec![*rows, *width], Elements::U8(q)),
            part(".scale", vec![*rows], Elements::F16(scale)),
            part(".min", vec![*rows], Elements::F16(min)),
        ],
        Tensor::Table4 { rows, width, q, scale, min } => vec![
            part(".q", vec![*rows, width.div_ceil(2)], Elements::U8(q)),
            part(".scale", vec![*rows], Elements::F16(scale)),
            part(".min", vec![*rows], Elements::F16(min)),
        ],
        Tensor::TableMixed { bits, q, scale, min } => vec![
            part(".bits", vec![bits.codes().len()], Elements::U8(bits.codes())),
            part(".q", vec![q.len()], Elements::U8(q)),
            part(".scale", vec![bits.rows()], Elements::F16(scale)),
            part(".min", vec![bits.rows()], Elements::F16(min)),
        ],
    }
}
