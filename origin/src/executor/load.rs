//! From a graph and its tensors to an executor: uploads constants, computes what depends on them alone, and finds the
//! last use of every other value.

use std::collections::BTreeMap;

use thiserror::Error;

use shared_model::graph::{DType, Graph, Node, Scope, Type};
use shared_model::tensor::Tensor;

use super::op::{Ready, apply, batched};
use super::value::Value;
use super::{Executor, Fit, Step};
use crate::device::{Device, Precision};

/// The most elements of one value on the device: 64 MiB of f32.
const MAX_ELEMENTS: usize = 1 << 24;

/// Why a graph cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A constant has no tensor.
    #[error("tensor `{0}` is missing: build the bundle again")]
    Missing(String),
    /// A tensor is not what the graph says.
    #[error("tensor `{name}` is {got}, the graph wants {expected}: build the bundle again")]
    Tensor {
        /// Its name.
        name: String,
        /// What the graph says.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A tensor holds another number of elements than its shape.
    #[error("tensor `{name}` has {got} elements, its shape has {expected}: build the bundle again")]
    Length {
        /// Its name.
        name: String,
        /// Of its shape.
        expected: usize,
        /// Of its data.
        got: usize,
    },
    /// An input is of a kind that no feature gives.
    #[error("input `{name}` is {dtype:?} in {scope:?} scope: an input is f32 or i32, of a request or an item")]
    Input {
        /// Its name.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its scope.
        scope: Scope,
    },
}

impl Executor {
    /// Uploads `tensors` and makes `graph` ready to run on `device`.
    ///
    /// # Errors
    /// The tensors are not those of the graph.
    pub fn new(graph: &Graph, tensors: &BTreeMap<String, Tensor>, device: &Device) -> Result<Self, LoadError> {
        check(graph)?;
        let (kind, precision) = (device.kind(), device.precision());
        let device = device.handle().as_dispatch().clone();
        let mut constants = vec![None; graph.values().len()];
        for (id, value) in graph.constants() {
            let tensor = tensors.get(&value.name).ok_or_else(|| LoadError::Missing(value.name.clone()))?;
            let (name, ty) = (&value.name, &value.ty);
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            if (dtype, &shape) != (ty.dtype, &ty.shape) {
                return Err(LoadError::Tensor {
                    name: name.clone(),
                    expected: format!("{:?} {:?}", ty.dtype, ty.shape),
                    got: format!("{dtype:?} {shape:?}"),
                });
            }
            let sized = |got: usize| {
                let name = name.clone();
                if got == ty.len() { Ok(()) } else { Err(LoadError::Length { name, expected: ty.len(), got }) }
            };
            let dims = batched(1, &ty.shape);
            constants[id.index()] = match tensor {
                Tensor::I32 { data, .. } => {
                    sized(data.len())?;
                    Some(Value::upload_i32(data.clone(), dims, &device))
                }
                _ => {
                    let data = tensor.to_f32().unwrap_or_default();
                    sized(data.len())?;
                    Some(Value::upload_f32(data, dims, &device))
                }
            };
        }
        let fit = Fit::of(graph);
        let mut steps = Vec::new();
        for (node, Node { op, inputs, output }) in graph.nodes().iter().enumerate() {
            let out = &graph.value(*output).ty;
            let ready = if fit.ids().bounds(node) { Ready::Checked } else { Ready::new(op, &device) };
            if out.scope == Scope::Const {
                let types: Vec<&Type> = inputs.iter().map(|id| &graph.value(*id).ty).collect();
                let operands = inputs.iter().filter_map(|id| constants[id.index()].clone()).collect();
                constants[output.index()] = Some(apply(op, &ready, operands, &types, out, 1, Precision::F32));
            } else {
                steps.push(Step { node, ready, done: Vec::new() });
            }
        }
        // Nothing of request scope reads a candidate's value, so all of it can go first.
        let of_request = |step: &Step| graph.value(graph.nodes()[step.node].output).ty.scope == Scope::Request;
        let (mut request_steps, mut candidate_steps): (Vec<_>, Vec<_>) = steps.into_iter().partition(of_request);
        mark_last_uses(graph, request_steps.iter_mut().chain(&mut candidate_steps));
        // A candidate takes its request's row too where the two meet.
        let (most, most_requests) =
            (most_rows(graph, |s| s != Scope::Const), most_rows(graph, |s| s == Scope::Request));
        let graph = graph.clone();
        Ok(Self { graph, device, kind, precision, fit, constants, request_steps, candidate_steps, most, most_requests })
    }
}

/// The most rows of values of some scopes that are on the device at once.
fn most_rows(graph: &Graph, of: impl Fn(Scope) -> bool) -> usize {
    let widest = graph.values().iter().filter(|v| of(v.ty.scope)).map(|v| v.ty.len()).max();
    (MAX_ELEMENTS / widest.unwrap_or(1)).max(1)
}

fn check(graph: &Graph) -> Result<(), LoadError> {
    for (_, input) in graph.inputs() {
        let Type { dtype, scope, .. } = input.ty;
        if dtype == DType::Bool || scope == Scope::Const {
            return Err(LoadError::Input { name: input.name.clone(), dtype, scope });
        }
    }
    Ok(())
}

fn mark_last_uses<'a>(graph: &Graph, steps: impl DoubleEndedIterator<Item = &'a mut Step>) {
    let mut read_later = vec![false; graph.values().len()];
    read_later[graph.score().index()] = true;
    for step in steps.rev() {
        for &id in &graph.nodes()[step.node].inputs {
            let constant = graph.value(id).ty.scope == Scope::Const;
            if !constant && !std::mem::replace(&mut read_later[id.index()], true) {
                step.done.push(id);
            }
        }
    }
}
