//! A value on the device: `rows × shape of one row`, of one of the graph's element types.
//!
//! Only moves and views are here; what is computed is in [`super::op`]. Nothing here checks types: the graph's builder
//! did, so a mismatch is a bug and panics with its name.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Dispatch, DispatchDevice, Slice, TensorData, TensorMetadata, read_sync};

use shared_model::graph::DType;

use super::RunError;

pub(super) type Float = FloatTensor<Dispatch>;
pub(super) type Int = IntTensor<Dispatch>;
pub(super) type Bool = BoolTensor<Dispatch>;

/// A tensor of the backend; cloning shares its storage.
#[derive(Clone, Debug)]
pub(super) enum Value {
    F32(Float),
    I32(Int),
    Bool(Bool),
}

/// Applies the primitive of the value's element type.
macro_rules! each {
    ($value:expr, $t:ident => $float:expr, $int:expr, $bool:expr) => {
        match $value {
            Value::F32($t) => Value::F32($float),
            Value::I32($t) => Value::I32($int),
            Value::Bool($t) => Value::Bool($bool),
        }
    };
}

impl Value {
    pub(super) fn upload_f32(data: Vec<f32>, dims: Vec<usize>, device: &DispatchDevice) -> Self {
        Self::F32(Dispatch::float_from_data(TensorData::new(data, dims), device))
    }

    pub(super) fn upload_i32(data: Vec<i32>, dims: Vec<usize>, device: &DispatchDevice) -> Self {
        Self::I32(indices(data, dims, device))
    }

    /// The same on another device, by way of the host.
    pub(super) fn on(self, device: &DispatchDevice) -> Result<Self, RunError> {
        let data = match self {
            Self::F32(t) => read_sync(Dispatch::float_into_data(t)),
            Self::I32(t) => read_sync(Dispatch::int_into_data(t)),
            Self::Bool(t) => read_sync(Dispatch::bool_into_data(t)),
        };
        let data = data.map_err(|e| RunError::Device(e.to_string()))?;
        Ok(match data.dtype() {
            dtype if dtype.is_float() => Self::F32(Dispatch::float_from_data(data, device)),
            dtype if dtype.is_bool() => Self::Bool(Dispatch::bool_from_data(data, device)),
            _ => Self::I32(Dispatch::int_from_data(data, device)),
        })
    }

    pub(super) fn dims(&self) -> Vec<usize> {
        match self {
            Self::F32(t) => t.shape().to_vec(),
            Self::I32(t) => t.shape().to_vec(),
            Self::Bool(t) => t.shape().to_vec(),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I32(_) => DType::I32,
            Self::Bool(_) => DType::Bool,
        }
    }

    pub(super) fn f32(self) -> Float {
        match self {
            Self::F32(t) => t,
            other => panic!("the graph promised f32, the value is {:?}", other.dtype()),
        }
    }

    pub(super) fn i32(self) -> Int {
        match self {
            Self::I32(t) => t,
            other => panic!("the graph promised i32, the value is {:?}", other.dtype()),
        }
    }

    pub(super) fn bool(self) -> Bool {
        match self {
            Self::Bool(t) => t,
            other => panic!("the graph promised bool, the value is {:?}", other.dtype()),
        }
    }

    pub(super) fn reshape(self, dims: Vec<usize>) -> Self {
        if self.dims() == dims {
            return self;
        }
        each!(self, t => Dispatch::float_reshape(t, dims.into()), Dispatch::int_reshape(t, dims.into()),
            Dispatch::bool_reshape(t, dims.into()))
    }

    /// Puts dimensions of 1 between the rows and the shape of a row, so that rows of `rank` dimensions line up.
    pub(super) fn align(self, rank: usize) -> Self {
        let mut dims = self.dims();
        let missing = (rank + 1).saturating_sub(dims.len());
        dims.splice(1..1, std::iter::repeat_n(1, missing));
        self.reshape(dims)
    }

    pub(super) fn expand(self, dims: Vec<usize>) -> Self {
        if self.dims() == dims {
            return self;
        }
        each!(self, t => Dispatch::float_expand(t, dims.into()), Dispatch::int_expand(t, dims.into()),
            Dispatch::bool_expand(t, dims.into()))
    }

    pub(super) fn permute(self, axes: &[usize]) -> Self {
        each!(self, t => Dispatch::float_permute(t, axes), Dispatch::int_permute(t, axes),
            Dispatch::bool_permute(t, axes))
    }

    /// Indices along one dimension; `at` has one dimension.
    pub(super) fn select(self, dim: usize, at: Int) -> Self {
        each!(self, t => Dispatch::float_select(t, dim, at), Dispatch::int_select(t, dim, at),
            Dispatch::bool_select(t, dim, at))
    }

    /// `start..end` along one dimension.
    pub(super) fn slice(self, dim: usize, start: usize, end: usize) -> Self {
        let mut slices = vec![Slice::full(); self.dims().len()];
        slices[dim] = (start..end).into();
        each!(self, t => Dispatch::float_slice(t, &slices), Dispatch::int_slice(t, &slices),
            Dispatch::bool_slice(t, &slices))
    }

    /// Values of one element type beside each other.
    pub(super) fn concat(values: Vec<Self>, dim: usize) -> Self {
        match values[0].dtype() {
            DType::F32 => Self::F32(Dispatch::float_cat(values.into_iter().map(Self::f32).collect(), dim)),
            DType::I32 => Self::I32(Dispatch::int_cat(values.into_iter().map(Self::i32).collect(), dim)),
            DType::Bool => Self::Bool(Dispatch::bool_cat(values.into_iter().map(Self::bool).collect(), dim)),
        }
    }
}

/// Integers on the device.
pub(super) fn indices(data: Vec<i32>, dims: Vec<usize>, device: &DispatchDevice) -> Int {
    Dispatch::int_from_data(TensorData::new(data, dims), device)
}
