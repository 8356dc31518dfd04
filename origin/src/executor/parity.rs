//! Random graphs on the device against the scalar plan, which defines the result: one request at a time there, all of
//! them in one batch here.

use std::collections::{BTreeMap, BTreeSet};

use shared_model::encode::{Block, Data};
use shared_model::graph::{
    Binary, Builder, Compare, DType, Graph, Link, Logic, Op, Reduce, Scope, Type, Unary, ValueId,
};
use shared_model::plan::Plan;
use shared_model::tensor::Tensor;

use super::{Batch, Executor};
use crate::device::{Device, Precision};

const ROWS: usize = 9;

#[test]
fn random_graphs_score_as_on_the_scalar_plan() {
    let mut ops = BTreeMap::<&str, usize>::new();
    for seed in 1..=400 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (graph, tensors) = draw.graph();
        for node in graph.nodes() {
            *ops.entry(node.op.name()).or_default() += 1;
        }
        let batch = draw.batch(&graph);
        let expected = on_the_plan(&graph, &tensors, &batch);
        let got = Executor::new(&graph, &tensors, &Device::cpu()).unwrap().run(batch).unwrap();
        for (g, e) in got.iter().zip(&expected) {
            assert!((g - e).abs() <= 1e-5 + 1e-4 * e.abs(), "seed {seed}: {got:?}, expected {expected:?}\n{graph:#?}");
        }
        assert_eq!(got.len(), expected.len());
    }
    assert_eq!(ops.len(), 18, "an op never came up: {ops:?}");
}

#[test]
fn requests_score_in_a_batch_as_alone() {
    for seed in 1..=200 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (graph, tensors) = draw.graph();
        let executor = Executor::new(&graph, &tensors, &Device::cpu()).unwrap();
        let batches = [draw.batch(&graph), draw.batch(&graph)];
        let requests: Vec<Batch> = batches.iter().flat_map(|batch| alone(&graph, batch)).collect();
        let together = executor.run(Batch::join(&requests)).unwrap();
        let apart: Vec<f32> = requests.into_iter().flat_map(|request| executor.run(request).unwrap()).collect();
        assert_eq!((together.len(), apart.len()), (2 * ROWS, 2 * ROWS));
        for (t, a) in together.iter().zip(&apart) {
            assert!((t - a).abs() <= 1e-6 * a.abs().max(1.0), "seed {seed}: {together:?}, alone {apart:?}\n{graph:#?}");
        }
    }
}

#[test]
fn what_one_request_holds_reaches_no_other() {
    for seed in 1..=100 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (graph, tensors) = draw.graph();
        let executor = Executor::new(&graph, &tensors, &Device::cpu()).unwrap();
        let batches = [draw.batch(&graph), draw.batch(&graph)];
        let mut requests: Vec<Batch> = batches.iter().flat_map(|batch| alone(&graph, batch)).collect();
        let before = executor.run(Batch::join(&requests)).unwrap();
        let spoilt = draw.below(requests.len());
        for block in &mut requests[spoilt].inputs {
            match block {
                Data::F32(values) => values.fill(f32::NAN),
                Data::I32(ids) => ids.fill(6),
            }
        }
        let joined = Batch::join(&requests);
        let after = executor.run(joined.clone()).unwrap();
        for (candidate, owner) in joined.owner.iter().enumerate().filter(|(_, owner)| **owner as usize != spoilt) {
            let bits = |scores: &[f32]| scores[candidate].to_bits();
            assert_eq!(
                bits(&after),
                bits(&before),
                "seed {seed}: candidate {candidate} of request {owner}\n{graph:#?}"
            );
        }
    }
}

#[test]
fn rows_filled_up_for_a_gpu_change_no_score() {
    let mut sizes = BTreeSet::new();
    for seed in 1..=100 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (graph, tensors) = draw.graph();
        let plain = Executor::new(&graph, &tensors, &Device::cpu()).unwrap();
        let filled = plain.on(&Device::as_if_gpu(Precision::F32)).unwrap();
        let batches: Vec<Batch> = (0..1 + draw.below(3)).map(|_| draw.batch(&graph)).collect();
        let batch = Batch::join(&batches);
        sizes.insert((batch.requests, batch.owner.len()));
        let (expected, got) = (plain.run(batch.clone()).unwrap(), filled.run(batch).unwrap());
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(&expected) {
            assert!(
                (g - e).abs() <= 1e-6 * e.abs().max(1.0),
                "seed {seed}: {got:?}, expected {expected:?}\n{graph:#?}"
            );
        }
    }
    assert!(sizes.len() > 1, "{sizes:?}");
}

#[test]
fn the_samples_have_every_shape_that_a_gpu_is_given() {
    let (graph, tensors) = Draw(0x9E37_79B9_7F4A_7C15).graph();
    let plain = Executor::new(&graph, &tensors, &Device::cpu()).unwrap();
    assert_eq!(plain.samples().count(), 1, "the CPU has nothing to compile");
    let filled = plain.on(&Device::as_if_gpu(Precision::F32)).unwrap();
    let shapes: BTreeSet<(usize, usize)> = filled.samples().map(|s| (s.requests, s.owner.len())).collect();
    for requests in [1, 2, 8, 9, 100, 128, 3000] {
        for candidates in [requests, 10 * requests, 4000].into_iter().filter(|&c| c <= 4096) {
            let shape = (filled.filled(requests), filled.filled(candidates));
            assert!(
                shapes.contains(&shape),
                "{requests} requests with {candidates} candidates: {shape:?} of {shapes:?}"
            );
        }
    }
    assert_eq!(filled.samples().next().unwrap().owner.len(), 1);
    for sample in filled.samples() {
        let candidates = sample.owner.len();
        assert_eq!(filled.run(sample).unwrap().len(), candidates);
    }
}

#[test]
fn a_lower_precision_is_near_and_not_the_same() {
    let (mut rounded, mut most) = (0, 0f32);
    for seed in 1..=60 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (graph, tensors) = draw.graph();
        let plain = Executor::new(&graph, &tensors, &Device::cpu()).unwrap();
        let coarse = plain.on(&Device::as_if_gpu(Precision::Bf16)).unwrap();
        let batch = draw.batch(&graph);
        let (expected, got) = (plain.run(batch.clone()).unwrap(), coarse.run(batch).unwrap());
        rounded += usize::from(expected != got);
        let off = got.iter().zip(&expected).map(|(g, e)| (g - e).abs() / e.abs().max(1.0));
        most = off.fold(most, f32::max);
    }
    assert!(rounded > 10 && most > 1e-4 && most < 0.3, "{rounded} graphs, at most {most}");
}

/// The requests of a batch, each in one of its own.
fn alone(graph: &Graph, batch: &Batch) -> Vec<Batch> {
    let one = |request: usize| {
        let own: Vec<usize> = (0..batch.owner.len()).filter(|&c| batch.owner[c] as usize == request).collect();
        let rows = |per_candidate: bool| if per_candidate { own.clone() } else { vec![request] };
        let inputs = graph.inputs().zip(&batch.inputs);
        let inputs = inputs.map(|((_, v), data)| block(data, v.ty.len(), &rows(v.ty.scope.per_candidate())).data);
        Batch { requests: 1, owner: vec![0; own.len()], inputs: inputs.collect() }
    };
    (0..batch.requests).map(one).collect()
}

fn on_the_plan(graph: &Graph, tensors: &BTreeMap<String, Tensor>, batch: &Batch) -> Vec<f32> {
    let plan = Plan::new(graph, tensors).unwrap();
    let mut scores = vec![0.0; batch.owner.len()];
    for request in 0..batch.requests {
        let own: Vec<usize> = (0..scores.len()).filter(|&c| batch.owner[c] as usize == request).collect();
        let rows = |per_candidate: bool| if per_candidate { own.clone() } else { vec![request] };
        let blocks: Vec<Block> = graph
            .inputs()
            .zip(&batch.inputs)
            .map(|((_, v), data)| block(data, v.ty.len(), &rows(v.ty.scope.per_candidate())))
            .collect();
        let mut own_scores = vec![0.0; own.len()];
        plan.run(&mut plan.arena(), &blocks.iter().collect::<Vec<_>>(), &mut own_scores).unwrap();
        for (candidate, score) in own.into_iter().zip(own_scores) {
            scores[candidate] = score;
        }
    }
    scores
}

fn block(data: &Data, width: usize, rows: &[usize]) -> Block {
    fn pick<T: Copy>(all: &[T], width: usize, rows: &[usize]) -> Vec<T> {
        rows.iter().flat_map(|r| all[r * width..][..width].iter().copied()).collect()
    }
    let data = match data {
        Data::F32(v) => Data::F32(pick(v, width, rows)),
        Data::I32(v) => Data::I32(pick(v, width, rows)),
    };
    Block { width, data }
}

/// Draws by xorshift.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// In (-2, 2), and nothing so near to a whole number that rounding could tell apart what a sum's order could not.
    fn float(&mut self) -> f32 {
        (self.below(4000) as f32 + 0.37) / 1000.0 - 2.0
    }

    fn graph(&mut self) -> (Graph, BTreeMap<String, Tensor>) {
        let mut b = Builder::new();
        let mut values = Vec::new();
        for (name, dtype, shape, scope) in [
            ("user", DType::F32, vec![4], Scope::Request),
            ("context", DType::F32, vec![2, 2], Scope::Request),
            ("seen", DType::I32, vec![3], Scope::Request),
            ("item", DType::F32, vec![4], Scope::Item),
            ("price", DType::F32, vec![], Scope::Item),
            ("tags", DType::I32, vec![2], Scope::Item),
        ] {
            values.push(b.input(name, Type { dtype, shape, scope }).unwrap());
        }
        let item = values[3];
        let mut tensors = BTreeMap::new();
        let mut constants = Vec::new();
        for (name, shape) in [
            ("w44", vec![4, 4]),
            ("w24", vec![2, 4]),
            ("w32", vec![3, 2]),
            ("v4", vec![4]),
            ("v2", vec![2]),
            ("v3", vec![3]),
            ("table", vec![7, 4]),
            ("m22", vec![2, 2]),
        ] {
            let data = (0..shape.iter().product()).map(|_| self.float()).collect();
            constants.push(b.constant(name, DType::F32, &shape).unwrap());
            tensors.insert(name.to_owned(), Tensor::F32 { shape, data });
        }
        values.extend_from_slice(&constants);
        for _ in 0..24 {
            let (op, operands) = self.op(&b, &values, &constants);
            // What does not fit is not pushed.
            if let Ok(id) = b.push("", op, &operands) {
                let unbounded = b.ty(id).dtype == DType::F32;
                values.push(if unbounded { b.push("", Op::Unary(Unary::Tanh), &[id]).unwrap() } else { id });
            }
        }
        let mean = |b: &mut Builder, id: ValueId| {
            let axes = (0..b.ty(id).shape.len()).collect();
            let id =
                if b.ty(id).dtype == DType::F32 { id } else { b.push("", Op::Cast { to: DType::F32 }, &[id]).unwrap() };
            b.push("", Op::Reduce { kind: Reduce::Mean, axes, keep: false }, &[id]).unwrap()
        };
        let mut score = mean(&mut b, item);
        for id in values.split_off(values.len() - 12) {
            let term = mean(&mut b, id);
            score = b.push("", Op::Binary(Binary::Add), &[score, term]).unwrap();
        }
        let graph = b.finish(score, Link::Identity).unwrap();
        tensors.retain(|name, _| graph.constants().any(|(_, v)| v.name == *name));
        (graph, tensors)
    }

    /// Some op, its operands drawn without a look at whether it takes them.
    fn op(&mut self, b: &Builder, values: &[ValueId], constants: &[ValueId]) -> (Op, Vec<ValueId>) {
        let x = self.pick(values);
        let shape = b.ty(x).shape.clone();
        let axis = self.below(shape.len().max(1));
        let two = vec![x, self.pick(values)];
        match self.below(18) {
            0 => {
                let f = [
                    Unary::Neg,
                    Unary::Abs,
                    Unary::Exp,
                    Unary::Erf,
                    Unary::Relu,
                    Unary::LeakyRelu(0.1),
                    Unary::Sigmoid,
                    Unary::Tanh,
                    Unary::Softplus,
                    Unary::Gelu,
                    Unary::Not,
                ];
                (Op::Unary(self.pick(&f)), vec![x])
            }
            1 => {
                let f = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Min, Binary::Max, Binary::PRelu];
                (Op::Binary(self.pick(&f)), two)
            }
            2 => {
                let f =
                    [Compare::Equal, Compare::Less, Compare::LessOrEqual, Compare::Greater, Compare::GreaterOrEqual];
                (Op::Compare(self.pick(&f)), two)
            }
            3 => {
                let bools: Vec<ValueId> = values.iter().copied().filter(|&v| b.ty(v).dtype == DType::Bool).collect();
                let operands = if bools.is_empty() { two } else { vec![self.pick(&bools), self.pick(&bools)] };
                (Op::Logic(self.pick(&[Logic::And, Logic::Or, Logic::Xor])), operands)
            }
            4 => (Op::Clip { min: Some(-0.5), max: self.pick(&[None, Some(0.25)]) }, vec![x]),
            5 => (Op::Cast { to: self.pick(&[DType::F32, DType::I32, DType::Bool]) }, vec![x]),
            6 => {
                let bools: Vec<ValueId> = values.iter().copied().filter(|&v| b.ty(v).dtype == DType::Bool).collect();
                let mut operands = two;
                operands.insert(0, if bools.is_empty() { x } else { self.pick(&bools) });
                (Op::Where, operands)
            }
            7 => (Op::Linear, vec![x, self.pick(&constants[..3])]),
            8 => (Op::Linear, vec![x, self.pick(&constants[..3]), self.pick(&constants[3..6])]),
            9 => (Op::MatMul, two),
            10 => {
                let ids: Vec<ValueId> = values.iter().copied().filter(|&v| is_id(b, v)).collect();
                (Op::Embedding, vec![constants[6], self.pick(&ids)])
            }
            11 => {
                let length = shape.get(axis).copied().unwrap_or(1);
                let indices = (0..1 + self.below(3)).map(|_| self.below(length)).collect();
                (Op::Select { axis, indices }, vec![x])
            }
            12 => (Op::Concat { axis }, two),
            13 => {
                let length: usize = shape.iter().product();
                (Op::Reshape { shape: self.pick(&[vec![length], vec![1, length], vec![length / 2, 2]]) }, vec![x])
            }
            14 => (Op::Transpose { perm: (0..shape.len()).rev().collect() }, vec![x]),
            15 => (Op::Expand { shape: [vec![2], shape].concat() }, vec![x]),
            16 => {
                let kind = self.pick(&[Reduce::Sum, Reduce::Mean, Reduce::Min, Reduce::Max]);
                (Op::Reduce { kind, axes: vec![axis], keep: self.below(2) == 0 }, vec![x])
            }
            _ if self.below(2) == 0 => (Op::Softmax { axis }, vec![x]),
            _ => (Op::LayerNorm { epsilon: 0.1 }, vec![x, constants[3], constants[3]]),
        }
    }

    fn batch(&mut self, graph: &Graph) -> Batch {
        let requests = 1 + self.below(3);
        let owner = (0..ROWS).map(|_| u32::try_from(self.below(requests)).unwrap()).collect();
        let inputs = graph
            .inputs()
            .map(|(_, v)| {
                let length = v.ty.len() * if v.ty.scope.per_candidate() { ROWS } else { requests };
                match v.ty.dtype {
                    DType::F32 => Data::F32((0..length).map(|_| self.float()).collect()),
                    _ => Data::I32((0..length).map(|_| i32::try_from(self.below(7)).unwrap()).collect()),
                }
            })
            .collect();
        Batch { requests, owner, inputs }
    }
}

/// An i32 value of the inputs' own, or moved from them: within the table.
fn is_id(b: &Builder, id: ValueId) -> bool {
    b.ty(id).dtype == DType::I32 && [2, 5].contains(&id.0)
}
