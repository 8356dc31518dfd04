//! Takes a linear to the other side of a product that ends in one number:
//! `Σ_j u_j a_j (W x + b)_j + v·x = (Wᵀ (u∘a) + v) · x + Σ_j u_j b_j a_j`.
//!
//! The last cross layer of a deep & cross network multiplies a linear of what both user and item decide by the features,
//! of which each is the user's or the item's. The score is a weighted sum of the products, so that the linear can be one of
//! the features, which is cut by scope, and what is left of a candidate's own is a dot product.

use shared_model::graph::{Binary, Graph, GraphError, Op, Reduce, Source, ValueId};

use super::Model;
use super::draft::Draft;

/// The same model, with linears in products that end in one number turned around. Whether that is less work shows after
/// splitting by scope.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    let reads = reads(&model.graph);
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        let shape = |v: ValueId| &model.graph.value(v).ty.shape;
        let ends = node.op == Op::Linear && shape(node.inputs[1])[0] == 1 && shape(node.inputs[0]).len() == 1;
        let value = if ends {
            let (_, weights) = draft.floats(inputs[1]).expect("a linear's weight is a constant in full precision");
            let weights = weights.to_vec();
            let mut sum =
                Sum { graph: &model.graph, reads: &reads, values: &values, terms: Vec::new(), plain: Vec::new() };
            sum.take(node.inputs[0], &weights);
            sum.write(&mut draft, name, inputs.get(2).copied())?
        } else {
            None
        };
        values.push(match value {
            Some(value) => value,
            None => draft.push(name, node.op.clone(), &inputs)?,
        });
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// How often each value is read.
fn reads(graph: &Graph) -> Vec<usize> {
    let mut reads = vec![0; graph.values().len()];
    graph.nodes().iter().flat_map(|n| &n.inputs).for_each(|v| reads[v.index()] += 1);
    reads[graph.score().index()] += 1;
    reads
}

/// `a∘(W x + b)`, and what its elements weigh.
struct Term {
    weights: Vec<f32>,
    a: ValueId,
    x: ValueId,
    /// `W`, and `b` where there is one.
    constants: Vec<ValueId>,
}

/// A weighted sum of a vector's elements, taken apart.
struct Sum<'a> {
    graph: &'a Graph,
    reads: &'a [usize],
    /// The values of the draft, by those of the graph.
    values: &'a [ValueId],
    terms: Vec<Term>,
    /// What stays as it is.
    plain: Vec<(ValueId, Vec<f32>)>,
}

impl Sum<'_> {
    /// Takes a value apart into those it is a sum of, or consists of, as far as nothing else reads it.
    fn take(&mut self, value: ValueId, weights: &[f32]) {
        let made = match self.graph.value(value).source {
            Source::Node(n) if self.reads[value.index()] == 1 => Some(&self.graph.nodes()[n]),
            _ => None,
        };
        let like = |v: &ValueId| self.graph.value(*v).ty.shape == self.graph.value(value).ty.shape;
        match made.map(|n| (&n.op, &n.inputs[..])) {
            Some((Op::Concat { .. }, parts)) => {
                let mut from = 0;
                for &part in parts {
                    let to = from + self.graph.value(part).ty.len();
                    self.take(part, &weights[from..to]);
                    from = to;
                }
            }
            Some((Op::Binary(Binary::Add), terms)) if terms.iter().all(like) => {
                terms.iter().for_each(|&term| self.take(term, weights));
            }
            Some((Op::Binary(Binary::Mul), &[a, b])) if [a, b].iter().all(like) => {
                match [(a, b), (b, a)].into_iter().find_map(|(a, linear)| self.term(a, linear, weights)) {
                    Some(term) => self.terms.push(term),
                    None => self.plain.push((value, weights.to_vec())),
                }
            }
            _ => self.plain.push((value, weights.to_vec())),
        }
    }

    fn term(&self, a: ValueId, linear: ValueId, weights: &[f32]) -> Option<Term> {
        let Source::Node(n) = self.graph.value(linear).source else { return None };
        let node = &self.graph.nodes()[n];
        let turns = node.op == Op::Linear && self.reads[linear.index()] == 1;
        turns.then(|| Term { weights: weights.to_vec(), a, x: node.inputs[0], constants: node.inputs[1..].to_vec() })
    }

    /// The sum, if there is something in it to turn around.
    fn write(mut self, draft: &mut Draft, name: &str, bias: Option<ValueId>) -> Result<Option<ValueId>, GraphError> {
        let mut dots = Vec::new();
        for term in std::mem::take(&mut self.terms) {
            dots.push(self.dot(draft, name, &term)?);
        }
        let Some(mut sum) = dots.pop() else { return Ok(None) };
        while let Some(dot) = dots.pop() {
            sum = draft.push(name, Op::Binary(Binary::Add), &[sum, dot])?;
        }
        let (plain, weights): (Vec<ValueId>, Vec<Vec<f32>>) = self.plain.into_iter().unzip();
        let plain: Vec<ValueId> = plain.iter().map(|v| self.values[v.index()]).collect();
        if plain.is_empty() {
            return match bias {
                Some(bias) => draft.push(name, Op::Binary(Binary::Add), &[sum, bias]).map(Some),
                None => Ok(Some(sum)),
            };
        }
        let beside = draft.push(name, Op::Concat { axis: 0 }, &plain)?;
        let weights = weights.concat();
        let weights = draft.constant(&format!("{name}.weight"), vec![1, weights.len()], weights)?;
        let operands: Vec<ValueId> = [beside, weights].into_iter().chain(bias).collect();
        let plain = draft.push(name, Op::Linear, &operands)?;
        draft.push(name, Op::Binary(Binary::Add), &[plain, sum]).map(Some)
    }

    /// `(Wᵀ (u∘a) + v) · x`, where `v` is what `x` weighs among the plain terms; `Σ u b a` is left to them.
    fn dot(&mut self, draft: &mut Draft, name: &str, term: &Term) -> Result<ValueId, GraphError> {
        let drafted = |v: &ValueId| self.values[v.index()];
        let constants: Vec<ValueId> = term.constants.iter().map(drafted).collect();
        let (a, x) = (drafted(&term.a), drafted(&term.x));
        let (base, matrix) = draft.floats(constants[0]).expect("a linear's weight is a constant in full precision");
        let (outputs, inputs) = (term.weights.len(), matrix.len() / term.weights.len());
        let row = |i: usize| (0..outputs).map(move |j| matrix[j * inputs + i] * term.weights[j]);
        let (base, turned) = (format!("{base}.adjoint"), (0..inputs).flat_map(row).collect());
        let turned = draft.constant(&base, vec![inputs, outputs], turned)?;
        if let Some((_, bias)) = constants.get(1).and_then(|b| draft.floats(*b)) {
            let weights = bias.iter().zip(&term.weights).map(|(b, u)| b * u).collect();
            self.plain.push((term.a, weights));
        }
        let mut operands = vec![a, turned];
        let plain = self.plain.extract_if(.., |(v, _)| *v == term.x).map(|(_, weights)| weights);
        let plain = plain.reduce(|sum, more| sum.iter().zip(&more).map(|(a, b)| a + b).collect());
        if let Some(weights) = plain {
            operands.push(draft.constant(&format!("{base}.plain"), vec![inputs], weights)?);
        }
        let linear = draft.push(name, Op::Linear, &operands)?;
        let products = draft.push(name, Op::Binary(Binary::Mul), &[linear, x])?;
        draft.push(name, Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: true }, &[products])
    }
}
