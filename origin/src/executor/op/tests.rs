//! Each op against numbers worked out by hand.

use burn::backend::read_sync;
use shared_model::graph::{Binary, Builder, Compare, DType, Logic, Scope, Unary};

use super::*;
use crate::device::Device;

/// An operand of a case: element type, shape of one row, and rows.
struct Operand {
    ty: Type,
    data: Vec<f32>,
}

fn f32s(shape: &[usize], data: &[f32]) -> Operand {
    Operand { ty: Type { dtype: DType::F32, shape: shape.to_vec(), scope: Scope::Item }, data: data.to_vec() }
}

fn i32s(shape: &[usize], data: &[f32]) -> Operand {
    Operand { ty: Type { dtype: DType::I32, ..f32s(shape, &[]).ty }, data: data.to_vec() }
}

fn bools(shape: &[usize], data: &[f32]) -> Operand {
    Operand { ty: Type { dtype: DType::Bool, ..f32s(shape, &[]).ty }, data: data.to_vec() }
}

fn constant(shape: &[usize], data: &[f32]) -> Operand {
    Operand { ty: Type { scope: Scope::Const, ..f32s(shape, &[]).ty }, data: data.to_vec() }
}

/// The op's result on `rows` rows, its type inferred by the graph's builder; integers and booleans as numbers.
fn eval(rows: usize, op: &Op, operands: &[Operand]) -> Vec<f32> {
    let device = Device::cpu().handle().as_dispatch().clone();
    let mut builder = Builder::new();
    let mut ids = Vec::new();
    let mut values = Vec::new();
    for (i, Operand { ty, data }) in operands.iter().enumerate() {
        let name = i.to_string();
        ids.push(match ty.scope {
            Scope::Const => builder.constant(&name, ty.dtype, &ty.shape).unwrap(),
            _ => builder.input(&name, ty.clone()).unwrap(),
        });
        let batch = if ty.scope == Scope::Const { 1 } else { rows };
        let value = Value::upload_f32(data.clone(), batched(batch, &ty.shape), &device);
        values.push(elementwise::cast(value, ty.dtype));
    }
    let output = builder.push("y", op.clone(), &ids).unwrap();
    let out = builder.ty(output).clone();
    let types: Vec<&Type> = operands.iter().map(|o| &o.ty).collect();
    let result = apply(op, &Ready::new(op, &device), values, &types, &out, rows, Precision::F32);
    assert_eq!(result.dims(), batched(rows, &out.shape), "{op:?}");
    assert_eq!(result.dtype(), out.dtype, "{op:?}");
    let result = elementwise::cast(result, DType::F32).f32();
    read_sync(Dispatch::float_into_data(result)).unwrap().try_into_vec().unwrap()
}

#[track_caller]
fn gives(rows: usize, op: Op, operands: &[Operand], expected: &[f32]) {
    let got = eval(rows, &op, operands);
    let near = |(g, e): (&f32, &f32)| (g - e).abs() <= 1e-6 * e.abs().max(1.0) || g.to_bits() == e.to_bits();
    assert!(
        got.len() == expected.len() && got.iter().zip(expected).all(near),
        "{op:?}: {got:?}, expected {expected:?}"
    );
}

#[test]
fn unary_functions_have_their_values() {
    let x = [-2.0, -0.5, 0.0, 3.0];
    let cases: [(Unary, [f32; 4]); 10] = [
        (Unary::Neg, [2.0, 0.5, 0.0, -3.0]),
        (Unary::Abs, [2.0, 0.5, 0.0, 3.0]),
        (Unary::Exp, [0.135_335_28, 0.606_530_66, 1.0, 20.085_537]),
        (Unary::Erf, [-0.995_322_3, -0.520_499_9, 0.0, 0.999_977_9]),
        (Unary::Relu, [0.0, 0.0, 0.0, 3.0]),
        (Unary::LeakyRelu(0.1), [-0.2, -0.05, 0.0, 3.0]),
        (Unary::Sigmoid, [0.119_202_92, 0.377_540_67, 0.5, 0.952_574_13]),
        (Unary::Tanh, [-0.964_027_6, -0.462_117_16, 0.0, 0.995_054_8]),
        (Unary::Gelu, [-0.045_500_264, -0.154_268_77, 0.0, 2.995_950_3]),
        (Unary::Softplus, [0.126_928_01, 0.474_077, std::f32::consts::LN_2, 3.048_587_3]),
    ];
    for (f, expected) in cases {
        gives(2, Op::Unary(f), &[f32s(&[2], &x)], &expected);
    }
    let positive = [0.25, 1.0, 4.0, 10.0];
    gives(4, Op::Unary(Unary::Reciprocal), &[f32s(&[], &positive)], &[4.0, 1.0, 0.25, 0.1]);
    gives(4, Op::Unary(Unary::Sqrt), &[f32s(&[], &positive)], &[0.5, 1.0, 2.0, 3.162_277_7]);
    gives(
        4,
        Op::Unary(Unary::Log),
        &[f32s(&[], &positive)],
        &[-1.386_294_4, 0.0, 1.386_294_4, std::f32::consts::LN_10],
    );
    gives(1, Op::Unary(Unary::Not), &[bools(&[2], &[1.0, 0.0])], &[0.0, 1.0]);
}

#[test]
fn softplus_of_a_large_number_is_that_number() {
    gives(1, Op::Unary(Unary::Softplus), &[f32s(&[2], &[200.0, -200.0])], &[200.0, 0.0]);
}

#[test]
fn binary_functions_broadcast_within_the_row_and_over_rows() {
    let cases: [(Binary, [f32; 4]); 7] = [
        (Binary::Add, [11.0, -18.0, 13.0, -24.0]),
        (Binary::Sub, [-9.0, 22.0, -7.0, 16.0]),
        (Binary::Mul, [10.0, -40.0, 30.0, 80.0]),
        (Binary::Div, [0.1, -0.1, 0.3, 0.2]),
        (Binary::Min, [1.0, -20.0, 3.0, -20.0]),
        (Binary::Max, [10.0, 2.0, 10.0, -4.0]),
        (Binary::PRelu, [1.0, 2.0, 3.0, 80.0]),
    ];
    for (f, expected) in cases {
        // Two rows of [2], against a constant [2] that is the same for both.
        let operands = [f32s(&[2], &[1.0, 2.0, 3.0, -4.0]), constant(&[2], &[10.0, -20.0])];
        gives(2, Op::Binary(f), &operands, &expected);
    }
    // [2, 1] against [3], two rows each: the ranks differ and both sides are repeated.
    let operands = [f32s(&[2, 1], &[1.0, 2.0, 3.0, 4.0]), f32s(&[3], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0])];
    let sums = [11.0, 21.0, 31.0, 12.0, 22.0, 32.0, 43.0, 53.0, 63.0, 44.0, 54.0, 64.0];
    gives(2, Op::Binary(Binary::Add), &operands, &sums);
    let maxima = [10.0, 20.0, 30.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 40.0, 50.0, 60.0];
    gives(2, Op::Binary(Binary::Max), &operands, &maxima);
}

#[test]
fn binary_functions_of_integers_are_exact() {
    let cases: [(Binary, [f32; 3]); 5] = [
        (Binary::Add, [16_777_214.0, 3.0, -4.0]),
        (Binary::Sub, [16_777_218.0, 7.0, -4.0]),
        (Binary::Mul, [-33_554_432.0, -10.0, 0.0]),
        (Binary::Min, [-2.0, -2.0, -4.0]),
        (Binary::Max, [16_777_216.0, 5.0, 0.0]),
    ];
    for (f, expected) in cases {
        let operands = [i32s(&[], &[16_777_216.0, 5.0, -4.0]), i32s(&[], &[-2.0, -2.0, 0.0])];
        gives(3, Op::Binary(f), &operands, &expected);
    }
}

#[test]
fn comparisons_are_of_floats_and_integers() {
    let cases: [(Compare, [f32; 3]); 5] = [
        (Compare::Equal, [0.0, 1.0, 0.0]),
        (Compare::Less, [1.0, 0.0, 0.0]),
        (Compare::LessOrEqual, [1.0, 1.0, 0.0]),
        (Compare::Greater, [0.0, 0.0, 1.0]),
        (Compare::GreaterOrEqual, [0.0, 1.0, 1.0]),
    ];
    for (f, expected) in cases {
        gives(1, Op::Compare(f), &[f32s(&[3], &[1.0, 2.0, 3.0]), constant(&[1], &[2.0])], &expected);
        gives(3, Op::Compare(f), &[i32s(&[], &[1.0, 2.0, 3.0]), i32s(&[], &[2.0; 3])], &expected);
    }
}

#[test]
fn logic_broadcasts() {
    for (f, expected) in
        [(Logic::And, [0.0, 0.0, 0.0, 1.0]), (Logic::Or, [0.0, 1.0, 1.0, 1.0]), (Logic::Xor, [0.0, 1.0, 1.0, 0.0])]
    {
        gives(2, Op::Logic(f), &[bools(&[1], &[0.0, 1.0]), bools(&[2], &[0.0, 1.0, 0.0, 1.0])], &expected);
    }
}

#[test]
fn where_picks_by_row() {
    let operands = [bools(&[], &[1.0, 0.0]), f32s(&[2], &[1.0, 2.0, 3.0, 4.0]), constant(&[1], &[9.0])];
    gives(2, Op::Where, &operands, &[1.0, 2.0, 9.0, 9.0]);
    let operands = [bools(&[2], &[1.0, 0.0]), i32s(&[], &[5.0]), i32s(&[2], &[6.0, 7.0])];
    gives(1, Op::Where, &operands, &[5.0, 7.0]);
}

#[test]
fn clip_holds_to_the_bounds_it_has() {
    let x = || [f32s(&[], &[-3.0, 0.5, 3.0])];
    gives(3, Op::Clip { min: Some(-1.0), max: Some(1.0) }, &x(), &[-1.0, 0.5, 1.0]);
    gives(3, Op::Clip { min: None, max: Some(1.0) }, &x(), &[-3.0, 0.5, 1.0]);
    gives(3, Op::Clip { min: Some(0.0), max: None }, &x(), &[0.0, 0.5, 3.0]);
}

#[test]
fn casts_truncate_toward_zero_and_test_for_zero() {
    let x = || [f32s(&[], &[-1.9, 0.0, 2.9])];
    gives(3, Op::Cast { to: DType::I32 }, &x(), &[-1.0, 0.0, 2.0]);
    gives(3, Op::Cast { to: DType::Bool }, &x(), &[1.0, 0.0, 1.0]);
    gives(2, Op::Cast { to: DType::F32 }, &[i32s(&[], &[-7.0, 3.0])], &[-7.0, 3.0]);
    gives(2, Op::Cast { to: DType::Bool }, &[i32s(&[], &[-7.0, 0.0])], &[1.0, 0.0]);
    gives(2, Op::Cast { to: DType::I32 }, &[bools(&[], &[1.0, 0.0])], &[1.0, 0.0]);
    gives(2, Op::Cast { to: DType::F32 }, &[bools(&[], &[1.0, 0.0])], &[1.0, 0.0]);
}

#[test]
fn linear_is_x_times_w_transposed_plus_b() {
    let w = || constant(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let x = || f32s(&[2], &[1.0, 1.0, 10.0, 100.0]);
    gives(2, Op::Linear, &[x(), w()], &[3.0, 7.0, 11.0, 210.0, 430.0, 650.0]);
    let b = || constant(&[3], &[0.5, 0.0, -0.5]);
    gives(2, Op::Linear, &[x(), w(), b()], &[3.5, 7.0, 10.5, 210.5, 430.0, 649.5]);
    // Over the last axis of a matrix.
    let x = f32s(&[2, 2], &[1.0, 1.0, 10.0, 100.0]);
    gives(1, Op::Linear, &[x, w(), b()], &[3.5, 7.0, 10.5, 210.5, 430.0, 649.5]);
}

#[test]
fn matmul_is_by_row_with_broadcast_batches() {
    // Two rows of [1, 2] · [2, 1].
    let operands = [f32s(&[1, 2], &[1.0, 2.0, 3.0, 4.0]), f32s(&[2, 1], &[10.0, 100.0, 1.0, 1.0])];
    gives(2, Op::MatMul, &operands, &[210.0, 7.0]);
    // [2, 1, 2] · [2, 2] in one row: the second is the same for both.
    let operands = [f32s(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), constant(&[2, 2], &[1.0, 0.0, 1.0, 2.0])];
    gives(1, Op::MatMul, &operands, &[3.0, 4.0, 7.0, 8.0]);
}

#[test]
fn embedding_takes_rows_of_the_table() {
    let table = || constant(&[3, 2], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    let operands = [table(), i32s(&[2], &[2.0, 0.0, 1.0, 1.0])];
    gives(2, Op::Embedding, &operands, &[20.0, 21.0, 0.0, 1.0, 10.0, 11.0, 10.0, 11.0]);
    gives(2, Op::Embedding, &[table(), i32s(&[], &[1.0, 2.0])], &[10.0, 11.0, 20.0, 21.0]);
}

#[test]
fn embedding_reads_no_other_memory() {
    let table = constant(&[3, 1], &[0.0, 10.0, 20.0]);
    gives(2, Op::Embedding, &[table, i32s(&[], &[-5.0, 1e9])], &[0.0, 20.0]);
}

#[test]
fn select_takes_ranges_and_single_indices() {
    let x = || [f32s(&[3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])];
    gives(2, Op::Select { axis: 0, indices: vec![1, 2] }, &x(), &[2.0, 3.0, 5.0, 6.0]);
    gives(2, Op::Select { axis: 0, indices: vec![2, 0, 2] }, &x(), &[3.0, 1.0, 3.0, 6.0, 4.0, 6.0]);
    let x = || [f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])];
    gives(1, Op::Select { axis: 1, indices: vec![1] }, &x(), &[2.0, 4.0]);
    let x = || [bools(&[2], &[1.0, 0.0])];
    gives(1, Op::Select { axis: 0, indices: vec![1, 0] }, &x(), &[0.0, 1.0]);
}

#[test]
fn concat_repeats_what_is_the_same_for_every_row() {
    let operands = [f32s(&[1], &[1.0, 2.0]), constant(&[2], &[8.0, 9.0])];
    gives(2, Op::Concat { axis: 0 }, &operands, &[1.0, 8.0, 9.0, 2.0, 8.0, 9.0]);
    let operands = [i32s(&[2, 1], &[1.0, 2.0]), i32s(&[2, 1], &[3.0, 4.0])];
    gives(1, Op::Concat { axis: 1 }, &operands, &[1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn shapes_change_without_touching_the_rows() {
    let x = || [f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0])];
    let transposed = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 7.0, 10.0, 8.0, 11.0, 9.0, 12.0];
    gives(2, Op::Transpose { perm: vec![1, 0] }, &x(), &transposed);
    let same: Vec<f32> = (1..=12u8).map(f32::from).collect();
    gives(2, Op::Reshape { shape: vec![3, 2] }, &x(), &same);
    let x = [f32s(&[1], &[1.0, 2.0])];
    gives(2, Op::Expand { shape: vec![2, 2] }, &x, &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
}

#[test]
fn reductions_are_within_the_row() {
    let x = || [f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0])];
    let reduce = |kind, axes: &[usize], keep| Op::Reduce { kind, axes: axes.to_vec(), keep };
    gives(2, reduce(Reduce::Sum, &[0], false), &x(), &[4.0, 6.0, -4.0, -6.0]);
    gives(2, reduce(Reduce::Sum, &[1], true), &x(), &[3.0, 7.0, -3.0, -7.0]);
    gives(2, reduce(Reduce::Mean, &[0, 1], false), &x(), &[2.5, -2.5]);
    gives(2, reduce(Reduce::Min, &[1], false), &x(), &[1.0, 3.0, -2.0, -4.0]);
    gives(2, reduce(Reduce::Max, &[0], false), &x(), &[3.0, 4.0, -1.0, -2.0]);
    let x = || [i32s(&[3], &[4.0, -5.0, 6.0])];
    gives(1, reduce(Reduce::Min, &[0], false), &x(), &[-5.0]);
    gives(1, reduce(Reduce::Max, &[0], false), &x(), &[6.0]);
}

#[test]
fn softmax_is_stable_along_its_axis() {
    let e = std::f32::consts::E;
    let (small, large) = (1.0 / (1.0 + e), e / (1.0 + e));
    gives(2, Op::Softmax { axis: 0 }, &[f32s(&[2], &[0.0, 1.0, 1000.0, 1001.0])], &[small, large, small, large]);
    gives(1, Op::Softmax { axis: 0 }, &[f32s(&[2, 1], &[1.0, 0.0])], &[large, small]);
}

#[test]
fn layer_norm_normalizes_the_last_axis() {
    let x = || f32s(&[2], &[1.0, 3.0, -10.0, 10.0]);
    let scale = || constant(&[2], &[2.0, 4.0]);
    gives(2, Op::LayerNorm { epsilon: 0.0 }, &[x(), scale()], &[-2.0, 4.0, -2.0, 4.0]);
    let bias = constant(&[2], &[1.0, 1.0]);
    gives(2, Op::LayerNorm { epsilon: 0.0 }, &[x(), scale(), bias], &[-1.0, 5.0, -1.0, 5.0]);
    // Variance 1, epsilon 3: the deviation is 2.
    gives(2, Op::LayerNorm { epsilon: 3.0 }, &[f32s(&[2], &[1.0, 3.0, 1.0, 3.0]), scale()], &[-1.0, 2.0, -1.0, 2.0]);
}
