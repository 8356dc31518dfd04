//! Operands that are one number over and over.

use shared_model::graph::{Binary, Compare, Op, Scope, ValueId};
use shared_model::tensor::Tensor;

use super::super::uniform;
use super::{Sketch, scores};

/// A constant of one number.
fn filled(s: &mut Sketch, shape: &[usize], with: f32) -> ValueId {
    let name = format!("c{}", s.tensors.len());
    let id = s.constant(shape);
    let Some(Tensor::F32 { data, .. }) = s.tensors.get_mut(&name) else { unreachable!("a sketch's constant") };
    data.fill(with);
    id
}

#[test]
fn a_filler_that_is_written_out_is_one_number() {
    let mut s = Sketch::new();
    let (x, other) = (s.input("x", Scope::Item, &[3, 4]), s.input("other", Scope::Item, &[3, 4]));
    let row = s.input("row", Scope::Item, &[4]);
    let (filler, shorter) = (filled(&mut s, &[3, 4], -1e9), filled(&mut s, &[4], -0.0));
    let (varied, shaping) = (s.constant(&[3, 4]), filled(&mut s, &[3, 4], 0.5));
    let mask = s.push(Op::Compare(Compare::Less), &[x, other]);
    let masked = s.push(Op::Where, &[mask, x, filler]);
    let shifted = s.binary(Binary::Add, masked, shorter);
    let y = s.binary(Binary::Mul, shifted, varied);
    // Here the constant alone has the shape of the result.
    let rows = s.binary(Binary::Add, row, shaping);
    let y = s.binary(Binary::Add, y, rows);
    let y = s.reshape(y, &[12]);
    let model = s.finish(y);
    let passed = uniform::pass(&model).unwrap();
    let bits = |model| scores(model).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(&passed), bits(&model));
    let mut shapes: Vec<Vec<usize>> = passed.tensors.values().map(|t| t.shape().clone()).collect();
    shapes.sort();
    // The filler and the zeros; the last linear's bias and weight; what varies, and what gives a shape.
    assert_eq!(shapes, [vec![], vec![], vec![1], vec![1, 12], vec![3, 4], vec![3, 4]]);
}
