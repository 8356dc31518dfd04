use shared_model::encode::{Block, Data};
use shared_model::graph::{Binary, Builder, DType, Link, Op, Scope, Type};
use shared_model::tensor::Tensor;
use shared_model::variant::VariantName;

use super::*;

const WIDTH: usize = 20;
const ROWS: usize = 16;

fn wave(n: usize, phase: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.73 + phase).sin()).collect()
}

/// A user's row and an item's, both through a layer; added up, or multiplied, and summed.
fn model(op: Binary) -> Variant {
    let mut builder = Builder::new();
    let ids = |scope| Type { dtype: DType::I32, shape: vec![], scope };
    let [user, item] =
        [("user", Scope::Request), ("item", Scope::Item)].map(|(n, s)| builder.input(n, ids(s)).unwrap());
    let table = vec![ROWS, WIDTH];
    let shapes = [("users", table.clone()), ("items", table), ("layer", vec![WIDTH, WIDTH]), ("last", vec![1, WIDTH])];
    let constants = shapes.clone().map(|(name, shape)| builder.constant(name, DType::F32, &shape).unwrap());
    let [users, items, layer, last] = constants;
    let user = builder.push("user.row", Op::Embedding, &[users, user]).unwrap();
    let user = builder.push("user.hidden", Op::Linear, &[user, layer]).unwrap();
    let item = builder.push("item.row", Op::Embedding, &[items, item]).unwrap();
    let both = builder.push("both", Op::Binary(op), &[user, item]).unwrap();
    let score = builder.push("score", Op::Linear, &[both, last]).unwrap();
    let tensors = (0u8..).zip(shapes).map(|(i, (name, shape))| {
        let data = wave(shape.iter().product(), f32::from(i));
        (name.to_owned(), Tensor::F32 { shape, data })
    });
    Variant {
        name: VariantName::F32,
        graph: builder.finish(score, Link::Sigmoid).unwrap(),
        tensors: tensors.collect(),
        noise: None,
    }
}

/// Of one request with three candidates.
fn sense(full: &Variant, weights: &[f64; 3]) -> Sense {
    let mut sense = Sense::zero(full);
    let tape = Tape::new(&full.graph, &full.tensors);
    let block = |ids: &[i32]| Block { width: 1, data: Data::I32(ids.to_vec()) };
    let trace = tape.run(&[&block(&[3]), &block(&[1, 4, 2])], weights.len());
    tape.back(&trace, &mut Watcher { sense: &mut sense, weights });
    sense
}

/// All that is known of a table's slopes, added up.
fn felt(sense: &Sense, table: &str) -> f64 {
    let ones = vec![1.0; WIDTH];
    sense.tables[table].elements.product(&ones, &ones)
}

#[test]
fn what_moves_all_candidates_alike_is_not_felt() {
    let sum = sense(&model(Binary::Add), &[1.0, 0.5, 0.25]);
    assert!(felt(&sum, "items") > 1e-3);
    assert!(felt(&sum, "users") < 1e-9 * felt(&sum, "items"), "a user's row is added to every score");
    assert!(sum.linears["layer"].outputs.iter().all(|square| square.abs() < 1e-9));
    let product = sense(&model(Binary::Mul), &[1.0, 0.5, 0.25]);
    assert!(felt(&product, "users") > 1e-3, "a user's row is felt by each item in its own way");
    assert!(product.linears["layer"].outputs.iter().all(|square| *square > 0.0));
}

#[test]
fn a_candidate_that_counts_nothing_teaches_nothing() {
    let full = model(Binary::Mul);
    let (two, three) = (sense(&full, &[1.0, 0.5, 0.0]), sense(&full, &[1.0, 0.5, 0.7]));
    assert!(felt(&two, "items") < felt(&three, "items"));
    assert!(felt(&sense(&full, &[1.0, 0.0, 0.0]), "users") < 1e-9, "one candidate is in no order");
}

#[test]
fn candidates_count_by_how_near_they_are_to_a_boundary() {
    let scores = [4.0, 1.1, 1.0, -3.0];
    let weights = near(&scores, &[2]);
    assert!(weights[1] > weights[0] && weights[2] > weights[3], "{weights:?}");
    assert!((weights[1] / weights[2] - 1.0).abs() < 1e-3, "both are next to it");
    assert_eq!(near(&scores, &[4, 50]), [0.0; 4], "there is no fifth");
}

#[test]
fn requests_count_alike_whatever_the_scale_of_their_scores() {
    let (small, large) = ([4.0, 1.1, 1.0, -3.0], [400.0, 110.0, 100.0, -300.0]);
    for (small, large) in near(&small, &[1, 2]).iter().zip(near(&large, &[1, 2])) {
        assert!((small / large / 1e4 - 1.0).abs() < 1e-4);
    }
}

#[test]
fn equal_scores_count_nothing() {
    assert_eq!(near(&[0.7; 5], &[1, 2]), [0.0; 5]);
    assert_eq!(
        near(&[1e4, 1e4, f32::from_bits(1e4f32.to_bits() + 1)], &[1]),
        [0.0; 3],
        "nor do those that rounding parts"
    );
    assert_eq!(near(&[], &[1]), [0.0; 0]);
}

#[test]
fn every_row_has_a_share_and_those_looked_up_more() {
    let table = TableSense { rows: HashMap::from([(1, 3.0), (2, 1.0)]), all: 4.0, ..TableSense::zero(WIDTH) };
    let shares: Vec<f64> = (0..ROWS).map(|row| table.share(row, ROWS)).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(shares[1] > shares[2] && shares[2] > shares[0]);
    assert!((shares[0] - UNSEEN / (1.0 + UNSEEN) / ROWS as f64).abs() < 1e-12);
    assert!((TableSense::zero(WIDTH).share(0, ROWS) - 1.0 / ROWS as f64).abs() < 1e-12);
}
