//! Batches against numbers worked out by hand, and what is refused.

use std::collections::BTreeMap;

use shared_model::encode::Data;
use shared_model::graph::{Binary, Builder, DType, Graph, Link, Op, Reduce, Scope, Type, Unary};
use shared_model::tensor::Tensor;

use super::{Batch, Executor, LoadError, RunError};
use crate::device::Device;

fn row(dtype: DType, shape: &[usize], scope: Scope) -> Type {
    Type { dtype, shape: shape.to_vec(), scope }
}

/// `score = relu(w · [user, user, item] + b) · item[0] + mean(table[id])`, with a constant folded on the way.
fn two_towers() -> (Graph, BTreeMap<String, Tensor>) {
    let mut b = Builder::new();
    let user = b.input("user", row(DType::F32, &[2], Scope::Request)).unwrap();
    let item = b.input("item", row(DType::F32, &[1], Scope::Item)).unwrap();
    let id = b.input("id", row(DType::I32, &[2], Scope::Item)).unwrap();
    let w = b.constant("w", DType::F32, &[1, 5]).unwrap();
    let half = b.constant("half", DType::F32, &[1]).unwrap();
    let table = b.constant("table", DType::F32, &[3, 1]).unwrap();
    let bias = b.constant("bias", DType::F32, &[1]).unwrap();
    let one = b.push("one", Op::Binary(Binary::Add), &[half, half]).unwrap();
    let twice = b.push("twice", Op::Binary(Binary::Add), &[user, user]).unwrap();
    let joined = b.push("joined", Op::Concat { axis: 0 }, &[twice, user, item]).unwrap();
    let hidden = b.push("hidden", Op::Linear, &[joined, w, bias]).unwrap();
    let active = b.push("active", Op::Unary(Unary::Relu), &[hidden]).unwrap();
    let item = b.push("same", Op::Binary(Binary::Mul), &[item, one]).unwrap();
    let scaled = b.push("scaled", Op::Binary(Binary::Mul), &[active, item]).unwrap();
    let rows = b.push("rows", Op::Embedding, &[table, id]).unwrap();
    let mean = b.push("mean", Op::Reduce { kind: Reduce::Mean, axes: vec![0], keep: false }, &[rows]).unwrap();
    let score = b.push("score", Op::Binary(Binary::Add), &[scaled, mean]).unwrap();
    let graph = b.finish(score, Link::Sigmoid).unwrap();
    let f32 = |shape: &[usize], data: &[f32]| Tensor::F32 { shape: shape.to_vec(), data: data.to_vec() };
    let tensors = [
        ("w", f32(&[1, 5], &[1.0, 1.0, 1.0, 1.0, -1.0])),
        ("half", f32(&[1], &[0.5])),
        ("bias", f32(&[1], &[1.0])),
        ("table", f32(&[3, 1], &[0.0, 0.25, 0.75])),
    ];
    (graph, tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect())
}

fn executor() -> Executor {
    let (graph, tensors) = two_towers();
    Executor::new(&graph, &tensors, &Device::cpu()).unwrap()
}

/// Two requests, of one and of two candidates, interleaved.
fn batch() -> Batch {
    Batch {
        requests: 2,
        owner: vec![1, 0, 1],
        inputs: vec![
            Data::F32(vec![1.0, 2.0, 0.5, 0.5]),
            Data::F32(vec![2.0, 3.0, 100.0]),
            Data::I32(vec![0, 1, 2, 2, 1, 1]),
        ],
    }
}

#[test]
fn a_candidate_takes_its_own_requests_row() {
    // relu(3·(u0 + u1) − item + 1) · item + mean(table): request 0 has 3·3, request 1 has 3·1.
    assert_eq!(executor().run(batch()).unwrap(), [2.0 * 2.0 + 0.125, 7.0 * 3.0 + 0.75, 0.25]);
}

#[test]
fn a_batch_has_no_more_requests_than_rows_of_their_widest_value_are_on_the_device() {
    let mut b = Builder::new();
    let user = b.input("user", row(DType::F32, &[1], Scope::Request)).unwrap();
    let item = b.input("item", row(DType::F32, &[], Scope::Item)).unwrap();
    let wide = b.push("wide", Op::Expand { shape: vec![1 << 20] }, &[user]).unwrap();
    let sum = b.push("sum", Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: false }, &[wide]).unwrap();
    let score = b.push("score", Op::Binary(Binary::Mul), &[sum, item]).unwrap();
    let graph = b.finish(score, Link::Identity).unwrap();
    let executor = Executor::new(&graph, &BTreeMap::new(), &Device::cpu()).unwrap();
    assert_eq!((executor.most_requests, executor.most), (16, 16), "64 MiB of 4 MiB each");
    assert_eq!((self::executor().most_requests, self::executor().most), (1 << 23, (1 << 24) / 5));
}

#[test]
fn a_batch_scores_as_its_requests_alone() {
    let executor = executor();
    let alone = |user: Vec<f32>, item: Vec<f32>, id: Vec<i32>| {
        let inputs = vec![Data::F32(user), Data::F32(item.clone()), Data::I32(id)];
        executor.run(Batch { requests: 1, owner: vec![0; item.len()], inputs }).unwrap()
    };
    let together = executor.run(batch()).unwrap();
    assert_eq!(alone(vec![1.0, 2.0], vec![3.0], vec![2, 2]), together[1..2]);
    assert_eq!(alone(vec![0.5, 0.5], vec![2.0, 100.0], vec![0, 1, 1, 1]), [together[0], together[2]]);
}

#[test]
fn a_batch_that_does_not_fit_the_device_scores_in_parts() {
    let whole = executor().run(batch()).unwrap();
    for most in 1..=3 {
        let executor = Executor { most, ..executor() };
        assert_eq!(executor.run(batch()).unwrap(), whole, "in parts of {most}");
    }
}

#[test]
fn no_candidates_give_no_scores() {
    let inputs = vec![Data::F32(vec![1.0, 2.0]), Data::F32(vec![]), Data::I32(vec![])];
    let batch = Batch { requests: 1, owner: vec![], inputs };
    assert_eq!(executor().run(batch).unwrap(), [0f32; 0]);
}

#[test]
fn a_score_of_item_scope_or_an_input_itself_can_be_ranked_by() {
    let mut b = Builder::new();
    let item = b.input("item", row(DType::F32, &[1], Scope::Item)).unwrap();
    let graph = b.finish(item, Link::Identity).unwrap();
    let executor = Executor::new(&graph, &BTreeMap::new(), &Device::cpu()).unwrap();
    let batch = Batch { requests: 2, owner: vec![0, 1], inputs: vec![Data::F32(vec![5.0, 4.0])] };
    assert_eq!(executor.run(batch).unwrap(), [5.0, 4.0]);
}

#[test]
fn refuses_a_missing_tensor() {
    let (graph, mut tensors) = two_towers();
    tensors.remove("table");
    let error = Executor::new(&graph, &tensors, &Device::cpu()).unwrap_err();
    assert_eq!(error, LoadError::Missing("table".into()));
}

#[test]
fn refuses_a_tensor_of_another_shape_or_length() {
    let (graph, tensors) = two_towers();
    let with = |name: &str, tensor| {
        let mut tensors = tensors.clone();
        tensors.insert(name.to_owned(), tensor);
        Executor::new(&graph, &tensors, &Device::cpu()).unwrap_err().to_string()
    };
    let wide = Tensor::F32 { shape: vec![3, 2], data: vec![0.0; 6] };
    assert_eq!(with("table", wide), "tensor `table` is F32 [3, 2], the graph wants F32 [3, 1]: build the bundle again");
    let short = Tensor::F32 { shape: vec![3, 1], data: vec![0.0; 2] };
    assert_eq!(with("table", short), "tensor `table` has 2 elements, its shape has 3: build the bundle again");
}

#[test]
fn refuses_an_input_that_no_feature_gives() {
    let mut b = Builder::new();
    let flag = b.input("flag", row(DType::Bool, &[], Scope::Item)).unwrap();
    let score = b.push("score", Op::Cast { to: DType::F32 }, &[flag]).unwrap();
    let graph = b.finish(score, Link::Identity).unwrap();
    let error = Executor::new(&graph, &BTreeMap::new(), &Device::cpu()).unwrap_err();
    assert!(matches!(error, LoadError::Input { dtype: DType::Bool, .. }), "{error}");
}

#[test]
fn refuses_blocks_that_are_not_the_inputs() {
    let executor = executor();
    let refused = |change: &dyn Fn(&mut Batch)| {
        let mut batch = batch();
        change(&mut batch);
        executor.run(batch).unwrap_err()
    };
    assert_eq!(refused(&|b| b.inputs.truncate(2)), RunError::Inputs { expected: 3, got: 2 });
    let short = refused(&|b| b.inputs[1] = Data::F32(vec![1.0]));
    assert_eq!(short.to_string(), "the block of input `item` has 1 of F32, expected 3 elements of F32");
    let mistyped = refused(&|b| b.inputs[2] = Data::F32(vec![0.0; 6]));
    assert!(matches!(mistyped, RunError::Block { name, .. } if name == "id"));
    assert_eq!(refused(&|b| b.owner[2] = 2), RunError::Owner { candidate: 2, owner: 2, requests: 2 });
}
