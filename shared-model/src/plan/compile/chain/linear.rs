//! What a linear layer takes over from the nodes after it. What joins must be computed before the layer.

use super::{Chain, Ending, Uses, join, other};
use crate::graph::{Node, Source, ValueId};
use crate::kernel::linear::{JOINS, Join};

/// What is computed with a layer, and the nodes that do it.
pub(super) fn chain(uses: &Uses<'_>, linear: usize) -> (Chain, Vec<usize>) {
    let mut end = End { uses, linear, value: uses.graph.nodes()[linear].output, taken: Vec::new() };
    let mut joins = Vec::new();
    while joins.len() < JOINS {
        let Some(join) = end.join() else { break };
        joins.push(join);
    }
    let ending = end.activation().unwrap_or_default();
    (Chain { first: None, joins, ending }, end.taken)
}

/// The end of a chain, as it is followed.
struct End<'a> {
    uses: &'a Uses<'a>,
    linear: usize,
    value: ValueId,
    taken: Vec<usize>,
}

impl End<'_> {
    /// Follows a value that joins.
    fn join(&mut self) -> Option<(Join, ValueId)> {
        let (n, node) = self.uses.only_reader(self.value)?;
        let (join, other) = (join(node)?, other(node, self.value)?);
        let joins = self.is_ready(node, other) && self.uses.is_beside(other, self.value);
        joins.then(|| self.take(n))?;
        Some((join, other))
    }

    /// Follows an activation.
    fn activation(&mut self) -> Option<Ending> {
        let (n, node) = self.uses.only_reader(self.value)?;
        let (ending, of) = self.uses.ending(node)?;
        (of == self.value).then(|| self.take(n))?;
        Some(ending)
    }

    fn take(&mut self, node: usize) {
        self.taken.push(node);
        self.value = self.uses.graph.nodes()[node].output;
    }

    /// Whether what joins at a node is there when the layer is computed, in the same section.
    fn is_ready(&self, node: &Node, value: ValueId) -> bool {
        let graph = self.uses.graph;
        let section = |id: ValueId| graph.value(id).ty.scope;
        let linear = section(graph.nodes()[self.linear].output);
        section(node.output) == linear
            && match graph.value(value).source {
                Source::Node(n) => n < self.linear || section(value) != linear,
                Source::Input | Source::Constant => true,
            }
    }
}
