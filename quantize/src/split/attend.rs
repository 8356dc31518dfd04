//! Attention of which the user's own keys are most: what they add up to is computed once a request.
//!
//! With scores s and values v, keys R of the request and P of the candidate, and m the largest score of R:
//!
//! ```text
//! softmax(s)·v = (n e^(m - M) + Σ_P e^(s - M) v) / (d e^(m - M) + Σ_P e^(s - M))
//! n = Σ_R e^(s - m) v     d = Σ_R e^(s - m)     M = max(m, max_P s)
//! ```

use shared_model::graph::{Binary, GraphError, Op, Reduce, Scope, Unary, ValueId};

use super::draft::Draft;
use super::form::Form;

/// The softmax of scores along their last axis, times values.
pub(super) fn attend(draft: &mut Draft, name: &str, scores: &Form, values: &Form) -> Result<Form, GraphError> {
    let Some(keys) = Keys::of(draft, scores, values)? else {
        let operands = [Form::Softmax(Box::new(scores.clone())).together(draft)?, values.together(draft)?];
        return Ok(Form::Value(draft.push(name, Op::MatMul, &operands)?));
    };
    let mut terms = Terms { axis: scores.shape(draft).len() - 1, draft, name };
    let weighed = terms.weigh(&keys, keys.own.1)?;
    let mut total = terms.binary(Binary::Mul, weighed.total, weighed.scale)?;
    for (weights, (_, values)) in weighed.rest.into_iter().zip(&keys.rest) {
        let more = terms.push(Op::MatMul, &[weights, *values])?;
        total = terms.binary(Binary::Add, total, more)?;
    }
    terms.binary(Binary::Div, total, weighed.sum).map(Form::Value)
}

/// The same of several heads, `[heads, rows, keys]` and `[heads, keys, width]`, and a linear over the heads beside each
/// other, of rows that attend to keys of the user's own: the linear is applied to the values, which are fewer.
///
/// ```text
/// out[r] = Σ_heads (scale / sum)[h, r] · (n wᵀ)[h, r] + Σ_heads Σ_P (e^(s - M) / sum)[h, r, p] · (v wᵀ)[h, p] + b
/// ```
pub(super) fn attend_and_project(
    draft: &mut Draft,
    name: &str,
    (scores, values): (&Form, &Form),
    constants: &[ValueId],
) -> Result<Option<Form>, GraphError> {
    let (&[heads, rows, _], &[_, _, width]) = (&scores.shape(draft)[..], &values.shape(draft)[..]) else {
        return Ok(None);
    };
    let Some(keys) = Keys::of(draft, scores, values)? else { return Ok(None) };
    let weight = by_head(draft, constants[0], heads, width)?;
    let outputs = draft.ty(weight).shape[2];
    let mut terms = Terms { axis: 2, draft, name };
    let own = terms.push(Op::MatMul, &[keys.own.1, weight])?;
    let weighed = terms.weigh(&keys, own)?;
    let by_row = Op::Transpose { perm: vec![1, 0, 2] };
    let beside = |terms: &mut Terms<'_>, weights: ValueId, of_keys: usize| {
        let share = terms.binary(Binary::Div, weights, weighed.sum)?;
        let share = terms.push(by_row.clone(), &[share])?;
        terms.push(Op::Reshape { shape: vec![rows, heads * of_keys] }, &[share])
    };
    let shares = beside(&mut terms, weighed.scale, 1)?;
    let shares = terms.push(Op::Reshape { shape: vec![rows, 1, heads] }, &[shares])?;
    let totals = terms.push(by_row.clone(), &[weighed.total])?;
    let out = terms.push(Op::MatMul, &[shares, totals])?;
    let mut out = terms.push(Op::Reshape { shape: vec![rows, outputs] }, &[out])?;
    for (weights, (_, values)) in weighed.rest.into_iter().zip(&keys.rest) {
        let of_keys = terms.draft.ty(weights).shape[2];
        let shares = beside(&mut terms, weights, of_keys)?;
        let values = terms.push(Op::MatMul, &[*values, weight])?;
        let values = terms.push(Op::Reshape { shape: vec![heads * of_keys, outputs] }, &[values])?;
        let more = terms.push(Op::MatMul, &[shares, values])?;
        out = terms.binary(Binary::Add, out, more)?;
    }
    if let Some(bias) = constants.get(1) {
        out = terms.binary(Binary::Add, out, *bias)?;
    }
    Ok(Some(Form::Value(out)))
}

/// A linear's weight `[outputs, heads * width]` as `[heads, width, outputs]`.
fn by_head(draft: &mut Draft, weight: ValueId, heads: usize, width: usize) -> Result<ValueId, GraphError> {
    let (name, data) = draft.floats(weight).expect("a linear's weight is a constant in full precision");
    let inputs = heads * width;
    let outputs = data.len() / inputs;
    let turned = (0..inputs).flat_map(|i| (0..outputs).map(move |o| data[o * inputs + i])).collect();
    let name = format!("{name}.heads");
    draft.constant(&name, vec![heads, width, outputs], turned)
}

/// Keys by scope: scores along the last axis, and the rows of the values.
struct Keys {
    /// The user's own.
    own: (ValueId, ValueId),
    rest: Vec<(ValueId, ValueId)>,
}

impl Keys {
    /// If some are the user's own, and some are not.
    fn of(draft: &mut Draft, scores: &Form, values: &Form) -> Result<Option<Self>, GraphError> {
        let parts = scores.parts(draft)?;
        let of_user = |draft: &Draft, part: &Form| matches!(part.scope(draft), Scope::Const | Scope::Request);
        if parts.iter().filter(|p| of_user(draft, p)).count() != 1 || parts.len() < 2 {
            return Ok(None);
        }
        let (mut own, mut rest) = (None, Vec::new());
        for (part, values) in keys(draft, &parts, values)? {
            let of_user = of_user(draft, &part);
            let key = (part.together(draft)?, values);
            if of_user { own = Some(key) } else { rest.push(key) }
        }
        Ok(own.map(|own| Self { own, rest }))
    }
}

/// Each part of the scores with its rows of the values.
fn keys(draft: &mut Draft, parts: &[Form], values: &Form) -> Result<Vec<(Form, ValueId)>, GraphError> {
    let axis = values.shape(draft).len() - 2;
    let own = if values.axis() == Some(axis) { values.parts(draft)? } else { Vec::new() };
    let lens: Vec<usize> = parts.iter().map(|p| p.shape(draft).last().copied().unwrap_or(1)).collect();
    let alike = own.iter().map(|p| p.shape(draft)[axis]).eq(lens.iter().copied());
    let mut from = 0;
    let mut keys = Vec::new();
    for (i, (part, len)) in parts.iter().zip(lens).enumerate() {
        let rows = if alike {
            own[i].together(draft)?
        } else {
            let values = values.together(draft)?;
            draft.slice(values, axis, from, from + len)?
        };
        from += len;
        keys.push((part.clone(), rows));
    }
    Ok(keys)
}

/// Pushes what is computed along the axis of the keys.
struct Terms<'a> {
    draft: &'a mut Draft,
    name: &'a str,
    axis: usize,
}

/// What attention is made of, a number a row but for the weights and the total.
struct Weighed {
    /// `n`
    total: ValueId,
    /// `e^(m - M)`
    scale: ValueId,
    /// The denominator.
    sum: ValueId,
    /// `e^(s - M)`, of each of the other keys.
    rest: Vec<ValueId>,
}

impl Terms<'_> {
    /// Weighs the keys; `values` are those of the user's own.
    fn weigh(&mut self, keys: &Keys, values: ValueId) -> Result<Weighed, GraphError> {
        let own_most = self.reduce(Reduce::Max, keys.own.0)?;
        let weights = self.exp_of_difference(keys.own.0, own_most)?;
        let own_sum = self.reduce(Reduce::Sum, weights)?;
        let total = self.push(Op::MatMul, &[weights, values])?;
        let mut most = own_most;
        for (scores, _) in &keys.rest {
            let largest = self.reduce(Reduce::Max, *scores)?;
            most = self.binary(Binary::Max, most, largest)?;
        }
        let scale = self.exp_of_difference(own_most, most)?;
        let mut sum = self.binary(Binary::Mul, own_sum, scale)?;
        let mut rest = Vec::new();
        for (scores, _) in &keys.rest {
            let weights = self.exp_of_difference(*scores, most)?;
            let more = self.reduce(Reduce::Sum, weights)?;
            sum = self.binary(Binary::Add, sum, more)?;
            rest.push(weights);
        }
        Ok(Weighed { total, scale, sum, rest })
    }

    fn push(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        self.draft.push(self.name, op, inputs)
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.push(Op::Binary(op), &[a, b])
    }

    /// One number a row; of one key, that is it.
    fn reduce(&mut self, kind: Reduce, x: ValueId) -> Result<ValueId, GraphError> {
        if self.draft.ty(x).shape[self.axis] == 1 {
            return Ok(x);
        }
        self.push(Op::Reduce { kind, axes: vec![self.axis], keep: true }, &[x])
    }

    fn exp_of_difference(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        let difference = self.binary(Binary::Sub, a, b)?;
        self.push(Op::Unary(Unary::Exp), &[difference])
    }
}
