//! Whether a batch fits a graph: asked of each request by itself before it shares a batch with others, so that what is
//! wrong with one is no other's fault, and again of the batch before the device sees it. Needs no device.

use shared_model::graph::{Graph, Scope, Type};

use super::ids::Ids;
use super::{Batch, RunError};

/// What a graph takes.
#[derive(Clone, Debug)]
pub struct Fit {
    inputs: Vec<(String, Type)>,
    ids: Ids,
}

impl Fit {
    /// What this graph takes.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let inputs = graph.inputs().map(|(_, value)| (value.name.clone(), value.ty.clone())).collect();
        Self { inputs, ids: Ids::of(graph) }
    }

    /// Refuses what the graph cannot score.
    ///
    /// # Errors
    /// The block, the owner or the id at fault; never [`RunError::Device`].
    pub fn check(&self, batch: &Batch) -> Result<(), RunError> {
        let Batch { requests, ref owner, ref inputs } = *batch;
        if inputs.len() != self.inputs.len() {
            return Err(RunError::Inputs { expected: self.inputs.len(), got: inputs.len() });
        }
        for ((name, ty), block) in self.inputs.iter().zip(inputs) {
            let (got, length) = (block.dtype(), block.len());
            let rows = if ty.scope == Scope::Request { requests } else { owner.len() };
            let expected = rows * ty.len();
            if (got, length) != (ty.dtype, expected) {
                return Err(RunError::Block {
                    name: name.clone(),
                    expected: format!("{expected} elements of {:?}", ty.dtype),
                    got: format!("{length} of {got:?}"),
                });
            }
        }
        let outside = |owner: &u32| usize::try_from(*owner).is_ok_and(|o| o >= requests);
        match owner.iter().position(outside) {
            Some(candidate) => Err(RunError::Owner { candidate, owner: owner[candidate], requests }),
            None => self.ids.check(inputs),
        }
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }
}
