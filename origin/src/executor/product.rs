//! Products of matrices, in the precision that is asked for.
//!
//! Left to itself, the library takes what is fastest, and from Ampere on that may be TF32 for operands of f32. So on a
//! GPU f32 goes to kernels that have no tensor cores in them; on the CPU there is nothing else.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, FloatDType, backend_extension};

#[cfg(feature = "cuda")]
use burn::backend::Cube;

use super::value::Float;
use crate::device::Precision;

/// `[…, M, K] · […, K, N]`
pub(super) fn product(a: Float, b: Float, precision: Precision) -> Float {
    match precision {
        Precision::F32 => Dispatch::ieee(a, b),
        Precision::Tf32 => Dispatch::float_matmul(a, b),
        Precision::Bf16 => {
            let [a, b] = [a, b].map(|x| Dispatch::float_cast(x, FloatDType::BF16));
            Dispatch::float_cast(Dispatch::float_matmul(a, b), FloatDType::F32)
        }
    }
}

/// Products that are IEEE f32 whatever the device.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"))]
trait Ieee: Backend {
    fn ieee(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Ieee for Flex {
    fn ieee(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(a, b)
    }
}

#[cfg(feature = "cuda")]
impl Ieee for Cube {
    fn ieee(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        super::tuned::ieee(a, b)
    }
}
