//! Turns products around that have few columns and many rows: kernels compute columns side by side.

use shared_model::graph::{GraphError, Op, Scope, ValueId};

use super::Model;
use super::draft::Draft;

/// Columns that fill a register.
const WIDE: usize = 4;

/// The same model, to the bit: `a·b` as `(bᵀ·aᵀ)ᵀ` where that is wider.
pub(super) fn pass(model: &Model) -> Result<Model, GraphError> {
    let (mut draft, mut values) = Draft::of(model)?;
    for node in model.graph.nodes() {
        let name = &model.graph.value(node.output).name;
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| values[v.index()]).collect();
        let turned = node.op == Op::MatMul && is_narrow(&draft, inputs[0], inputs[1]);
        values.push(if turned {
            let operands = [turned_around(&mut draft, inputs[1])?, turned_around(&mut draft, inputs[0])?];
            let product = draft.push(name, Op::MatMul, &operands)?;
            turned_around(&mut draft, product)?
        } else {
            draft.push(name, node.op.clone(), &inputs)?
        });
    }
    draft.finish(values[model.graph.score().index()], model.graph.link())
}

/// Whether the product is wider the other way round, and its operands need not be turned once a candidate.
fn is_narrow(draft: &Draft, a: ValueId, b: ValueId) -> bool {
    let dims = |v: ValueId| draft.ty(v).shape.last_chunk::<2>().copied().unwrap_or([1, 1]);
    let ([rows, _], [_, columns]) = (dims(a), dims(b));
    let turns = |v: ValueId| draft.scope(v) == Scope::Pair && !matches!(draft.made(v), Some((Op::Transpose { .. }, _)));
    columns < WIDE && rows > columns && !turns(a) && (!turns(b) || columns == 1)
}

/// With its last two axes exchanged.
fn turned_around(draft: &mut Draft, value: ValueId) -> Result<ValueId, GraphError> {
    let rank = draft.ty(value).shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    draft.push("turned", Op::Transpose { perm }, &[value])
}
