//! Each pass against the model it was given, on random weights and inputs.

mod adjoint;
mod uniform;

use std::sync::Arc;

use shared_model::encode::{Block, Data};
use shared_model::graph::{Binary, Builder, Compare, DType, Graph, Link, Op, Reduce, Scope, Type, Unary, ValueId};
use shared_model::plan::Plan;
use shared_model::tensor::Tensor;

use super::{Model, Work, behind, gelu, narrow, pooling, scope, split};

const CANDIDATES: usize = 5;

/// A model in the making, with random constants.
struct Sketch {
    builder: Builder,
    tensors: std::collections::BTreeMap<String, Tensor>,
    random: fastrand::Rng,
}

impl Sketch {
    fn new() -> Self {
        Self {
            builder: Builder::new(),
            tensors: std::collections::BTreeMap::new(),
            random: fastrand::Rng::with_seed(1),
        }
    }

    fn input(&mut self, name: &str, scope: Scope, shape: &[usize]) -> ValueId {
        self.builder.input(name, Type { dtype: DType::F32, shape: shape.to_vec(), scope }).unwrap()
    }

    fn ids(&mut self, name: &str, scope: Scope, shape: &[usize]) -> ValueId {
        self.builder.input(name, Type { dtype: DType::I32, shape: shape.to_vec(), scope }).unwrap()
    }

    fn constant(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("c{}", self.tensors.len());
        let data = (0..shape.iter().product()).map(|_| self.random.f32() - 0.5).collect();
        self.tensors.insert(name.clone(), Tensor::F32 { shape: shape.to_vec(), data });
        self.builder.constant(&name, DType::F32, shape).unwrap()
    }

    fn number(&mut self, value: i32) -> ValueId {
        let name = format!("c{}", self.tensors.len());
        self.tensors.insert(name.clone(), Tensor::I32 { shape: vec![], data: vec![value] });
        self.builder.constant(&name, DType::I32, &[]).unwrap()
    }

    fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.builder.push("v", op, inputs).unwrap()
    }

    fn linear(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let inputs = *self.builder.ty(x).shape.last().unwrap();
        let (w, b) = (self.constant(&[outputs, inputs]), self.constant(&[outputs]));
        self.push(Op::Linear, &[x, w, b])
    }

    fn concat(&mut self, axis: usize, parts: &[ValueId]) -> ValueId {
        self.push(Op::Concat { axis }, parts)
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        self.push(Op::Reshape { shape: shape.to_vec() }, &[x])
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.push(Op::Binary(op), &[a, b])
    }

    fn sum(&mut self, x: ValueId, axis: usize) -> ValueId {
        self.push(Op::Reduce { kind: Reduce::Sum, axes: vec![axis], keep: false }, &[x])
    }

    /// Ranks by a linear of `x`, of one dimension.
    fn finish(mut self, x: ValueId) -> Model {
        let score = self.linear(x, 1);
        let tensors = self.tensors.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect();
        Model { graph: self.builder.finish(score, Link::Identity).unwrap(), tensors }
    }
}

/// Scores of random inputs; ids are below 7.
fn scores(model: &Model) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(2);
    let blocks: Vec<Block> = model
        .graph
        .inputs()
        .map(|(_, value)| {
            let rows = if value.ty.scope.per_candidate() { CANDIDATES } else { 1 };
            let n = rows * value.ty.len();
            let data = match value.ty.dtype {
                DType::F32 => Data::F32((0..n).map(|_| random.f32() * 4.0 - 2.0).collect()),
                _ => Data::I32((0..n).map(|_| random.i32(0..7)).collect()),
            };
            Block { width: value.ty.len(), data }
        })
        .collect();
    let tensors = model.tensors.iter().map(|(name, tensor)| (name.clone(), Tensor::clone(tensor))).collect();
    let plan = Plan::new(&model.graph, &tensors).unwrap();
    let mut scores = vec![0.0; CANDIDATES];
    plan.run(&mut plan.arena(), &blocks.iter().collect::<Vec<_>>(), &mut scores).unwrap();
    scores
}

#[track_caller]
fn assert_same(model: &Model, other: &Model) {
    for (a, b) in scores(model).iter().zip(scores(other)) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} for {b}");
    }
}

fn work(graph: &Graph) -> [u64; 3] {
    let Work { request, item, pair } = Work::of(graph);
    [request, item, pair]
}

#[test]
fn a_linear_is_cut_by_the_scopes_of_its_columns() {
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[6]), s.input("item", Scope::Item, &[9]));
    let other = s.input("other", Scope::Request, &[2]);
    let x = s.concat(0, &[user, item, other]);
    let y = s.linear(x, 4);
    let y = s.push(Op::Unary(Unary::Relu), &[y]);
    let model = s.finish(y);
    let split = split(model.clone()).unwrap();
    assert_same(&split, &model);
    assert_eq!(work(&split.graph), [8 * 4, 9 * 4, 4]);
}

#[test]
fn few_columns_of_an_item_stay_with_the_pair() {
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[7]), s.input("item", Scope::Item, &[7]));
    let both = s.binary(Binary::Mul, user, item);
    let x = s.concat(0, &[item, both, user]);
    let y = s.linear(x, 4);
    let model = s.finish(y);
    let split = split(model.clone()).unwrap();
    assert_same(&split, &model);
    assert_eq!(work(&split.graph), [7 * 4, 0, 14 * 4 + 4]);
}

#[test]
fn a_difference_of_scopes_is_taken_after_the_linear() {
    // The attention unit of a deep interest network.
    let mut s = Sketch::new();
    let (history, item) = (s.input("history", Scope::Request, &[5, 8]), s.input("item", Scope::Item, &[8]));
    let item = s.reshape(item, &[1, 8]);
    let item = s.push(Op::Expand { shape: vec![5, 8] }, &[item]);
    let (product, difference) = (s.binary(Binary::Mul, history, item), s.binary(Binary::Sub, history, item));
    let x = s.concat(1, &[history, item, product, difference]);
    let hidden = s.linear(x, 6);
    let slope = s.constant(&[1, 1]);
    let hidden = s.binary(Binary::PRelu, hidden, slope);
    let y = s.sum(hidden, 0);
    let model = s.finish(y);
    let split = split(model.clone()).unwrap();
    assert_same(&split, &model);
    assert_eq!(work(&split.graph), [5 * 8 * 6, 8 * 6, 5 * 8 * 6 + 5 * 6 + 6]);
}

#[test]
fn products_of_all_pairs_of_rows_are_cut_by_scope_and_only_those_used_are_left() {
    // The interaction of a deep learning recommendation model: a row of both, two of the user, two of the item.
    let mut s = Sketch::new();
    let users = [s.input("u1", Scope::Request, &[4]), s.input("u2", Scope::Request, &[4])];
    let items = [s.input("i1", Scope::Item, &[4]), s.input("i2", Scope::Item, &[4])];
    let both = s.binary(Binary::Mul, users[0], items[0]);
    let rows = [both, users[0], users[1], items[0], items[1]].map(|v| s.reshape(v, &[1, 4]));
    let stack = s.concat(0, &rows);
    let turned = s.push(Op::Transpose { perm: vec![1, 0] }, &[stack]);
    let products = s.push(Op::MatMul, &[stack, turned]);
    let flat = s.reshape(products, &[25]);
    let above = (0..5).flat_map(|i| (i + 1..5).map(move |j| i * 5 + j)).collect();
    let pairs = s.push(Op::Select { axis: 0, indices: above }, &[flat]);
    let x = s.concat(0, &[both, pairs]);
    let y = s.linear(x, 3);
    let model = s.finish(y);
    let split = split(model.clone()).unwrap();
    assert_same(&split, &model);
    // Of the user 2 × 2 products, one of which is used; of the item as many; the row of both with the other four; the
    // user's rows with the item's. The linear: one column of the user, and 4 of `both`, 4 + 4 products, one of the item.
    assert_eq!(work(&split.graph), [16 + 3, 16, 16 + 16 + 13 * 3 + 3]);
}

/// Attention over a history and the item, as a behaviour sequence transformer has it.
fn transformer() -> Model {
    let mut s = Sketch::new();
    let (history, item) = (s.ids("history", Scope::Request, &[4]), s.ids("item", Scope::Item, &[]));
    let item = s.reshape(item, &[1]);
    let ids = s.concat(0, &[history, item]);
    let (table, positions) = (s.constant(&[7, 8]), s.constant(&[5, 8]));
    let rows = s.push(Op::Embedding, &[table, ids]);
    let rows = s.binary(Binary::Add, rows, positions);
    let (scale, shift) = (s.constant(&[8]), s.constant(&[8]));
    let normal = s.push(Op::LayerNorm { epsilon: 1e-5 }, &[rows, scale, shift]);
    let qkv = s.linear(normal, 24);
    let qkv = s.reshape(qkv, &[5, 3, 2, 4]);
    let qkv = s.push(Op::Transpose { perm: vec![1, 2, 0, 3] }, &[qkv]);
    let [q, k, v] = [0, 1, 2].map(|i| {
        let one = s.push(Op::Select { axis: 0, indices: vec![i] }, &[qkv]);
        s.reshape(one, &[2, 5, 4])
    });
    let k = s.push(Op::Transpose { perm: vec![0, 2, 1] }, &[k]);
    let scores = s.push(Op::MatMul, &[q, k]);
    let zero = s.number(0);
    let mask = s.push(Op::Compare(Compare::Greater), &[ids, zero]);
    let wide = s.reshape(mask, &[1, 1, 5]);
    let masked = s.constant(&[2, 5, 5]);
    let scores = s.push(Op::Where, &[wide, scores, masked]);
    let weights = s.push(Op::Softmax { axis: 2 }, &[scores]);
    let heads = s.push(Op::MatMul, &[weights, v]);
    let heads = s.push(Op::Transpose { perm: vec![1, 0, 2] }, &[heads]);
    let heads = s.reshape(heads, &[5, 8]);
    let heads = s.linear(heads, 8);
    let rows = s.binary(Binary::Add, rows, heads);
    let hidden = s.linear(rows, 16);
    let hidden = s.push(Op::Unary(Unary::Relu), &[hidden]);
    let hidden = s.linear(hidden, 8);
    let rows = s.binary(Binary::Add, rows, hidden);
    let weight = s.push(Op::Cast { to: DType::F32 }, &[mask]);
    let weight = s.reshape(weight, &[5, 1]);
    let last = s.push(Op::Select { axis: 0, indices: vec![4] }, &[rows]);
    let last = s.reshape(last, &[8]);
    let pooled = s.binary(Binary::Mul, rows, weight);
    let pooled = s.sum(pooled, 0);
    let x = s.concat(0, &[last, pooled]);
    s.finish(x)
}

#[test]
fn a_transformers_history_is_computed_once_a_request() {
    let model = transformer();
    let split = scope::pass(&model).unwrap();
    assert_same(&split, &model);
    // Of four rows queries, keys and values, the products of their heads, the linear of their values, what these add up
    // to, and its weights.
    assert_eq!(work(&split.graph)[0], 4 * 8 * 24 + 2 * 4 * 4 * 4 + 2 * 4 * 4 * 8 + 2 * 4 * 4 * 8 + 2 * 4 * 4);
    // Of one row queries, keys and values, the products of its heads, and the linear of its values.
    assert_eq!(work(&split.graph)[1], 8 * 24 + 2 * 4 + 2 * 4 * 8);
    // Of a pair, attention: products of heads, of the history's rows what is added up of the history and of the item, of
    // the item's row its heads and their linear. Then what it was: two linears, a sum, the score.
    let attention = 2 * (2 * 4 * 4) + 2 * (2 * 4 * 8) + 2 * 5 * 4 + 8 * 8;
    assert_eq!(work(&split.graph)[2], attention + 2 * (5 * 8 * 16) + 5 * 8 + 16);
    let ops = |op: fn(&Op) -> bool| split.graph.nodes().iter().filter(|n| op(&n.op)).count();
    assert_eq!(ops(|op| matches!(op, Op::Softmax { .. })), 1, "that of the item's own row");
}

#[test]
fn a_user_without_a_history_attends_to_the_item_alone() {
    // All of the history's keys are masked: what they add up to must weigh nothing.
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[4, 3]), s.input("item", Scope::Item, &[1, 3]));
    let low = s.push(Op::Clip { min: Some(-1e9), max: Some(-1e9) }, &[user]);
    let low = s.push(Op::Reduce { kind: Reduce::Max, axes: vec![1], keep: false }, &[low]);
    let low = s.reshape(low, &[1, 4]);
    let high = s.push(Op::Reduce { kind: Reduce::Max, axes: vec![1], keep: true }, &[item]);
    let keys = s.concat(1, &[low, high]);
    let weights = s.push(Op::Softmax { axis: 1 }, &[keys]);
    let values = s.concat(0, &[user, item]);
    let y = s.push(Op::MatMul, &[weights, values]);
    let y = s.reshape(y, &[3]);
    let model = s.finish(y);
    let split = scope::pass(&model).unwrap();
    assert_eq!(scores(&split), scores(&model));
    assert!(split.graph.nodes().iter().all(|n| !matches!(n.op, Op::Softmax { .. })));
}

#[test]
fn a_product_of_few_columns_is_turned_around_to_the_same_bits() {
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[2, 6, 5]), s.input("item", Scope::Item, &[2, 5, 1]));
    let products = s.push(Op::MatMul, &[user, item]);
    let y = s.reshape(products, &[12]);
    let model = s.finish(y);
    let turned = narrow::pass(&model).unwrap();
    let product = turned.graph.nodes().iter().find(|n| n.op == Op::MatMul).unwrap();
    assert_eq!(turned.graph.value(product.output).ty.shape, [2, 1, 6]);
    assert_eq!(scores(&turned), scores(&model));
}

#[test]
fn a_linear_before_a_sum_and_a_selection_of_rows_goes_behind_them() {
    let model = transformer();
    let moved = behind::pass(&model).unwrap();
    assert_same(&moved, &model);
    let [before, after] = [&model, &moved].map(|m| Work::of(&m.graph).unshared());
    // Of five rows of 16 × 8 two are left; the sums are of the rows before the linear and of the others, and of the weights.
    assert_eq!(before - after, 3 * 16 * 8 - 5 * 16 - 5);
}

#[test]
fn a_bias_is_added_as_often_as_rows_are_summed() {
    for kind in [Reduce::Sum, Reduce::Mean] {
        let mut s = Sketch::new();
        let (user, item) = (s.input("user", Scope::Request, &[6, 4]), s.input("item", Scope::Item, &[4]));
        let rows = s.binary(Binary::Mul, user, item);
        let rows = s.linear(rows, 3);
        let y = s.push(Op::Reduce { kind, axes: vec![0], keep: false }, &[rows]);
        let model = s.finish(y);
        let moved = behind::pass(&model).unwrap();
        assert_same(&moved, &model);
        assert_eq!(work(&moved.graph), [0, 0, 6 * 4 + 4 * 3 + 3]);
    }
}

#[test]
fn pooling_by_weights_is_a_product_of_the_same_bits() {
    for axis in [0, 1] {
        let mut s = Sketch::new();
        let user = s.input("user", Scope::Request, &[6, 4]);
        let item = s.input("item", Scope::Item, &[if axis == 0 { 6 } else { 4 }]);
        let item = s.reshape(item, if axis == 0 { &[6, 1] } else { &[1, 4] });
        let rows = s.binary(Binary::Mul, item, user);
        let y = s.sum(rows, axis);
        let model = s.finish(y);
        let product = pooling::pass(&model).unwrap();
        let ops = |op: fn(&Op) -> bool| product.graph.nodes().iter().filter(|n| op(&n.op)).count();
        assert_eq!((ops(|op| *op == Op::MatMul), ops(|op| matches!(op, Op::Reduce { .. }))), (1, 0));
        assert_eq!(scores(&product), scores(&model));
    }
}

#[test]
fn a_pass_that_saves_nothing_changes_nothing() {
    let mut s = Sketch::new();
    let item = s.input("item", Scope::Item, &[9]);
    let hidden = s.linear(item, 4);
    let model = s.finish(hidden);
    assert_eq!(split(model.clone()).unwrap(), model);
}

#[test]
fn a_gelu_is_one_op_however_it_is_spelled() {
    let spelled = |root: f32, how: usize| {
        let mut s = Sketch::new();
        let x = s.input("x", Scope::Item, &[6]);
        let [by, one, half] = [if how == 2 { 1.0 / root } else { root }, 1.0, 0.5].map(|number| {
            let name = format!("c{}", s.tensors.len());
            s.tensors.insert(name.clone(), Tensor::F32 { shape: vec![], data: vec![number] });
            s.builder.constant(&name, DType::F32, &[]).unwrap()
        });
        let scaled = s.binary(if how == 2 { Binary::Mul } else { Binary::Div }, x, by);
        let erf = s.push(Op::Unary(Unary::Erf), &[scaled]);
        let sum = s.binary(Binary::Add, one, erf);
        let product = match how {
            0 => [s.binary(Binary::Mul, x, sum), half],
            1 => [x, s.binary(Binary::Mul, half, sum)],
            _ => [sum, s.binary(Binary::Mul, half, x)],
        };
        let bent = s.binary(Binary::Mul, product[0], product[1]);
        s.finish(bent)
    };
    let ops = |model: &Model| model.graph.nodes().iter().map(|n| n.op.clone()).collect::<Vec<_>>();
    for how in 0..3 {
        let model = spelled(std::f32::consts::SQRT_2, how);
        let found = gelu::pass(&model).unwrap();
        assert_eq!(ops(&found), [Op::Unary(Unary::Gelu), Op::Linear], "{how}");
        assert_same(&model, &found);
    }
    let other = spelled(1.5, 0);
    assert_eq!(ops(&gelu::pass(&other).unwrap()), ops(&other));
}

#[test]
fn a_sum_of_itself_again_and_again_is_looked_at_once() {
    let model = |reduce: bool| {
        let mut s = Sketch::new();
        let x = s.input("x", Scope::Item, &[3, 4]);
        let mut y = s.linear(x, 4);
        for _ in 0..200 {
            y = s.binary(Binary::Add, y, y);
        }
        let rows = if reduce { s.sum(y, 0) } else { s.push(Op::Select { axis: 0, indices: vec![1] }, &[y]) };
        let flat = s.reshape(rows, &[4]);
        s.finish(flat)
    };
    for reduce in [true, false] {
        assert!(behind::pass(&model(reduce)).unwrap().graph.nodes().len() < 210);
    }
}
