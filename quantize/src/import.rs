//! ONNX → [`shared_model::graph`]: the first step of a build.
//!
//! A graph's values are those of one candidate, so lowering has to find, for every ONNX value, the axis along which the
//! candidates lie, and to refuse every operator that works along it. That a model could be lowered at all is the proof
//! that it scores each candidate on its own. Nothing here changes what is computed: no weight is touched, and a bias
//! is folded into its linear only because the linear adds it last as well.

mod array;
mod call;
mod fold;
mod lower;
mod onnx;
mod ops;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;
use shared_model::graph::{Graph, GraphError};
use shared_model::schema::InputSpec;
use shared_model::tensor::Tensor;
use thiserror::Error;

/// A model that can be quantized and run.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What it computes.
    pub graph: Graph,
    /// Its constants, in full precision.
    pub tensors: BTreeMap<String, Tensor>,
    /// The ONNX value candidates are ranked by: the model's output, or what its last monotone op is applied to.
    pub score_name: String,
    /// The model's output.
    pub output_name: String,
    /// The ONNX inputs in use, by name, with the dimensions that follow the candidates'.
    pub inputs: Vec<ModelInput>,
}

/// An input of the ONNX model, to feed an independent runtime with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInput {
    /// Its name.
    pub name: String,
    /// The dimensions that follow the candidates'.
    pub row: Vec<usize>,
    /// Whether it takes 64-bit integers, 32-bit integers or floats.
    pub elem: Elem,
}

/// The element type of an ONNX input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// `float`
    F32,
    /// `int32`
    I32,
    /// `int64`
    I64,
}

/// Why a model cannot be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The bytes are not a model.
    #[error("not a usable ONNX model: {0}")]
    NotOnnx(String),
    /// A stored tensor cannot be used.
    #[error("tensor `{name}`: {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// Model and schema disagree on an input.
    #[error("input `{name}`: {what}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// An operator works across candidates.
    #[error(
        "node `{node}` ({op}) mixes candidates: {how}. Rung ranks each candidate on its own: take the listwise part out of the model"
    )]
    Mixes {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// In what way.
        how: String,
    },
    /// An operator, or a form of it, that has no lowering.
    #[error("node `{node}` ({op}, domain `{domain}`, opset {opset}) cannot be imported: {what}")]
    Unsupported {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// The operator's domain.
        domain: String,
        /// The version of that domain.
        opset: i64,
        /// What is wrong and what to do.
        what: String,
    },
    /// The model's output is not a score.
    #[error("output `{name}`: {what}")]
    Output {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The graph is larger than allowed.
    #[error("{0}")]
    Graph(#[from] GraphError),
}

/// Reads `model`, the bytes of an ONNX file, fed by the schema's `inputs`.
///
/// # Errors
/// Names the node, tensor, input or output at fault and what to do.
pub fn import(mut model: &[u8], inputs: &[InputSpec]) -> Result<Imported, ImportError> {
    import_from(&mut model, inputs)
}

/// As [`import`], of an open file.
///
/// # Errors
/// Names the node, tensor, input or output at fault and what to do.
pub fn import_from(model: &mut dyn Read, inputs: &[InputSpec]) -> Result<Imported, ImportError> {
    lower::lower(&onnx::read(model)?, inputs)
}

/// An input as an ONNX model declares it.
#[derive(Clone, Debug, Serialize)]
pub struct DeclaredInput {
    /// Its name.
    pub name: String,
    /// ONNX's name of its element type.
    pub elem: String,
    /// Its dimensions; `None` for one that is not fixed.
    pub shape: Vec<Option<usize>>,
}

/// The inputs of an ONNX model as it declares them.
///
/// # Errors
/// The bytes are not a usable model.
pub fn declared_inputs(mut model: &[u8]) -> Result<Vec<DeclaredInput>, ImportError> {
    let inputs = onnx::read(&mut model)?.inputs.into_iter();
    Ok(inputs.map(|i| DeclaredInput { name: i.name, elem: onnx::elem::name(i.elem), shape: i.shape }).collect())
}
