//! What a model computes: a closed set of ops at ONNX's level of abstraction, with a type and a scope on every value.
//!
//! A value's shape is that of *one row*: the leading dimension N (the candidates) is implied by the scope, so a graph
//! cannot mix candidates; that it can be written down here is the proof that each candidate is scored on its own.
//! A graph is built by [`Builder`] alone, which infers and checks the type of every value; its serialized form
//! ([`doc::Doc`]) carries no types and is replayed through the builder.

mod build;
pub mod doc;
mod infer;
mod lookups;
mod op;

pub use build::{Builder, GraphError};
pub use lookups::{Lookup, Lookups};
pub use op::{Binary, Compare, Link, Logic, Op, Reduce, Unary};

use serde::{Deserialize, Serialize};

/// The element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// Indices and counts. ONNX's i64 values that a ranking model feeds are vocabulary indices and fit.
    I32,
    /// The result of a comparison.
    Bool,
}

/// What a value depends on. The order is that of information: a value's scope is the join of its inputs' scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The model alone: computed when a plan is made.
    Const,
    /// The user and the context: one row a request.
    Request,
    /// The item alone: one row a candidate, the same in every request.
    Item,
    /// Both: one row a candidate.
    Pair,
}

impl Scope {
    /// The scope of a value computed from values of `self` and `other`.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Const, s) | (s, Self::Const) => s,
            (a, b) if a == b => a,
            _ => Self::Pair,
        }
    }

    /// Whether a value of this scope has one row a candidate (else it has one row).
    #[must_use]
    pub fn per_candidate(self) -> bool {
        matches!(self, Self::Item | Self::Pair)
    }
}

/// The type of a value: element type, shape of one row, scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// The element type.
    pub dtype: DType,
    /// The dimensions of one row; empty for one number a row.
    pub shape: Vec<usize>,
    /// What the value depends on.
    pub scope: Scope,
}

impl Type {
    /// The number of elements of one row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a row has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Names a value of one graph: its index into [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The index into [`Graph::values`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An input of the model.
    Input,
    /// A tensor of the variant, found there under the value's name.
    Constant,
    /// The node with this index into [`Graph::nodes`].
    Node(usize),
}

/// A value of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The name it had in ONNX; for a constant, the name of its tensor.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Its origin.
    pub source: Source,
}

/// One computation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Its operands, in the order the op defines.
    pub inputs: Vec<ValueId>,
    /// Its result.
    pub output: ValueId,
}

/// A model: nodes in topological order, from typed inputs to one score a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    nodes: Vec<Node>,
    score: ValueId,
    link: Link,
}

impl Graph {
    /// Every value: inputs first, then constants, then one a node in order.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Every node, operands before users.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One value.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The inputs, in the order of the model.
    pub fn inputs(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.of_source(|s| s == Source::Input)
    }

    /// The constants.
    pub fn constants(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.of_source(|s| s == Source::Constant)
    }

    /// The value candidates are ranked by: one f32 a row, before [`Graph::link`].
    #[must_use]
    pub fn score(&self) -> ValueId {
        self.score
    }

    /// The strictly monotone function between the score ranked by and the score the model's author sees.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link
    }

    fn of_source(&self, keep: impl Fn(Source) -> bool) -> impl Iterator<Item = (ValueId, &Value)> {
        (0u32..).map(ValueId).zip(&self.values).filter(move |(_, v)| keep(v.source))
    }
}
