//! Nodes that join values, and an activation, computed with the last of them: all that they read is there by then.

use super::{Chain, Chains, Ending, Join, Uses, join};
use crate::graph::{Source, ValueId};
use crate::kernel::linear::{MORE, WIDE};

/// What is computed with a node, if others are, and those.
pub(super) fn chain(uses: &Uses<'_>, chains: &Chains, last: usize) -> Option<(Chain, Vec<usize>)> {
    let node = &uses.graph.nodes()[last];
    let is_wide = uses.graph.value(node.output).ty.shape.last().is_some_and(|&width| width >= WIDE);
    if !is_wide || chains.is_taken(last) {
        return None;
    }
    let before = Before { uses, chains, outputs: node.output };
    let (ending, mut next) = match uses.ending(node) {
        Some((ending, of)) => (ending, before.node(of)),
        None => (Ending::None, Some(last)),
    };
    let (mut first, mut joins, mut taken) = (node.output, Vec::new(), Vec::new());
    while joins.len() <= MORE
        && let Some(n) = next
    {
        let (join, [a, b]) = before.operands(n)?;
        let (of, other) = if before.node(a).is_some() { (a, b) } else { (b, a) };
        joins.push((join, other));
        taken.extend((n != last).then_some(n));
        (first, next) = (of, before.node(of));
    }
    joins.reverse();
    (!taken.is_empty()).then_some((Chain { first: Some(first), joins, ending }, taken))
}

/// The beginning of a chain, as it is followed back.
struct Before<'a> {
    uses: &'a Uses<'a>,
    chains: &'a Chains,
    outputs: ValueId,
}

impl Before<'_> {
    /// How the operands of a node join, if both are beside the outputs.
    fn operands(&self, node: usize) -> Option<(Join, [ValueId; 2])> {
        let node = &self.uses.graph.nodes()[node];
        let (join, &[a, b]) = (join(node)?, node.inputs.first_chunk()?);
        [a, b].iter().all(|&v| self.uses.is_beside(v, self.outputs)).then_some((join, [a, b]))
    }

    /// The node that computes a value, if it joins two and nothing else reads what it computes.
    fn node(&self, value: ValueId) -> Option<usize> {
        let graph = self.uses.graph;
        let Source::Node(n) = graph.value(value).source else { return None };
        let [own, outputs] = [value, self.outputs].map(|v| &graph.value(v).ty);
        let is_part = own == outputs && self.uses.only_reader(value).is_some() && !self.chains.is_taken(n);
        (is_part && self.operands(n).is_some()).then_some(n)
    }
}
