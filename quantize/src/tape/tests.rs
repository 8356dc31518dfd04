//! The values are a plan's, and the slopes are what a small change of a weight does to its scores.

use std::collections::BTreeMap;

use shared_model::encode::{Block, Data};
use shared_model::graph::{Binary, Builder, Compare, DType, Graph, Link, Op, Reduce, Scope, Type, Unary, ValueId};
use shared_model::plan::Plan;
use shared_model::tensor::Tensor;

use super::*;

const WIDTH: usize = 4;
const CANDIDATES: usize = 3;
const ROWS: usize = 5;

/// A model of one user table, one item table and two layers around what is tested, given both rows as `[2, 4]`.
struct Case {
    builder: Builder,
    tensors: BTreeMap<String, Tensor>,
    pushed: usize,
}

fn wave(n: usize, phase: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.73 + phase).sin()).collect()
}

impl Case {
    fn constant(&mut self, name: &str, shape: &[usize], phase: f32) -> ValueId {
        let data = wave(shape.iter().product(), phase);
        self.tensors.insert(name.to_owned(), Tensor::F32 { shape: shape.to_vec(), data });
        self.builder.constant(name, DType::F32, shape).unwrap()
    }

    fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.pushed += 1;
        let name = format!("v{}", self.pushed);
        self.builder.push(&name, op, inputs).unwrap()
    }
}

fn model(between: impl FnOnce(&mut Case, ValueId) -> ValueId) -> (Graph, BTreeMap<String, Tensor>) {
    let mut case = Case { builder: Builder::new(), tensors: BTreeMap::new(), pushed: 0 };
    let ids = |scope, shape: &[usize]| Type { dtype: DType::I32, shape: shape.to_vec(), scope };
    let user = case.builder.input("user", ids(Scope::Request, &[1])).unwrap();
    let item = case.builder.input("item", ids(Scope::Item, &[1])).unwrap();
    let (users, items) = (case.constant("users", &[ROWS, WIDTH], 0.1), case.constant("items", &[ROWS, WIDTH], 0.2));
    let (user, item) = (case.push(Op::Embedding, &[users, user]), case.push(Op::Embedding, &[items, item]));
    let (w, b) = (case.constant("first.weight", &[WIDTH, WIDTH], 0.3), case.constant("first.bias", &[WIDTH], 0.4));
    let user = case.push(Op::Linear, &[user, w, b]);
    let both = case.push(Op::Concat { axis: 0 }, &[user, item]);
    let tested = between(&mut case, both);
    let len = case.builder.ty(tested).len();
    let flat = case.push(Op::Reshape { shape: vec![len] }, &[tested]);
    let last = case.constant("last.weight", &[1, len], 0.5);
    let score = case.push(Op::Linear, &[flat, last]);
    (case.builder.finish(score, Link::Identity).unwrap(), case.tensors)
}

fn inputs() -> [Block; 2] {
    let block = |ids: &[i32]| Block { width: 1, data: Data::I32(ids.to_vec()) };
    [block(&[3]), block(&[1, 4, 2])]
}

/// The derivatives by every weight, of each candidate.
#[derive(Default)]
struct Gradients(BTreeMap<String, Vec<Vec<f32>>>);

impl Watch for Gradients {
    fn linear(&mut self, weight: &str, x: Rows<'_>, by_outputs: &[f32]) {
        let of_row = by_outputs.len() / CANDIDATES;
        let all = (0..CANDIDATES).map(|r| {
            let (x, g) = (x.row(r), &by_outputs[r * of_row..][..of_row]);
            // As many rows of inputs as of outputs; the weights of these models have `WIDTH` inputs or one output.
            let outputs = if weight == "last.weight" { 1 } else { WIDTH };
            let inputs = x.len() / (g.len() / outputs);
            let mut w = vec![0.0; outputs * inputs];
            for (x, g) in x.chunks_exact(inputs).zip(g.chunks_exact(outputs)) {
                for (o, g) in g.iter().enumerate() {
                    for (i, x) in x.iter().enumerate() {
                        w[o * inputs + i] += g * x;
                    }
                }
            }
            w
        });
        self.0.insert(weight.to_owned(), all.collect());
    }

    fn lookup(&mut self, Lookup { table, ids, shared, .. }: Lookup<'_>, by_rows: &[f32]) {
        let all = (0..CANDIDATES).map(|r| {
            let mut w = vec![0.0; ROWS * WIDTH];
            let id = ids[if shared { 0 } else { r }];
            w[id as usize * WIDTH..][..WIDTH].copy_from_slice(&by_rows[r * WIDTH..][..WIDTH]);
            w
        });
        self.0.insert(table.to_owned(), all.collect());
    }
}

fn scores(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Vec<f32> {
    let plan = Plan::new(graph, tensors).unwrap();
    let mut scores = vec![0.0; CANDIDATES];
    let inputs = inputs();
    plan.run(&mut plan.arena(), &inputs.iter().collect::<Vec<_>>(), &mut scores).unwrap();
    scores
}

fn check(name: &str, between: impl FnOnce(&mut Case, ValueId) -> ValueId) {
    let (graph, tensors) = model(between);
    let tape = Tape::new(&graph, &tensors);
    let inputs = inputs();
    let trace = tape.run(&inputs.iter().collect::<Vec<_>>(), CANDIDATES);
    for (a, b) in tape.scores(&trace).iter().zip(scores(&graph, &tensors)) {
        assert!((a - b).abs() < 1e-5, "{name}: {a}, and {b} by a plan");
    }
    let mut gradients = Gradients::default();
    tape.back(&trace, &mut gradients);
    for (weight, tensor) in &tensors {
        let Some(gradients) = gradients.0.get(weight) else { continue };
        let Tensor::F32 { shape, data } = tensor else { unreachable!() };
        for e in 0..data.len() {
            const STEP: f32 = 1.0 / 256.0;
            let moved = |by: f32| {
                let mut data = data.clone();
                data[e] += by;
                let mut tensors = tensors.clone();
                tensors.insert(weight.clone(), Tensor::F32 { shape: shape.clone(), data });
                scores(&graph, &tensors)
            };
            for (r, (up, down)) in moved(STEP).iter().zip(moved(-STEP)).enumerate() {
                let (got, want) = (gradients[r][e], (up - down) / (2.0 * STEP));
                assert!(
                    (got - want).abs() < 3e-3 * want.abs().max(1.0),
                    "{name}, {weight}[{e}], candidate {r}: {got}, not {want}"
                );
            }
        }
    }
    assert!(gradients.0.len() >= 3, "{name}: {:?}", gradients.0.keys());
}

#[test]
fn linears_and_lookups_alone() {
    check("nothing", |_, x| x);
}

#[test]
fn functions_of_one_value() {
    use Unary::*;
    for f in [Neg, Abs, Exp, Erf, Relu, LeakyRelu(0.3), Sigmoid, Tanh, Softplus, Gelu] {
        check(&format!("{f:?}"), |case, x| case.push(Op::Unary(f), &[x]));
    }
    for f in [Reciprocal, Sqrt, Log] {
        check(&format!("{f:?}"), |case, x| {
            let positive = case.push(Op::Unary(Exp), &[x]);
            case.push(Op::Unary(f), &[positive])
        });
    }
    check("clip", |case, x| case.push(Op::Clip { min: Some(-0.5), max: Some(0.6) }, &[x]));
}

#[test]
fn functions_of_two_values_broadcast() {
    use Binary::*;
    for f in [Add, Sub, Mul, Min, Max, PRelu] {
        check(&format!("{f:?}"), |case, x| {
            let one = case.push(Op::Select { axis: 0, indices: vec![1] }, &[x]);
            case.push(Op::Binary(f), &[x, one])
        });
    }
    check("Div", |case, x| {
        let (one, positive) = (case.push(Op::Select { axis: 1, indices: vec![2] }, &[x]), Op::Unary(Unary::Exp));
        let positive = case.push(positive, &[one]);
        case.push(Op::Binary(Div), &[x, positive])
    });
}

#[test]
fn moves_and_choices() {
    check("transpose", |case, x| case.push(Op::Transpose { perm: vec![1, 0] }, &[x]));
    check("select", |case, x| case.push(Op::Select { axis: 1, indices: vec![3, 0, 3] }, &[x]));
    check("expand", |case, x| {
        let one = case.push(Op::Select { axis: 1, indices: vec![1] }, &[x]);
        case.push(Op::Expand { shape: vec![3, 2, 4] }, &[one])
    });
    check("where", |case, x| {
        let twice = case.push(Op::Binary(Binary::Add), &[x, x]);
        let other = case.push(Op::Select { axis: 0, indices: vec![1, 0] }, &[x]);
        let which = case.push(Op::Compare(Compare::Less), &[x, other]);
        case.push(Op::Where, &[which, twice, other])
    });
}

#[test]
fn reductions_products_and_normalizations() {
    for kind in [Reduce::Sum, Reduce::Mean, Reduce::Min, Reduce::Max] {
        for axes in [vec![0], vec![1], vec![0, 1]] {
            check(&format!("{kind:?} {axes:?}"), |case, x| {
                case.push(Op::Reduce { kind, axes: axes.clone(), keep: true }, &[x])
            });
        }
    }
    for axis in [0, 1] {
        check("softmax", |case, x| case.push(Op::Softmax { axis }, &[x]));
    }
    check("mat_mul", |case, x| {
        let turned = case.push(Op::Transpose { perm: vec![1, 0] }, &[x]);
        case.push(Op::MatMul, &[x, turned])
    });
    check("layer_norm", |case, x| {
        let (scale, bias) = (case.constant("scale", &[WIDTH], 0.9), case.constant("shift", &[WIDTH], 1.1));
        case.push(Op::LayerNorm { epsilon: 1e-5 }, &[x, scale, bias])
    });
}
