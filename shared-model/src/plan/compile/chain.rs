//! What a linear layer takes over from the nodes after it: values that join its outputs, then an activation.
//!
//! Nothing but the next node of a chain may read what is between, and what joins must be computed before the layer.

use super::super::broadcast::Access;
use crate::graph::{Binary, DType, Graph, Node, Op, Source, Unary, ValueId};
use crate::kernel::linear::{JOINS, Join};

/// For each node what it takes over, and what takes it over.
pub(super) struct Chains {
    of_linear: Vec<Chain>,
    absorbed: Vec<Option<ValueId>>,
}

/// What follows one layer, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub(super) joins: Vec<(Join, ValueId)>,
    pub(super) ending: Ending,
}

/// An activation, its numbers still in the graph.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Ending {
    #[default]
    None,
    Relu,
    Leaky(f32),
    PRelu(ValueId),
    Gelu,
}

impl Chains {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut readers = vec![Vec::new(); graph.values().len()];
        for (n, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|input| readers[input.index()].push(n));
        }
        // The score is read by whoever asked for it.
        readers[graph.score().index()].push(usize::MAX);
        let nodes = graph.nodes().len();
        let mut chains = Self { of_linear: vec![Chain::default(); nodes], absorbed: vec![None; nodes] };
        for (n, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.op == Op::Linear) {
            let mut end = End { graph, readers: &readers, linear: n, value: node.output, taken: Vec::new() };
            chains.of_linear[n] = end.chain();
            for taken in end.taken {
                chains.absorbed[taken] = Some(node.output);
            }
        }
        chains
    }

    /// What a linear layer takes over.
    pub(super) fn after(&self, node: usize) -> &Chain {
        &self.of_linear[node]
    }

    /// The output of the layer that computes a node, if one does.
    pub(super) fn absorbed(&self, node: usize) -> Option<ValueId> {
        self.absorbed[node]
    }
}

/// The end of a chain, as it is followed.
struct End<'a> {
    graph: &'a Graph,
    readers: &'a [Vec<usize>],
    linear: usize,
    value: ValueId,
    taken: Vec<usize>,
}

impl End<'_> {
    fn chain(&mut self) -> Chain {
        let mut joins = Vec::new();
        while joins.len() < JOINS {
            let Some(join) = self.join() else { break };
            joins.push(join);
        }
        let ending = self.activation().unwrap_or_default();
        Chain { joins, ending }
    }

    /// Follows a value that joins.
    fn join(&mut self) -> Option<(Join, ValueId)> {
        let (n, node) = self.only_reader(self.value)?;
        let join = match node.op {
            Op::Binary(Binary::Add) => Join::Add,
            Op::Binary(Binary::Mul) => Join::Multiply,
            _ => return None,
        };
        let other = other(node, self.value)?;
        let joins = self.is_ready(node, other) && self.is_beside(other);
        joins.then(|| self.take(n))?;
        Some((join, other))
    }

    /// Follows an activation.
    fn activation(&mut self) -> Option<Ending> {
        let (n, node) = self.only_reader(self.value)?;
        let ending = match node.op {
            Op::Unary(Unary::Relu) => Ending::Relu,
            Op::Unary(Unary::Gelu) => Ending::Gelu,
            Op::Unary(Unary::LeakyRelu(slope)) => Ending::Leaky(slope),
            Op::Binary(Binary::PRelu) if node.inputs[0] == self.value && self.is_number(node.inputs[1]) => {
                Ending::PRelu(node.inputs[1])
            }
            _ => return None,
        };
        self.take(n);
        Some(ending)
    }

    fn only_reader(&self, value: ValueId) -> Option<(usize, &Node)> {
        match self.readers[value.index()][..] {
            [n] => self.graph.nodes().get(n).map(|node| (n, node)),
            _ => None,
        }
    }

    fn take(&mut self, node: usize) {
        self.taken.push(node);
        self.value = self.graph.nodes()[node].output;
    }

    /// Whether what joins at a node is there when the layer is computed, in the same section.
    fn is_ready(&self, node: &Node, value: ValueId) -> bool {
        let section = |id: ValueId| self.graph.value(id).ty.scope;
        let linear = section(self.graph.nodes()[self.linear].output);
        section(node.output) == linear
            && match self.graph.value(value).source {
                Source::Node(n) => n < self.linear || section(value) != linear,
                Source::Input | Source::Constant => true,
            }
    }

    /// Whether a value is as the outputs are, or one row for each of theirs.
    fn is_beside(&self, value: ValueId) -> bool {
        let (value, outputs) = (&self.graph.value(value).ty, &self.graph.value(self.value).ty);
        let width = outputs.shape.last().copied();
        value.dtype == DType::F32
            && match Access::broadcast(&value.shape, &outputs.shape) {
                Access::Same => true,
                Access::Repeat(n) => Some(n) == width,
                Access::Scalar | Access::Stretch(_) | Access::Map(_) => false,
            }
    }

    fn is_number(&self, value: ValueId) -> bool {
        let value = self.graph.value(value);
        matches!(value.source, Source::Constant) && value.ty.len() == 1 && value.ty.dtype == DType::F32
    }
}

/// The other operand of a node with two.
fn other(node: &Node, value: ValueId) -> Option<ValueId> {
    match node.inputs[..] {
        [a, b] if a == value && b != value => Some(b),
        [a, b] if b == value && a != value => Some(a),
        _ => None,
    }
}
