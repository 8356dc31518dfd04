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
    let parts = scores.parts(draft)?;
    let of_request = |draft: &Draft, part: &Form| matches!(part.scope(draft), Scope::Const | Scope::Request);
    let (own, others): (Vec<_>, Vec<_>) =
        keys(draft, &parts, values)?.into_iter().partition(|(part, _)| of_request(draft, part));
    let ([(own, values_of_own)], false) = (&own[..], others.is_empty()) else {
        let operands = [Form::Softmax(Box::new(scores.clone())).together(draft)?, values.together(draft)?];
        return Ok(Form::Value(draft.push(name, Op::MatMul, &operands)?));
    };
    let mut last = Terms { axis: scores.shape(draft).len() - 1, draft, name };
    let own = own.together(last.draft)?;
    let own_most = last.reduce(Reduce::Max, own)?;
    let weights = last.exp_of_difference(own, own_most)?;
    let own_sum = last.reduce(Reduce::Sum, weights)?;
    let own_total = last.push(Op::MatMul, &[weights, *values_of_own])?;

    let mut most = own_most;
    let mut rest = Vec::new();
    for (scores, values) in others {
        let scores = scores.together(last.draft)?;
        let largest = last.reduce(Reduce::Max, scores)?;
        most = last.binary(Binary::Max, most, largest)?;
        rest.push((scores, values));
    }
    let scale = last.exp_of_difference(own_most, most)?;
    let mut sum = last.binary(Binary::Mul, own_sum, scale)?;
    let mut total = last.binary(Binary::Mul, own_total, scale)?;
    for (scores, values) in rest {
        let weights = last.exp_of_difference(scores, most)?;
        let more = last.reduce(Reduce::Sum, weights)?;
        sum = last.binary(Binary::Add, sum, more)?;
        let more = last.push(Op::MatMul, &[weights, values])?;
        total = last.binary(Binary::Add, total, more)?;
    }
    last.binary(Binary::Div, total, sum).map(Form::Value)
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

impl Terms<'_> {
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
