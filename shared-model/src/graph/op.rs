//! The ops: a closed set, each defined on one row (see the module above for why there is no batch dimension).

use serde::{Deserialize, Serialize};

use super::DType;
use crate::kernel::math;

/// What a node computes. Shapes are of one row; axes count from 0 and are in range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// `f(x)` on every element.
    Unary(Unary),
    /// `f(a, b)` with NumPy broadcasting.
    Binary(Binary),
    /// `a ? b` with NumPy broadcasting, giving booleans. Operands are f32 or i32.
    Compare(Compare),
    /// Booleans, with NumPy broadcasting.
    Logic(Logic),
    /// `min(max(x, low), high)` on f32.
    Clip {
        /// The lower bound, none by default.
        min: Option<f32>,
        /// The upper bound, none by default.
        max: Option<f32>,
    },
    /// Another element type: truncation toward zero from f32 to i32, `x != 0` to bool.
    Cast {
        /// The type of the result.
        to: DType,
    },
    /// `condition ? a : b` with NumPy broadcasting; operands (condition, a, b).
    Where,
    /// `x · wᵀ + b`; operands (x `[.., K]`, constant w `[O, K]`, optional constant b `[O]`).
    Linear,
    /// A product of two values of the row, batched over leading dimensions with broadcasting; `[.., M, K] · [.., K, N]`.
    MatMul,
    /// Rows of a constant table; operands (table `[R, D]`, ids i32 `[..]`), result `[.., D]`.
    Embedding,
    /// Constant indices along one axis; the axis is replaced by them.
    Select {
        /// The axis.
        axis: usize,
        /// The indices, in range.
        indices: Vec<usize>,
    },
    /// Values beside each other along one axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// The same elements, in the same order, in another shape.
    Reshape {
        /// The shape of the result.
        shape: Vec<usize>,
    },
    /// Dimension `d` of the result is dimension `perm[d]` of the operand.
    Transpose {
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// NumPy broadcasting to a shape.
    Expand {
        /// The shape of the result.
        shape: Vec<usize>,
    },
    /// A reduction over axes.
    Reduce {
        /// Which.
        kind: Reduce,
        /// The axes, ascending.
        axes: Vec<usize>,
        /// Whether a reduced axis stays with length 1.
        keep: bool,
    },
    /// `exp(x - max) / sum` along one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Normalization over the last axis; operands (x `[.., D]`, constant scale `[D]`, optional constant bias `[D]`).
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
}

impl Op {
    /// The op's name, as in a variant's graph and in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unary(_) => "unary",
            Self::Binary(_) => "binary",
            Self::Compare(_) => "compare",
            Self::Logic(_) => "logic",
            Self::Clip { .. } => "clip",
            Self::Cast { .. } => "cast",
            Self::Where => "where",
            Self::Linear => "linear",
            Self::MatMul => "mat_mul",
            Self::Embedding => "embedding",
            Self::Select { .. } => "select",
            Self::Concat { .. } => "concat",
            Self::Reshape { .. } => "reshape",
            Self::Transpose { .. } => "transpose",
            Self::Expand { .. } => "expand",
            Self::Reduce { .. } => "reduce",
            Self::Softmax { .. } => "softmax",
            Self::LayerNorm { .. } => "layer_norm",
        }
    }
}

/// An elementwise function of one f32, but [`Unary::Not`] of one boolean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// `1 / x`
    Reciprocal,
    /// The square root.
    Sqrt,
    /// The exponential.
    Exp,
    /// The natural logarithm.
    Log,
    /// The error function.
    Erf,
    /// `max(x, 0)`
    Relu,
    /// `x`, or `alpha * x` below 0.
    LeakyRelu(f32),
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x * (1 + erf(x / sqrt(2))) / 2`
    Gelu,
    /// The negation of a boolean.
    Not,
}

impl Unary {
    /// Its value on a number, as a plan computes it; [`Unary::Not`] is of booleans, and its own inverse on 0 and 1.
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Neg => -x,
            Self::Abs => x.abs(),
            Self::Reciprocal => 1.0 / x,
            Self::Sqrt => x.sqrt(),
            Self::Exp => math::exp(x),
            Self::Log => math::ln(x),
            Self::Erf => math::erf(x),
            Self::Relu => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::LeakyRelu(alpha) => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Sigmoid => math::sigmoid(x),
            Self::Tanh => math::tanh(x),
            Self::Softplus => math::softplus(x),
            Self::Gelu => math::gelu(x),
            Self::Not => 1.0 - x,
        }
    }
}

/// An elementwise function of two operands of one type: f32, or i32 for `add`, `sub`, `mul`, `min`, `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The smaller; NaN if one is.
    Min,
    /// The larger; NaN if one is.
    Max,
    /// `a`, or `a * b` where `a < 0`: a leaky ReLU with the slope as operand.
    PRelu,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// `a == b`
    Equal,
    /// `a < b`
    Less,
    /// `a <= b`
    LessOrEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterOrEqual,
}

/// A function of two booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Logic {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// A reduction; `sum` and `mean` on f32, `min` and `max` on f32 and i32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    /// The sum, in ascending order of index.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// The strictly monotone op after the value ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// None: the model's output is what candidates are ranked by.
    Identity,
    /// A probability.
    Sigmoid,
    /// A value in (-1, 1).
    Tanh,
    /// A positive value.
    Exp,
}

impl Link {
    /// From the score candidates are ranked by to the score the model's author sees.
    #[must_use]
    pub fn apply(self, score: f32) -> f32 {
        match self {
            Self::Identity => score,
            Self::Sigmoid => math::sigmoid(score),
            Self::Tanh => math::tanh(score),
            Self::Exp => math::exp(score),
        }
    }
}
