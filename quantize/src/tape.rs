//! A graph run forwards and then backwards, candidate by candidate: what every score owes to every weight.
//!
//! A plan keeps no value for longer than it is read and says nothing of derivatives; a tape keeps every value of a few
//! candidates, and hands the derivatives of their scores to whoever wants to know what rounding a weight will do. It is
//! plain f32 and slow beside a plan, and need not have its bits.
//!
//! Backwards every value has a row a candidate, also those of request scope, which have one row forwards: the error of a
//! user's embedding is felt by each candidate in its own way, and only the differences can change their order.

mod backward;
mod forward;
mod maps;

use std::collections::BTreeMap;

use shared_model::encode::Block;
use shared_model::graph::{DType, Graph, Node, Op, Source, ValueId};
use shared_model::tensor::Tensor;

use maps::Maps;

/// The elements of a value, row by row.
#[derive(Clone, Debug, PartialEq)]
enum Elements {
    /// Floats.
    F32(Vec<f32>),
    /// Integers, and booleans as 0 and 1.
    I32(Vec<i32>),
}

/// The same, of a value or a constant.
#[derive(Clone, Copy, Debug)]
enum View<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

/// Rows of a value: one for all candidates or one each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    len: usize,
    shared: bool,
}

impl<'a> Rows<'a> {
    /// Whether all candidates have the same row.
    pub(crate) fn is_shared(self) -> bool {
        self.shared
    }

    /// The row of a candidate.
    pub(crate) fn row(self, r: usize) -> &'a [f32] {
        &self.data[if self.shared { 0 } else { r * self.len }..][..self.len]
    }
}

/// What is told on the way back. Derivatives are of each candidate's own score, `[candidates, ..]`.
pub(crate) trait Watch {
    /// `x · wᵀ` in rows of inputs, and the derivatives by its outputs.
    fn linear(&mut self, weight: &str, x: Rows<'_>, by_outputs: &[f32]);

    /// Rows of a table, and the derivatives by their elements.
    fn lookup(&mut self, looked_up: Lookup<'_>, by_rows: &[f32]);
}

/// Rows of a table that a node looks up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a> {
    /// The node, of the graph's.
    pub(crate) node: usize,
    pub(crate) table: &'a str,
    /// `[candidates, ..]`, or shared.
    pub(crate) ids: &'a [i32],
    pub(crate) shared: bool,
}

/// A graph with its constants in f32, ready to be run.
#[derive(Debug)]
pub(crate) struct Tape<'a> {
    graph: &'a Graph,
    constants: Vec<Option<View<'a>>>,
    maps: Vec<Maps>,
    /// `[K, O]` of each linear, by node.
    transposed: Vec<Vec<f32>>,
    /// Whether a weight's derivative passes through each value.
    wanted: Vec<bool>,
    /// Whether ids of a lookup are made of what each node computes.
    makes_ids: Vec<bool>,
}

/// The values of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    candidates: usize,
    values: Vec<Option<Elements>>,
}

impl<'a> Tape<'a> {
    /// The graph with these weights.
    ///
    /// # Panics
    /// The tensors are not the graph's, or not in full precision: compile a plan first.
    pub(crate) fn new(graph: &'a Graph, tensors: &'a BTreeMap<String, Tensor>) -> Self {
        let mut constants = vec![None; graph.values().len()];
        for (id, value) in graph.constants() {
            constants[id.index()] = Some(match &tensors[&value.name] {
                Tensor::F32 { data, .. } => View::F32(data),
                Tensor::I32 { data, .. } => View::I32(data),
                quantized => panic!("`{}` has {} bits: a tape is of full precision", value.name, quantized.bits()),
            });
        }
        let transposed = graph.nodes().iter().map(|node| transposed(graph, node, &constants)).collect();
        let maps = graph.nodes().iter().map(|node| Maps::of(graph, node)).collect();
        Self { graph, constants, maps, transposed, wanted: wanted(graph), makes_ids: makes_ids(graph) }
    }

    /// Every value for some candidates; the inputs in the graph's order, as a plan is fed.
    pub(crate) fn run(&self, inputs: &[&Block], candidates: usize) -> Trace {
        self.run_some(inputs, candidates, |_| true)
    }

    /// Only what ids of lookups are made of.
    pub(crate) fn run_ids(&self, inputs: &[&Block], candidates: usize) -> Trace {
        self.run_some(inputs, candidates, |n| self.makes_ids[n])
    }

    fn run_some(&self, inputs: &[&Block], candidates: usize, runs: impl Fn(usize) -> bool) -> Trace {
        let mut trace = Trace { candidates, values: vec![None; self.graph.values().len()] };
        for ((id, _), block) in self.graph.inputs().zip(inputs) {
            trace.values[id.index()] = Some(Elements::of(block));
        }
        for (n, node) in self.graph.nodes().iter().enumerate().filter(|(n, _)| runs(*n)) {
            let value = self.forward(n, node, &trace);
            trace.values[node.output.index()] = Some(value);
        }
        trace
    }

    /// Every lookup of a run, of ids alone or of all.
    pub(crate) fn lookups<'t>(&'t self, trace: &'t Trace) -> impl Iterator<Item = Lookup<'t>> {
        let nodes = self.graph.nodes().iter().enumerate().filter(|(_, node)| node.op == Op::Embedding);
        nodes.map(|(n, node)| self.lookup(n, node, trace))
    }

    fn lookup<'t>(&'t self, n: usize, node: &Node, trace: &'t Trace) -> Lookup<'t> {
        let (ids, _, shared) = self.ints(trace, node.inputs[1]);
        Lookup { node: n, table: &self.graph.value(node.inputs[0]).name, ids, shared }
    }

    /// The scores before the link.
    #[cfg(test)]
    fn scores(&self, trace: &Trace) -> Vec<f32> {
        let score = self.floats(trace, self.graph.score());
        (0..trace.candidates).map(|r| score.row(r)[0]).collect()
    }

    fn value<'t>(&'t self, trace: &'t Trace, id: ValueId) -> View<'t> {
        let i = id.index();
        let value = trace.values[i].as_ref().map(Elements::view);
        value.or(self.constants[i]).expect("operands come before their users")
    }

    fn floats<'t>(&'t self, trace: &'t Trace, id: ValueId) -> Rows<'t> {
        let View::F32(data) = self.value(trace, id) else { unreachable!("a graph is typed") };
        let ty = &self.graph.value(id).ty;
        Rows { data, len: ty.len(), shared: !ty.scope.per_candidate() }
    }

    fn ints<'t>(&'t self, trace: &'t Trace, id: ValueId) -> (&'t [i32], usize, bool) {
        let View::I32(data) = self.value(trace, id) else { unreachable!("a graph is typed") };
        let ty = &self.graph.value(id).ty;
        (data, ty.len(), !ty.scope.per_candidate())
    }
}

impl Elements {
    fn view(&self) -> View<'_> {
        match self {
            Self::F32(data) => View::F32(data),
            Self::I32(data) => View::I32(data),
        }
    }

    fn of(block: &Block) -> Self {
        match &block.data {
            shared_model::encode::Data::F32(data) => Self::F32(data.clone()),
            shared_model::encode::Data::I32(data) => Self::I32(data.clone()),
        }
    }
}

fn transposed(graph: &Graph, node: &Node, constants: &[Option<View<'_>>]) -> Vec<f32> {
    let (Op::Linear, Some(View::F32(w))) = (&node.op, node.inputs.get(1).and_then(|w| constants[w.index()])) else {
        return Vec::new();
    };
    let shape = &graph.value(node.inputs[1]).ty.shape;
    let (outputs, inputs) = (shape[0], shape[1]);
    (0..inputs).flat_map(|i| (0..outputs).map(move |o| w[o * inputs + i])).collect()
}

fn makes_ids(graph: &Graph) -> Vec<bool> {
    let mut read = vec![false; graph.values().len()];
    let mut makes_ids = vec![false; graph.nodes().len()];
    for (n, node) in graph.nodes().iter().enumerate().rev() {
        makes_ids[n] = read[node.output.index()];
        let of_lookup = node.op == Op::Embedding;
        for (i, id) in node.inputs.iter().enumerate() {
            read[id.index()] |= makes_ids[n] || (of_lookup && i == 1);
        }
    }
    makes_ids
}

/// Floats that a linear's weight or a table has a part in.
fn wanted(graph: &Graph) -> Vec<bool> {
    let mut wanted = vec![false; graph.values().len()];
    for node in graph.nodes() {
        let own = matches!(node.op, Op::Linear | Op::Embedding);
        let of_floats = graph.value(node.output).ty.dtype == DType::F32;
        wanted[node.output.index()] = of_floats && (own || node.inputs.iter().any(|v| wanted[v.index()]));
    }
    debug_assert!(graph.values().iter().zip(&wanted).all(|(v, wanted)| matches!(v.source, Source::Node(_)) || !wanted));
    wanted
}

#[cfg(test)]
mod tests;
