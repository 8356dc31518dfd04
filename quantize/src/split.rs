//! Moves work out of pair scope: what depends on the user alone is computed once a request, what depends on the item alone
//! once an item, so that a candidate costs only what both decide together (DESIGN §4).
//!
//! ```text
//! gelu     an activation that is spelled out is one op
//! behind   a linear after a sum over rows goes behind it
//! adjoint  a linear in a product that ends in one number goes to the other side of the product
//! scope    values that lie beside each other are kept apart by scope for as long as ops let them
//! pooling  a weighted sum is a product of matrices
//! narrow   a product of few columns is turned around
//! uniform  an operand that is one number over and over is that number
//! ```
//!
//! Each pass is a function from a model to one that computes the same: the last three to the bit, the others but for
//! rounding. Of `behind`, `adjoint` and `scope`, one that does not lower the work is dropped. Splitting comes before
//! quantizing: what is measured is the plan that ships.

mod adjoint;
mod attend;
mod behind;
mod draft;
mod form;
mod gelu;
mod linear;
mod narrow;
mod pooling;
mod scope;
#[cfg(test)]
mod tests;
mod uniform;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_model::graph::{Graph, GraphError};
use shared_model::tensor::Tensor;

pub use work::Work;
pub(crate) use work::multiply_adds;

/// A graph and the tensors of its constants, which what a pass tries has in common with what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What is computed.
    pub graph: Graph,
    /// Its constants, in full precision.
    pub tensors: BTreeMap<String, Arc<Tensor>>,
}

/// A model to one that computes the same.
type Pass = fn(&Model) -> Result<Model, GraphError>;

/// The same model, split by scope.
///
/// # Errors
/// A value would be larger than a graph allows.
pub fn split(model: Model) -> Result<Model, GraphError> {
    // What turning around saves shows once scopes are apart, so both ways are tried from the same model.
    let choices: [&[Pass]; 2] = [&[behind::pass], &[scope::pass, |model| scope::pass(&adjoint::pass(model)?)]];
    let mut best = gelu::pass(&model)?;
    for passes in choices {
        // One that would make a value too large is not taken.
        let tried: Vec<Model> = passes.iter().filter_map(|pass| pass(&best).ok()).collect();
        for tried in tried {
            if Work::of(&tried.graph).a_candidate() < Work::of(&best.graph).a_candidate() {
                best = tried;
            }
        }
    }
    uniform::pass(&narrow::pass(&pooling::pass(&best)?)?)
}
