//! Builds a graph, one checked value at a time.

use thiserror::Error;

use super::{DType, Graph, Link, Node, Op, Scope, Source, Type, Value, ValueId, infer};
use crate::limits;

/// Why a graph cannot be built. The importer adds the name of the ONNX node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GraphError {
    /// The op does not take this many operands.
    #[error("{op} takes {expected} operands, got {got}")]
    Arity {
        /// The op.
        op: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it got.
        got: usize,
    },
    /// The operands' element types do not fit the op.
    #[error("{op} is not defined on {got}")]
    DType {
        /// The op.
        op: &'static str,
        /// The element types it got.
        got: String,
    },
    /// The operands' shapes do not fit the op.
    #[error("{op}: {what}")]
    Shape {
        /// The op.
        op: &'static str,
        /// What does not fit.
        what: String,
    },
    /// An operand must be a constant of the model and is not.
    #[error("{op}: the {operand} must be a constant")]
    NotConstant {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: &'static str,
    },
    /// An operand does not exist, or not yet.
    #[error("value {0} is not defined before its use")]
    Undefined(u32),
    /// Two inputs or constants have one name.
    #[error("`{0}` is defined twice")]
    Duplicate(String),
    /// The score is not one f32 a candidate.
    #[error("the score must be one f32 a candidate, `{name}` is {dtype:?} of shape {shape:?} in {scope:?} scope")]
    Score {
        /// Its name.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Its scope.
        scope: Scope,
    },
    /// An input that is neither the user's nor the item's.
    #[error("input `{name}` has {scope:?} scope, an input has request or item scope")]
    InputScope {
        /// Its name.
        name: String,
        /// Its scope.
        scope: Scope,
    },
    /// A value without elements, which no op here is defined on.
    #[error("{what} has no elements: shape {shape:?}")]
    Empty {
        /// The value.
        what: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// More nodes or larger values than any ranking model has.
    #[error("{what} is {got}, at most {max} are allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
    },
}

/// A graph under construction: declare every input, then every constant, then push nodes.
#[derive(Debug, Default)]
pub struct Builder {
    values: Vec<Value>,
    nodes: Vec<Node>,
}

impl Builder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an input of the model.
    ///
    /// # Errors
    /// A second input or constant of that name; a size above the limits.
    pub fn input(&mut self, name: &str, ty: Type) -> Result<ValueId, GraphError> {
        if !matches!(ty.scope, Scope::Request | Scope::Item) {
            return Err(GraphError::InputScope { name: name.to_owned(), scope: ty.scope });
        }
        within("the number of elements of a row", elements(&ty.shape), limits::MAX_ROW_ELEMENTS)?;
        self.define(name, ty, Source::Input)
    }

    /// Declares a constant of the model; its tensor is found in the variant under `name`.
    ///
    /// # Errors
    /// A second input or constant of that name; a size above the limits.
    pub fn constant(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Result<ValueId, GraphError> {
        self.define(name, Type { dtype, shape: shape.to_vec(), scope: Scope::Const }, Source::Constant)
    }

    /// Adds a node; `name` is for people.
    ///
    /// # Errors
    /// The op is not defined on these operands.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        within("the number of nodes", self.nodes.len() + 1, limits::MAX_NODES)?;
        let operands = inputs
            .iter()
            .map(|id| self.values.get(id.index()).ok_or(GraphError::Undefined(id.0)))
            .collect::<Result<Vec<_>, _>>()?;
        let ty = infer::output(&op, &operands)?;
        within("the number of elements of a row", elements(&ty.shape), limits::MAX_ROW_ELEMENTS)?;
        not_empty(name, &ty)?;
        let output = self.next_id();
        self.values.push(Value { name: name.to_owned(), ty, source: Source::Node(self.nodes.len()) });
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output });
        Ok(output)
    }

    /// The type of a value so far.
    #[must_use]
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.values[id.index()].ty
    }

    /// The graph that ranks by `score`. Nodes the score does not depend on are left out.
    ///
    /// # Errors
    /// `score` is not one f32 a candidate.
    pub fn finish(self, score: ValueId, link: Link) -> Result<Graph, GraphError> {
        let value = self.values.get(score.index()).ok_or(GraphError::Undefined(score.0))?;
        if value.ty.dtype != DType::F32 || value.ty.len() != 1 || !value.ty.scope.per_candidate() {
            return Err(GraphError::Score {
                name: value.name.clone(),
                dtype: value.ty.dtype,
                shape: value.ty.shape.clone(),
                scope: value.ty.scope,
            });
        }
        Ok(without_dead_values(self.values, self.nodes, score, link))
    }

    fn define(&mut self, name: &str, ty: Type, source: Source) -> Result<ValueId, GraphError> {
        if self.values.iter().any(|v| v.name == name && !matches!(v.source, Source::Node(_))) {
            return Err(GraphError::Duplicate(name.to_owned()));
        }
        within("the number of constants", self.values.len() + 1, limits::MAX_NODES)?;
        within("the number of elements of a value", elements(&ty.shape), limits::MAX_TENSOR_ELEMENTS)?;
        within("the number of dimensions", ty.shape.len(), limits::MAX_RANK)?;
        not_empty(name, &ty)?;
        let id = self.next_id();
        self.values.push(Value { name: name.to_owned(), ty, source });
        Ok(id)
    }

    fn next_id(&self) -> ValueId {
        ValueId(u32::try_from(self.values.len()).expect("MAX_NODES bounds the number of values"))
    }
}

/// Keeps the inputs, and of constants and nodes those the score depends on; renumbers: inputs, constants, nodes.
fn without_dead_values(values: Vec<Value>, nodes: Vec<Node>, score: ValueId, link: Link) -> Graph {
    let mut live = vec![false; values.len()];
    live[score.index()] = true;
    for node in nodes.iter().rev() {
        if live[node.output.index()] {
            for input in &node.inputs {
                live[input.index()] = true;
            }
        }
    }
    let rank = |source: Source| match source {
        Source::Input => 0,
        Source::Constant => 1,
        Source::Node(_) => 2,
    };
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| live[i] || values[i].source == Source::Input).collect();
    order.sort_by_key(|&i| rank(values[i].source));
    let mut renamed = vec![ValueId(u32::MAX); values.len()];
    for (new, &old) in (0u32..).zip(&order) {
        renamed[old] = ValueId(new);
    }
    let mut kept_nodes = Vec::new();
    let mut kept_values = Vec::with_capacity(order.len());
    for old in order {
        let mut value = values[old].clone();
        if let Source::Node(node) = value.source {
            let node = &nodes[node];
            value.source = Source::Node(kept_nodes.len());
            kept_nodes.push(Node {
                op: node.op.clone(),
                inputs: node.inputs.iter().map(|i| renamed[i.index()]).collect(),
                output: renamed[old],
            });
        }
        kept_values.push(value);
    }
    Graph { values: kept_values, nodes: kept_nodes, score: renamed[score.index()], link }
}

fn not_empty(name: &str, ty: &Type) -> Result<(), GraphError> {
    if ty.is_empty() { Err(GraphError::Empty { what: format!("`{name}`"), shape: ty.shape.clone() }) } else { Ok(()) }
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1usize, |n, &d| n.saturating_mul(d))
}

fn within(what: &'static str, got: usize, max: usize) -> Result<(), GraphError> {
    if got > max { Err(GraphError::TooLarge { what, got, max }) } else { Ok(()) }
}
