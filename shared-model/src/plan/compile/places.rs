//! Where each value lies in the arena, and for how long.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::super::layout::{self, Span};
use super::super::memory::Place;
use super::super::{Export, PlanError};
use super::chain::Chains;
use crate::graph::{DType, Graph, Node, Op, Scope, Source, ValueId};

/// Numbers a block of candidates should take: what a core keeps near.
const BLOCK_NUMBERS: usize = 1 << 17;
const MAX_BLOCK: usize = 64;
/// Candidates that kernels take together: a block should leave none over.
const TOGETHER: usize = 4;
/// Numbers an arena may take: 1 GiB.
const MAX_ARENA: usize = 1 << 28;

/// The places of a graph's values.
pub(super) struct Places<'a> {
    graph: &'a Graph,
    homes: Vec<Option<ValueId>>,
    arena: Arena,
}

/// Where the homes lie, for so many candidates at once.
pub(super) struct Arena {
    offsets: Vec<usize>,
    pub(super) block: usize,
    pub(super) floats: usize,
    pub(super) ints: usize,
}

impl<'a> Places<'a> {
    /// Chooses the block as well.
    pub(super) fn of(graph: &'a Graph, chains: &Chains) -> Result<Self, PlanError> {
        let homes = homes(graph, chains);
        let lives = lives(graph, chains, &homes);
        let numbers = |block| Arena::of(graph, &homes, &lives, block).map(|arena| arena.floats + arena.ints);
        let one = numbers(1)?;
        let of_block = |two: usize| match BLOCK_NUMBERS / two.saturating_sub(one).max(1) {
            few @ 0..TOGETHER => few.max(1),
            many => many.min(MAX_BLOCK) / TOGETHER * TOGETHER,
        };
        let block = numbers(2).map_or(1, of_block);
        Ok(Self { graph, arena: Arena::of(graph, &homes, &lives, block)?, homes })
    }

    pub(super) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The place of a value; none for a constant that no step reads.
    pub(super) fn find(&self, id: ValueId) -> Option<Place> {
        self.homes[id.index()].map(|home| self.of_home(home))
    }

    /// The place of a value that a step reads or writes.
    pub(super) fn of_value(&self, id: ValueId) -> Place {
        self.find(id).expect("what a step reads or writes has a place")
    }

    /// The values of item scope that are read by steps of pair scope, or are the score; each home once.
    pub(super) fn exports(&self) -> Vec<Export> {
        let graph = self.graph;
        let pairs = graph.nodes().iter().filter(|n| graph.value(n.output).ty.scope == Scope::Pair);
        let read = pairs.flat_map(operands).copied().chain([graph.score()]);
        let of_items = read.filter(|v| graph.value(*v).ty.scope == Scope::Item);
        let homes: BTreeSet<ValueId> = of_items.filter_map(|v| self.homes[v.index()]).collect();
        let export = |home| Export { floats: graph.value(home).ty.dtype == DType::F32, place: self.of_home(home) };
        homes.into_iter().map(export).collect()
    }

    /// A value has the elements and the scope of its home.
    fn of_home(&self, home: ValueId) -> Place {
        let ty = &self.graph.value(home).ty;
        Place { offset: self.arena.offsets[home.index()], len: ty.len(), per_candidate: ty.scope.per_candidate() }
    }
}

impl Arena {
    fn of(
        graph: &Graph,
        homes: &[Option<ValueId>],
        lives: &[RangeInclusive<usize>],
        block: usize,
    ) -> Result<Self, PlanError> {
        let mut arena = Self { offsets: vec![0; homes.len()], block, floats: 0, ints: 0 };
        for floats in [true, false] {
            let own: Vec<usize> = (0..homes.len())
                .filter(|&v| homes[v].is_some_and(|h| h.index() == v))
                .filter(|&v| (graph.values()[v].ty.dtype == DType::F32) == floats)
                .collect();
            let span = |&v: &usize| {
                let ty = &graph.values()[v].ty;
                let rows = if ty.scope.per_candidate() { block } else { 1 };
                Span { elements: rows * ty.len(), alive: lives[v].clone() }
            };
            let (offsets, total) = layout::place(&own.iter().map(span).collect::<Vec<_>>());
            if total > MAX_ARENA {
                return Err(PlanError::TooLarge { what: "its arena", numbers: total });
            }
            for (&v, offset) in own.iter().zip(offsets) {
                arena.offsets[v] = offset;
            }
            *(if floats { &mut arena.floats } else { &mut arena.ints }) = total;
        }
        Ok(arena)
    }
}

/// The operands a step reads from the arena; the others are built into its kernel.
pub(super) fn operands(node: &Node) -> &[ValueId] {
    match node.op {
        Op::Linear | Op::LayerNorm { .. } => &node.inputs[..1],
        Op::Embedding => &node.inputs[1..],
        _ => &node.inputs,
    }
}

/// For each value, the value whose memory it is: itself, what it only reshapes, or that of the node it is computed with;
/// `None` for a constant no step reads.
fn homes(graph: &Graph, chains: &Chains) -> Vec<Option<ValueId>> {
    let mut read = vec![false; graph.values().len()];
    for id in graph.nodes().iter().flat_map(operands) {
        read[id.index()] = true;
    }
    let mut homes: Vec<Option<ValueId>> = Vec::with_capacity(graph.values().len());
    for (id, value) in (0u32..).map(ValueId).zip(graph.values()) {
        homes.push(match value.source {
            Source::Constant if !read[id.index()] => None,
            Source::Node(n) => match (&graph.nodes()[n], chains.absorbed(n)) {
                (_, Some(with)) => Some(graph.nodes()[with].output),
                (Node { op: Op::Reshape { .. }, inputs, .. }, None) => homes[inputs[0].index()],
                _ => Some(id),
            },
            Source::Input | Source::Constant => Some(id),
        });
    }
    homes
}

/// When each home is alive. Time runs over sections (constants, requests, items, pairs), then nodes.
///
/// What is constant outlives every call; what is read by a later section must survive all of that section's blocks.
fn lives(graph: &Graph, chains: &Chains, homes: &[Option<ValueId>]) -> Vec<RangeInclusive<usize>> {
    let nodes = graph.nodes().len();
    let section = |scope: Scope| match scope {
        Scope::Const => 0,
        Scope::Request => 1,
        Scope::Item => 2,
        Scope::Pair => 3,
    };
    let end = 4 * (nodes + 1);
    let section_start = |scope: Scope| section(scope) * (nodes + 1);
    let time = |node: usize| section_start(graph.value(graph.nodes()[node].output).ty.scope) + node + 1;
    let mut lives: Vec<RangeInclusive<usize>> = graph
        .values()
        .iter()
        .map(|v| {
            let born = match v.source {
                Source::Node(n) => time(n),
                Source::Constant => 0,
                Source::Input => section_start(v.ty.scope),
            };
            born..=if v.ty.scope == Scope::Const { end } else { born }
        })
        .collect();
    let mut extend = |id: ValueId, to: usize| {
        if let Some(home) = homes[id.index()] {
            let life = &mut lives[home.index()];
            *life = *life.start()..=(*life.end()).max(to);
        }
    };
    for (n, node) in graph.nodes().iter().enumerate() {
        let reader = graph.value(node.output).ty.scope;
        let read = chains.absorbed(n).map_or(n, |with| n.max(with));
        for &id in operands(node) {
            let crosses = section(graph.value(id).ty.scope) < section(reader);
            extend(id, if crosses { end } else { time(read) });
        }
    }
    extend(graph.score(), end);
    lives
}
