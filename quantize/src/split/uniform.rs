//! Stores one number where an operand is the same number over and over: a mask's filler, which exporters write out.

use shared_model::graph::{GraphError, Op, ValueId};

use super::Model;
use super::draft::Draft;

/// The same model, to the bit, with a scalar for every constant of equal numbers that an elementwise op would spread again.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    for node in model.graph.nodes() {
        let output = model.graph.value(node.output);
        let mut inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        if matches!(node.op, Op::Binary(_) | Op::Compare(_) | Op::Where) {
            for i in 0..inputs.len() {
                let is_whole = |(j, v): (usize, &ValueId)| j != i && draft.ty(*v).shape == output.ty.shape;
                if inputs.iter().enumerate().any(is_whole)
                    && let Some((name, number)) = uniform(&draft, inputs[i])
                {
                    inputs[i] = draft.constant(&name, vec![], vec![number])?;
                }
            }
        }
        values.push(draft.push(&output.name, node.op.clone(), &inputs)?);
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// The name of a constant of several numbers that are all the same, and that number.
fn uniform(draft: &Draft, value: ValueId) -> Option<(String, f32)> {
    let (name, data) = draft.floats(value)?;
    let (first, rest) = data.split_first()?;
    let same = !rest.is_empty() && rest.iter().all(|x| x.to_bits() == first.to_bits());
    same.then(|| (name.to_owned(), *first))
}
