//! Decides the bits of every tensor: all 8 for the region, a searched mix of 8 and 4 for the edge.
//!
//! Weights of linears and tables are quantized, small ones and those with two roles are not. For the mix, each tensor
//! is tried at 4 bits alone; those that cost the least error a byte saved go first, until the bytes are as wanted.

use std::collections::BTreeMap;

use rayon::prelude::*;
use shared_model::graph::{Graph, Op, ValueId};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};

use crate::progress::Progress;
use crate::round;
use crate::score::{Line, Scorer, ScorerError};

/// Tensors of no more elements stay in full precision: they cost little.
const SMALL: usize = 256;

/// What a constant is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Linear,
    Table,
}

/// The region's variant: everything that is quantized has 8 bits.
#[must_use]
pub fn w8(full: &Variant) -> Variant {
    let mut tensors = full.tensors.clone();
    for (name, role) in roles(&full.graph, &full.tensors) {
        if let Some(tensor) = rounded(&full.tensors[&name], role, 8) {
            tensors.insert(name, tensor);
        }
    }
    Variant { name: VariantName::W8, graph: full.graph.clone(), tensors }
}

/// The edge's variant: from `w8`, tensors go to 4 bits in the order of least damage until no more than `share` of the f32
/// bytes are left.
///
/// # Errors
/// A tried variant cannot be run.
pub fn w4(
    full: &Variant,
    w8: &Variant,
    share: f64,
    calibration: &[Line],
    schema: &Schema,
    progress: &Progress,
) -> Result<Variant, ScorerError> {
    let roles = roles(&full.graph, &full.tensors);
    let reference = scores(full, calibration, schema)?;
    let bar = progress.steps(roles.len(), "trying 4 bits");
    let mut moves = Vec::new();
    for (name, role) in roles {
        let Some(tensor) = rounded(&full.tensors[&name], role, 4) else { continue };
        let saved = w8.tensors[&name].bytes().saturating_sub(tensor.bytes());
        let mut alone = full.clone();
        alone.tensors.insert(name.clone(), tensor.clone());
        let error = mean_squared(&scores(&alone, calibration, schema)?, &reference);
        moves.push((error / saved.max(1) as f64, name, tensor));
        bar.inc(1);
    }
    bar.finish_and_clear();
    moves.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    let wanted = full.tensor_bytes() as f64 * share;
    let mut mix = Variant { name: VariantName::W4, ..w8.clone() };
    for (_, name, tensor) in moves {
        if mix.tensor_bytes() as f64 <= wanted {
            break;
        }
        mix.tensors.insert(name, tensor);
    }
    Ok(mix)
}

/// The constants that are quantized, by name.
fn roles(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Role> {
    let large = |name: &str| matches!(tensors.get(name), Some(Tensor::F32 { data, .. }) if data.len() > SMALL);
    let named = graph.constants().filter(|(_, v)| large(&v.name));
    named.filter_map(|(id, v)| Some((v.name.clone(), role(graph, id)?))).collect()
}

/// The one role that every use of a constant has.
fn role(graph: &Graph, id: ValueId) -> Option<Role> {
    let uses = graph.nodes().iter().flat_map(|n| n.inputs.iter().enumerate().map(move |(i, v)| (&n.op, i, *v)));
    let mut roles = uses.filter(|(_, _, v)| *v == id).map(|(op, i, _)| match (op, i) {
        (Op::Linear, 1) => Some(Role::Linear),
        (Op::Embedding, 0) => Some(Role::Table),
        _ => None,
    });
    let first = roles.next()??;
    roles.all(|r| r == Some(first)).then_some(first)
}

/// The tensor in fewer bits; `None` if it is no matrix of floats.
fn rounded(tensor: &Tensor, role: Role, bits: u8) -> Option<Tensor> {
    let Tensor::F32 { shape, data } = tensor else { return None };
    let [a, b] = shape[..] else { return None };
    Some(match (role, bits) {
        (Role::Linear, 4) => round::linear4(a, b, data),
        (Role::Linear, _) => round::linear8(a, b, data),
        (Role::Table, 4) => round::table4(a, b, data),
        (Role::Table, _) => round::table8(a, b, data),
    })
}

fn scores(variant: &Variant, lines: &[Line], schema: &Schema) -> Result<Vec<Vec<f32>>, ScorerError> {
    let scorer = Scorer::new(variant, schema)?;
    // A request whose ids have no row was refused when the model was checked; here it only would not count.
    let score = |arena: &mut _, line: &Line| scorer.score(arena, &line.prepared).unwrap_or_default();
    Ok(lines.par_iter().map_init(|| scorer.arena(), |arena, line| score(arena, line)).collect())
}

fn mean_squared(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let (n, sum) = pairs.fold((0u64, 0.0), |(n, sum), (a, b)| (n + 1, sum + f64::from(a - b).powi(2)));
    sum / n.max(1) as f64
}
