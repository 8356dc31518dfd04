//! Which layers take their inputs in 7 bits: those that run once a candidate and that the scores near the boundaries feel
//! least, for what it saves.
//!
//! That comes last, when weights have their bits: inputs of 7 bits save time where there is relaxed SIMD, and nowhere
//! bytes. All of them together may add but a share to what the weights do to the scores.

use shared_model::graph::{Op, Scope};
use shared_model::schema::Schema;
use shared_model::tensor::{Activations, Tensor};
use shared_model::variant::Variant;

use super::measure::{moved, scores};
use crate::score::ScorerError;
use crate::sense::Sample;
use crate::split::multiply_adds;

/// What narrowed layers may add to the squared deviations of scores, as a share of what the weights do.
pub(crate) const SHARE: f64 = 0.02;
/// The same of a variant that is to be fast.
pub(crate) const SHARE_IF_FAST: f64 = 0.5;

/// Of so many samples one is looked at: what all of a layer's inputs do together needs no more.
const EVERY: usize = 4;

/// A layer that may be narrowed.
struct Layer {
    weight: String,
    /// Multiply-adds a candidate.
    work: u64,
    /// What it adds alone.
    harm: f64,
}

/// Narrows the layers of a quantized variant, within such a share.
///
/// # Errors
/// A variant cannot be run.
pub(crate) fn narrow(
    variant: &mut Variant,
    full: &Variant,
    samples: &[Sample],
    schema: &Schema,
    share: f64,
) -> Result<(), ScorerError> {
    let samples: Vec<&Sample> = samples.iter().step_by(EVERY).collect();
    let usual = scores(variant, &samples, schema)?;
    let harm = |from: &[Vec<f32>], to: &[Vec<f32>]| -> f64 {
        samples.iter().zip(from.iter().zip(to)).map(|(s, (from, to))| moved(&s.weights, from, to)).sum()
    };
    let by_weights = harm(&scores(full, &samples, schema)?, &usual);
    let mut layers = layers(variant);
    for layer in &mut layers {
        set(variant, &layer.weight, Activations::Seven);
        layer.harm = harm(&usual, &scores(variant, &samples, schema)?);
        set(variant, &layer.weight, Activations::Sixteen);
    }
    let worth = |layer: &Layer| layer.harm / layer.work as f64;
    layers.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
    let mut left = by_weights * share;
    for layer in layers {
        // Nothing was seen of what nothing is known to move.
        if layer.harm > 0.0 && layer.harm <= left {
            left -= layer.harm;
            set(variant, &layer.weight, Activations::Seven);
        }
    }
    Ok(())
}

/// Those of 8 bits with several outputs; a layer of one is no faster for it.
fn layers(variant: &Variant) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for node in variant.graph.nodes().iter().filter(|node| node.op == Op::Linear) {
        let weight = &variant.graph.value(node.inputs[1]).name;
        let of_pair = variant.graph.value(node.output).ty.scope == Scope::Pair;
        if !of_pair || !matches!(variant.tensors.get(weight), Some(Tensor::Linear8 { outputs: 2.., .. })) {
            continue;
        }
        let work = multiply_adds(&variant.graph, node);
        match layers.iter_mut().find(|layer| layer.weight == *weight) {
            Some(layer) => layer.work += work,
            None => layers.push(Layer { weight: weight.clone(), work, harm: 0.0 }),
        }
    }
    layers
}

fn set(variant: &mut Variant, weight: &str, to: Activations) {
    if let Some(Tensor::Linear8 { activations, .. }) = variant.tensors.get_mut(weight) {
        *activations = to;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared_model::catalog::Catalog;
    use shared_model::graph::{Binary, Builder, DType, Link, Type, Unary};
    use shared_model::ladder::prepare;
    use shared_model::variant::VariantName;
    use shared_model::wire::{Candidate, RankRequest, Raw, Record, TierChoice};

    use super::*;
    use crate::round::linear8;

    const WIDTH: usize = 24;
    const LAYERS: [&str; 2] = ["first", "second"];

    fn wave(n: usize, phase: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.73 + phase).sin() / 3.0).collect()
    }

    /// A user's row times an item's, two layers and a sum, of which the second layer is worth little to the score.
    fn model() -> Variant {
        let mut b = Builder::new();
        let ids = |scope| Type { dtype: DType::I32, shape: vec![], scope };
        let (user, item) = (b.input("u", ids(Scope::Request)).unwrap(), b.input("i", ids(Scope::Item)).unwrap());
        let square = vec![WIDTH, WIDTH];
        let shapes =
            [("rows", vec![80, WIDTH]), ("first", square.clone()), ("second", square), ("last", vec![1, WIDTH])];
        let [rows, first, second, last] =
            shapes.clone().map(|(name, shape)| b.constant(name, DType::F32, &shape).unwrap());
        let [user, item] = [user, item].map(|id| b.push("row", Op::Embedding, &[rows, id]).unwrap());
        let x = b.push("both", Op::Binary(Binary::Mul), &[user, item]).unwrap();
        let x = b.push("hidden", Op::Linear, &[x, first]).unwrap();
        let x = b.push("tanh", Op::Unary(Unary::Tanh), &[x]).unwrap();
        let y = b.push("more", Op::Linear, &[x, second]).unwrap();
        let x = b.push("sum", Op::Binary(Binary::Add), &[x, y]).unwrap();
        let score = b.push("score", Op::Linear, &[x, last]).unwrap();
        let tensors = (0u8..).zip(shapes).map(|(i, (name, shape))| {
            let few = if name == "second" { 1e-3 } else { 1.0 };
            let data = wave(shape.iter().product(), f32::from(i)).into_iter().map(|w| w * few).collect();
            (name.to_owned(), Tensor::F32 { shape, data })
        });
        Variant {
            name: VariantName::F32,
            graph: b.finish(score, Link::Sigmoid).unwrap(),
            tensors: tensors.collect(),
            noise: None,
        }
    }

    fn schema() -> Schema {
        let feature = |scope: &str, of: &str, input: &str| {
            format!(
                "[[feature]]\nname = \"{input}\"\nkind = \"categorical\"\nscope = \"{scope}\"\nfield = \"{of}.id\"\n\
                 input = \"{input}\"\ntransform = {{ hash = 64 }}\n"
            )
        };
        let features = feature("request", "user", "u") + &feature("item", "item", "i");
        Schema::from_toml(&format!("schema_version = 1\nmodel = \"m\"\n{features}")).unwrap()
    }

    fn samples(schema: &Schema) -> Vec<Sample> {
        let id = |id: String| Record(vec![("id".to_owned(), Raw::Text(id))]);
        let catalog = Catalog::build(schema, (0..20).map(|i| id(format!("m{i}")))).unwrap();
        let request = |user: usize| RankRequest {
            model: "m".to_owned(),
            k: 5,
            user: id(format!("u{user}")),
            context: Record::default(),
            candidates: (0..20).map(|i| Candidate { id: format!("m{i}"), features: None }).collect(),
            exclude: Vec::new(),
            timeout_ms: None,
            tier: TierChoice::Auto,
            explain: false,
        };
        let sample = |user| Sample {
            prepared: prepare(schema, &catalog, &request(user)).unwrap(),
            weights: (0..20).map(|i| 1.0 / f64::from(i + 1)).collect(),
        };
        (0..40).map(sample).collect()
    }

    /// In 8 bits, which of its layers are narrowed.
    fn narrowed(share: f64, samples: &[Sample]) -> BTreeMap<&'static str, Activations> {
        let full = model();
        let mut variant = Variant { name: VariantName::W8, ..full.clone() };
        for name in LAYERS {
            let weights = full.tensors[name].to_f32().unwrap();
            variant.tensors.insert(name.to_owned(), linear8(WIDTH, WIDTH, &weights));
        }
        narrow(&mut variant, &full, samples, &schema(), share).unwrap();
        let of = |name| match &variant.tensors[name] {
            Tensor::Linear8 { activations, .. } => (name, *activations),
            other => panic!("{other:?}"),
        };
        LAYERS.map(of).into()
    }

    #[test]
    fn layers_that_are_felt_least_are_narrowed_first() {
        let samples = samples(&schema());
        let shares = || (0..40).map(|i| 1e-9 * 2f64.powi(i));
        let from = |layer| {
            shares().find(|share| narrowed(*share, &samples)[layer] == Activations::Seven).expect("with a share of 500")
        };
        assert!(from("second") < from("first"), "{} and {}", from("second"), from("first"));
        assert!(narrowed(0.0, &samples).values().all(|a| *a == Activations::Sixteen));
    }

    #[test]
    fn what_nothing_is_known_of_is_left_alone() {
        assert!(narrowed(100.0, &[]).values().all(|a| *a == Activations::Sixteen));
    }
}
