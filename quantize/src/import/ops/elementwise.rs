//! Operators that work on each element alone, with NumPy broadcasting between operands.

use shared_model::graph::{Binary, Compare, DType, Logic, Op, Unary, ValueId};

use super::super::array::{Array, Data};
use super::super::call::{Call, Refusal, Row, Value, cannot, mixes};
use super::super::lower::Lowering;
use super::super::onnx::elem;

/// Lowers an elementwise operator, `None` if it is not one that is known.
pub(super) fn lower(low: &mut Lowering, call: &Call) -> Result<Option<Row>, Refusal> {
    let op = call.node.op.as_str();
    if let Some(f) = plain_unary(call) {
        return unary(low, call, f).map(Some);
    }
    if let Some(f) = plain_binary(op) {
        return chain(low, call, f).map(Some);
    }
    Ok(Some(match op {
        "Greater" => compare(low, call, Compare::Greater)?,
        "GreaterOrEqual" => compare(low, call, Compare::GreaterOrEqual)?,
        "Less" => compare(low, call, Compare::Less)?,
        "LessOrEqual" => compare(low, call, Compare::LessOrEqual)?,
        "Equal" => compare(low, call, Compare::Equal)?,
        "And" => aligned(low, call, Op::Logic(Logic::And))?,
        "Or" => aligned(low, call, Op::Logic(Logic::Or))?,
        "Xor" => aligned(low, call, Op::Logic(Logic::Xor))?,
        "Where" => aligned(low, call, Op::Where)?,
        "Clip" => clip(low, call)?,
        "Cast" => cast(low, call)?,
        "Pow" => pow(low, call)?,
        "Mean" => mean(low, call)?,
        "Gelu" => gelu(low, call)?,
        "HardSigmoid" => {
            let x = call.row(0)?;
            hard_sigmoid(low, call, x, call.float("alpha", 0.2), call.float("beta", 0.5))?
        }
        "HardSwish" => {
            let x = call.row(0)?;
            let gate = hard_sigmoid(low, call, x, 1.0 / 6.0, 0.5)?;
            low.push_like(call.name(), Op::Binary(Binary::Mul), &[x.id, gate.id], x)?
        }
        "Elu" => elu(low, call)?,
        "Mish" => {
            let x = call.row(0)?;
            let soft = low.push(call.name(), Op::Unary(Unary::Softplus), &[x.id])?;
            let gate = low.push(call.name(), Op::Unary(Unary::Tanh), &[soft])?;
            low.push_like(call.name(), Op::Binary(Binary::Mul), &[x.id, gate], x)?
        }
        "Softsign" => {
            let x = call.row(0)?;
            let size = low.push(call.name(), Op::Unary(Unary::Abs), &[x.id])?;
            let one = low.number(1.0)?;
            let below = low.push(call.name(), Op::Binary(Binary::Add), &[one, size])?;
            low.push_like(call.name(), Op::Binary(Binary::Div), &[x.id, below], x)?
        }
        _ => return Ok(None),
    }))
}

fn plain_unary(call: &Call) -> Option<Unary> {
    Some(match call.node.op.as_str() {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Reciprocal" => Unary::Reciprocal,
        "Sqrt" => Unary::Sqrt,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Erf" => Unary::Erf,
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu(call.float("alpha", 0.01)),
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "Softplus" => Unary::Softplus,
        "Not" => Unary::Not,
        _ => return None,
    })
}

fn plain_binary(op: &str) -> Option<Binary> {
    Some(match op {
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        "Sum" => Binary::Add,
        "PRelu" => Binary::PRelu,
        _ => return None,
    })
}

/// Operands so that broadcasting rows is broadcasting ONNX values, and where the candidates lie in the result.
///
/// Counted from the right, the axis of candidates must be the same in every operand, and a constant must have length 1
/// there: anything else would set one candidate against another.
pub(super) fn align(low: &mut Lowering, operands: &[Value]) -> Result<(Vec<ValueId>, usize), Refusal> {
    let rank = |low: &Lowering, v: &Value| match v {
        Value::Row(r) => low.rank(*r),
        Value::Const(a) => a.shape.len(),
    };
    let wide = operands.iter().map(|v| rank(low, v)).max().unwrap_or(0);
    let mut from_right = None;
    for value in operands {
        if let Value::Row(row) = value {
            let own = low.rank(*row) - row.batch;
            if from_right.is_some_and(|r| r != own) {
                return mixes("broadcasting sets the candidates of one operand against another axis of the other");
            }
            from_right = Some(own);
        }
    }
    let from_right = from_right.ok_or_else(|| Refusal::Cannot("no operand depends on the inputs".into()))?;
    let ids = operands.iter().map(|v| match v {
        Value::Row(row) => Ok(row.id),
        Value::Const(array) => {
            let array = without_batch(array, from_right)?;
            low.constant(&array)
        }
    });
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    Ok((ids, wide - from_right))
}

/// A constant that meets rows: without the dimension that is broadcast over the candidates.
fn without_batch(array: &Array, from_right: usize) -> Result<Array, Refusal> {
    let mut shape = array.shape.clone();
    if shape.len() >= from_right {
        let length = shape.remove(shape.len() - from_right);
        if length != 1 {
            return mixes(format!(
                "a constant of shape {:?} holds {length} values for the axis of candidates",
                array.shape
            ));
        }
    }
    Ok(array.reshaped(shape))
}

pub(super) fn aligned(low: &mut Lowering, call: &Call, op: Op) -> Result<Row, Refusal> {
    let (ids, batch) = align(low, &call.all()?)?;
    Ok(Row { id: low.push(call.name(), op, &ids)?, batch })
}

fn unary(low: &mut Lowering, call: &Call, f: Unary) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    low.push_like(call.name(), Op::Unary(f), &[x.id], x)
}

/// A binary operator, or one of any number of operands from left to right.
fn chain(low: &mut Lowering, call: &Call, f: Binary) -> Result<Row, Refusal> {
    let mut operands = call.all()?.into_iter();
    let mut total = operands.next().ok_or_else(|| Refusal::Cannot("it has no operands".into()))?;
    for next in operands {
        let (ids, batch) = align(low, &[total, next])?;
        total = Value::Row(Row { id: low.push(call.name(), Op::Binary(f), &ids)?, batch });
    }
    match total {
        Value::Row(row) => Ok(row),
        Value::Const(_) => cannot("it has one operand, a constant"),
    }
}

fn mean(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let sum = chain(low, call, Binary::Add)?;
    let count = low.number(call.operands.len() as f32)?;
    low.push_like(call.name(), Op::Binary(Binary::Div), &[sum.id, count], sum)
}

fn compare(low: &mut Lowering, call: &Call, f: Compare) -> Result<Row, Refusal> {
    let (mut ids, batch) = align(low, &call.all()?)?;
    for id in &mut ids {
        if low.builder.ty(*id).dtype == DType::Bool {
            *id = low.push(call.name(), Op::Cast { to: DType::I32 }, &[*id])?;
        }
    }
    Ok(Row { id: low.push(call.name(), Op::Compare(f), &ids)?, batch })
}

fn clip(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    if low.dtype(x) == DType::F32 {
        let (min, max) = (call.bound("min", 1)?, call.bound("max", 2)?);
        return low.push_like(call.name(), Op::Clip { min, max }, &[x.id], x);
    }
    let mut clipped = x;
    for (i, f) in [(1, Binary::Max), (2, Binary::Min)] {
        if let Some(bound) = call.optional(i).cloned() {
            let (ids, batch) = align(low, &[Value::Row(clipped), bound])?;
            clipped = Row { id: low.push(call.name(), Op::Binary(f), &ids)?, batch };
        }
    }
    Ok(clipped)
}

fn cast(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let to = match call.int("to", 0) {
        elem::FLOAT => DType::F32,
        elem::INT64 | elem::INT32 => DType::I32,
        elem::BOOL => DType::Bool,
        other => {
            return cannot(format!("a cast to {} is not supported: export the model in float32", elem::name(other)));
        }
    };
    if low.dtype(x) == to { Ok(x) } else { low.push_like(call.name(), Op::Cast { to }, &[x.id], x) }
}

fn pow(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let exponent = match &call.constant(1, "exponent")?.data {
        Data::F32(v) if v.len() == 1 => Some(v[0]),
        Data::Int(_) => {
            call.constant(1, "exponent")?.known_ints().and_then(|v| if let [i] = v[..] { Some(i as f32) } else { None })
        }
        _ => None,
    };
    let times = |low: &mut Lowering, a: ValueId| low.push(call.name(), Op::Binary(Binary::Mul), &[a, x.id]);
    let id = match exponent {
        Some(1.0) => x.id,
        Some(2.0) => times(low, x.id)?,
        Some(3.0) => {
            let square = times(low, x.id)?;
            times(low, square)?
        }
        Some(0.5) => low.push(call.name(), Op::Unary(Unary::Sqrt), &[x.id])?,
        Some(-1.0) => low.push(call.name(), Op::Unary(Unary::Reciprocal), &[x.id])?,
        Some(-0.5) => {
            let root = low.push(call.name(), Op::Unary(Unary::Sqrt), &[x.id])?;
            low.push(call.name(), Op::Unary(Unary::Reciprocal), &[root])?
        }
        _ => return cannot("only one of the exponents 1, 2, 3, 0.5, -0.5 and -1 is supported"),
    };
    Ok(Row { id, batch: x.batch })
}

/// GELU, or its approximation `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
fn gelu(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let name = call.name();
    if call.text("approximate") != Some("tanh") {
        return low.push_like(name, Op::Unary(Unary::Gelu), &[x.id], x);
    }
    let binary = |low: &mut Lowering, f: Binary, a: ValueId, b: ValueId| low.push(name, Op::Binary(f), &[a, b]);
    let (half, one) = (low.number(0.5)?, low.number(1.0)?);
    let (c, s) = (low.number(0.044_715)?, low.number((2.0 / std::f32::consts::PI).sqrt())?);
    let square = binary(low, Binary::Mul, x.id, x.id)?;
    let cube = binary(low, Binary::Mul, square, x.id)?;
    let small = binary(low, Binary::Mul, cube, c)?;
    let sum = binary(low, Binary::Add, x.id, small)?;
    let scaled = binary(low, Binary::Mul, sum, s)?;
    let bent = low.push(name, Op::Unary(Unary::Tanh), &[scaled])?;
    let up = binary(low, Binary::Add, bent, one)?;
    let gate = binary(low, Binary::Mul, up, half)?;
    low.push_like(name, Op::Binary(Binary::Mul), &[x.id, gate], x)
}

fn hard_sigmoid(low: &mut Lowering, call: &Call, x: Row, alpha: f32, beta: f32) -> Result<Row, Refusal> {
    let (alpha, beta) = (low.number(alpha)?, low.number(beta)?);
    let slope = low.push(call.name(), Op::Binary(Binary::Mul), &[x.id, alpha])?;
    let line = low.push(call.name(), Op::Binary(Binary::Add), &[slope, beta])?;
    low.push_like(call.name(), Op::Clip { min: Some(0.0), max: Some(1.0) }, &[line], x)
}

fn elu(low: &mut Lowering, call: &Call) -> Result<Row, Refusal> {
    let x = call.row(0)?;
    let name = call.name();
    let (zero, one, alpha) = (low.number(0.0)?, low.number(1.0)?, low.number(call.float("alpha", 1.0))?);
    let below = low.push(name, Op::Clip { min: None, max: Some(0.0) }, &[x.id])?;
    let exp = low.push(name, Op::Unary(Unary::Exp), &[below])?;
    let shifted = low.push(name, Op::Binary(Binary::Sub), &[exp, one])?;
    let bent = low.push(name, Op::Binary(Binary::Mul), &[shifted, alpha])?;
    let negative = low.push(name, Op::Compare(Compare::Less), &[x.id, zero])?;
    low.push_like(name, Op::Where, &[negative, bent, x.id], x)
}
