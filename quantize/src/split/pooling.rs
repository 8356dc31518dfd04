//! `Σ_l w_l x_l` as a product of matrices: the same sum in the same order, without the products in between.

use shared_model::graph::{Binary, GraphError, Op, Reduce, ValueId};

use super::Model;
use super::draft::Draft;

/// The same model, to the bit, with weighted sums over a matrix's rows or columns as products.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        let value = match &node.op {
            Op::Reduce { kind: Reduce::Sum, axes, .. } => product(&mut draft, name, inputs[0], axes)?,
            _ => None,
        };
        values.push(match value {
            Some(value) => {
                let shape = model.graph.value(node.output).ty.shape.clone();
                draft.push(name, Op::Reshape { shape }, &[value])?
            }
            None => draft.push(name, node.op.clone(), &inputs)?,
        });
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// The product that sums a matrix's weighted rows or columns.
fn product(draft: &mut Draft, name: &str, of: ValueId, axes: &[usize]) -> Result<Option<ValueId>, GraphError> {
    let Some((Op::Binary(Binary::Mul), &[a, b])) = draft.made(of) else { return Ok(None) };
    let shape = draft.ty(of).shape.clone();
    let ([rows, columns], [axis]) = (&shape[..], axes) else { return Ok(None) };
    let pair = |weights: &[usize]| {
        let of = |v: ValueId| draft.ty(v).shape.clone();
        [(a, b), (b, a)].into_iter().find(|(w, x)| of(*w) == weights && of(*x) == shape)
    };
    let reshape = |draft: &mut Draft, v: ValueId, shape: [usize; 2]| {
        draft.push("weights", Op::Reshape { shape: shape.to_vec() }, &[v])
    };
    let operands = if *axis == 0 {
        let Some((weights, x)) = pair(&[*rows, 1]) else { return Ok(None) };
        [reshape(draft, weights, [1, *rows])?, x]
    } else {
        let Some((weights, x)) = pair(&[1, *columns]) else { return Ok(None) };
        [x, reshape(draft, weights, [*columns, 1])?]
    };
    draft.push(name, Op::MatMul, &operands).map(Some)
}
