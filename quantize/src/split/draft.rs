//! A model under reconstruction: nodes are pushed once each, and constants can be cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_model::graph::{Builder, DType, Graph, GraphError, Link, Op, Scope, Source, Type, ValueId};
use shared_model::tensor::Tensor;

use super::Model;

/// Values keep the numbers they have in the model it is made of, as far as they are inputs and constants.
pub(super) struct Draft {
    builder: Builder,
    tensors: BTreeMap<String, Arc<Tensor>>,
    /// The names of the constants.
    constants: BTreeMap<ValueId, String>,
    /// What computes a value.
    made: BTreeMap<ValueId, (Op, Vec<ValueId>)>,
    /// What is computed of the same operands.
    of: BTreeMap<Vec<ValueId>, Vec<ValueId>>,
}

impl Draft {
    /// Inputs and constants of a model, without its nodes; and their numbers.
    pub(super) fn of(model: &Model) -> Result<(Self, Vec<ValueId>), GraphError> {
        let mut builder = Builder::new();
        let mut constants = BTreeMap::new();
        let mut ids = Vec::new();
        for (id, value) in (0u32..).map(ValueId).zip(model.graph.values()) {
            match value.source {
                Source::Input => ids.push(builder.input(&value.name, value.ty.clone())?),
                Source::Constant => {
                    ids.push(builder.constant(&value.name, value.ty.dtype, &value.ty.shape)?);
                    constants.insert(id, value.name.clone());
                }
                Source::Node(_) => {}
            }
        }
        let (made, of) = (BTreeMap::new(), BTreeMap::new());
        Ok((Self { builder, tensors: model.tensors.clone(), constants, made, of }, ids))
    }

    /// The model that ranks by `score`, with the tensors it uses.
    pub(super) fn finish(self, score: ValueId, link: Link) -> Result<Model, GraphError> {
        let graph: Graph = self.builder.finish(score, link)?;
        let mut tensors = self.tensors;
        let used: Vec<&str> = graph.constants().map(|(_, v)| v.name.as_str()).collect();
        tensors.retain(|name, _| used.contains(&name.as_str()));
        Ok(Model { graph, tensors })
    }

    /// A node, or the value that has been computed alike before.
    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        match &op {
            Op::Reshape { shape } if *shape == self.ty(inputs[0]).shape => return Ok(inputs[0]),
            Op::Reshape { .. } => {
                if let Some((Op::Reshape { .. }, first)) = self.made.get(&inputs[0]) {
                    let first = first.clone();
                    return self.push(name, op, &first);
                }
            }
            Op::Transpose { perm } => {
                let ty = self.ty(inputs[0]);
                let long = |axis: &&usize| ty.shape[**axis] != 1;
                if perm.iter().filter(long).is_sorted() {
                    let shape = perm.iter().map(|p| ty.shape[*p]).collect();
                    return self.push(name, Op::Reshape { shape }, inputs);
                }
                if let Some((Op::Transpose { perm: first }, from)) = self.made.get(&inputs[0])
                    && perm.iter().enumerate().all(|(i, p)| first[*p] == i)
                {
                    return Ok(from[0]);
                }
            }
            Op::Concat { .. } if inputs.len() == 1 => return Ok(inputs[0]),
            _ => {}
        }
        let alike = self.of.get(inputs).map_or(&[][..], Vec::as_slice);
        if let Some(id) = alike.iter().find(|id| self.made.get(id).is_some_and(|(o, _)| *o == op)) {
            return Ok(*id);
        }
        let id = self.builder.push(name, op.clone(), inputs)?;
        self.made.insert(id, (op, inputs.to_vec()));
        self.of.entry(inputs.to_vec()).or_default().push(id);
        Ok(id)
    }

    /// A new constant in full precision, named after what it is made of.
    pub(super) fn constant(&mut self, name: &str, shape: Vec<usize>, data: Vec<f32>) -> Result<ValueId, GraphError> {
        self.define(name, DType::F32, Tensor::F32 { shape, data })
    }

    fn define(&mut self, name: &str, dtype: DType, tensor: Tensor) -> Result<ValueId, GraphError> {
        let is_same = |n: &String| n.starts_with(name) && self.tensors.get(n).is_some_and(|own| **own == tensor);
        let same = self.constants.iter().find(|(_, n)| is_same(n));
        if let Some((id, _)) = same {
            return Ok(*id);
        }
        let numbered = (2..).map(|i| format!("{name}.{i}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let name = names.find(|n| !self.tensors.contains_key(n)).expect("numbers do not end");
        let id = self.builder.constant(&name, dtype, &tensor.shape())?;
        self.constants.insert(id, name.clone());
        self.tensors.insert(name, Arc::new(tensor));
        Ok(id)
    }

    /// Elements `from..to` of an axis; of a constant, another constant.
    pub(super) fn slice(&mut self, id: ValueId, axis: usize, from: usize, to: usize) -> Result<ValueId, GraphError> {
        let ty = self.ty(id).clone();
        if (from, to) == (0, ty.shape[axis]) {
            return Ok(id);
        }
        let name = self.constants.get(&id).cloned();
        let Some((name, tensor)) = name.and_then(|n| Some((format!("{n}.{from}"), self.tensors.get(&n)?))) else {
            return self.push("slice", Op::Select { axis, indices: (from..to).collect() }, &[id]);
        };
        let inner: usize = ty.shape[axis + 1..].iter().product();
        let run = ty.shape[axis] * inner;
        let mut shape = ty.shape;
        shape[axis] = to - from;
        let tensor = match &**tensor {
            Tensor::F32 { data, .. } => Tensor::F32 { shape, data: cut(data, run, from * inner..to * inner) },
            Tensor::I32 { data, .. } => Tensor::I32 { shape, data: cut(data, run, from * inner..to * inner) },
            _ => unreachable!("a model is split before it is quantized"),
        };
        self.define(&name, ty.dtype, tensor)
    }

    pub(super) fn ty(&self, id: ValueId) -> &Type {
        self.builder.ty(id)
    }

    pub(super) fn scope(&self, id: ValueId) -> Scope {
        self.ty(id).scope
    }

    /// The op and the operands of a value that is computed.
    pub(super) fn made(&self, id: ValueId) -> Option<(&Op, &[ValueId])> {
        self.made.get(&id).map(|(op, inputs)| (op, inputs.as_slice()))
    }

    /// The name and the elements of a constant in full precision.
    pub(super) fn floats(&self, id: ValueId) -> Option<(&str, &[f32])> {
        let name = self.constants.get(&id)?;
        match &**self.tensors.get(name)? {
            Tensor::F32 { data, .. } => Some((name, data)),
            _ => None,
        }
    }
}

/// A range of every run of elements.
fn cut<T: Copy>(data: &[T], run: usize, range: std::ops::Range<usize>) -> Vec<T> {
    data.chunks_exact(run).flat_map(|run| run[range.clone()].iter().copied()).collect()
}
