//! Values that lie beside each other, kept apart until an op wants them together.

use shared_model::graph::{GraphError, Op, Scope, ValueId};

use super::draft::Draft;

/// How a value of the model that is read is held in the draft.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// As it is.
    Value(ValueId),
    /// Parts beside each other along an axis that is not the last.
    Rows { axis: usize, parts: Vec<Form> },
    /// Elements beside each other along the last axis, each a value and an index into its last axis. The leading dimensions
    /// of the values are `lead`, or broadcast to it.
    Columns { lead: Vec<usize>, columns: Vec<(ValueId, usize)> },
    /// The softmax of a form along the last axis.
    Softmax(Box<Form>),
}

impl Form {
    pub(super) fn shape(&self, draft: &Draft) -> Vec<usize> {
        match self {
            Self::Value(id) => draft.ty(*id).shape.clone(),
            Self::Rows { axis, parts } => {
                let mut shape = parts[0].shape(draft);
                shape[*axis] = parts.iter().map(|p| p.shape(draft)[*axis]).sum();
                shape
            }
            Self::Columns { lead, columns } => lead.iter().copied().chain([columns.len()]).collect(),
            Self::Softmax(scores) => scores.shape(draft),
        }
    }

    pub(super) fn scope(&self, draft: &Draft) -> Scope {
        match self {
            Self::Value(id) => draft.scope(*id),
            Self::Rows { parts, .. } => parts.iter().fold(Scope::Const, |s, p| s.join(p.scope(draft))),
            Self::Columns { columns, .. } => columns.iter().fold(Scope::Const, |s, (v, _)| s.join(draft.scope(*v))),
            Self::Softmax(scores) => scores.scope(draft),
        }
    }

    /// The one scope that all of it has.
    pub(super) fn uniform(&self, draft: &Draft) -> Option<Scope> {
        let all = |mut scopes: Box<dyn Iterator<Item = Option<Scope>> + '_>| {
            let first = scopes.next()??;
            scopes.all(|s| s == Some(first)).then_some(first)
        };
        match self {
            Self::Value(id) => Some(draft.scope(*id)),
            Self::Rows { parts, .. } => all(Box::new(parts.iter().map(|p| p.uniform(draft)))),
            Self::Columns { columns, .. } => all(Box::new(columns.iter().map(|(v, _)| Some(draft.scope(*v))))),
            Self::Softmax(_) => None,
        }
    }

    /// The axis along which it is kept apart.
    pub(super) fn axis(&self) -> Option<usize> {
        match self {
            Self::Value(_) | Self::Softmax(_) => None,
            Self::Rows { axis, .. } => Some(*axis),
            Self::Columns { lead, .. } => Some(lead.len()),
        }
    }

    /// The value that it repeats along leading dimensions, if that is all there is to it.
    pub(super) fn repeated(&self, draft: &Draft) -> Option<ValueId> {
        let Self::Columns { columns, .. } = self else { return None };
        let (value, _) = columns[0];
        is_whole(draft, columns).then_some(value)
    }

    /// The parts along its axis.
    pub(super) fn parts(&self, draft: &mut Draft) -> Result<Vec<Self>, GraphError> {
        match self {
            Self::Value(_) | Self::Softmax(_) => Ok(vec![self.clone()]),
            Self::Rows { parts, .. } => Ok(parts.clone()),
            Self::Columns { lead, columns } => columns
                .chunk_by(|a, b| a.0 == b.0)
                .map(|run| {
                    let value = picked(draft, run)?;
                    Ok(columns_of(draft, lead, whole(draft, value)))
                })
                .collect(),
        }
    }

    /// One value.
    pub(super) fn together(&self, draft: &mut Draft) -> Result<ValueId, GraphError> {
        match self {
            Self::Value(id) => Ok(*id),
            Self::Rows { axis, parts } => {
                let parts = parts.iter().map(|p| p.together(draft)).collect::<Result<Vec<_>, _>>()?;
                draft.push("rows", Op::Concat { axis: *axis }, &parts)
            }
            Self::Columns { lead, columns } => gather(draft, lead, columns),
            Self::Softmax(scores) => {
                let scores = scores.together(draft)?;
                let axis = draft.ty(scores).shape.len() - 1;
                draft.push("softmax", Op::Softmax { axis }, &[scores])
            }
        }
    }
}

/// Parts beside each other along an axis: apart if their scopes differ.
pub(super) fn concat(draft: &mut Draft, axis: usize, parts: Vec<Form>) -> Result<Form, GraphError> {
    let shape = parts[0].shape(draft);
    if axis + 1 == shape.len() {
        let lead = shape[..axis].to_vec();
        let mut columns = Vec::new();
        for part in parts {
            match part {
                Form::Columns { columns: more, .. } => columns.extend(more),
                other => {
                    let value = other.together(draft)?;
                    columns.extend(whole(draft, value));
                }
            }
        }
        return Ok(columns_of(draft, &lead, columns));
    }
    let mut rows: Vec<Form> = Vec::new();
    for part in parts.into_iter().flat_map(|part| flat(part, axis)) {
        match rows.last_mut() {
            Some(last) if last.uniform(draft).is_some() && last.uniform(draft) == part.uniform(draft) => {
                let both = [last.together(draft)?, part.together(draft)?];
                *last = Form::Value(draft.push("rows", Op::Concat { axis }, &both)?);
            }
            _ => rows.push(part),
        }
    }
    Ok(if rows.len() == 1 { rows.remove(0) } else { Form::Rows { axis, parts: rows } })
}

fn flat(part: Form, axis: usize) -> Vec<Form> {
    match part {
        Form::Rows { axis: own, parts } if own == axis => parts,
        other => vec![other],
    }
}

/// Columns, or the value that they are.
pub(super) fn columns_of(draft: &Draft, lead: &[usize], columns: Vec<(ValueId, usize)>) -> Form {
    let (value, _) = columns[0];
    let shape = &draft.ty(value).shape;
    if shape[..shape.len() - 1] == *lead && is_whole(draft, &columns) {
        return Form::Value(value);
    }
    Form::Columns { lead: lead.to_vec(), columns }
}

/// All columns of a value.
pub(super) fn whole(draft: &Draft, value: ValueId) -> Vec<(ValueId, usize)> {
    (0..width(draft, value)).map(|c| (value, c)).collect()
}

/// One value of columns; each is repeated along the leading dimensions that it does not have.
pub(super) fn gather(draft: &mut Draft, lead: &[usize], columns: &[(ValueId, usize)]) -> Result<ValueId, GraphError> {
    let mut runs = Vec::new();
    for run in columns.chunk_by(|a, b| a.0 == b.0) {
        let value = picked(draft, run)?;
        let wide: Vec<usize> = lead.iter().copied().chain([run.len()]).collect();
        let fits = draft.ty(value).shape == wide;
        runs.push(if fits { value } else { draft.push("expand", Op::Expand { shape: wide }, &[value])? });
    }
    draft.push("columns", Op::Concat { axis: lead.len() }, &runs)
}

/// The columns of one value.
fn picked(draft: &mut Draft, run: &[(ValueId, usize)]) -> Result<ValueId, GraphError> {
    let (value, _) = run[0];
    if is_whole(draft, run) {
        return Ok(value);
    }
    let axis = draft.ty(value).shape.len() - 1;
    draft.push("select", Op::Select { axis, indices: run.iter().map(|(_, c)| *c).collect() }, &[value])
}

fn is_whole(draft: &Draft, columns: &[(ValueId, usize)]) -> bool {
    let (value, _) = columns[0];
    columns.len() == width(draft, value) && columns.iter().enumerate().all(|(i, c)| *c == (value, i))
}

fn width(draft: &Draft, value: ValueId) -> usize {
    draft.ty(value).shape.last().copied().unwrap_or(1)
}

/// NumPy broadcasting of shapes that are known to broadcast.
pub(super) fn broadcast(shapes: &[Vec<usize>]) -> Vec<usize> {
    let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let along = |d: usize, shape: &Vec<usize>| (d + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank).map(|d| shapes.iter().map(|s| along(d, s)).max().unwrap_or(1)).collect()
}
