//! Operators along axes of a row: reductions, softmax, normalizations.

use shared_model::graph::{Binary, Op, Reduce, Unary};

use super::super::array::{Array, Data};
use super::super::call::{Call, Refusal, Row, axis, cannot, mixes};
use super::super::lower::Lowering;

pub(super) fn reduce(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let name = call.name();
    let listed = call.ints("axes", 1)?.filter(|list| !list.is_empty());
    let axes = match listed {
        Some(list) => list.iter().map(|&a| low.row_axis(x, a)).collect::<Result<Vec<_>, _>>()?,
        None if call.int("noop_with_empty_axes", 0) == 1 => return Ok(x),
        None => return mixes("it reduces over every axis, that of the candidates included"),
    };
    let mut axes = axes;
    axes.sort_unstable();
    axes.dedup();
    let keep = call.int("keepdims", 1) != 0;
    let before = axes.iter().filter(|&&a| a < x.batch).count();
    let batch = if keep { x.batch } else { x.batch - before };
    let (operand, kind) = match call.node.op.as_str() {
        "ReduceMean" => (x.id, Reduce::Mean),
        "ReduceMax" => (x.id, Reduce::Max),
        "ReduceMin" => (x.id, Reduce::Min),
        "ReduceL1" => (low.push(name, Op::Unary(Unary::Abs), &[x.id])?, Reduce::Sum),
        "ReduceL2" | "ReduceSumSquare" => (low.push(name, Op::Binary(Binary::Mul), &[x.id, x.id])?, Reduce::Sum),
        _ => (x.id, Reduce::Sum),
    };
    let mut id = low.push(name, Op::Reduce { kind, axes, keep }, &[operand])?;
    if call.node.op == "ReduceL2" {
        id = low.push(name, Op::Unary(Unary::Sqrt), &[id])?;
    }
    Ok(Row { id, batch })
}

pub(super) fn softmax(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let along = call.int("axis", if call.opset < 13 { 1 } else { -1 });
    if call.opset < 13 && axis(along, low.rank(x))? + 1 != low.rank(x) {
        return cannot("before opset 13 it joins all axes from `axis` on: export the model with opset 13 or later");
    }
    let row = low.row_axis(x, along)?;
    let out = low.push_like(call.name(), Op::Softmax { axis: row }, &[x.id], x)?;
    if call.node.op == "LogSoftmax" { low.push_like(call.name(), Op::Unary(Unary::Log), &[out.id], x) } else { Ok(out) }
}

pub(super) fn layer_norm(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let along = low.row_axis(x, call.int("axis", -1))?;
    if along + 1 != low.shape(x).len() {
        return cannot("only a normalization over the last axis is supported");
    }
    if x.batch + 1 == low.rank(x) {
        return mixes("it normalizes along the axis of candidates");
    }
    let mut operands = vec![x.id, low.constant(&vector(call, 1, "scale")?)?];
    if call.optional(2).is_some() {
        operands.push(low.constant(&vector(call, 2, "bias")?)?);
    }
    low.push_like(call.name(), Op::LayerNorm { epsilon: call.float("epsilon", 1e-5) }, &operands, x)
}

/// `x · scale + shift` a channel, from the statistics gathered in training.
pub(super) fn batch_norm(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    if call.int("training_mode", 0) != 0 {
        return mixes("it is in training mode and normalizes over the candidates: export the model for inference");
    }
    let along = low.row_axis(x, 1)?;
    let vectors = ["scale", "bias", "mean", "variance"].iter().zip(1..).map(|(what, i)| vector(call, i, what));
    let [scale, bias, mean, variance] = &vectors.collect::<Result<Vec<_>, _>>()?[..] else {
        return cannot("it has four constants");
    };
    let (Some(scale_v), Some(bias_v), Some(mean_v), Some(variance_v)) =
        (scale.as_f32(), bias.as_f32(), mean.as_f32(), variance.as_f32())
    else {
        return cannot("its constants are not of floats");
    };
    let channels = low.shape(x)[along];
    if [scale, bias, mean, variance].iter().any(|a| a.len() != channels) {
        return cannot(format!("its constants do not have {channels} values each: the model is damaged"));
    }
    let epsilon = call.float("epsilon", 1e-5);
    let slope: Vec<f32> = scale_v.iter().zip(variance_v).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let shift: Vec<f32> = bias_v.iter().zip(mean_v).zip(&slope).map(|((b, m), s)| b - m * s).collect();
    let mut shape = vec![1; low.shape(x).len() - along];
    shape[0] = channels;
    let constant = |suffix: &str, v: Vec<f32>| Array {
        name: format!("{}.{suffix}", call.name()),
        shape: shape.clone(),
        data: Data::F32(v),
    };
    let (slope, shift) = (low.constant(&constant("slope", slope))?, low.constant(&constant("shift", shift))?);
    let scaled = low.push(call.name(), Op::Binary(Binary::Mul), &[x.id, slope])?;
    low.push_like(call.name(), Op::Binary(Binary::Add), &[scaled, shift], x)
}

fn vector(call: &Call, i: usize, what: &str) -> Result<Array, Refusal> {
    let array = call.constant(i, what)?;
    Ok(array.reshaped(vec![array.len()]))
}
