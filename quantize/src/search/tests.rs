use std::collections::HashMap;

use shared_model::graph::{Builder, DType, Link, Scope, Type};

use super::*;
use crate::gram::Gram;
use crate::sense::{LinearSense, TableSense};

const ROWS: usize = 64;
const WIDTH: usize = 8;

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.73).sin() + (i as f32 * 0.11).cos()).collect()
}

/// An item's row, a layer and a sum.
fn model() -> Variant {
    let mut builder = Builder::new();
    let id = builder.input("id", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
    let shapes = [("items", vec![ROWS, WIDTH]), ("layer", vec![40, WIDTH]), ("last", vec![1, 40])];
    let [items, layer, last] = shapes.clone().map(|(name, shape)| builder.constant(name, DType::F32, &shape).unwrap());
    let row = builder.push("row", Op::Embedding, &[items, id]).unwrap();
    let hidden = builder.push("hidden", Op::Linear, &[row, layer]).unwrap();
    let score = builder.push("score", Op::Linear, &[hidden, last]).unwrap();
    let tensors = shapes.map(|(name, shape)| {
        let data = wave(shape.iter().product());
        (name.to_owned(), Tensor::F32 { shape, data })
    });
    Variant {
        name: VariantName::F32,
        graph: builder.finish(score, Link::Sigmoid).unwrap(),
        tensors: tensors.into(),
        noise: None,
    }
}

/// As if only the first `seen` items were ever near a boundary.
fn sense(seen: u32) -> Sense {
    // Slopes in every direction: else errors could be hidden where nothing is seen of them.
    let (mut gram, mut random) = (Gram::zero(WIDTH), fastrand::Rng::with_seed(1));
    for _ in 0..64 {
        let slope: Vec<f64> = (0..WIDTH).map(|_| random.f64() - 0.5).collect();
        gram.add(1.0, &slope);
    }
    let mut sense = Sense::default();
    let rows: HashMap<u32, f64> = (0..seen).map(|row| (row, 1.0 / f64::from(seen))).collect();
    let layer = sense.linears.entry("layer".to_owned()).or_insert(LinearSense::zero(40, gram.len()));
    (layer.inputs, layer.outputs) = (gram.clone(), vec![0.1; 40]);
    let mut items = TableSense::zero(WIDTH);
    (items.elements, items.all, items.rows) = (gram, rows.values().sum(), rows);
    sense.tables.insert("items".to_owned(), items);
    sense
}

fn search(full: &Variant, sense: &Sense) -> Search<'static> {
    let full: &'static Variant = Box::leak(Box::new(full.clone()));
    let schema = shared_model::schema::Schema::from_toml(
        "schema_version = 1\nmodel = \"m\"\n[[feature]]\nname = \"id\"\nkind = \"categorical\"\nscope = \"item\"\nfield = \"item.id\"\ninput = \"id\"\ntransform = { hash = 64 }\n",
    );
    Search::new(full, sense, &schema.unwrap(), &Progress::hidden()).unwrap()
}

#[test]
fn what_is_not_a_large_weight_of_one_role_keeps_its_precision() {
    let full = model();
    let roles = roles(&full.graph, &full.tensors);
    assert_eq!(roles.keys().collect::<Vec<_>>(), ["items", "layer"], "`last` is small");
}

#[test]
fn bytes_go_to_the_rows_that_are_looked_up() {
    let full = model();
    let search = search(&full, &sense(16));
    let share = search.bytes(&search.uniform(0)) as f64 / full.tensor_bytes() as f64;
    let mixed = search.variant(VariantName::W4, Fewest::Four, share + 0.05);
    let Tensor::TableMixed { bits, .. } = &mixed.tensors["items"] else { panic!("{:?}", mixed.tensors["items"]) };
    let mean =
        |rows: std::ops::Range<usize>| rows.clone().map(|r| f64::from(bits.of(r))).sum::<f64>() / rows.len() as f64;
    assert!(mean(0..16) > mean(16..64) + 1.0, "{} and {}", mean(0..16), mean(16..64));
}

#[test]
fn no_more_bytes_are_spent_than_allowed_and_the_fewest_bits_are_kept_to() {
    let full = model();
    let search = search(&full, &sense(16));
    let bytes = full.tensor_bytes() as f64;
    let least = [Fewest::Four, Fewest::Eight].map(|f| search.bytes(&search.uniform(f as u8)) as f64 / bytes);
    for step in 0..20 {
        let share = f64::from(step) * 0.03;
        for (fewest, least) in [Fewest::Four, Fewest::Eight].into_iter().zip(least) {
            let variant = search.variant(VariantName::W8, fewest, share);
            // A table whose rows have come out alike has no codes of them.
            let codes = ROWS.div_ceil(4) as f64 / bytes;
            let taken = variant.tensor_bytes() as f64 / bytes;
            assert!(taken <= share.max(least) + 1e-9 && taken >= least - codes - 1e-9, "{taken} of {share}");
            let fewest = if fewest == Fewest::Four { 4.0 } else { 8.0 };
            assert!(["items", "layer"].iter().all(|name| variant.tensors[*name].bits() >= fewest));
        }
    }
}

#[test]
fn with_all_bytes_little_is_lost() {
    let full = model();
    let variant = search(&full, &sense(16)).variant(VariantName::W8, Fewest::Eight, 1.0);
    assert_eq!(variant.tensors["layer"], full.tensors["layer"], "full precision");
    assert_eq!(variant.tensors["items"].bits(), 16.0);
}

/// The model with a bias for its layer, which another layer may have too.
fn biased(shared: bool) -> Variant {
    let mut builder = Builder::new();
    let id = builder.input("id", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
    let shapes =
        [("items", vec![ROWS, WIDTH]), ("layer", vec![40, WIDTH]), ("bias", vec![40]), ("other", vec![40, WIDTH])];
    let last = ("last", vec![1, 40]);
    let mut constant = |(name, shape): &(&str, Vec<usize>)| builder.constant(name, DType::F32, shape).unwrap();
    let ([items, layer, bias, other], last_id) = (shapes.each_ref().map(&mut constant), constant(&last));
    let row = builder.push("row", Op::Embedding, &[items, id]).unwrap();
    let hidden = builder.push("hidden", Op::Linear, &[row, layer, bias]).unwrap();
    let beside = if shared { &[row, other, bias][..] } else { &[row, other] };
    let beside = builder.push("beside", Op::Linear, beside).unwrap();
    let sum = builder.push("sum", Op::Binary(shared_model::graph::Binary::Add), &[hidden, beside]).unwrap();
    let score = builder.push("score", Op::Linear, &[sum, last_id]).unwrap();
    let tensors = shapes.into_iter().chain([last]).map(|(name, shape)| {
        let data = wave(shape.iter().product());
        (name.to_owned(), Tensor::F32 { shape, data })
    });
    Variant {
        name: VariantName::F32,
        graph: builder.finish(score, Link::Sigmoid).unwrap(),
        tensors: tensors.collect(),
        noise: None,
    }
}

#[test]
fn a_bias_of_one_layer_alone_goes_with_the_form_of_its_weight() {
    let mut sense = sense(16);
    let layer = sense.linears.get_mut("layer").unwrap();
    (layer.sum, layer.weights) = (vec![0.5; WIDTH], 2.0);
    let floats = |variant: &Variant, name: &str| variant.tensors[name].to_f32().unwrap();
    for shared in [false, true] {
        let full = biased(shared);
        let search = search(&full, &sense);
        for share in [0.0, 1.0] {
            let variant = search.variant(VariantName::W4, Fewest::Four, share);
            let (w, rounded, bias) = (floats(&full, "layer"), floats(&variant, "layer"), floats(&full, "bias"));
            let lost = |o: usize| -> f32 {
                let row = o * WIDTH..(o + 1) * WIDTH;
                w[row.clone()].iter().zip(&rounded[row]).map(|(w, rounded)| (w - rounded) * 0.25).sum()
            };
            let own = if shared { 0.0 } else { 1.0 };
            for (o, got) in floats(&variant, "bias").into_iter().enumerate() {
                assert!((got - bias[o] - own * lost(o)).abs() < 1e-6, "{shared}, {share}, output {o}");
            }
            let most = (0..40).map(|o| lost(o).abs()).fold(0.0, f32::max);
            assert_eq!(most > 1e-3, share == 0.0, "4 bits lose something, full precision nothing: {most}");
        }
    }
}
