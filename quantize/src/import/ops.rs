//! The lowering of each operator, by family. A new operator is a line here and an arm in its family.

mod contract;
mod elementwise;
pub(super) mod layout;
mod reduce;

use super::call::{Call, Refusal, Row, Value, cannot};
use super::lower::Lowering;

/// Lowers a node of which at least one operand depends on the inputs.
pub(super) fn lower(low: &mut Lowering, call: &Call) -> Result<Vec<Value>, Refusal> {
    let op = call.node.op.as_str();
    let row: Row = match op {
        "Identity" | "Dropout" => call.row(0)?,
        "Split" => return layout::split(low, call),
        "Gather" => contract::gather(low, call)?,
        "Gemm" => contract::gemm(low, call)?,
        "MatMul" => contract::matmul(low, call)?,
        "Add" => contract::add(low, call)?,
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => layout::reshape(low, call)?,
        "Transpose" => layout::transpose(low, call)?,
        "Concat" => layout::concat(low, call)?,
        "Slice" => layout::slice(low, call)?,
        "Expand" => layout::expand(low, call)?,
        "Tile" => layout::tile(low, call)?,
        "GatherND" => layout::gather_nd(low, call)?,
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => {
            reduce::reduce(low, call)?
        }
        "Softmax" | "LogSoftmax" => reduce::softmax(low, call)?,
        "LayerNormalization" => reduce::layer_norm(low, call)?,
        "BatchNormalization" => reduce::batch_norm(low, call)?,
        _ => match elementwise::lower(low, call)? {
            Some(row) => row,
            None => {
                return cannot(
                    "the operator is not supported: leave it out of the exported model, or ask for it with a small example",
                );
            }
        },
    };
    Ok(vec![Value::Row(row)])
}
