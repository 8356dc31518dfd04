//! Keeps values of different scopes apart: an op over parts that lie beside each other becomes one op a part wherever that
//! leaves a part in a lower scope.

use shared_model::graph::{Binary, GraphError, Node, Op, Reduce, Scope, Source, ValueId};

use super::Model;
use super::attend::{attend, attend_and_project};
use super::draft::Draft;
use super::form::{Form, broadcast, columns_of, concat, whole};
use super::linear::linear;

/// The same model, computed in parts.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, values) = Draft::of(model)?;
    let mut forms: Vec<Form> = values.into_iter().map(Form::Value).collect();
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let operands: Vec<Form> = node.inputs.iter().map(|v| forms[v.index()].clone()).collect();
        let form = match projected(&mut draft, model, node, &forms)? {
            Some(form) => form,
            None => apply(&mut draft, name, &node.op, &operands)?,
        };
        debug_assert_eq!(form.shape(&draft), model.graph.value(node.output).ty.shape, "{name}");
        forms.push(form);
    }
    let score = forms[model.graph.score().index()].together(&mut draft)?;
    draft.finish(score, model.graph.link())
}

/// A linear over the heads of attention, computed before they are put beside each other where that is less.
fn projected(draft: &mut Draft, model: &Model, node: &Node, forms: &[Form]) -> Result<Option<Form>, GraphError> {
    let graph = &model.graph;
    let made = |id: ValueId| match graph.value(id).source {
        Source::Node(n) => Some(&graph.nodes()[n]),
        Source::Input | Source::Constant => None,
    };
    let name = &graph.value(node.output).name;
    let heads = Some(node).filter(|n| n.op == Op::Linear).and_then(|n| made(n.inputs[0]));
    let turned = heads.filter(|n| matches!(n.op, Op::Reshape { .. })).and_then(|n| made(n.inputs[0]));
    let turned = turned.filter(|n| matches!(&n.op, Op::Transpose { perm } if *perm == [1, 0, 2]));
    let Some(product) = turned.and_then(|n| made(n.inputs[0])).filter(|n| n.op == Op::MatMul) else { return Ok(None) };
    let [weights, values] = [0, 1].map(|i| &forms[product.inputs[i].index()]);
    let Form::Rows { axis: 1, parts } = weights else { return Ok(None) };
    let mut rows = Vec::new();
    for part in parts {
        let own = match part {
            Form::Softmax(scores) => attend_and_project(draft, name, (scores, values), &node.inputs[1..])?,
            _ => None,
        };
        rows.push(match own {
            Some(rows) => rows,
            None => {
                let [heads, rows, _] = part.shape(draft)[..] else { return Ok(None) };
                let width = values.shape(draft)[2];
                let product = matmul(draft, name, &[part.clone(), values.clone()])?;
                let turned = apply(draft, name, &Op::Transpose { perm: vec![1, 0, 2] }, &[product])?;
                let beside = reshape(draft, name, &turned, &[rows, heads * width])?;
                linear(draft, name, &beside, &node.inputs[1..])?
            }
        });
    }
    concat(draft, 0, rows).map(Some)
}

fn apply(draft: &mut Draft, name: &str, op: &Op, operands: &[Form]) -> Result<Form, GraphError> {
    let operands = &settled(draft, op, operands)?[..];
    let first = &operands[0];
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Logic(_)
        | Op::Clip { .. }
        | Op::Cast { .. }
        | Op::Where => elementwise(draft, name, op, operands),
        Op::Concat { axis } => concat(draft, *axis, operands.to_vec()),
        Op::Linear if !matches!(first, Form::Rows { .. }) => {
            let constants = constants(&operands[1..]);
            linear(draft, name, first, &constants)
        }
        Op::Linear | Op::LayerNorm { .. } if matches!(first, Form::Rows { .. }) => {
            let Some(axis) = first.axis() else { unreachable!("rows have an axis") };
            each_part(draft, first, axis, |draft, part| {
                let operands: Vec<Form> = std::iter::once(part).chain(operands[1..].iter().cloned()).collect();
                apply(draft, name, op, &operands)
            })
        }
        Op::Embedding => match operands[1].axis() {
            Some(axis) => {
                each_part(draft, &operands[1], axis, |draft, part| apply(draft, name, op, &[first.clone(), part]))
            }
            None => as_one(draft, name, op, operands),
        },
        Op::Select { axis, indices } => select(draft, name, first, *axis, indices),
        Op::Transpose { perm } => match first.axis() {
            Some(axis) if !is_repeated(draft, first) => {
                let moved = perm.iter().position(|p| *p == axis).expect("a permutation has every axis");
                each_part(draft, first, moved, |draft, part| apply(draft, name, op, &[part]))
            }
            _ => as_one(draft, name, op, operands),
        },
        Op::Reshape { shape } => reshape(draft, name, first, shape),
        Op::Expand { shape } => expand(draft, name, first, shape),
        Op::Softmax { axis } if first.axis() == Some(*axis) && *axis + 1 == first.shape(draft).len() => {
            Ok(Form::Softmax(Box::new(first.clone())))
        }
        Op::Softmax { axis } if first.axis().is_some_and(|a| a != *axis) && !is_repeated(draft, first) => {
            let Some(own) = first.axis() else { unreachable!("it has an axis") };
            each_part(draft, first, own, |draft, part| apply(draft, name, op, &[part]))
        }
        Op::Reduce { kind, axes, keep } => reduce(draft, name, first, (*kind, axes, *keep)),
        Op::MatMul => matmul(draft, name, operands),
        Op::Linear | Op::LayerNorm { .. } | Op::Softmax { .. } => as_one(draft, name, op, operands),
    }
}

/// Puts together what has one scope, unless the op only moves it or takes it apart again.
fn settled(draft: &mut Draft, op: &Op, operands: &[Form]) -> Result<Vec<Form>, GraphError> {
    if matches!(op, Op::Concat { .. } | Op::Reshape { .. } | Op::Select { .. } | Op::Linear) {
        return Ok(operands.to_vec());
    }
    let settle = |form: &Form| match form.uniform(draft) {
        Some(_) if !is_repeated(draft, form) => form.together(draft).map(Form::Value),
        _ => Ok(form.clone()),
    };
    operands.iter().map(settle).collect()
}

/// The op on whole values.
fn as_one(draft: &mut Draft, name: &str, op: &Op, operands: &[Form]) -> Result<Form, GraphError> {
    let operands = operands.iter().map(|f| f.together(draft)).collect::<Result<Vec<_>, _>>()?;
    Ok(Form::Value(draft.push(name, op.clone(), &operands)?))
}

fn constants(forms: &[Form]) -> Vec<ValueId> {
    let id = |form: &Form| if let Form::Value(id) = form { Some(*id) } else { None };
    forms.iter().map(|f| id(f).expect("constants are whole")).collect()
}

fn is_repeated(draft: &Draft, form: &Form) -> bool {
    form.repeated(draft).is_some()
}

/// `f` of every part, beside each other along `axis`.
fn each_part(
    draft: &mut Draft,
    form: &Form,
    axis: usize,
    mut f: impl FnMut(&mut Draft, Form) -> Result<Form, GraphError>,
) -> Result<Form, GraphError> {
    let parts = form.parts(draft)?;
    let results = parts.into_iter().map(|part| f(draft, part)).collect::<Result<Vec<_>, _>>()?;
    concat(draft, axis, results)
}

fn elementwise(draft: &mut Draft, name: &str, op: &Op, operands: &[Form]) -> Result<Form, GraphError> {
    let shapes: Vec<Vec<usize>> = operands.iter().map(|f| f.shape(draft)).collect();
    let wide = broadcast(&shapes);
    let operands = unrepeated(draft, operands, &wide);
    // From the last axis on: operands may have fewer.
    let from_last: Vec<usize> = operands.iter().filter_map(|f| Some(f.shape(draft).len() - f.axis()?)).collect();
    for d in from_last {
        if let Some(parts) = cut(draft, &operands, d)? {
            let results = parts.iter().map(|p| elementwise(draft, name, op, p)).collect::<Result<Vec<_>, _>>()?;
            return concat(draft, wide.len() - d, results);
        }
    }
    as_one(draft, name, op, &operands)
}

/// A repeated value as it is, where another operand has the dimensions it is repeated along.
fn unrepeated(draft: &Draft, operands: &[Form], wide: &[usize]) -> Vec<Form> {
    let mut operands = operands.to_vec();
    for i in 0..operands.len() {
        let Some(value) = operands[i].repeated(draft) else { continue };
        let shape = |(j, f): (usize, &Form)| if i == j { draft.ty(value).shape.clone() } else { f.shape(draft) };
        if broadcast(&operands.iter().enumerate().map(shape).collect::<Vec<_>>()) == *wide {
            operands[i] = Form::Value(value);
        }
    }
    operands
}

/// The operands cut alike along the axis that is `d` from the end, if a part then has a lower scope than the whole.
fn cut(draft: &mut Draft, operands: &[Form], d: usize) -> Result<Option<Vec<Vec<Form>>>, GraphError> {
    let along = |draft: &Draft, form: &Form| {
        let shape = form.shape(draft);
        shape.len().checked_sub(d).map(|axis| (axis, shape[axis])).filter(|(_, len)| *len > 1)
    };
    let apart = |draft: &Draft, form: &Form| form.axis().is_some_and(|a| form.shape(draft).len() - a == d);
    let Some(first) = operands.iter().find(|f| apart(draft, f)) else { return Ok(None) };
    let lens: Vec<usize> = first.parts(draft)?.iter().map(|p| along(draft, p).map_or(1, |(_, len)| len)).collect();
    let mut cut = vec![Vec::new(); lens.len()];
    for form in operands {
        let Some((axis, _)) = along(draft, form) else {
            cut.iter_mut().for_each(|parts| parts.push(form.clone()));
            continue;
        };
        let own = if apart(draft, form) { form.parts(draft)? } else { Vec::new() };
        if own.iter().map(|p| along(draft, p).map_or(1, |(_, len)| len)).eq(lens.iter().copied()) {
            cut.iter_mut().zip(own).for_each(|(parts, part)| parts.push(part));
        } else if form.scope(draft) != Scope::Pair {
            let value = form.together(draft)?;
            let mut from = 0;
            for (parts, len) in cut.iter_mut().zip(&lens) {
                parts.push(Form::Value(draft.slice(value, axis, from, from + len)?));
                from += len;
            }
        } else {
            return Ok(None);
        }
    }
    let scope = |forms: &[Form]| forms.iter().fold(Scope::Const, |s, f| s.join(f.scope(draft)));
    let apart = |parts: &[Form]| parts.iter().any(|p| p.uniform(draft).is_none());
    let lower = cut.iter().any(|parts| apart(parts) || scope(parts) != scope(operands));
    Ok(lower.then_some(cut))
}

fn select(draft: &mut Draft, name: &str, x: &Form, axis: usize, indices: &[usize]) -> Result<Form, GraphError> {
    let op = Op::Select { axis, indices: indices.to_vec() };
    match x {
        Form::Value(_) | Form::Softmax(_) => as_one(draft, name, &op, std::slice::from_ref(x)),
        Form::Columns { lead, columns } if axis == lead.len() => {
            Ok(columns_of(draft, lead, indices.iter().map(|i| columns[*i]).collect()))
        }
        Form::Rows { axis: own, parts } if axis == *own => {
            let mut start = 0;
            for part in parts {
                let len = part.shape(draft)[axis];
                if indices.iter().all(|i| (start..start + len).contains(i)) {
                    let within: Vec<usize> = indices.iter().map(|i| i - start).collect();
                    return select(draft, name, part, axis, &within);
                }
                start += len;
            }
            as_one(draft, name, &op, std::slice::from_ref(x))
        }
        Form::Columns { .. } if is_repeated(draft, x) => as_one(draft, name, &op, std::slice::from_ref(x)),
        Form::Rows { .. } | Form::Columns { .. } => {
            let Some(own) = x.axis() else { unreachable!("it has an axis") };
            each_part(draft, x, own, |draft, part| select(draft, name, &part, axis, indices))
        }
    }
}

fn reshape(draft: &mut Draft, name: &str, x: &Form, shape: &[usize]) -> Result<Form, GraphError> {
    let op = |shape: Vec<usize>| Op::Reshape { shape };
    let old = x.shape(draft);
    let before = |shape: &[usize], axis: usize| shape[..axis].iter().product::<usize>();
    let Some(axis) = x.axis() else { return as_one(draft, name, &op(shape.to_vec()), std::slice::from_ref(x)) };
    if old == shape {
        return Ok(x.clone());
    }
    let kept = |a: &usize| shape[*a] == old[axis] && before(shape, *a) == before(&old, axis);
    if let Some(moved) = (0..shape.len()).find(kept).filter(|_| !is_repeated(draft, x)) {
        return each_part(draft, x, moved, |draft, part| {
            let mut own = shape.to_vec();
            own[moved] = part.shape(draft)[axis];
            reshape(draft, name, &part, &own)
        });
    }
    if shape.len() == 1 {
        let columns = flat(draft, x)?;
        return Ok(columns_of(draft, &[], columns));
    }
    as_one(draft, name, &op(shape.to_vec()), std::slice::from_ref(x))
}

/// Every element, in order, of values of one dimension.
fn flat(draft: &mut Draft, x: &Form) -> Result<Vec<(ValueId, usize)>, GraphError> {
    match x {
        Form::Value(_) | Form::Softmax(_) => {
            let value = x.together(draft)?;
            let shape = vec![draft.ty(value).len()];
            let value = draft.push("flat", Op::Reshape { shape }, &[value])?;
            Ok(whole(draft, value))
        }
        Form::Rows { axis, parts } => {
            let outer: usize = x.shape(draft)[..*axis].iter().product();
            beside(draft, outer, parts)
        }
        Form::Columns { lead, .. } => {
            let parts = x.parts(draft)?;
            let whole: Vec<Form> =
                parts.iter().map(|p| p.together(draft).map(Form::Value)).collect::<Result<_, _>>()?;
            beside(draft, lead.iter().product(), &whole)
        }
    }
}

fn beside(draft: &mut Draft, outer: usize, parts: &[Form]) -> Result<Vec<(ValueId, usize)>, GraphError> {
    let flats = parts.iter().map(|p| flat(draft, p)).collect::<Result<Vec<_>, _>>()?;
    let run = |o: usize, flat: &Vec<(ValueId, usize)>| {
        let len = flat.len() / outer;
        flat[o * len..(o + 1) * len].to_vec()
    };
    Ok((0..outer).flat_map(|o| flats.iter().flat_map(move |f| run(o, f))).collect())
}

fn expand(draft: &mut Draft, name: &str, x: &Form, shape: &[usize]) -> Result<Form, GraphError> {
    let value = x.together(draft)?;
    match shape.split_last() {
        Some((last, lead)) if draft.ty(value).shape.last() == Some(last) => {
            Ok(columns_of(draft, lead, whole(draft, value)))
        }
        _ => as_one(draft, name, &Op::Expand { shape: shape.to_vec() }, &[Form::Value(value)]),
    }
}

fn reduce(
    draft: &mut Draft,
    name: &str,
    x: &Form,
    (kind, axes, keep): (Reduce, &[usize], bool),
) -> Result<Form, GraphError> {
    let op = Op::Reduce { kind, axes: axes.to_vec(), keep };
    match x.axis().filter(|_| !is_repeated(draft, x)) {
        Some(axis) if !axes.contains(&axis) => {
            let moved = if keep { axis } else { axis - axes.iter().filter(|a| **a < axis).count() };
            each_part(draft, x, moved, |draft, part| apply(draft, name, &op, &[part]))
        }
        Some(_) if kind == Reduce::Sum => {
            let mut sum = None;
            for part in x.parts(draft)? {
                let part = apply(draft, name, &op, &[part])?.together(draft)?;
                sum = Some(added(draft, name, sum, part)?);
            }
            Ok(Form::Value(sum.expect("a form has parts")))
        }
        _ => as_one(draft, name, &op, std::slice::from_ref(x)),
    }
}

/// Rows of the first operand and columns of the second are computed apart, and what is summed over by its scope.
fn matmul(draft: &mut Draft, name: &str, operands: &[Form]) -> Result<Form, GraphError> {
    let [a, b] = operands else { unreachable!("a product has two operands") };
    let (in_a, in_b) = (a.shape(draft).len(), b.shape(draft).len());
    let rank = in_a.max(in_b);
    if a.axis().is_some_and(|axis| axis + 2 == in_a) {
        return each_part(draft, a, rank - 2, |draft, a| matmul(draft, name, &[a, b.clone()]));
    }
    if b.axis() == Some(in_b - 1) && !is_repeated(draft, b) {
        return each_part(draft, b, rank - 1, |draft, b| matmul(draft, name, &[a.clone(), b]));
    }
    match a {
        Form::Softmax(scores) => attend(draft, name, scores, b),
        _ if b.axis() == Some(in_b - 2) => {
            let a = a.together(draft)?;
            let (mut sum, mut from) = (None, 0);
            for part in b.parts(draft)? {
                let to = from + part.shape(draft)[in_b - 2];
                let operands = [draft.slice(a, in_a - 1, from, to)?, part.together(draft)?];
                let product = draft.push(name, Op::MatMul, &operands)?;
                sum = Some(added(draft, name, sum, product)?);
                from = to;
            }
            Ok(Form::Value(sum.expect("a form has parts")))
        }
        _ => as_one(draft, name, &Op::MatMul, operands),
    }
}

/// The sum so far, and one more.
fn added(draft: &mut Draft, name: &str, sum: Option<ValueId>, more: ValueId) -> Result<ValueId, GraphError> {
    match sum {
        None => Ok(more),
        Some(sum) => draft.push(name, Op::Binary(Binary::Add), &[sum, more]),
    }
}
