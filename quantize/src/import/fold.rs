//! Nodes whose result is known at import: constants, shapes, and layout and arithmetic on them.
//!
//! Only what exporters compute shapes, masks and weight layouts with. Anything else on constants alone is refused with
//! the advice to fold the model first.

use std::rc::Rc;

use shared_model::limits;

use super::array::{Array, Data, Int, bounded_len, broadcast_indices, broadcast_shape};
use super::call::{Call, Refusal, Row, Value, axis, cannot, mixes};
use super::lower::Lowering;
use super::onnx::{Attribute, elem};
use super::ops::layout;

/// The node's results, if it is computed from constants and shapes alone.
pub(super) fn fold(low: &mut Lowering, call: &Call) -> Result<Option<Vec<Value>>, Refusal> {
    let folded = folded(low, call)?;
    // What a Constant holds is in the file already.
    if call.node.op != "Constant" {
        let len = |v: &Value| if let Value::Const(a) = v { a.len() } else { 0 };
        low.spend(folded.iter().flatten().map(len).sum())?;
    }
    Ok(folded)
}

fn folded(low: &mut Lowering, call: &Call) -> Result<Option<Vec<Value>>, Refusal> {
    match call.node.op.as_str() {
        "Shape" => return Ok(Some(vec![shape(low, call)?])),
        "Constant" => return Ok(Some(vec![Value::Const(Rc::new(constant(call)?.renamed(call.name())))])),
        "ConstantOfShape" => return constant_of_shape(low, call).map(|v| Some(vec![v])),
        "Expand" if matches!(call.operand(0)?, Value::Const(_)) => {
            let array = call.constant(0, "operand")?;
            let dims = call.dims(1, "shape")?;
            return expand(low, call, array, &dims).map(|v| Some(vec![v]));
        }
        _ => {}
    }
    let Some(arrays) = constants(call) else { return Ok(None) };
    let results = match call.node.op.as_str() {
        "Split" => split(call)?,
        _ => vec![one(call, &arrays, low.foldable)?],
    };
    Ok(Some(results.into_iter().map(|a| Value::Const(Rc::new(a.renamed(call.name())))).collect()))
}

/// The operands, if every one given is a constant.
fn constants<'a>(call: &'a Call) -> Option<Vec<&'a Array>> {
    let arrays = call.operands.iter().flatten().map(|v| match v {
        Value::Const(a) => Some(a.as_ref()),
        Value::Row(_) => None,
    });
    let arrays = arrays.collect::<Option<Vec<_>>>()?;
    (!arrays.is_empty() || call.operands.is_empty()).then_some(arrays)
}

/// The one result, which may be the concatenation of at most `foldable` elements.
fn one(call: &Call, arrays: &[&Array], foldable: usize) -> Result<Array, Refusal> {
    let Some(&first) = arrays.first() else { return unfoldable() };
    let rank = first.shape.len();
    Ok(match call.node.op.as_str() {
        "Identity" | "Dropout" => first.clone(),
        "Cast" => cast(first, call.int("to", 0))?,
        "Transpose" => first.transposed(&layout::permutation(call, rank)?),
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {
            let dims: Vec<Int> = first.shape.iter().map(|&d| Int::Known(d as i64)).collect();
            let shape = known_dims(&layout::target(call, &dims)?)?;
            if bounded_len(&shape)? != first.len() {
                return cannot(format!("{:?} cannot become {shape:?}", first.shape));
            }
            first.reshaped(shape)
        }
        "Gather" => {
            let at = axis(call.int("axis", 0), rank)?;
            let ids = call.constant(1, "indices")?;
            let chosen = layout::indices(&ids.known_ints().ok_or_else(no_number)?, first.shape[at])?;
            let mut shape = first.shape.clone();
            shape.splice(at..=at, ids.shape.iter().copied());
            within(&shape, first.len())?;
            first.select(at, &chosen).reshaped(shape)
        }
        "Slice" => {
            let mut out = first.clone();
            for (at, chosen) in layout::slices(call, rank, |d| Some(first.shape[d]))? {
                out = out.select(at, &chosen.ok_or_else(no_number)?);
            }
            out
        }
        "Concat" => concat(arrays, axis(call.int("axis", 0), rank)?, foldable)?,
        "Range" => range(call)?,
        "Tile" => {
            let repeats = call.constant(1, "repeats")?.known_ints().ok_or_else(no_number)?;
            let mut out = first.clone();
            for (at, n) in layout::tiles(&repeats, rank)? {
                let len = out.shape[at];
                let mut shape = out.shape.clone();
                shape[at] =
                    len.checked_mul(n).ok_or_else(|| Refusal::Cannot("its result has too many elements".into()))?;
                within(&shape, first.len())?;
                out = out.select(at, &(0..len * n).map(|i| i % len.max(1)).collect::<Vec<_>>());
            }
            out
        }
        "Neg" => map(first, |x| -x, |i| i.checked_neg())?,
        "Abs" => map(first, f32::abs, |i| i.checked_abs())?,
        "Sqrt" => map(first, f32::sqrt, |_| None)?,
        "Reciprocal" => map(first, f32::recip, |_| None)?,
        "Add" => zip(arrays, |a, b| a + b, |a, b| with_neutral(a, b, 0, i64::checked_add))?,
        "Sub" => zip(
            arrays,
            |a, b| a - b,
            |a, b| with_neutral(a, b, 0, i64::checked_sub).filter(|_| a != Int::Known(0) || b != Int::Rows),
        )?,
        "Mul" => zip(arrays, |a, b| a * b, |a, b| with_neutral(a, b, 1, i64::checked_mul))?,
        "Div" => zip(arrays, |a, b| a / b, |a, b| with_neutral(a, b, 1, i64::checked_div).filter(|_| b != Int::Rows))?,
        "Equal" => {
            // The number of candidates is not negative, so it never equals the markers of a shape.
            let [a, b] = same_shape(arrays)?;
            match (&a.data, &b.data) {
                (Data::Int(x), Data::Int(y)) => Array { data: Data::Bool(equal(x, y)?), ..a },
                _ => return unfoldable(),
            }
        }
        "Where" => choose(arrays)?,
        _ => return unfoldable(),
    })
}

/// Refuses a result that is much larger than what it is made of.
fn within(shape: &[usize], own: usize) -> Result<(), Refusal> {
    let most = limits::MAX_ROW_ELEMENTS.max(own);
    if bounded_len(shape)? > most {
        return cannot(format!("its result of shape {shape:?} has more than {most} elements"));
    }
    Ok(())
}

fn unfoldable<T>() -> Result<T, Refusal> {
    cannot("it computes on constants alone: fold them first, for example with onnxsim")
}

fn no_number() -> Refusal {
    Refusal::Mixes("it computes with the number of candidates".into())
}

fn shape(low: &Lowering, call: &Call) -> Result<Value, Refusal> {
    let dims: Vec<Int> = match call.operand(0)? {
        Value::Row(row) => low.onnx_shape(*row),
        Value::Const(a) => a.shape.iter().map(|&d| Int::Known(d as i64)).collect(),
    };
    let rank = dims.len() as i64;
    let clamp = |v: i64| usize::try_from(if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank)).unwrap_or(0);
    let (start, end) = (clamp(call.int("start", 0)), clamp(call.int("end", rank)));
    let part = dims.get(start..end).unwrap_or_default();
    Ok(Value::Const(Rc::new(Array::ints(call.name(), part.iter().copied()))))
}

fn constant(call: &Call) -> Result<Array, Refusal> {
    let name = call.name();
    for key in ["value", "value_float", "value_int", "value_floats", "value_ints"] {
        match call.attribute(key) {
            Some(Attribute::Tensor(t)) => return Ok(t.as_ref().clone()),
            Some(Attribute::Float(v)) => return Ok(Array::scalar(name, Data::F32(vec![*v]))),
            Some(Attribute::Int(v)) => return Ok(Array::scalar(name, Data::Int(vec![Int::Known(*v)]))),
            Some(Attribute::Floats(v)) => {
                return Ok(Array { name: name.to_owned(), shape: vec![v.len()], data: Data::F32(v.clone()) });
            }
            Some(Attribute::Ints(v)) => return Ok(Array::ints(name, v.iter().map(|&i| Int::Known(i)))),
            Some(Attribute::Text(_) | Attribute::Other) | None => {}
        }
    }
    cannot("only dense numbers are supported as a constant")
}

fn constant_of_shape(low: &mut Lowering, call: &Call) -> Result<Value, Refusal> {
    let fill = match call.attribute("value") {
        Some(Attribute::Tensor(t)) if t.len() == 1 => t.reshaped(Vec::new()),
        None => Array::scalar(call.name(), Data::F32(vec![0.0])),
        Some(_) => return cannot("its `value` is not one element"),
    };
    let dims = call.dims(0, "shape")?;
    expand(low, call, &fill, &dims)
}

/// Broadcasts a constant; when the shape has the number of candidates in it, the result is the same for each of them.
fn expand(low: &mut Lowering, call: &Call, array: &Array, dims: &[Int]) -> Result<Value, Refusal> {
    let mut rows = dims.iter().enumerate().filter(|(_, d)| **d == Int::Rows).map(|(i, _)| i);
    let (batch, more) = (rows.next(), rows.next());
    if more.is_some() {
        return mixes("it makes a table of candidates by candidates");
    }
    let at_one: Vec<Int> = dims.iter().map(|d| if *d == Int::Rows { Int::Known(1) } else { *d }).collect();
    let wide = broadcast_shape(&[&array.shape, &known_dims(&at_one)?])?;
    let mut out = array.broadcast(&wide)?.renamed(call.name());
    let Some(from_right) = batch.map(|b| dims.len() - b) else { return Ok(Value::Const(Rc::new(out))) };
    let batch = wide.len() - from_right;
    if wide[batch] != 1 {
        return mixes(format!("it lays the candidates along axis {batch} of a constant of shape {:?}", array.shape));
    }
    out.shape.remove(batch);
    low.spend(out.len())?;
    Ok(Value::Row(Row { id: low.constant(&out)?, batch }))
}

fn split(call: &Call) -> Result<Vec<Array>, Refusal> {
    let array = call.constant(0, "operand")?;
    let at = axis(call.int("axis", 0), array.shape.len())?;
    let parts = layout::parts(call, array.shape[at])?;
    Ok(parts.iter().map(|p| array.select(at, p)).collect())
}

fn concat(arrays: &[&Array], at: usize, most: usize) -> Result<Array, Refusal> {
    let first = arrays[0];
    let beside = |a: &&Array| {
        a.shape.len() == first.shape.len()
            && a.shape.iter().zip(&first.shape).enumerate().all(|(d, (x, y))| d == at || x == y)
    };
    if !arrays.iter().all(beside) {
        return cannot("its operands' shapes do not fit: the model is damaged");
    }
    let mut shape = first.shape.clone();
    shape[at] = arrays.iter().map(|a| a.shape[at]).sum();
    if bounded_len(&shape)? > most {
        return cannot(super::lower::TOO_MUCH_FOLDED);
    }
    let outer: usize = first.shape[..at].iter().product();
    macro_rules! join {
        ($kind:path) => {{
            let parts = arrays.iter().map(|a| if let $kind(v) = &a.data { Some(v) } else { None });
            let Some(parts) = parts.collect::<Option<Vec<_>>>() else { return unfoldable() };
            let slab = |o: usize| parts.iter().flat_map(move |v| &v[o * v.len() / outer..(o + 1) * v.len() / outer]);
            $kind((0..outer).flat_map(slab).copied().collect())
        }};
    }
    let data = match &first.data {
        Data::F32(_) => join!(Data::F32),
        Data::Int(_) => join!(Data::Int),
        Data::Bool(_) => join!(Data::Bool),
    };
    Ok(Array { name: first.name.clone(), shape, data })
}

fn range(call: &Call) -> Result<Array, Refusal> {
    let number = |i: usize| match call.constant(i, "range")?.as_ints() {
        Some([Int::Known(v)]) => Ok(*v),
        Some([Int::Rows]) => mixes("it numbers the candidates"),
        _ => cannot("only a range of integers is supported"),
    };
    // In 128 bits, where no difference or product of the operands overflows.
    let [start, limit, step] = [number(0)?, number(1)?, number(2)?].map(i128::from);
    let len = if step == 0 { 0 } else { (limit - start + step - step.signum()) / step };
    let len = usize::try_from(len.max(0)).unwrap_or(usize::MAX);
    within(&[len], 0)?;
    let values = (0..len as i128).filter_map(|i| i64::try_from(start + i * step).ok());
    Ok(Array::ints(call.name(), values.map(Int::Known)))
}

fn cast(array: &Array, to: i64) -> Result<Array, Refusal> {
    let ints = |f: fn(i64) -> f32, v: &[Int]| {
        v.iter()
            .map(|i| if let Int::Known(n) = i { Ok(f(*n)) } else { Err(no_number()) })
            .collect::<Result<Vec<_>, _>>()
    };
    let data = match (to, &array.data) {
        (elem::FLOAT, Data::F32(_)) | (elem::INT64 | elem::INT32, Data::Int(_)) | (elem::BOOL, Data::Bool(_)) => {
            array.data.clone()
        }
        (elem::FLOAT, Data::Int(v)) => Data::F32(ints(|n| n as f32, v)?),
        (elem::FLOAT, Data::Bool(v)) => Data::F32(v.iter().map(|&b| f32::from(u8::from(b))).collect()),
        (elem::INT64 | elem::INT32, Data::F32(v)) => Data::Int(v.iter().map(|&x| Int::Known(x as i64)).collect()),
        (elem::INT64 | elem::INT32, Data::Bool(v)) => Data::Int(v.iter().map(|&b| Int::Known(b.into())).collect()),
        (elem::BOOL, Data::F32(v)) => Data::Bool(v.iter().map(|&x| x != 0.0).collect()),
        (elem::BOOL, Data::Int(v)) => {
            Data::Bool(ints(|n| f32::from(u8::from(n != 0)), v)?.iter().map(|&x| x != 0.0).collect())
        }
        (other, _) => return cannot(format!("{} is not supported: export the model in float32", elem::name(other))),
    };
    Ok(Array { data, ..array.clone() })
}

fn map(array: &Array, f: fn(f32) -> f32, g: fn(i64) -> Option<i64>) -> Result<Array, Refusal> {
    let data = match &array.data {
        Data::F32(v) => Data::F32(v.iter().map(|&x| f(x)).collect()),
        Data::Int(v) => {
            let each = |i: &Int| if let Int::Known(n) = i { g(*n).map(Int::Known) } else { None };
            Data::Int(v.iter().map(each).collect::<Option<_>>().ok_or_else(no_number)?)
        }
        Data::Bool(_) => return unfoldable(),
    };
    Ok(Array { data, ..array.clone() })
}

fn zip(arrays: &[&Array], f: fn(f32, f32) -> f32, g: impl Fn(Int, Int) -> Option<Int>) -> Result<Array, Refusal> {
    let [a, b] = same_shape(arrays)?;
    let data = match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => Data::F32(x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()),
        (Data::Int(x), Data::Int(y)) => {
            Data::Int(x.iter().zip(y).map(|(&x, &y)| g(x, y)).collect::<Option<_>>().ok_or_else(no_number)?)
        }
        _ => return unfoldable(),
    };
    Ok(Array { data, ..a })
}

/// Integer arithmetic, in which the number of candidates may meet only the operation's neutral element.
fn with_neutral(a: Int, b: Int, neutral: i64, f: fn(i64, i64) -> Option<i64>) -> Option<Int> {
    match (a, b) {
        (Int::Known(a), Int::Known(b)) => f(a, b).map(Int::Known),
        (Int::Rows, Int::Known(n)) | (Int::Known(n), Int::Rows) if n == neutral => Some(Int::Rows),
        _ => None,
    }
}

fn equal(x: &[Int], y: &[Int]) -> Result<Vec<bool>, Refusal> {
    let each = |(a, b): (&Int, &Int)| match (a, b) {
        (Int::Known(a), Int::Known(b)) => Ok(a == b),
        (Int::Rows, Int::Rows) => Ok(true),
        (Int::Known(n), Int::Rows) | (Int::Rows, Int::Known(n)) if *n < 0 => Ok(false),
        _ => Err(no_number()),
    };
    x.iter().zip(y).map(each).collect()
}

fn choose(arrays: &[&Array]) -> Result<Array, Refusal> {
    let [condition, a, b] = same_shape(arrays)?;
    let Data::Bool(c) = &condition.data else { return unfoldable() };
    let data = match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => Data::F32((0..c.len()).map(|i| if c[i] { x[i] } else { y[i] }).collect()),
        (Data::Int(x), Data::Int(y)) => Data::Int((0..c.len()).map(|i| if c[i] { x[i] } else { y[i] }).collect()),
        _ => return unfoldable(),
    };
    Ok(Array { data, ..a })
}

fn same_shape<const N: usize>(arrays: &[&Array]) -> Result<[Array; N], Refusal> {
    let shapes: Vec<&[usize]> = arrays.iter().map(|a| a.shape.as_slice()).collect();
    let wide = broadcast_shape(&shapes)?;
    let wide: Vec<Array> = arrays
        .iter()
        .map(|a| Ok(a.pick(wide.clone(), &broadcast_indices(&a.shape, &wide)?)))
        .collect::<Result<_, Refusal>>()?;
    wide.try_into().map_err(|w: Vec<Array>| Refusal::Cannot(format!("it has {} operands instead of {N}", w.len())))
}

fn known_dims(dims: &[Int]) -> Result<Vec<usize>, Refusal> {
    dims.iter()
        .map(|d| match d {
            Int::Known(n) => usize::try_from(*n).map_err(|_| Refusal::Cannot(format!("impossible dimension {n}"))),
            Int::Rows => mixes("it lays the candidates along an axis of a constant"),
        })
        .collect()
}
