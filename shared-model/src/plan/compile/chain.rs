//! Nodes that are computed in one step, whose values between are never stored: a linear layer, values that join its
//! outputs, then an activation; or such values alone.
//!
//! Nothing but the next node of a chain may read what is between.

mod joined;
mod linear;

use super::super::broadcast::Access;
use crate::graph::{Binary, DType, Graph, Node, Op, Source, Unary, ValueId};
use crate::kernel::linear::Join;

/// For each node what is computed with it, and with which node it is.
pub(super) struct Chains {
    at: Vec<Option<Chain>>,
    absorbed: Vec<Option<usize>>,
}

/// What is computed with one node.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// What the others join; none for a layer, whose sums they join.
    pub(super) first: Option<ValueId>,
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
        let nodes = graph.nodes();
        let uses = Uses::of(graph);
        let mut chains = Self { at: vec![None; nodes.len()], absorbed: vec![None; nodes.len()] };
        for n in (0..nodes.len()).filter(|&n| nodes[n].op == Op::Linear) {
            let (chain, taken) = linear::chain(&uses, n);
            chains.add(n, chain, &taken);
        }
        for n in (0..nodes.len()).rev() {
            if let Some((chain, taken)) = joined::chain(&uses, &chains, n) {
                chains.add(n, chain, &taken);
            }
        }
        chains
    }

    fn add(&mut self, node: usize, chain: Chain, taken: &[usize]) {
        self.at[node] = Some(chain);
        taken.iter().for_each(|&taken| self.absorbed[taken] = Some(node));
    }

    /// What is computed with a node.
    pub(super) fn at(&self, node: usize) -> Option<&Chain> {
        self.at[node].as_ref()
    }

    /// Whether a node is computed with others.
    fn is_taken(&self, node: usize) -> bool {
        self.at[node].is_some() || self.absorbed[node].is_some()
    }

    /// The node with which another is computed, if it is.
    pub(super) fn absorbed(&self, node: usize) -> Option<usize> {
        self.absorbed[node]
    }
}

/// A graph, and which nodes read each of its values.
struct Uses<'a> {
    graph: &'a Graph,
    readers: Vec<Vec<usize>>,
}

impl<'a> Uses<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut readers = vec![Vec::new(); graph.values().len()];
        for (n, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|input| readers[input.index()].push(n));
        }
        // The score is read by whoever asked for it.
        readers[graph.score().index()].push(usize::MAX);
        Self { graph, readers }
    }

    fn only_reader(&self, value: ValueId) -> Option<(usize, &'a Node)> {
        match self.readers[value.index()][..] {
            [n] => self.graph.nodes().get(n).map(|node| (n, node)),
            _ => None,
        }
    }

    /// Whether a value is as the outputs are, or one row for each of theirs.
    fn is_beside(&self, value: ValueId, outputs: ValueId) -> bool {
        let [value, outputs] = [value, outputs].map(|id| &self.graph.value(id).ty);
        let width = outputs.shape.last().copied();
        value.dtype == DType::F32
            && match Access::broadcast(&value.shape, &outputs.shape) {
                Access::Same => true,
                Access::Repeat(n) => Some(n) == width,
                Access::Scalar | Access::Stretch(_) | Access::Map(_) => false,
            }
    }

    /// The activation that a node is, and what it is of.
    fn ending(&self, node: &Node) -> Option<(Ending, ValueId)> {
        let ending = match node.op {
            Op::Unary(Unary::Relu) => Ending::Relu,
            Op::Unary(Unary::Gelu) => Ending::Gelu,
            Op::Unary(Unary::LeakyRelu(slope)) => Ending::Leaky(slope),
            Op::Binary(Binary::PRelu) if self.is_number(node.inputs[1]) => Ending::PRelu(node.inputs[1]),
            _ => return None,
        };
        Some((ending, node.inputs[0]))
    }

    fn is_number(&self, value: ValueId) -> bool {
        let value = self.graph.value(value);
        matches!(value.source, Source::Constant) && value.ty.len() == 1 && value.ty.dtype == DType::F32
    }
}

/// How the operands of a node join each other, if they do.
fn join(node: &Node) -> Option<Join> {
    match node.op {
        Op::Binary(Binary::Add) => Some(Join::Add),
        Op::Binary(Binary::Mul) => Some(Join::Multiply),
        _ => None,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::encode::{Block, Data};
    use crate::graph::{Binary, Builder, Compare, DType, Link, Op, Scope, Type, Unary, ValueId};
    use crate::kernel::reference::{Numbers, assert_same};
    use crate::plan::Plan;
    use crate::tensor::Tensor;

    /// A graph in the making, with its tensors.
    struct Sketch {
        builder: Builder,
        tensors: BTreeMap<String, Tensor>,
        numbers: Numbers,
        /// Chosen from between any two nodes, if so; which is the same, but nothing follows the layer at once.
        apart: Option<ValueId>,
    }

    impl Sketch {
        fn new(apart: bool) -> Self {
            let (builder, tensors, numbers) = (Builder::new(), BTreeMap::new(), Numbers::new());
            let mut sketch = Self { builder, tensors, numbers, apart: None };
            if apart {
                let (zero, one) = (sketch.constant(&[], |_| 0.0), sketch.constant(&[], |_| 1.0));
                sketch.apart = Some(sketch.push(Op::Compare(Compare::Less), &[zero, one]));
                sketch.numbers = Numbers::new();
            }
            sketch
        }

        fn input(&mut self, name: &str, scope: Scope, shape: &[usize]) -> ValueId {
            self.builder.input(name, Type { dtype: DType::F32, shape: shape.to_vec(), scope }).unwrap()
        }

        fn constant(&mut self, shape: &[usize], number: impl Fn(f32) -> f32) -> ValueId {
            let name = format!("c{}", self.tensors.len());
            let data = self.numbers.usual(shape.iter().product()).into_iter().map(number).collect();
            self.tensors.insert(name.clone(), Tensor::F32 { shape: shape.to_vec(), data });
            self.builder.constant(&name, DType::F32, shape).unwrap()
        }

        fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
            let value = self.builder.push("v", op, inputs).unwrap();
            match self.apart {
                Some(chosen) => self.builder.push("v", Op::Where, &[chosen, value, value]).unwrap(),
                None => value,
            }
        }

        /// The scores of six candidates, and the steps that a pair takes. The inputs are `[width, rows]`.
        fn scores(self, score: ValueId, inputs: [[usize; 2]; 4]) -> (Vec<f32>, usize) {
            let plan = Plan::new(&self.builder.finish(score, Link::Identity).unwrap(), &self.tensors).unwrap();
            let mut numbers = Numbers::new();
            let blocks = inputs.map(|[width, rows]| Block { width, data: Data::F32(numbers.usual(rows * width)) });
            let mut scores = vec![0.0; 6];
            plan.run(&mut plan.arena(), &blocks.each_ref(), &mut scores).unwrap();
            (scores, plan.sections.pair.len())
        }
    }

    /// The scores of a layer that two values join before an activation, and the steps that they take.
    fn scored(activation: Option<&Op>, joins: [Binary; 2], apart: bool) -> (Vec<f32>, usize) {
        let mut s = Sketch::new(apart);
        let (x, p) = (s.input("x", Scope::Item, &[3, 4]), s.input("p", Scope::Item, &[3, 9]));
        let (q, r) = (s.input("q", Scope::Request, &[9]), s.input("r", Scope::Request, &[4]));
        let x = s.push(Op::Binary(Binary::Add), &[x, r]);
        let (weight, bias) = (s.constant(&[9, 4], |w| w), s.constant(&[9], |b| b));
        let mut y = s.push(Op::Linear, &[x, weight, bias]);
        for (join, other) in joins.into_iter().zip([p, q]) {
            y = s.push(Op::Binary(join), &[other, y]);
        }
        match activation {
            Some(op @ Op::Binary(Binary::PRelu)) => {
                let slope = s.constant(&[1], |_| 0.25);
                y = s.push(op.clone(), &[y, slope]);
            }
            Some(op) => y = s.push(op.clone(), &[y]),
            None => {}
        }
        let (flat, sum) = (s.push(Op::Reshape { shape: vec![27] }, &[y]), s.constant(&[1, 27], |w| w));
        let score = s.push(Op::Linear, &[flat, sum]);
        s.scores(score, [[12, 6], [27, 6], [9, 1], [4, 1]])
    }

    /// The scores of values that join each other before an activation, and the steps that they take.
    fn joined(activation: Option<&Op>, joins: &[Binary], apart: bool) -> (Vec<f32>, usize) {
        let mut s = Sketch::new(apart);
        let (x, p) = (s.input("x", Scope::Item, &[3, 37]), s.input("p", Scope::Item, &[37]));
        let (q, r) = (s.input("q", Scope::Request, &[37]), s.input("r", Scope::Request, &[3, 37]));
        let mut y = s.push(Op::Binary(Binary::Add), &[q, x]);
        // Read by others too: it stays a step of its own.
        let first = y;
        for (join, other) in joins.iter().zip([p, r, first, q]) {
            y = s.push(Op::Binary(*join), &[other, y]);
        }
        if let Some(op) = activation {
            y = s.push(op.clone(), &[y]);
        }
        y = s.push(Op::Concat { axis: 0 }, &[y, first]);
        let (flat, sum) = (s.push(Op::Reshape { shape: vec![222] }, &[y]), s.constant(&[1, 222], |w| w));
        let score = s.push(Op::Linear, &[flat, sum]);
        s.scores(score, [[111, 6], [37, 6], [37, 1], [111, 1]])
    }

    #[test]
    fn what_joins_without_a_layer_has_the_bits_of_steps_of_their_own() {
        let activations =
            [None, Some(Op::Unary(Unary::Relu)), Some(Op::Unary(Unary::LeakyRelu(0.1))), Some(Op::Unary(Unary::Gelu))];
        let (add, mul) = (Binary::Add, Binary::Mul);
        // Of four joins the first is a step of its own: three at most are computed together.
        for (joins, steps) in [(vec![add, mul], 4), (vec![mul, add, mul], 4), (vec![add, mul, mul, add], 5)] {
            for activation in &activations {
                let (got, took) = joined(activation.as_ref(), &joins, false);
                let (want, _) = joined(activation.as_ref(), &joins, true);
                assert_eq!(
                    took, steps,
                    "{joins:?}, {activation:?}: the first, what joins it, both in a row and the sum"
                );
                assert_same(&got, &want, &format!("{joins:?}, {activation:?}"));
            }
        }
    }

    #[test]
    fn what_a_layer_takes_over_has_the_bits_of_steps_of_their_own() {
        let activations = [
            None,
            Some(Op::Unary(Unary::Relu)),
            Some(Op::Unary(Unary::LeakyRelu(0.1))),
            Some(Op::Binary(Binary::PRelu)),
            Some(Op::Unary(Unary::Gelu)),
        ];
        for activation in &activations {
            for joins in [[Binary::Add, Binary::Mul], [Binary::Mul, Binary::Add], [Binary::Add, Binary::Add]] {
                let (got, steps) = scored(activation.as_ref(), joins, false);
                let (want, _) = scored(activation.as_ref(), joins, true);
                assert_eq!(steps, 3, "{activation:?}: its inputs, the layer, and the one that sums");
                assert_same(&got, &want, &format!("{joins:?}, {activation:?}"));
            }
        }
    }
}
