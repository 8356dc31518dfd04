//! One ONNX node with the values of its operands: what a lowering is given, and how it says no.

use std::rc::Rc;

use shared_model::graph::{GraphError, ValueId};

use super::array::{Array, Data, Int};
use super::onnx::{Attribute, Node};

/// What an ONNX value is in the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known at import, the same for every row.
    Const(Rc<Array>),
    /// One row a candidate.
    Row(Row),
}

/// A value with an axis of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The value of the graph; its shape lacks the axis of candidates.
    pub(super) id: ValueId,
    /// Where that axis is in ONNX.
    pub(super) batch: usize,
}

/// Why a node has no lowering; the node's name is added where it is known.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It works across candidates.
    Mixes(String),
    /// Anything else: what is wrong and what to do.
    Cannot(String),
}

impl From<GraphError> for Refusal {
    fn from(e: GraphError) -> Self {
        Self::Cannot(e.to_string())
    }
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Cannot(what)
    }
}

pub(super) fn cannot<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Cannot(what.into()))
}

pub(super) fn mixes<T>(how: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Mixes(how.into()))
}

/// A node and its operands.
#[derive(Debug)]
pub(super) struct Call<'m> {
    pub(super) node: &'m Node,
    /// `None` for one left out.
    pub(super) operands: Vec<Option<Value>>,
    pub(super) opset: i64,
}

impl Call<'_> {
    /// The name of the node's first result.
    pub(super) fn name(&self) -> &str {
        self.node.outputs.first().map_or(self.node.name.as_str(), String::as_str)
    }

    pub(super) fn optional(&self, i: usize) -> Option<&Value> {
        self.operands.get(i)?.as_ref()
    }

    pub(super) fn operand(&self, i: usize) -> Result<&Value, Refusal> {
        self.optional(i).ok_or_else(|| Refusal::Cannot(format!("operand {i} is missing: the model is damaged")))
    }

    /// All operands, none left out.
    pub(super) fn all(&self) -> Result<Vec<Value>, Refusal> {
        (0..self.operands.len()).map(|i| self.operand(i).cloned()).collect()
    }

    pub(super) fn row(&self, i: usize) -> Result<Row, Refusal> {
        match self.operand(i)? {
            Value::Row(row) => Ok(*row),
            Value::Const(_) => cannot(format!("operand {i} is a constant, which is not supported here")),
        }
    }

    pub(super) fn constant(&self, i: usize, what: &str) -> Result<&Rc<Array>, Refusal> {
        match self.operand(i)? {
            Value::Const(array) => Ok(array),
            Value::Row(_) => cannot(format!("the {what} depends on the inputs; only a constant is supported")),
        }
    }

    pub(super) fn float(&self, attribute: &str, default: f32) -> f32 {
        match self.node.attributes.get(attribute) {
            Some(Attribute::Float(v)) => *v,
            _ => default,
        }
    }

    pub(super) fn int(&self, attribute: &str, default: i64) -> i64 {
        match self.node.attributes.get(attribute) {
            Some(Attribute::Int(v)) => *v,
            _ => default,
        }
    }

    pub(super) fn text(&self, attribute: &str) -> Option<&str> {
        match self.node.attributes.get(attribute) {
            Some(Attribute::Text(v)) => Some(v),
            _ => None,
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.node.attributes.get(name)
    }

    /// Integers that older operator sets give as an attribute and newer ones as operand `i`.
    pub(super) fn ints(&self, attribute: &str, i: usize) -> Result<Option<Vec<i64>>, Refusal> {
        if let Some(Attribute::Ints(v)) = self.node.attributes.get(attribute) {
            return Ok(Some(v.clone()));
        }
        if self.optional(i).is_none() {
            return Ok(None);
        }
        self.constant(i, attribute)?
            .known_ints()
            .map(Some)
            .ok_or_else(|| Refusal::Cannot(format!("`{attribute}` is not a list of known integers")))
    }

    /// Integers of operand `i`, of which one may be the number of candidates.
    pub(super) fn dims(&self, i: usize, what: &str) -> Result<Vec<Int>, Refusal> {
        match &self.constant(i, what)?.data {
            Data::Int(v) => Ok(v.clone()),
            Data::F32(_) | Data::Bool(_) => cannot(format!("the {what} is not of integers")),
        }
    }

    /// A number that older operator sets give as an attribute and newer ones as operand `i`.
    pub(super) fn bound(&self, attribute: &str, i: usize) -> Result<Option<f32>, Refusal> {
        if let Some(Attribute::Float(v)) = self.node.attributes.get(attribute) {
            return Ok(Some(*v));
        }
        if self.optional(i).is_none() {
            return Ok(None);
        }
        let array = self.constant(i, attribute)?;
        array.f32_scalar().map(Some).ok_or_else(|| Refusal::Cannot(format!("`{attribute}` is not one float")))
    }
}

/// An axis counted from the front.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_front = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(from_front) {
        Ok(a) if a < rank => Ok(a),
        _ => cannot(format!("axis {axis} of a value with {rank} dimensions: the model is damaged")),
    }
}

/// Axes counted from the front, ascending, no axis twice.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    let mut axes = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|w| w[0] == w[1]) {
        return cannot(format!("axes {list:?} name an axis twice: the model is damaged"));
    }
    Ok(axes)
}
