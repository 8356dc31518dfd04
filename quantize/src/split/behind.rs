//! Moves a linear behind what takes few of its rows: `Σ_r m_r (W g_r + b) = W Σ_r m_r g_r + b Σ_r m_r`.
//!
//! A transformer's last linear is followed by a mean over the history: it is then computed once and not once a row.

use std::collections::{BTreeMap, BTreeSet};

use shared_model::graph::{Binary, Graph, GraphError, Op, Reduce, ValueId};

use super::Model;
use super::draft::Draft;

/// The same model, with sums and selections of rows taken before linears.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    let needed = needed(&model.graph);
    let mut kept = BTreeSet::new();
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        let value = match &node.op {
            Op::Reduce { kind: kind @ (Reduce::Sum | Reduce::Mean), axes, keep }
                if is_rows(&draft, inputs[0], axes) =>
            {
                let reduce = Op::Reduce { kind: *kind, axes: axes.clone(), keep: *keep };
                let (linear, done) = (BTreeMap::new(), BTreeMap::new());
                Sum { draft: &mut draft, kept: &kept, name, reduce, linear, done }.of(inputs[0])?
            }
            Op::Select { axis, .. } if is_rows(&draft, inputs[0], &[*axis]) => {
                let mut selection =
                    Selection { draft: &mut draft, kept: &kept, name, select: &node.op, done: BTreeMap::new() };
                selection.of(inputs[0])?
            }
            op => draft.push(name, op.clone(), &inputs)?,
        };
        values.push(value);
        if needed[node.output.index()] {
            kept.insert(value);
        }
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// Whether a value is read whole: by another op than those that take its rows, or are taken before with it.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.values().len()];
    needed[graph.score().index()] = true;
    for node in graph.nodes().iter().rev() {
        let last = |v: ValueId| graph.value(v).ty.shape.len().saturating_sub(1);
        for input in &node.inputs {
            needed[input.index()] |= match &node.op {
                Op::Select { axis, .. } => *axis == last(*input),
                Op::Reduce { kind: Reduce::Sum | Reduce::Mean, axes, .. } => axes.contains(&last(*input)),
                Op::Linear | Op::Binary(Binary::Add | Binary::Mul) => needed[node.output.index()],
                _ => true,
            };
        }
    }
    needed
}

/// Whether these axes are those of rows: all but the last.
fn is_rows(draft: &Draft, value: ValueId, axes: &[usize]) -> bool {
    let rank = draft.ty(value).shape.len();
    rank > 1 && !axes.contains(&(rank - 1))
}

/// A selection of rows.
struct Selection<'a> {
    draft: &'a mut Draft,
    /// What is there whole in any case.
    kept: &'a BTreeSet<ValueId>,
    name: &'a str,
    select: &'a Op,
    done: BTreeMap<ValueId, ValueId>,
}

impl Selection<'_> {
    /// The rows of a sum or a linear are those of its operands.
    fn of(&mut self, value: ValueId) -> Result<ValueId, GraphError> {
        if let Some(&done) = self.done.get(&value) {
            return Ok(done);
        }
        let made = self.draft.made(value).filter(|_| !self.kept.contains(&value));
        let selected = match made.map(|(op, inputs)| (op.clone(), inputs.to_vec())) {
            Some((op @ Op::Linear, mut inputs)) => {
                inputs[0] = self.of(inputs[0])?;
                self.draft.push(self.name, op, &inputs)?
            }
            Some((op @ Op::Binary(Binary::Add), inputs))
                if inputs.iter().all(|v| same_shape(self.draft, *v, value)) =>
            {
                let operands = inputs.iter().map(|v| self.of(*v)).collect::<Result<Vec<_>, _>>()?;
                self.draft.push(self.name, op, &operands)?
            }
            _ => self.draft.push(self.name, self.select.clone(), &[value])?,
        };
        self.done.insert(value, selected);
        Ok(selected)
    }
}

fn same_shape(draft: &Draft, a: ValueId, b: ValueId) -> bool {
    draft.ty(a).shape == draft.ty(b).shape
}

/// A sum or mean over rows.
struct Sum<'a> {
    draft: &'a mut Draft,
    /// What is there whole in any case.
    kept: &'a BTreeSet<ValueId>,
    name: &'a str,
    reduce: Op,
    /// Whether there is a linear among the terms of a value.
    linear: BTreeMap<ValueId, bool>,
    /// The sums of values that have been taken, by value and weight.
    done: BTreeMap<(ValueId, Option<ValueId>), ValueId>,
}

impl Sum<'_> {
    fn of(&mut self, value: ValueId) -> Result<ValueId, GraphError> {
        match self.weighted(value) {
            Some((rows, weight)) if self.has_linear(rows) => self.terms(rows, Some(weight)),
            None if self.has_linear(value) => self.terms(value, None),
            _ => self.reduced(value, None),
        }
    }

    /// Rows and the weight of each.
    fn weighted(&self, value: ValueId) -> Option<(ValueId, ValueId)> {
        let (Op::Binary(Binary::Mul), &[a, b]) = self.draft.made(value)? else { return None };
        let weighs = |v: ValueId| self.draft.ty(v).shape.last() == Some(&1);
        [(a, b), (b, a)].into_iter().find(|(rows, weight)| same_shape(self.draft, *rows, value) && weighs(*weight))
    }

    fn has_linear(&mut self, value: ValueId) -> bool {
        if let Some(&known) = self.linear.get(&value) {
            return known;
        }
        let has = match self.draft.made(value).filter(|_| !self.kept.contains(&value)) {
            Some((Op::Linear, _)) => true,
            Some((Op::Binary(Binary::Add), &[a, b])) => {
                [a, b].iter().all(|v| same_shape(self.draft, *v, value)) && (self.has_linear(a) || self.has_linear(b))
            }
            _ => false,
        };
        self.linear.insert(value, has);
        has
    }

    fn terms(&mut self, value: ValueId, weight: Option<ValueId>) -> Result<ValueId, GraphError> {
        if let Some(&done) = self.done.get(&(value, weight)) {
            return Ok(done);
        }
        let sum = self.sum_of(value, weight)?;
        self.done.insert((value, weight), sum);
        Ok(sum)
    }

    fn sum_of(&mut self, value: ValueId, weight: Option<ValueId>) -> Result<ValueId, GraphError> {
        let has_linear = self.has_linear(value);
        let made = self.draft.made(value).filter(|_| has_linear);
        let Some((op, inputs)) = made.map(|(op, inputs)| (op.clone(), inputs.to_vec())) else {
            return self.reduced(value, weight);
        };
        if op != Op::Linear {
            let terms = inputs.iter().map(|v| self.terms(*v, weight)).collect::<Result<Vec<_>, _>>()?;
            return self.draft.push(self.name, op, &terms);
        }
        let sum = self.reduced(inputs[0], weight)?;
        let linear = self.draft.push(self.name, op, &[sum, inputs[1]])?;
        let Some(&bias) = inputs.get(2) else { return Ok(linear) };
        let biases = match weight {
            Some(weight) => {
                let total = self.reduced(weight, None)?;
                self.draft.push(self.name, Op::Binary(Binary::Mul), &[bias, total])?
            }
            None => self.scaled(bias, inputs[0])?,
        };
        self.draft.push(self.name, Op::Binary(Binary::Add), &[linear, biases])
    }

    fn reduced(&mut self, value: ValueId, weight: Option<ValueId>) -> Result<ValueId, GraphError> {
        let value = match weight {
            Some(weight) => self.draft.push(self.name, Op::Binary(Binary::Mul), &[value, weight])?,
            None => value,
        };
        self.draft.push(self.name, self.reduce.clone(), &[value])
    }

    /// The bias, as often as rows are added up.
    fn scaled(&mut self, bias: ValueId, rows: ValueId) -> Result<ValueId, GraphError> {
        let Op::Reduce { kind: Reduce::Sum, axes, .. } = &self.reduce else { return Ok(bias) };
        let times: usize = axes.iter().map(|a| self.draft.ty(rows).shape[*a]).product();
        let (name, data) = self.draft.floats(bias).expect("a linear's bias is a constant in full precision");
        let (name, data) = (format!("{name}.sum"), data.iter().map(|b| b * times as f32).collect());
        let shape = self.draft.ty(bias).shape.clone();
        self.draft.constant(&name, shape, data)
    }
}
