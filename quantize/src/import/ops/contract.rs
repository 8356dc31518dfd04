//! Products and look-ups: linears, products of two values of a row, embeddings.

use std::rc::Rc;

use shared_model::graph::{Binary, DType, Op};

use super::super::array::Array;
use super::super::call::{Call, Refusal, Row, Value, cannot, mixes};
use super::super::lower::Lowering;
use super::elementwise::{align, aligned};
use super::layout;

/// A look-up in a constant table, or constant positions of a row.
pub(super) fn gather(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    match (call.operand(0)?, call.operand(1)?) {
        (Value::Const(table), Value::Row(ids)) => embedding(low, call, &Rc::clone(table), *ids),
        (Value::Row(x), Value::Const(_)) => layout::gather_constant(low, call, *x),
        (Value::Row(_), Value::Row(_)) => cannot(
            "both the values and the indices depend on the inputs; only constant tables or constant indices are supported",
        ),
        (Value::Const(_), Value::Const(_)) => cannot("both operands are constants"),
    }
}

fn embedding(low: &mut Lowering, call: &Call, table: &Array, ids: Row) -> Result<Row, Refusal> {
    if call.int("axis", 0) != 0 || table.as_f32().is_none() || low.dtype(ids) != DType::I32 {
        return cannot("only a look-up of rows (axis 0) in a table of floats is supported");
    }
    let Some((&rows, widths)) = table.shape.split_first() else { return cannot("its table is a scalar") };
    if let Some((input, n)) = low.cardinality.get(&ids.id).filter(|(_, n)| *n > rows) {
        return cannot(format!(
            "table `{}` has {rows} rows, but input `{input}` gives indices up to {}: the schema or the catalog is not the model's",
            table.name,
            n - 1
        ));
    }
    let flat = low.constant_in(table, &[rows, widths.iter().product()])?;
    let looked_up = low.push_like(call.name(), Op::Embedding, &[flat, ids.id], ids)?;
    let shape: Vec<usize> = low.shape(ids).iter().chain(widths).copied().collect();
    low.reshape(call.name(), looked_up, shape, ids.batch)
}

/// `alpha · A · B + beta · C` with a constant B.
pub(super) fn gemm(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = match call.operand(0)? {
        Value::Row(x) if call.int("transA", 0) == 0 => *x,
        _ => return cannot("its first operand must be the inputs', not transposed: put the weight second"),
    };
    if x.batch != 0 || low.rank(x) != 2 {
        return mixes("the product runs over the axis of candidates");
    }
    let Value::Const(weight) = call.operand(1)? else {
        return mixes("both factors depend on the inputs, which multiplies one candidate by another");
    };
    let [_, _] = weight.shape[..] else { return cannot("its weight is not a matrix") };
    let weight = if call.int("transB", 0) == 0 { weight.transposed(&[1, 0]) } else { weight.as_ref().clone() };
    let weight = scaled(&weight, call.float("alpha", 1.0))?;
    let outputs = weight.shape[0];
    let beta = call.float("beta", 1.0);
    match call.optional(2) {
        None => linear(low, call, x, &weight, None),
        Some(Value::Const(c)) if bias(c, outputs).is_some() => {
            let c = bias(c, outputs).map(|b| scaled(&b, beta)).transpose()?;
            linear(low, call, x, &weight, c.as_ref())
        }
        Some(c) if beta == 1.0 => {
            let product = linear(low, call, x, &weight, None)?;
            let (ids, batch) = align(low, &[Value::Row(product), c.clone()])?;
            Ok(Row { id: low.push(call.name(), Op::Binary(Binary::Add), &ids)?, batch })
        }
        Some(_) => cannot(format!("`beta` is {beta} and its third operand depends on the inputs; only 1 is supported")),
    }
}

fn scaled(array: &Array, factor: f32) -> Result<Array, Refusal> {
    if factor == 1.0 {
        return Ok(array.clone());
    }
    let Some(v) = array.as_f32() else { return cannot(format!("constant `{}` is not of floats", array.name)) };
    let data = super::super::array::Data::F32(v.iter().map(|x| x * factor).collect());
    Ok(Array { data, ..array.clone() })
}

/// The constant as one value an output, if it is that broadcast over rows.
fn bias(array: &Array, outputs: usize) -> Option<Array> {
    let (last, lead) = array.shape.split_last().unwrap_or((&1, &[]));
    if array.as_f32().is_none() || lead.iter().any(|&d| d != 1) || (*last != outputs && *last != 1) {
        return None;
    }
    array.reshaped(vec![*last]).broadcast(&[outputs]).ok()
}

/// `x · weightᵀ + bias` over the last axis; `weight` is `[outputs, inputs]`.
fn linear(low: &mut Lowering, call: &Call, x: Row, weight: &Array, bias: Option<&Array>) -> Result<Row, Refusal> {
    if x.batch + 1 == low.rank(x) {
        return mixes("the product runs over the axis of candidates");
    }
    let w = low.constant(weight)?;
    let Some(bias) = bias else {
        let out = low.push_like(call.name(), Op::Linear, &[x.id, w], x)?;
        if low.uses(call) == 1 {
            low.open_linears.insert(out.id, (x.id, w));
        }
        return Ok(out);
    };
    let b = low.constant(bias)?;
    low.push_like(call.name(), Op::Linear, &[x.id, w, b], x)
}

/// A sum; with a linear's result that nothing else uses and a constant, the constant becomes the linear's bias.
pub(super) fn add(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let folded = match (call.operand(0)?, call.operand(1)?) {
        (Value::Row(row), Value::Const(c)) | (Value::Const(c), Value::Row(row)) => {
            let outputs = low.shape(*row).last().copied().unwrap_or(0);
            let fits = c.shape.len() <= low.rank(*row);
            low.open_linears.get(&row.id).copied().zip(bias(c, outputs).filter(|_| fits)).map(|open| (*row, open))
        }
        _ => None,
    };
    let Some((row, ((x, weight), bias))) = folded else {
        return aligned(low, call, Op::Binary(Binary::Add));
    };
    let b = low.constant(&bias)?;
    low.push_like(call.name(), Op::Linear, &[x, weight, b], row)
}

/// A product with a constant matrix is a linear; of two values of a row, a product within each row.
pub(super) fn matmul(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let (a, b) = (call.operand(0)?.clone(), call.operand(1)?.clone());
    if let (Value::Row(x), Value::Const(w)) = (&a, &b) {
        match w.shape[..] {
            [_, _] => return linear(low, call, *x, &w.transposed(&[1, 0]), None),
            [inputs] => {
                let out = linear(low, call, *x, &w.reshaped(vec![1, inputs]), None)?;
                let mut shape = low.shape(out).to_vec();
                shape.pop();
                low.open_linears.remove(&out.id);
                return low.reshape(call.name(), out, shape, out.batch);
            }
            _ => {}
        }
    }
    for value in [&a, &b] {
        match value {
            Value::Row(row) if row.batch + 2 >= low.rank(*row) => {
                return mixes("the product runs over or along the axis of candidates");
            }
            Value::Const(array) if array.shape.len() < 2 => {
                return cannot("a vector as the first factor is not supported");
            }
            Value::Row(_) | Value::Const(_) => {}
        }
    }
    aligned(low, call, Op::MatMul)
}
