//! What each tensor of a model is for, and how each variant stores it.

use serde::Serialize;
use shared_model::graph::{Graph, Op, Scope, ValueId};
use shared_model::variant::{Variant, VariantName};

use crate::build::REFERENCE;

/// A tensor, in every variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorUse {
    /// Its name.
    pub name: String,
    /// The first op that takes it, and as what.
    pub role: String,
    /// What the results of the ops that take it depend on: how often they are computed.
    pub scopes: Vec<Scope>,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// One a variant that has it.
    pub stored: Vec<Stored>,
    /// What it alone in 4 bits does to the scores near the boundaries, as a share of what each tensor alone does, all
    /// together; `None` of a tensor that is not quantized, and of a bundle that is there already.
    pub sensitivity: Option<f64>,
}

/// How a variant stores a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stored {
    /// Which.
    pub variant: VariantName,
    /// Of one weight, on average.
    pub bits: f64,
    /// Of all, scales included.
    pub bytes: usize,
    /// The bits that a layer's inputs are rounded to; `None` of what is no layer with integer weights.
    pub activation_bits: Option<u8>,
}

/// The largest first, by what it takes in full precision.
pub(super) fn tensors(variants: &[Variant]) -> Vec<TensorUse> {
    let full = &variants[REFERENCE];
    let graph = &full.graph;
    let mut tensors: Vec<TensorUse> = graph
        .constants()
        .filter_map(|(id, value)| {
            let tensor = full.tensors.get(&value.name)?;
            let stored = variants.iter().filter_map(|v| {
                let tensor = v.tensors.get(&value.name)?;
                Some(Stored {
                    variant: v.name,
                    bits: tensor.bits(),
                    bytes: tensor.bytes(),
                    activation_bits: tensor.activation_bits(),
                })
            });
            let (role, scopes) = used(graph, id);
            Some(TensorUse {
                name: value.name.clone(),
                role,
                scopes,
                shape: tensor.shape(),
                stored: stored.collect(),
                sensitivity: None,
            })
        })
        .collect();
    let bytes = |t: &TensorUse| t.stored.last().map_or(0, |s| s.bytes);
    tensors.sort_by(|a, b| bytes(b).cmp(&bytes(a)).then_with(|| a.name.cmp(&b.name)));
    tensors
}

fn used(graph: &Graph, id: ValueId) -> (String, Vec<Scope>) {
    let taken = graph.nodes().iter().filter_map(|n| Some((n, n.inputs.iter().position(|i| *i == id)?)));
    let role = taken.clone().next().map_or_else(|| "unused".to_owned(), |(node, place)| role(&node.op, place));
    let mut scopes = Vec::new();
    for (node, _) in taken {
        let scope = graph.value(node.output).ty.scope;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    (role, scopes)
}

fn role(op: &Op, place: usize) -> String {
    match (op, place) {
        (Op::Embedding, 0) => "embedding table".to_owned(),
        (Op::Linear, 1) => "linear weight".to_owned(),
        (Op::Linear, 2) => "linear bias".to_owned(),
        (op, _) => format!("{} operand", op.name()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared_model::graph::{Builder, DType, Link, Type};
    use shared_model::tensor::{Activations, Tensor};

    use super::*;

    /// A linear of an item's two numbers, in three variants, one of which has its weight in 8 bits.
    fn variants() -> Vec<Variant> {
        let mut builder = Builder::new();
        let numbers = builder.input("x", Type { dtype: DType::F32, shape: vec![2], scope: Scope::Item }).unwrap();
        let weight = builder.constant("w", DType::F32, &[1, 2]).unwrap();
        let bias = builder.constant("b", DType::F32, &[1]).unwrap();
        let score = builder.push("y", Op::Linear, &[numbers, weight, bias]).unwrap();
        let score = builder.push("score", Op::Reshape { shape: Vec::new() }, &[score]).unwrap();
        let graph = builder.finish(score, Link::Identity).unwrap();
        let b = Tensor::F32 { shape: vec![1], data: vec![0.5] };
        let full = Tensor::F32 { shape: vec![1, 2], data: vec![1.0, -1.0] };
        let short = Tensor::Linear8 {
            outputs: 1,
            inputs: 2,
            q: vec![127, -128],
            scale: vec![0.1],
            offset: vec![0.0],
            activations: Activations::Sixteen,
        };
        let of = |name, w: &Tensor| {
            let tensors = BTreeMap::from([("w".to_owned(), w.clone()), ("b".to_owned(), b.clone())]);
            Variant { name, graph: graph.clone(), tensors, noise: None }
        };
        vec![of(VariantName::W4, &short), of(VariantName::W8, &full), of(VariantName::F32, &full)]
    }

    #[test]
    fn a_tensor_is_told_with_its_role_and_every_form() {
        let [w, b] = &tensors(&variants())[..] else { panic!("two tensors") };
        assert_eq!((w.name.as_str(), w.role.as_str(), &w.scopes[..]), ("w", "linear weight", &[Scope::Item][..]));
        assert_eq!((w.shape.as_slice(), b.role.as_str()), (&[1, 2][..], "linear bias"));
        let stored: Vec<(f64, usize)> = w.stored.iter().map(|s| (s.bits, s.bytes)).collect();
        assert_eq!(stored, [(8.0, 10), (32.0, 8), (32.0, 8)], "two weights, their scale and their offset");
    }
}
