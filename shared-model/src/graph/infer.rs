//! The type of an op's result, from the types of its operands. One function an op family; nothing else decides.

use super::{Binary, DType, GraphError, Op, Reduce, Scope, Source, Type, Unary, Value};
use crate::limits;

pub(super) fn output(op: &Op, operands: &[&Value]) -> Result<Type, GraphError> {
    let types: Vec<&Type> = operands.iter().map(|v| &v.ty).collect();
    for &(i, operand) in built_in(op) {
        if operands.get(i).is_some_and(|v| v.source != Source::Constant) {
            return Err(GraphError::NotConstant { op: op.name(), operand });
        }
    }
    let scope = types.iter().fold(Scope::Const, |s, t| s.join(t.scope));
    let (dtype, shape) = dtype_and_shape(op, &types)?;
    if shape.len() > limits::MAX_RANK {
        return Err(shape_error(
            op.name(),
            format!("{} dimensions, at most {} are allowed", shape.len(), limits::MAX_RANK),
        ));
    }
    Ok(Type { dtype, shape, scope })
}

/// The operands that a kernel is made with, which must be tensors of the variant.
fn built_in(op: &Op) -> &'static [(usize, &'static str)] {
    match op {
        Op::Linear => &[(1, "weight"), (2, "bias")],
        Op::Embedding => &[(0, "table")],
        Op::LayerNorm { .. } => &[(1, "scale"), (2, "bias")],
        _ => &[],
    }
}

fn dtype_and_shape(op: &Op, types: &[&Type]) -> Result<(DType, Vec<usize>), GraphError> {
    let n = op.name();
    match op {
        Op::Unary(f) => {
            let [x] = arity(n, types, "1")?;
            let wanted = if *f == Unary::Not { DType::Bool } else { DType::F32 };
            require(n, types, x.dtype == wanted)?;
            Ok((wanted, x.shape.clone()))
        }
        Op::Binary(f) => {
            let [a, b] = arity(n, types, "2")?;
            let float_only = matches!(f, Binary::Div | Binary::PRelu);
            require(n, types, a.dtype == b.dtype && (a.dtype == DType::F32 || (a.dtype == DType::I32 && !float_only)))?;
            Ok((a.dtype, broadcast(n, &[&a.shape, &b.shape])?))
        }
        Op::Compare(_) => {
            let [a, b] = arity(n, types, "2")?;
            require(n, types, a.dtype == b.dtype && a.dtype != DType::Bool)?;
            Ok((DType::Bool, broadcast(n, &[&a.shape, &b.shape])?))
        }
        Op::Logic(_) => {
            let [a, b] = arity(n, types, "2")?;
            require(n, types, a.dtype == DType::Bool && b.dtype == DType::Bool)?;
            Ok((DType::Bool, broadcast(n, &[&a.shape, &b.shape])?))
        }
        Op::Clip { min, max } => {
            let [x] = arity(n, types, "1")?;
            require(n, types, x.dtype == DType::F32)?;
            if min.zip(*max).is_some_and(|(a, b)| a > b) || [min, max].into_iter().flatten().any(|v| v.is_nan()) {
                return Err(shape_error(n, format!("bounds {min:?} and {max:?} are not an interval")));
            }
            Ok((x.dtype, x.shape.clone()))
        }
        Op::Cast { to } => {
            let [x] = arity(n, types, "1")?;
            Ok((*to, x.shape.clone()))
        }
        Op::Where => {
            let [c, a, b] = arity(n, types, "3")?;
            require(n, types, c.dtype == DType::Bool && a.dtype == b.dtype && a.dtype != DType::Bool)?;
            Ok((a.dtype, broadcast(n, &[&c.shape, &a.shape, &b.shape])?))
        }
        Op::Linear => linear(types),
        Op::MatMul => matmul(types),
        Op::Embedding => {
            let [table, ids] = arity(n, types, "2")?;
            require(n, types, table.dtype == DType::F32 && ids.dtype == DType::I32)?;
            let [_, width] = table.shape[..] else {
                return Err(shape_error(n, format!("the table has shape {:?}, expected [rows, width]", table.shape)));
            };
            Ok((DType::F32, ids.shape.iter().copied().chain([width]).collect()))
        }
        Op::Select { axis, indices } => {
            let [x] = arity(n, types, "1")?;
            let length = *axis_of(n, x, *axis)?;
            if let Some(i) = indices.iter().find(|&&i| i >= length) {
                return Err(shape_error(n, format!("index {i} on axis {axis} of length {length}")));
            }
            let mut shape = x.shape.clone();
            shape[*axis] = indices.len();
            Ok((x.dtype, shape))
        }
        Op::Concat { axis } => concat(types, *axis),
        Op::Reshape { shape } => {
            let [x] = arity(n, types, "1")?;
            if shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d)) != Some(x.len()) {
                return Err(shape_error(n, format!("{:?} cannot become {shape:?}", x.shape)));
            }
            Ok((x.dtype, shape.clone()))
        }
        Op::Transpose { perm } => {
            let [x] = arity(n, types, "1")?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted != (0..x.shape.len()).collect::<Vec<_>>() {
                return Err(shape_error(n, format!("{perm:?} is not a permutation of the axes of {:?}", x.shape)));
            }
            Ok((x.dtype, perm.iter().map(|&p| x.shape[p]).collect()))
        }
        Op::Expand { shape } => {
            let [x] = arity(n, types, "1")?;
            let wide = broadcast(n, &[&x.shape, shape])?;
            if wide != *shape {
                return Err(shape_error(n, format!("{:?} does not expand to {shape:?}", x.shape)));
            }
            Ok((x.dtype, wide))
        }
        Op::Reduce { kind, axes, keep } => reduce(types, *kind, axes, *keep),
        Op::Softmax { axis } => {
            let [x] = arity(n, types, "1")?;
            require(n, types, x.dtype == DType::F32)?;
            axis_of(n, x, *axis)?;
            Ok((x.dtype, x.shape.clone()))
        }
        Op::LayerNorm { epsilon } => layer_norm(types, *epsilon),
    }
}

fn linear(types: &[&Type]) -> Result<(DType, Vec<usize>), GraphError> {
    let n = "linear";
    let (x, w, b) = match types {
        [x, w] => (x, w, None),
        [x, w, b] => (x, w, Some(b)),
        _ => return Err(GraphError::Arity { op: n, expected: "2 or 3", got: types.len() }),
    };
    require(n, types, types.iter().all(|t| t.dtype == DType::F32))?;
    let (Some((&inner, rest)), [outputs, inputs]) = (x.shape.split_last(), &w.shape[..]) else {
        return Err(shape_error(n, format!("operand {:?}, weight {:?}", x.shape, w.shape)));
    };
    if inner != *inputs || inner == 0 {
        return Err(shape_error(
            n,
            format!("operand {:?} has {inner} inputs, weight {:?} wants {inputs}", x.shape, w.shape),
        ));
    }
    if let Some(b) = b.filter(|b| b.shape != [*outputs]) {
        return Err(shape_error(n, format!("bias {:?} for {outputs} outputs", b.shape)));
    }
    Ok((DType::F32, rest.iter().copied().chain([*outputs]).collect()))
}

fn matmul(types: &[&Type]) -> Result<(DType, Vec<usize>), GraphError> {
    let n = "matmul";
    let [a, b] = arity(n, types, "2")?;
    require(n, types, a.dtype == DType::F32 && b.dtype == DType::F32)?;
    let (Some((batch_a, [m, k])), Some((batch_b, [k2, c]))) = (a.shape.split_last_chunk(), b.shape.split_last_chunk())
    else {
        return Err(shape_error(n, format!("{:?} · {:?} are not both matrices", a.shape, b.shape)));
    };
    if k != k2 || *k == 0 {
        return Err(shape_error(n, format!("{:?} · {:?} do not chain", a.shape, b.shape)));
    }
    let mut shape = broadcast(n, &[batch_a, batch_b])?;
    shape.extend([*m, *c]);
    Ok((DType::F32, shape))
}

fn concat(types: &[&Type], axis: usize) -> Result<(DType, Vec<usize>), GraphError> {
    let n = "concat";
    let Some((first, rest)) = types.split_first() else {
        return Err(GraphError::Arity { op: n, expected: "1 or more", got: 0 });
    };
    let mut total = *axis_of(n, first, axis)?;
    for t in rest {
        let fits = t.shape.len() == first.shape.len()
            && t.shape.iter().zip(&first.shape).enumerate().all(|(d, (a, b))| d == axis || a == b);
        if !fits {
            return Err(shape_error(n, format!("{:?} beside {:?} on axis {axis}", t.shape, first.shape)));
        }
        require(n, types, t.dtype == first.dtype)?;
        total = total.saturating_add(t.shape[axis]);
    }
    let mut shape = first.shape.clone();
    shape[axis] = total;
    Ok((first.dtype, shape))
}

fn reduce(types: &[&Type], kind: Reduce, axes: &[usize], keep: bool) -> Result<(DType, Vec<usize>), GraphError> {
    let n = "reduce";
    let [x] = arity(n, types, "1")?;
    let order_only = matches!(kind, Reduce::Min | Reduce::Max);
    require(n, types, x.dtype == DType::F32 || (x.dtype == DType::I32 && order_only))?;
    if !axes.is_sorted_by(|a, b| a < b) {
        return Err(shape_error(n, format!("axes {axes:?} are not ascending")));
    }
    for &axis in axes {
        if *axis_of(n, x, axis)? == 0 {
            return Err(shape_error(n, format!("axis {axis} of {:?} is empty", x.shape)));
        }
    }
    let shape = x.shape.iter().enumerate();
    let shape = shape.filter_map(|(d, &len)| if axes.contains(&d) { keep.then_some(1) } else { Some(len) }).collect();
    Ok((x.dtype, shape))
}

fn layer_norm(types: &[&Type], epsilon: f32) -> Result<(DType, Vec<usize>), GraphError> {
    let n = "layer_norm";
    if !(2..=3).contains(&types.len()) {
        return Err(GraphError::Arity { op: n, expected: "2 or 3", got: types.len() });
    }
    require(n, types, types.iter().all(|t| t.dtype == DType::F32))?;
    let x = types[0];
    let width = x.shape.last().copied().unwrap_or(0);
    for (t, operand) in types[1..].iter().zip(["scale", "bias"]) {
        if width == 0 || t.shape != [width] {
            return Err(shape_error(n, format!("{operand} {:?} for operand {:?}", t.shape, x.shape)));
        }
    }
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(shape_error(n, format!("epsilon {epsilon} is not a finite number of 0 or more")));
    }
    Ok((x.dtype, x.shape.clone()))
}

/// NumPy broadcasting of row shapes.
pub(crate) fn broadcast(op: &'static str, shapes: &[&[usize]]) -> Result<Vec<usize>, GraphError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut wide = vec![1; rank];
    for shape in shapes {
        for (d, &len) in wide[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*d, len) {
                (a, b) if a == b => {}
                (1, b) => *d = b,
                (_, 1) => {}
                _ => return Err(shape_error(op, format!("{shapes:?} do not broadcast"))),
            }
        }
    }
    Ok(wide)
}

fn arity<'a, const N: usize>(
    op: &'static str,
    types: &[&'a Type],
    expected: &'static str,
) -> Result<[&'a Type; N], GraphError> {
    types.try_into().map_err(|_| GraphError::Arity { op, expected, got: types.len() })
}

fn require(op: &'static str, types: &[&Type], ok: bool) -> Result<(), GraphError> {
    if ok {
        return Ok(());
    }
    let got: Vec<String> = types.iter().map(|t| format!("{:?}", t.dtype).to_lowercase()).collect();
    Err(GraphError::DType { op, got: got.join(", ") })
}

fn axis_of<'a>(op: &'static str, x: &'a Type, axis: usize) -> Result<&'a usize, GraphError> {
    x.shape.get(axis).ok_or_else(|| shape_error(op, format!("axis {axis} of {:?}", x.shape)))
}

fn shape_error(op: &'static str, what: String) -> GraphError {
    GraphError::Shape { op, what }
}
