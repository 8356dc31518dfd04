//! Counts multiply-adds by scope.

use serde::Serialize;
use shared_model::graph::{Graph, Node, Op, Reduce, Scope, ValueId};

/// Candidates that a request's own work is shared by where one number is wanted.
const CANDIDATES: f64 = 100.0;

/// The multiply-adds of a model: of its linears, products of matrices, sums and means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Once a request.
    pub request: u64,
    /// Once an item.
    pub item: u64,
    /// Once a candidate of a request.
    pub pair: u64,
}

impl Work {
    /// Of a graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut work = Self::default();
        for node in graph.nodes() {
            let count = multiply_adds(graph, node);
            match graph.value(node.output).ty.scope {
                Scope::Const => {}
                Scope::Request => work.request += count,
                Scope::Item => work.item += count,
                Scope::Pair => work.pair += count,
            }
        }
        work
    }

    /// All of it, as if nothing were shared: what a runtime does that scores candidate by candidate.
    #[must_use]
    pub fn unshared(self) -> u64 {
        self.request + self.item + self.pair
    }

    /// For each of 100 candidates, when items have their tables.
    #[must_use]
    pub fn a_candidate(self) -> f64 {
        self.pair as f64 + self.request as f64 / CANDIDATES
    }
}

pub(crate) fn multiply_adds(graph: &Graph, node: &Node) -> u64 {
    let shape = |id: ValueId| &graph.value(id).ty.shape;
    let len = |id: ValueId| graph.value(id).ty.len();
    let count = match &node.op {
        Op::Linear => len(node.output) * shape(node.inputs[1])[1],
        Op::MatMul => len(node.output) * shape(node.inputs[0]).last().copied().unwrap_or(1),
        Op::Reduce { kind: Reduce::Sum | Reduce::Mean, .. } => len(node.inputs[0]),
        _ => 0,
    };
    count as u64
}
