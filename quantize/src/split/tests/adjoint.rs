//! Linears on the other side of their products.

use shared_model::graph::{Binary, Op, Reduce, Scope, Unary, ValueId};

use super::super::{Model, adjoint, scope, split};
use super::{Sketch, assert_same, work};

/// Two cross layers beside a deep one, as a deep & cross network has them.
fn crossed() -> Model {
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[6]), s.input("item", Scope::Item, &[9]));
    let x0 = s.concat(0, &[user, item]);
    let mut x = x0;
    for _ in 0..2 {
        let y = s.linear(x, 15);
        let y = s.binary(Binary::Mul, x0, y);
        x = s.binary(Binary::Add, y, x);
    }
    let deep = s.linear(x0, 3);
    let deep = s.push(Op::Unary(Unary::Relu), &[deep]);
    let y = s.concat(0, &[x, deep]);
    s.finish(y)
}

#[test]
fn the_last_cross_layer_is_a_dot_product() {
    let model = crossed();
    assert_same(&adjoint::pass(&model).unwrap(), &model);
    let split = split(model.clone()).unwrap();
    assert_same(&split, &model);
    // By scope alone the first cross layer and the deep one are cut; the last one's turned layer is as well, and what its
    // bias adds; a dot product with x1 is left, which has what x1 weighs too, and the sum of the deep layer.
    assert_eq!(work(&split.graph), [6 * (15 + 3 + 15 + 1), 9 * (15 + 3 + 15 + 1), 15 + 3]);
    let by_scope = scope::pass(&model).unwrap();
    assert_eq!(work(&by_scope.graph)[2], 15 * 15 + 15 + 3);
}

#[test]
fn whatever_products_a_sum_has_are_turned_around() {
    // What is summed up, of a user, an item and what both decide, each of 6.
    type Summed = fn(&mut Sketch, [ValueId; 3]) -> ValueId;
    let cases: [(&str, usize, Summed); 6] = [
        ("a linear without a bias, to the left", 1, |s, [user, _, both]| {
            let w = s.constant(&[6, 6]);
            let y = s.push(Op::Linear, &[both, w]);
            s.binary(Binary::Mul, y, user)
        }),
        ("two products, one of another width", 2, |s, [user, item, both]| {
            let (a, wide) = (s.linear(both, 6), s.concat(0, &[both, user]));
            let b = s.linear(wide, 6);
            let (a, b) = (s.binary(Binary::Mul, user, a), s.binary(Binary::Mul, item, b));
            s.binary(Binary::Add, a, b)
        }),
        ("products beside each other and something plain", 2, |s, [user, item, both]| {
            let (a, b) = (s.linear(both, 6), s.linear(both, 6));
            let (a, b) = (s.binary(Binary::Mul, user, a), s.binary(Binary::Mul, b, item));
            s.concat(0, &[a, both, b])
        }),
        ("one matrix twice, by other features", 2, |s, [user, item, both]| {
            let w = s.constant(&[6, 6]);
            let (a, b) = (s.push(Op::Linear, &[both, w]), s.push(Op::Linear, &[both, w]));
            let (a, b) = (s.binary(Binary::Mul, user, a), s.binary(Binary::Mul, item, b));
            s.concat(0, &[a, b])
        }),
        ("a product that is read twice", 0, |s, [user, _, both]| {
            let y = s.linear(both, 6);
            let y = s.binary(Binary::Mul, user, y);
            s.binary(Binary::Add, y, y)
        }),
        ("features that are repeated along it", 0, |s, [user, _, both]| {
            let one = s.push(Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: true }, &[user]);
            let y = s.linear(both, 6);
            s.binary(Binary::Mul, one, y)
        }),
    ];
    for (what, turned, summed) in cases {
        let mut s = Sketch::new();
        let (user, item) = (s.input("user", Scope::Request, &[6]), s.input("item", Scope::Item, &[6]));
        let both = s.binary(Binary::Mul, user, item);
        let y = summed(&mut s, [user, item, both]);
        let model = s.finish(y);
        let other = adjoint::pass(&model).unwrap();
        assert_same(&other, &model);
        let dots = other.graph.nodes().iter().filter(|n| matches!(n.op, Op::Reduce { keep: true, .. })).count();
        let before = model.graph.nodes().iter().filter(|n| matches!(n.op, Op::Reduce { keep: true, .. })).count();
        assert_eq!(dots - before, turned, "{what}");
        assert_same(&split(model.clone()).unwrap(), &model);
    }
}

#[test]
fn a_linear_that_something_else_reads_is_not_turned_around() {
    let mut s = Sketch::new();
    let (user, item) = (s.input("user", Scope::Request, &[6]), s.input("item", Scope::Item, &[6]));
    let both = s.binary(Binary::Mul, user, item);
    let linear = s.linear(both, 6);
    let product = s.binary(Binary::Mul, user, linear);
    let y = s.binary(Binary::Add, product, linear);
    let model = s.finish(y);
    assert_eq!(adjoint::pass(&model).unwrap(), model);
}
