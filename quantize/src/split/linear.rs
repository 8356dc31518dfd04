//! A linear over columns of several scopes: one linear a scope, and their sum.

use std::collections::BTreeMap;

use shared_model::graph::{Binary, GraphError, Op, Scope, ValueId};

use super::draft::Draft;
use super::form::{Form, columns_of, gather, whole};

/// Columns of item scope that are worth a row of their own in every item's table.
const WORTH_A_TABLE: usize = 8;

/// Where a group of columns is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Request,
    Item,
    Pair,
}

/// A linear's weight by the columns it reads: sources in order of appearance.
#[derive(Default)]
struct Weights {
    order: Vec<ValueId>,
    columns: BTreeMap<(usize, usize), Vec<f32>>,
}

impl Weights {
    fn add(&mut self, (value, column): (ValueId, usize), weights: impl Iterator<Item = f32>) {
        let place = self.order.iter().position(|v| *v == value).unwrap_or_else(|| {
            self.order.push(value);
            self.order.len() - 1
        });
        match self.columns.get_mut(&(place, column)) {
            Some(sum) => sum.iter_mut().zip(weights).for_each(|(s, w)| *s += w),
            None => drop(self.columns.insert((place, column), weights.collect())),
        }
    }
}

/// `x · wᵀ + b`, of constants `w` and perhaps `b`.
pub(super) fn linear(draft: &mut Draft, name: &str, x: &Form, constants: &[ValueId]) -> Result<Form, GraphError> {
    let shape = x.shape(draft);
    let lead = &shape[..shape.len() - 1];
    let columns = match x {
        Form::Columns { columns, .. } => columns.clone(),
        other => {
            let value = other.together(draft)?;
            whole(draft, value)
        }
    };
    let groups = grouped(draft, &columns, constants[0]);
    if groups.len() < 2 {
        let x = x.together(draft)?;
        let operands: Vec<ValueId> = std::iter::once(x).chain(constants.iter().copied()).collect();
        return Ok(Form::Value(draft.push(name, Op::Linear, &operands)?));
    }
    let mut bias = constants.get(1).copied();
    let mut parts = Vec::new();
    for ((group, lead), weights) in groups {
        parts.push(part(draft, name, constants[0], group, &lead, &weights, bias.take())?);
    }
    // What is a candidate's own comes first: the rest is added to it.
    let mut sum = parts.pop().expect("there are two groups");
    while let Some(part) = parts.pop() {
        sum = draft.push(name, Op::Binary(Binary::Add), &[sum, part])?;
    }
    Ok(columns_of(draft, lead, whole(draft, sum)))
}

/// The columns by where they are computed and by their leading dimensions.
fn grouped(draft: &Draft, columns: &[(ValueId, usize)], weight: ValueId) -> BTreeMap<(Group, Vec<usize>), Weights> {
    let (_, data) = draft.floats(weight).expect("a linear's weight is a constant in full precision");
    let inputs = columns.len();
    let mut all = Weights::default();
    for (k, &column) in columns.iter().enumerate() {
        let weights = || data.chunks_exact(inputs).map(move |row| row[k]);
        match terms(draft, column.0) {
            Some([(a, _), (b, negative)]) => {
                all.add((a, column.1), weights());
                all.add((b, column.1), weights().map(|w| if negative { -w } else { w }));
            }
            None => all.add(column, weights()),
        }
    }
    let items = all.columns.keys().filter(|(place, _)| draft.scope(all.order[*place]) == Scope::Item).count();
    let mut groups: BTreeMap<(Group, Vec<usize>), Weights> = BTreeMap::new();
    for ((place, column), weights) in all.columns {
        let value = all.order[place];
        let group = match draft.scope(value) {
            Scope::Const | Scope::Request => Group::Request,
            Scope::Item if items >= WORTH_A_TABLE => Group::Item,
            Scope::Item | Scope::Pair => Group::Pair,
        };
        let shape = &draft.ty(value).shape;
        let lead = shape[..shape.len() - 1].to_vec();
        groups.entry((group, lead)).or_default().add((value, column), weights.into_iter());
    }
    groups
}

/// The two operands of a sum or a difference of which neither depends on both user and item, and whether the second is
/// subtracted.
fn terms(draft: &Draft, value: ValueId) -> Option<[(ValueId, bool); 2]> {
    let (Op::Binary(op @ (Binary::Add | Binary::Sub)), &[a, b]) = draft.made(value)? else { return None };
    let last = |v: ValueId| draft.ty(v).shape.last().copied();
    let apart = draft.scope(value) == Scope::Pair && [a, b].iter().all(|v| draft.scope(*v) != Scope::Pair);
    (apart && last(a) == last(value) && last(b) == last(value)).then_some([(a, false), (b, *op == Binary::Sub)])
}

/// The linear of one group.
fn part(
    draft: &mut Draft,
    name: &str,
    weight: ValueId,
    group: Group,
    lead: &[usize],
    weights: &Weights,
    bias: Option<ValueId>,
) -> Result<ValueId, GraphError> {
    let columns: Vec<(ValueId, usize)> = weights.columns.keys().map(|(place, c)| (weights.order[*place], *c)).collect();
    let x = gather(draft, lead, &columns)?;
    let outputs = draft.ty(weight).shape[0];
    let data = (0..outputs).flat_map(|o| weights.columns.values().map(move |w| w[o])).collect();
    let (base, _) = draft.floats(weight).expect("a linear's weight is a constant in full precision");
    let base = format!("{base}.{}", format!("{group:?}").to_lowercase());
    let cut = draft.constant(&base, vec![outputs, columns.len()], data)?;
    let operands: Vec<ValueId> = [x, cut].into_iter().chain(bias).collect();
    draft.push(name, Op::Linear, &operands)
}
