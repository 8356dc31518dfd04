//! `x (1 + erf(x / √2)) / 2`, as exporters spell it out, as one op.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use shared_model::graph::{Binary, GraphError, Op, Unary, ValueId};

use super::Model;
use super::draft::Draft;

/// The same model, but for the rounding of what is between, with GELUs as one op.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        let of = if node.op == Op::Binary(Binary::Mul) { gelu(&draft, [inputs[0], inputs[1]]) } else { None };
        // A number of more dimensions would give the product those.
        let shape = &model.graph.value(node.output).ty.shape;
        values.push(match of.filter(|x| draft.ty(*x).shape == *shape) {
            Some(x) => draft.push(name, Op::Unary(Unary::Gelu), &[x])?,
            None => draft.push(name, node.op.clone(), &inputs)?,
        });
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// `x`, if a product is of `x`, a half and `1 + erf(x / √2)`, in any order.
fn gelu(draft: &Draft, factors: [ValueId; 2]) -> Option<ValueId> {
    let product = |v: ValueId| match draft.made(v) {
        Some((Op::Binary(Binary::Mul), &[a, b])) => Some([a, b]),
        _ => None,
    };
    [factors, [factors[1], factors[0]]].into_iter().find_map(|[of, other]| {
        let [a, b] = product(of)?;
        let orders = [[a, b, other], [a, other, b], [b, a, other], [b, other, a], [other, a, b], [other, b, a]];
        let is_gelu = |[x, half, sum]: &[ValueId; 3]| is_number(draft, *half, 0.5) && bent(draft, *sum) == Some(*x);
        orders.into_iter().find(is_gelu).map(|[x, ..]| x)
    })
}

/// `x`, of `1 + erf(x / √2)`.
fn bent(draft: &Draft, sum: ValueId) -> Option<ValueId> {
    let Some((Op::Binary(Binary::Add), &[a, b])) = draft.made(sum) else { return None };
    let erf = [[a, b], [b, a]].into_iter().find_map(|[erf, one]| is_number(draft, one, 1.0).then_some(erf))?;
    let Some((Op::Unary(Unary::Erf), &[scaled])) = draft.made(erf) else { return None };
    match draft.made(scaled)? {
        (Op::Binary(Binary::Div), &[x, root]) => is_number(draft, root, SQRT_2).then_some(x),
        (Op::Binary(Binary::Mul), &[a, b]) => {
            [[a, b], [b, a]].into_iter().find_map(|[x, by]| is_number(draft, by, FRAC_1_SQRT_2).then_some(x))
        }
        _ => None,
    }
}

/// Whether a constant is this number, as an exporter may have rounded it.
fn is_number(draft: &Draft, v: ValueId, number: f32) -> bool {
    matches!(draft.floats(v), Some((_, [x])) if (x - number).abs() <= 1e-6)
}
