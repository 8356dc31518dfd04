//! What a plan allocates once it has run: nothing, however many candidates there are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::collections::BTreeMap;

use allocation_counter::measure;
use shared_model::encode::{Block, Data};
use shared_model::graph::{Binary, Builder, Compare, DType, Graph, Link, Op, Reduce, Scope, Type, Unary, ValueId};
use shared_model::plan::{Items, Plan};
use shared_model::tensor::{Activations, Tensor};

const ITEMS: usize = 300;

/// A graph with tensors of each form and steps of every kind that has memory of its own.
#[derive(Default)]
struct Sketch {
    builder: Builder,
    tensors: BTreeMap<String, Tensor>,
}

impl Sketch {
    fn input(&mut self, name: &str, scope: Scope, dtype: DType, shape: &[usize]) -> ValueId {
        self.builder.input(name, Type { dtype, shape: shape.to_vec(), scope }).unwrap()
    }

    fn tensor(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("c{}", self.tensors.len());
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        self.tensors.insert(name.clone(), tensor);
        self.builder.constant(&name, dtype, &shape).unwrap()
    }

    fn floats(&mut self, shape: &[usize]) -> ValueId {
        let data = (0..shape.iter().product()).map(|i| (i as f32 * 0.37).sin()).collect();
        self.tensor(Tensor::F32 { shape: shape.to_vec(), data })
    }

    fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.builder.push("v", op, inputs).unwrap()
    }

    fn attention() -> (Graph, BTreeMap<String, Tensor>) {
        let mut s = Self::default();
        let history = s.input("history", Scope::Request, DType::I32, &[6]);
        let id = s.input("id", Scope::Item, DType::I32, &[]);
        let about = s.input("about", Scope::Item, DType::F32, &[3]);
        let (table, zero) = (s.floats(&[ITEMS, 8]), s.tensor(Tensor::I32 { shape: vec![], data: vec![0] }));
        let had = s.push(Op::Embedding, &[table, history]);
        let row = s.push(Op::Embedding, &[table, id]);
        let product = s.push(Op::Binary(Binary::Mul), &[had, row]);
        let weights = Tensor::Linear8 {
            outputs: 16,
            inputs: 8,
            q: (0..128u8).map(|i| i.cast_signed()).collect(),
            scale: vec![0.01; 16],
            offset: vec![0.02; 16],
            activations: Activations::Sixteen,
        };
        let (weights, bias) = (s.tensor(weights), s.floats(&[16]));
        let hidden = s.push(Op::Linear, &[product, weights, bias]);
        let hidden = s.push(Op::Unary(Unary::Gelu), &[hidden]);
        let last = s.tensor(Tensor::Linear8 {
            outputs: 1,
            inputs: 16,
            q: vec![3; 16],
            scale: vec![0.01],
            offset: vec![0.02],
            activations: Activations::Seven,
        });
        let logits = s.push(Op::Linear, &[hidden, last]);
        let logits = s.push(Op::Reshape { shape: vec![1, 6] }, &[logits]);
        let known = s.push(Op::Compare(Compare::Greater), &[history, zero]);
        let logits = s.push(Op::Where, &[known, logits, logits]);
        let shares = s.push(Op::Softmax { axis: 1 }, &[logits]);
        let pooled = s.push(Op::MatMul, &[shares, had]);
        let pooled = s.push(Op::Reshape { shape: vec![8] }, &[pooled]);
        let all = s.push(Op::Concat { axis: 0 }, &[pooled, row, about]);
        let (scale, bias) = (s.floats(&[19]), s.floats(&[19]));
        let all = s.push(Op::LayerNorm { epsilon: 1e-5 }, &[all, scale, bias]);
        let turned = s.push(Op::Select { axis: 0, indices: (0..19).rev().collect() }, &[all]);
        let score = s.push(Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: false }, &[turned]);
        (s.builder.finish(score, Link::Sigmoid).unwrap(), s.tensors)
    }
}

#[test]
fn a_plan_that_has_run_allocates_nothing() {
    let (graph, tensors) = Sketch::attention();
    let plan = Plan::new(&graph, &tensors).unwrap();
    let mut arena = plan.arena();
    let ids = |n: usize| Block { width: 1, data: Data::I32((0..n as i32).collect()) };
    let about = |n: usize| Block { width: 3, data: Data::F32((0..3 * n).map(|i| i as f32).collect()) };
    let history = Block { width: 6, data: Data::I32(vec![3, 9, 0, 0, 7, 1]) };
    let catalog = [&history, &ids(ITEMS), &about(ITEMS)];
    let table = plan.item_table(&mut arena, &catalog, ITEMS).unwrap();
    assert_ne!(measure(|| drop(plan.arena())).count_total, 0, "it counts");
    for n in [ITEMS, 1, 100] {
        let (ids, about, rows) = (ids(n), about(n), (0..n as u32).map(Some).collect::<Vec<_>>());
        let (inputs, mut scores) = ([&history, &ids, &about], vec![0.0; n]);
        for items in [None, Some(Items { table: &table, rows: &rows })] {
            let mut run = || plan.run_with(&mut arena, &inputs, items, &mut scores).unwrap();
            if n == ITEMS {
                run();
            }
            let allocated = measure(run);
            assert_eq!(allocated.count_total, 0, "{n} candidates: {allocated:?}");
        }
    }
}
