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
        let plan = Plan::new(&s.builder.finish(score, Link::Identity).unwrap(), &s.tensors).unwrap();
        let mut numbers = Numbers::new();
        let mut block = |width: usize, rows: usize| Block { width, data: Data::F32(numbers.usual(rows * width)) };
        let inputs = [block(12, 6), block(27, 6), block(9, 1), block(4, 1)];
        let mut scores = vec![0.0; 6];
        plan.run(&mut plan.arena(), &inputs.each_ref(), &mut scores).unwrap();
        (scores, plan.sections.pair.len())
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
