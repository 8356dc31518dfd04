//! Operators that move elements and compute nothing: shapes, axes, slices. Also used when folding constants.

use shared_model::graph::{Op, ValueId};

use super::super::array::{Int, broadcast_shape};
use super::super::call::{Call, Refusal, Row, Value, axes, axis, cannot, mixes};
use super::super::lower::Lowering;
use super::super::onnx::Attribute;

pub(super) fn reshape(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let dims = target(call, &low.onnx_shape(x))?;
    let mut rows = dims.iter().enumerate().filter(|(_, d)| **d == Int::Rows).map(|(i, _)| i);
    let (Some(batch), None) = (rows.next(), rows.next()) else {
        return mixes(format!("the shape {} has not exactly one axis of candidates", text(&dims)));
    };
    let shape: Vec<usize> = dims
        .iter()
        .filter_map(|d| if let Int::Known(n) = d { Some(usize::try_from(*n)) } else { None })
        .collect::<Result<_, _>>()
        .map_err(|_| Refusal::Cannot(format!("impossible shape {}", text(&dims))))?;
    let before = |shape: &[usize], batch: usize| shape[..batch].iter().product::<usize>();
    if before(&shape, batch) != before(low.shape(x), x.batch) {
        return mixes(format!("the shape {} spreads candidates over another axis", text(&dims)));
    }
    low.reshape(call.name(), x, shape, batch)
}

/// The dimensions that Reshape, Squeeze, Unsqueeze or Flatten gives a value of dimensions `from`.
pub(in super::super) fn target(call: &Call, from: &[Int]) -> Result<Vec<Int>, Refusal> {
    match call.node.op.as_str() {
        "Squeeze" => {
            let drop = match call.ints("axes", 1)? {
                Some(list) => axes(&list, from.len())?,
                None => (0..from.len()).filter(|&d| from[d] == Int::Known(1)).collect(),
            };
            for &d in &drop {
                match from[d] {
                    Int::Known(1) => {}
                    Int::Rows => return mixes(format!("it removes axis {d}, where the candidates lie")),
                    Int::Known(n) => return cannot(format!("it removes axis {d} of length {n}: the model is damaged")),
                }
            }
            Ok(from.iter().enumerate().filter(|(d, _)| !drop.contains(d)).map(|(_, &len)| len).collect())
        }
        "Unsqueeze" => {
            let list = call.ints("axes", 1)?.unwrap_or_default();
            let new = axes(&list, from.len() + list.len())?;
            let mut kept = from.iter().copied();
            let dims =
                (0..from.len() + new.len()).map(|d| if new.contains(&d) { Some(Int::Known(1)) } else { kept.next() });
            Ok(dims.flatten().collect())
        }
        "Flatten" => {
            let at = call.int("axis", 1);
            let at = if usize::try_from(at) == Ok(from.len()) { from.len() } else { axis(at, from.len())? };
            Ok(vec![joined(&from[..at])?, joined(&from[at..])?])
        }
        _ => reshape_target(call, from),
    }
}

fn joined(dims: &[Int]) -> Result<Int, Refusal> {
    let known = product(dims)?;
    match (dims.contains(&Int::Rows), known) {
        (false, n) => Ok(Int::Known(n)),
        (true, 1) => Ok(Int::Rows),
        (true, _) => mixes("it joins the axis of candidates with another"),
    }
}

fn reshape_target(call: &Call, from: &[Int]) -> Result<Vec<Int>, Refusal> {
    let keep_zero = call.int("allowzero", 0) == 1;
    let mut dims = match call.attribute("shape") {
        Some(Attribute::Ints(list)) => list.iter().map(|&n| Int::Known(n)).collect(),
        _ => call.dims(1, "shape")?,
    };
    for (i, d) in dims.iter_mut().enumerate() {
        if *d == Int::Known(0) && !keep_zero {
            *d = *from
                .get(i)
                .ok_or_else(|| Refusal::Cannot(format!("dimension {i} is copied from a value without it")))?;
        }
    }
    let Some(open) = dims.iter().position(|d| *d == Int::Known(-1)) else { return Ok(dims) };
    dims[open] = Int::Known(1);
    let (total, rest) = (product(from)?, product(&dims)?);
    if rest <= 0 || total % rest != 0 {
        return cannot(format!("a value of {} cannot take the shape {}", text(from), text(&dims)));
    }
    let rows_left = from.contains(&Int::Rows) && !dims.contains(&Int::Rows);
    dims[open] = match (rows_left, total / rest) {
        (false, n) => Int::Known(n),
        (true, 1) => Int::Rows,
        (true, _) => return mixes("it joins the axis of candidates with another"),
    };
    Ok(dims)
}

fn product(dims: &[Int]) -> Result<i64, Refusal> {
    dims.iter()
        .filter_map(|d| if let Int::Known(n) = d { Some(*n) } else { None })
        .try_fold(1i64, i64::checked_mul)
        .ok_or_else(|| Refusal::Cannot(format!("the shape {} is too large", text(dims))))
}

fn text(dims: &[Int]) -> String {
    let words: Vec<String> =
        dims.iter().map(|d| if let Int::Known(n) = d { n.to_string() } else { "N".into() }).collect();
    format!("[{}]", words.join(", "))
}

pub(in super::super) fn permutation(call: &Call, rank: usize) -> Result<Vec<usize>, Refusal> {
    let perm = match call.attribute("perm") {
        Some(Attribute::Ints(list)) => list.iter().map(|&p| axis(p, rank)).collect::<Result<Vec<_>, _>>()?,
        _ => (0..rank).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return cannot(format!("{perm:?} is not a permutation of {rank} axes: the model is damaged"));
    }
    Ok(perm)
}

pub(super) fn transpose(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let perm = permutation(call, low.rank(x))?;
    let batch = perm.iter().position(|&p| p == x.batch).unwrap_or_default();
    let perm: Vec<usize> = perm.into_iter().filter(|&p| p != x.batch).map(|p| p - usize::from(p > x.batch)).collect();
    if perm.is_sorted() {
        return Ok(Row { id: x.id, batch });
    }
    Ok(Row { id: low.push(call.name(), Op::Transpose { perm }, &[x.id])?, batch })
}

pub(super) fn concat(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let operands = call.all()?;
    let Some(first) = operands.iter().find_map(|v| if let Value::Row(r) = v { Some(*r) } else { None }) else {
        return cannot("it has no operands");
    };
    let along = low.row_axis(first, call.int("axis", 0))?;
    let ids = operands.iter().map(|v| match v {
        Value::Row(row) if row.batch == first.batch && low.rank(*row) == low.rank(first) => Ok(row.id),
        Value::Row(_) => mixes("its operands have the candidates on different axes"),
        Value::Const(a) => mixes(format!("constant `{}` has a fixed number of candidates", a.name)),
    });
    let ids = ids.collect::<Result<Vec<ValueId>, _>>()?;
    low.push_like(call.name(), Op::Concat { axis: along }, &ids, first)
}

/// Constant positions along an axis of one row; all of them in order is the value itself.
pub(super) fn select(
    low: &mut Lowering,
    name: &str,
    row: Row,
    along: usize,
    indices: Vec<usize>,
) -> Result<Row, Refusal> {
    if indices.iter().copied().eq(0..low.shape(row)[along]) {
        return Ok(row);
    }
    low.push_like(name, Op::Select { axis: along, indices }, &[row.id], row)
}

pub(super) fn split(low: &mut Lowering, call: &Call) -> Result<Vec<Value>, Refusal> {
    let x = call.row(0)?;
    let along = low.row_axis(x, call.int("axis", 0))?;
    let parts = parts(call, low.shape(x)[along])?;
    parts.into_iter().map(|p| select(low, call.name(), x, along, p).map(Value::Row)).collect()
}

/// The positions of each part of an axis of `length` that Split makes.
pub(in super::super) fn parts(call: &Call, length: usize) -> Result<Vec<Vec<usize>>, Refusal> {
    let outputs = call.node.outputs.len().max(1);
    let sizes: Vec<usize> = match call.ints("split", 1)? {
        Some(list) => list.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>().unwrap_or_default(),
        None => {
            let each = length.div_ceil(outputs);
            (0..outputs).map(|i| each.min(length.saturating_sub(i * each))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s)) != Some(length) || sizes.len() != outputs {
        return cannot(format!("parts {sizes:?} do not make up {length}: the model is damaged"));
    }
    let mut start = 0;
    Ok(sizes
        .into_iter()
        .map(|size| {
            start += size;
            (start - size..start).collect()
        })
        .collect())
}

pub(super) fn slice(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let dims = low.onnx_shape(x);
    let length = |d: usize| if let Int::Known(n) = dims[d] { usize::try_from(n).ok() } else { None };
    let mut out = x;
    for (at, chosen) in slices(call, dims.len(), length)? {
        match chosen {
            Some(chosen) => {
                let along = low.row_axis(out, i64::try_from(at).unwrap_or(i64::MAX))?;
                out = select(low, call.name(), out, along, chosen)?;
            }
            None if at == x.batch => {}
            None => return cannot(format!("axis {at} has no known length")),
        }
    }
    Ok(out)
}

/// An axis, and the positions of it that are kept.
type Sliced = (usize, Option<Vec<usize>>);

/// For each sliced axis the positions kept; `None` for the whole of an axis of unknown length.
pub(in super::super) fn slices(
    call: &Call,
    rank: usize,
    length: impl Fn(usize) -> Option<usize>,
) -> Result<Vec<Sliced>, Refusal> {
    let missing = || Refusal::Cannot("its bounds are missing: the model is damaged".into());
    let starts = call.ints("starts", 1)?.ok_or_else(missing)?;
    let ends = call.ints("ends", 2)?.ok_or_else(missing)?;
    let along = call.ints("axes", 3)?.unwrap_or_else(|| (0i64..).take(starts.len()).collect());
    let steps = call.ints("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return cannot("its bounds differ in number: the model is damaged");
    }
    axes(&along, rank)?;
    let mut out = Vec::new();
    for (((&start, &end), &along), &step) in starts.iter().zip(&ends).zip(&along).zip(&steps) {
        let at = axis(along, rank)?;
        if step == 0 {
            return cannot("a step of 0: the model is damaged");
        }
        out.push(match length(at) {
            Some(n) => (at, Some(positions(start, end, step, n))),
            None if start == 0 && step == 1 && end >= i64::from(i32::MAX) => (at, None),
            None => return mixes(format!("it keeps some of the candidates and drops others along axis {at}")),
        });
    }
    Ok(out)
}

fn positions(start: i64, end: i64, step: i64, length: usize) -> Vec<usize> {
    let n = i64::try_from(length).unwrap_or(i64::MAX);
    let from_front = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (mut at, end) = (from_front(start).clamp(low.max(0), high.max(0)), from_front(end).clamp(low, high));
    let mut kept = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        kept.extend(usize::try_from(at).ok().filter(|&p| p < length));
        at = at.saturating_add(step);
    }
    kept
}

pub(super) fn expand(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let dims = call.dims(1, "shape")?;
    let from_right = low.rank(x) - x.batch;
    let mut shape = Vec::new();
    for (i, d) in dims.iter().enumerate() {
        let at_batch = dims.len() - i == from_right;
        match d {
            Int::Known(1) | Int::Rows if at_batch => {}
            Int::Known(n) if !at_batch => {
                shape.push(usize::try_from(*n).map_err(|_| Refusal::Cannot(format!("impossible dimension {n}")))?);
            }
            _ => return mixes(format!("it repeats each candidate along axis {i} of {}", text(&dims))),
        }
    }
    let own = low.shape(x).to_vec();
    let wide = broadcast_shape(&[&own, &shape])?;
    let batch = wide.len() + 1 - from_right;
    if wide == own {
        return Ok(Row { id: x.id, batch });
    }
    Ok(Row { id: low.push(call.name(), Op::Expand { shape: wide }, &[x.id])?, batch })
}

pub(super) fn tile(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let repeats = call.ints("repeats", 1)?.unwrap_or_default();
    let mut out = x;
    for (at, n) in tiles(&repeats, low.rank(x))? {
        let along = low.row_axis(out, i64::try_from(at).unwrap_or(i64::MAX))?;
        let len = low.shape(out)[along];
        if n.checked_mul(len).is_none_or(|total| total > shared_model::limits::MAX_ROW_ELEMENTS) {
            return cannot(format!("it repeats axis {at} {n} times, which is too much"));
        }
        out = select(low, call.name(), out, along, (0..len * n).map(|i| i % len.max(1)).collect())?;
    }
    Ok(out)
}

/// The axes that are repeated, and how often.
pub(in super::super) fn tiles(repeats: &[i64], rank: usize) -> Result<Vec<(usize, usize)>, Refusal> {
    if repeats.len() != rank {
        return cannot(format!("repeats {repeats:?} of a value with {rank} dimensions: the model is damaged"));
    }
    let counts = repeats.iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    let counts = counts.map_err(|_| Refusal::Cannot(format!("impossible repeats {repeats:?}")))?;
    Ok(counts.into_iter().enumerate().filter(|&(_, n)| n != 1).collect())
}

/// Indices counted from the front, in range.
pub(in super::super) fn indices(list: &[i64], length: usize) -> Result<Vec<usize>, Refusal> {
    list.iter().map(|&i| axis(i, length).map_err(|_| Refusal::Cannot(format!("index {i} of {length}")))).collect()
}

/// Constant positions over the leading axes, which become one axis that is selected from.
pub(super) fn gather_nd(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let ids = call.constant(1, "indices")?.clone();
    let (Some(list), Some((&depth, outer))) = (ids.known_ints(), ids.shape.split_last()) else {
        return cannot("its indices are not known integers");
    };
    if call.int("batch_dims", 0) != 0 {
        return cannot("`batch_dims` is not supported: index a constant position of each candidate instead");
    }
    if depth == 0 || depth > x.batch {
        return mixes("its indices reach the axis of candidates");
    }
    let lead = low.shape(x)[..depth].to_vec();
    let mut flat = Vec::new();
    for tuple in list.chunks_exact(depth) {
        let mut position = 0;
        for (&i, &len) in tuple.iter().zip(&lead) {
            position = position * len + indices(&[i], len)?[0];
        }
        flat.push(position);
    }
    let mut joined = vec![lead.iter().product()];
    joined.extend_from_slice(&low.shape(x)[depth..]);
    let one = low.reshape(call.name(), x, joined, x.batch - depth + 1)?;
    let picked = select(low, call.name(), one, 0, flat)?;
    let shape: Vec<usize> = outer.iter().copied().chain(low.shape(picked)[1..].iter().copied()).collect();
    low.reshape(call.name(), picked, shape, x.batch - depth + outer.len())
}

/// Constant indices along one axis of a row.
pub(super) fn gather_constant(low: &mut Lowering, call: &Call, x: Row) -> Result<Row, Refusal> {
    let ids = call.constant(1, "indices")?.clone();
    let along = low.row_axis(x, call.int("axis", 0))?;
    let length = low.shape(x)[along];
    let list = ids
        .known_ints()
        .ok_or_else(|| Refusal::Mixes("its indices are computed from the number of candidates".into()))?;
    let picked = select(low, call.name(), x, along, indices(&list, length)?)?;
    let mut shape = low.shape(picked).to_vec();
    shape.splice(along..=along, ids.shape.iter().copied());
    let batch = if along < x.batch { x.batch + ids.shape.len() - 1 } else { x.batch };
    low.reshape(call.name(), picked, shape, batch)
}
