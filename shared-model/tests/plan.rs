//! What each op computes, on graphs of one or two nodes with numbers worked out by hand; and that neither blocks nor a
//! used arena can be seen in a result.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::collections::BTreeMap;

use shared_model::encode::{Block, Data};
use shared_model::graph::{
    Binary, Builder, Compare, DType, Graph, Link, Logic, Op, Reduce, Scope, Type, Unary, ValueId,
};
use shared_model::plan::{Items, Plan, PlanError, RunError};
use shared_model::tensor::{RowBits, Tensor};

/// A graph under test: its tensors beside it.
#[derive(Default)]
struct Case {
    builder: Builder,
    tensors: BTreeMap<String, Tensor>,
}

impl Case {
    fn input(&mut self, name: &str, scope: Scope, dtype: DType, shape: &[usize]) -> ValueId {
        self.builder.input(name, Type { dtype, shape: shape.to_vec(), scope }).unwrap()
    }

    fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) -> ValueId {
        self.tensors.insert(name.into(), Tensor::F32 { shape: shape.to_vec(), data: data.to_vec() });
        self.builder.constant(name, DType::F32, shape).unwrap()
    }

    fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.builder.push("node", op, inputs).unwrap()
    }

    /// One number a candidate out of whatever `value` is: the sum of its elements weighted 1, 10, 100, …
    fn digits(mut self, value: ValueId) -> (Graph, BTreeMap<String, Tensor>) {
        let ty = self.builder.ty(value).clone();
        let value = if ty.dtype == DType::F32 { value } else { self.push(Op::Cast { to: DType::F32 }, &[value]) };
        let flat = self.push(Op::Reshape { shape: vec![ty.len()] }, &[value]);
        let weights: Vec<f32> = (0..ty.len()).map(|i| 10f32.powi(i as i32)).collect();
        let weights = self.floats("digits", &[1, ty.len()], &weights);
        let score = self.push(Op::Linear, &[flat, weights]);
        (self.builder.finish(score, Link::Identity).unwrap(), self.tensors)
    }
}

fn floats(width: usize, data: &[f32]) -> Block {
    Block { width, data: Data::F32(data.to_vec()) }
}

fn ints(width: usize, data: &[i32]) -> Block {
    Block { width, data: Data::I32(data.to_vec()) }
}

fn run(graph: &Graph, tensors: &BTreeMap<String, Tensor>, inputs: &[&Block], n: usize) -> Result<Vec<f32>, RunError> {
    let plan = Plan::new(graph, tensors).unwrap();
    let mut scores = vec![f32::NAN; n];
    plan.run(&mut plan.arena(), inputs, &mut scores).map(|()| scores)
}

/// The digits of `op` on one item-scope input.
fn of_one(op: Op, shape: &[usize], row: &[f32]) -> f32 {
    let mut case = Case::default();
    let x = case.input("x", Scope::Item, DType::F32, shape);
    let y = case.push(op, &[x]);
    let (graph, tensors) = case.digits(y);
    run(&graph, &tensors, &[&floats(row.len(), row)], 1).unwrap()[0]
}

/// The digits of `op` on two item-scope inputs.
fn of_two(op: Op, (shape_a, a): (&[usize], &[f32]), (shape_b, b): (&[usize], &[f32])) -> f32 {
    let mut case = Case::default();
    let x = case.input("x", Scope::Item, DType::F32, shape_a);
    let y = case.input("y", Scope::Item, DType::F32, shape_b);
    let z = case.push(op, &[x, y]);
    let (graph, tensors) = case.digits(z);
    run(&graph, &tensors, &[&floats(a.len(), a), &floats(b.len(), b)], 1).unwrap()[0]
}

#[test]
fn movers_move() {
    assert_eq!(of_one(Op::Transpose { perm: vec![1, 0] }, &[2, 3], &[1., 2., 3., 4., 5., 6.]), 635241.0);
    assert_eq!(of_one(Op::Select { axis: 1, indices: vec![2, 0] }, &[2, 3], &[1., 2., 3., 4., 5., 6.]), 4613.0);
    assert_eq!(of_one(Op::Expand { shape: vec![2, 2] }, &[2, 1], &[1., 2.]), 2211.0);
    assert_eq!(of_one(Op::Expand { shape: vec![2, 2] }, &[1], &[7.]), 7777.0);
    let beside = of_two(Op::Concat { axis: 1 }, (&[2, 1], &[1., 2.]), (&[2, 2], &[3., 4., 5., 6.]));
    assert_eq!(beside, 652431.0);
    assert_eq!(of_two(Op::Concat { axis: 0 }, (&[1], &[1.]), (&[2], &[2., 3.])), 321.0);
}

#[test]
fn reductions_reduce() {
    let x = [1., 2., 3., 4., 5., 6.];
    let reduce = |kind, axes: &[usize], keep| Op::Reduce { kind, axes: axes.to_vec(), keep };
    assert_eq!(of_one(reduce(Reduce::Sum, &[0], false), &[2, 3], &x), 5. + 70. + 900.);
    assert_eq!(of_one(reduce(Reduce::Mean, &[1], true), &[2, 3], &x), 2. + 50.);
    assert_eq!(of_one(reduce(Reduce::Max, &[0, 1], false), &[2, 3], &x), 6.);
    assert_eq!(of_one(reduce(Reduce::Min, &[0], false), &[2, 3], &x), 321.);
}

#[test]
fn elementwise_ops_broadcast() {
    let (column, row) = ((&[2, 1][..], &[1., 2.][..]), (&[3][..], &[3., 4., 5.][..]));
    assert_eq!(of_two(Op::Binary(Binary::Mul), column, row), 3. + 40. + 500. + 6e3 + 8e4 + 10e5);
    assert_eq!(of_two(Op::Binary(Binary::Sub), row, row), 0.);
    assert_eq!(of_two(Op::Binary(Binary::Div), row, (&[], &[2.])), 1.5 + 20. + 250.);
    assert_eq!(of_two(Op::Binary(Binary::PRelu), (&[2], &[-4., 4.]), (&[1], &[0.5])), -2. + 40.);
    assert_eq!(of_two(Op::Binary(Binary::Max), (&[2], &[1., 5.]), (&[2], &[3., 2.])), 53.);
    assert_eq!(of_two(Op::Compare(Compare::Greater), (&[2], &[1., 5.]), (&[2], &[3., 2.])), 10.);
    assert_eq!(of_two(Op::Compare(Compare::LessOrEqual), (&[2], &[1., 5.]), (&[], &[1.])), 1.);
}

#[test]
fn unary_ops_are_what_they_say() {
    let of = |f, x: f32| of_one(Op::Unary(f), &[], &[x]);
    assert_eq!(of(Unary::Relu, -3.0), 0.0);
    assert_eq!(of(Unary::LeakyRelu(0.25), -4.0), -1.0);
    assert_eq!(of(Unary::Reciprocal, 4.0), 0.25);
    assert_eq!(of(Unary::Sqrt, 9.0), 3.0);
    assert_eq!(of(Unary::Abs, -2.0) + of(Unary::Neg, 2.0), 0.0);
    assert!((of(Unary::Log, std::f32::consts::E) - 1.0).abs() < 1e-6);
    assert_eq!(of(Unary::Sigmoid, 0.0), 0.5);
    assert_eq!(of_one(Op::Clip { min: Some(0.0), max: Some(2.0) }, &[3], &[-1., 1., 3.]), 210.0);
    assert_eq!(of_one(Op::Cast { to: DType::I32 }, &[2], &[-1.9, 2.9]), 19.0);
    assert_eq!(of_one(Op::Cast { to: DType::Bool }, &[3], &[0.0, 0.5, -1.0]), 110.0);
}

#[test]
fn softmax_sums_to_one_along_its_axis() {
    let y = of_one(Op::Softmax { axis: 0 }, &[2, 2], &[0., 7., 0., 7.]);
    assert!((y - 555.5).abs() < 1e-3, "{y}");
}

#[test]
fn matmul_broadcasts_its_batch() {
    let y = of_two(Op::MatMul, (&[2, 1, 2], &[1., 2., 3., 4.]), (&[2, 1], &[1., 1.]));
    assert_eq!(y, 3. + 70.);
    assert_eq!(of_two(Op::MatMul, (&[2, 2], &[1., 0., 0., 1.]), (&[2, 2], &[1., 2., 3., 4.])), 4321.);
}

#[test]
fn logic_works_on_comparisons() {
    let mut case = Case::default();
    let x = case.input("x", Scope::Item, DType::F32, &[4]);
    let zero = case.floats("zero", &[], &[0.0]);
    let two = case.floats("two", &[], &[2.0]);
    let positive = case.push(Op::Compare(Compare::Greater), &[x, zero]);
    let small = case.push(Op::Compare(Compare::Less), &[x, two]);
    let both = case.push(Op::Logic(Logic::And), &[positive, small]);
    let neither = case.push(Op::Unary(Unary::Not), &[both]);
    let y = case.push(Op::Where, &[neither, x, zero]);
    let (graph, tensors) = case.digits(y);
    let y = run(&graph, &tensors, &[&floats(4, &[1., 3., -1., 2.])], 1).unwrap();
    assert_eq!(y, [30. - 100. + 2000.]);
}

#[test]
fn integers_compare_choose_and_reduce() {
    let mut case = Case::default();
    let ids = case.input("ids", Scope::Item, DType::I32, &[3]);
    case.tensors.insert("none".into(), Tensor::I32 { shape: vec![], data: vec![0] });
    let none = case.builder.constant("none", DType::I32, &[]).unwrap();
    let known = case.push(Op::Compare(Compare::Greater), &[ids, none]);
    let doubled = case.push(Op::Binary(Binary::Add), &[ids, ids]);
    let chosen = case.push(Op::Where, &[known, doubled, none]);
    let largest = case.push(Op::Reduce { kind: Reduce::Max, axes: vec![0], keep: true }, &[chosen]);
    let all = case.push(Op::Concat { axis: 0 }, &[chosen, largest]);
    let (graph, tensors) = case.digits(all);
    assert_eq!(run(&graph, &tensors, &[&ints(3, &[1, 0, 3])], 1).unwrap(), [2. + 600. + 6000.]);
}

#[test]
fn every_form_of_a_table_gives_its_rows() {
    use half::f16;
    let (scale, min) = (vec![f16::from_f32(0.5); 2], vec![f16::from_f32(1.0); 2]);
    let half = |x: f32| f16::from_f32(x).to_le_bytes();
    let mixed = |bits: [u8; 2], q| {
        let bits = RowBits::new(3, &bits).unwrap();
        Tensor::TableMixed { bits, q, scale: scale.clone(), min: min.clone() }
    };
    let tables = [
        Tensor::F32 { shape: vec![2, 3], data: vec![1., 1.5, 2., 2.5, 3., 3.5] },
        Tensor::Table8 { rows: 2, width: 3, q: vec![0, 1, 2, 3, 4, 5], scale: scale.clone(), min: min.clone() },
        Tensor::Table4 { rows: 2, width: 3, q: vec![0x10, 0x02, 0x43, 0x05], scale: scale.clone(), min: min.clone() },
        mixed([8, 4], vec![0, 1, 2, 0x43, 0x05]),
        mixed([4, 8], vec![0x10, 0x02, 3, 4, 5]),
        mixed([16, 4], [1., 1.5, 2.].into_iter().flat_map(half).chain([0x43, 0x05]).collect()),
        mixed([8, 16], [0, 1, 2].into_iter().chain([2.5, 3., 3.5].into_iter().flat_map(half)).collect()),
    ];
    for table in tables {
        let mut case = Case::default();
        let ids = case.input("ids", Scope::Item, DType::I32, &[]);
        case.tensors.insert("table".into(), table);
        let table = case.builder.constant("table", DType::F32, &[2, 3]).unwrap();
        let row = case.push(Op::Embedding, &[table, ids]);
        let (graph, tensors) = case.digits(row);
        assert_eq!(run(&graph, &tensors, &[&ints(1, &[1, 0])], 2).unwrap(), [2.5 + 30. + 350., 1. + 15. + 200.]);
        let error = run(&graph, &tensors, &[&ints(1, &[2])], 1).unwrap_err();
        assert_eq!(error, RunError::Index { table: "table".into(), index: 2, rows: 2 });
        assert!(run(&graph, &tensors, &[&ints(1, &[-1])], 1).is_err());
    }
}

/// user · item after a layer each, with work in every scope.
fn two_towers() -> (Graph, BTreeMap<String, Tensor>) {
    let mut case = Case::default();
    let user = case.input("user", Scope::Request, DType::F32, &[4]);
    let item = case.input("item", Scope::Item, DType::F32, &[4]);
    let wave = |n: usize, phase: f32| (0..n).map(|i| (i as f32 * 0.37 + phase).sin()).collect::<Vec<_>>();
    let (wu, wi, bias) = (wave(32, 0.1), wave(32, 0.2), wave(8, 0.3));
    let wu = case.floats("wu", &[8, 4], &wu);
    let wi = case.floats("wi", &[8, 4], &wi);
    let bias = case.floats("bias", &[8], &bias);
    let u = case.push(Op::Linear, &[user, wu, bias]);
    let u = case.push(Op::Unary(Unary::Tanh), &[u]);
    let v = case.push(Op::Linear, &[item, wi]);
    let v = case.push(Op::Unary(Unary::Relu), &[v]);
    let doubled = case.push(Op::Binary(Binary::Add), &[bias, bias]);
    let v = case.push(Op::Binary(Binary::Add), &[v, doubled]);
    let both = case.push(Op::Binary(Binary::Mul), &[u, v]);
    let score = case.push(Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: false }, &[both]);
    (case.builder.finish(score, Link::Sigmoid).unwrap(), case.tensors)
}

#[test]
fn a_candidate_scores_the_same_alone_and_among_many() {
    let (graph, tensors) = two_towers();
    let n = 1000;
    let user = floats(4, &[0.3, -0.2, 0.9, 1.5]);
    let items: Vec<f32> = (0..4 * n).map(|i| (i as f32 * 0.11).cos()).collect();
    let many = run(&graph, &tensors, &[&user, &floats(4, &items)], n).unwrap();
    for i in [0, 1, 63, 64, 65, 500, 999] {
        let alone = run(&graph, &tensors, &[&user, &floats(4, &items[4 * i..4 * i + 4])], 1).unwrap();
        assert_eq!(alone[0].to_bits(), many[i].to_bits(), "candidate {i}");
    }
}

#[test]
fn a_used_arena_gives_the_same_bits() {
    let (graph, tensors) = two_towers();
    let plan = Plan::new(&graph, &tensors).unwrap();
    let mut arena = plan.arena();
    let item = floats(4, &[1., 2., 3., 4.]);
    let mut score = |user: &[f32; 4]| {
        let mut out = [0.0];
        plan.run(&mut arena, &[&floats(4, user), &item], &mut out).unwrap();
        out[0].to_bits()
    };
    let first = score(&[0.3, -0.2, 0.9, 1.5]);
    assert_ne!(first, score(&[9.0, 9.0, -9.0, 9.0]));
    assert_eq!(first, score(&[0.3, -0.2, 0.9, 1.5]));
}

#[test]
fn a_table_of_items_gives_the_same_bits() {
    // Read of items by pairs: an embedding, a comparison of an index, and an input as it is.
    let mut case = Case::default();
    let user = case.input("user", Scope::Request, DType::F32, &[3]);
    let id = case.input("id", Scope::Item, DType::I32, &[]);
    let item = case.input("item", Scope::Item, DType::F32, &[3]);
    let table = case.floats("table", &[90, 3], &(0..270).map(|i| (i as f32).sin()).collect::<Vec<_>>());
    let zero = case.push(Op::Binary(Binary::Sub), &[id, id]);
    let known = case.push(Op::Compare(Compare::Greater), &[id, zero]);
    let row = case.push(Op::Embedding, &[table, id]);
    let both = case.push(Op::Binary(Binary::Mul), &[user, row]);
    let chosen = case.push(Op::Where, &[known, both, item]);
    let (graph, tensors) = case.digits(chosen);
    let plan = Plan::new(&graph, &tensors).unwrap();

    let catalog = 90;
    let ids: Vec<i32> = (0..catalog).collect();
    let numbers: Vec<f32> = (0..3 * catalog).map(|i| (i as f32).cos()).collect();
    let (user, none) = (floats(3, &[0.3, -0.2, 0.9]), floats(1, &[]));
    let table = plan.item_table(&mut plan.arena(), &[&none, &ints(1, &ids), &floats(3, &numbers)], 90).unwrap();
    assert_eq!(table.bytes(), plan.item_table_bytes(90));
    // More than a block, in another order, the last of them unknown to the table or not.
    let rows: Vec<u32> = (0..150).map(|i| (i * 37) % 90).collect();
    let given: Vec<i32> = rows.iter().map(|r| r.cast_signed()).collect();
    let described: Vec<f32> = rows.iter().flat_map(|r| numbers[3 * *r as usize..][..3].to_vec()).collect();
    let (given, described) = (ints(1, &given), floats(3, &described));
    let want = run(&graph, &tensors, &[&user, &given, &described], 150).unwrap();
    let nothing = (ints(1, &[]), floats(3, &[]));
    for unknown in [0, 1] {
        let known: Vec<Option<u32>> = rows.iter().enumerate().map(|(i, r)| (i + unknown < 150).then_some(*r)).collect();
        let items = Items { table: &table, rows: &known };
        let (ids, numbers) = if unknown == 0 { (&nothing.0, &nothing.1) } else { (&given, &described) };
        let mut scores = vec![0.0; 150];
        plan.run_with(&mut plan.arena(), &[&user, ids, numbers], Some(items), &mut scores).unwrap();
        assert_eq!(scores, want, "what is in the table is not read from the inputs");
    }
}

#[test]
fn refuses_inputs_that_are_not_the_models() {
    let (graph, tensors) = two_towers();
    let (user, item) = (floats(4, &[0.0; 4]), floats(4, &[0.0; 8]));
    let input_of = |e: RunError| match e {
        RunError::Input { name, .. } => name,
        RunError::Index { .. } => panic!("no table here"),
    };
    assert_eq!(input_of(run(&graph, &tensors, &[&user, &item], 3).unwrap_err()), "item", "too few rows");
    assert_eq!(input_of(run(&graph, &tensors, &[&ints(4, &[0; 4]), &item], 2).unwrap_err()), "user", "another type");
    assert_eq!(input_of(run(&graph, &tensors, &[&user], 2).unwrap_err()), "", "one input missing");
}

#[test]
fn refuses_tensors_that_do_not_fit() {
    let (graph, mut tensors) = two_towers();
    let weight = tensors.remove("wu").unwrap();
    assert_eq!(Plan::new(&graph, &tensors).unwrap_err(), PlanError::Missing("wu".into()));
    tensors.insert("wu".into(), Tensor::F32 { shape: vec![4, 8], data: vec![0.0; 32] });
    assert!(matches!(Plan::new(&graph, &tensors), Err(PlanError::Type { name, .. }) if name == "wu"));
    let table = Tensor::Table8 {
        rows: 8,
        width: 4,
        q: vec![0; 32],
        scale: vec![half::f16::ONE; 8],
        min: vec![half::f16::ONE; 8],
    };
    tensors.insert("wu".into(), table);
    assert!(matches!(Plan::new(&graph, &tensors), Err(PlanError::Role { name, .. }) if name == "wu"));
    tensors.insert("wu".into(), weight);
    assert!(Plan::new(&graph, &tensors).is_ok());
}
