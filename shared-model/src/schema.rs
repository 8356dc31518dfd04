//! What `features.toml` says: how raw fields become the inputs of a model (docs/features.md is the reference).
//!
//! A schema is read from TOML by `quantize` and the tiers, or from the JSON that [`Schema::to_json`] makes of it by the
//! guest; both pass the same checks. It knows names, kinds and rules; [`crate::encode`] applies them. It does no I/O.

mod assemble;
mod bound;
mod describe;
mod document;
mod faults;
mod feature;
mod names;
mod nearest;
mod read;
#[cfg(feature = "toml")]
mod toml;
mod write;

pub use faults::{SchemaFault, SchemaFaults};
pub use feature::{Coding, Feature, Index, Keep, Origin, Rule, Step, Vocabulary};
pub(crate) use names::{NameError, Names};
pub(crate) use nearest::nearest;

use crate::graph::{DType, Scope};
use crate::limits;
use document::Node;

/// The form of `features.toml` that this code reads.
pub const SCHEMA_VERSION: u32 = 1;

/// How the raw fields of a request and of an item become the inputs of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    model: String,
    vocabularies: Vec<Vocabulary>,
    features: Vec<Feature>,
    inputs: Vec<InputSpec>,
    /// For each input, the indices of the features that feed it.
    fed_by: Vec<Vec<usize>>,
}

/// An input of the model, as the schema feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name in the model.
    pub name: String,
    /// [`DType::F32`] or [`DType::I32`].
    pub dtype: DType,
    /// The dimensions of one row: none for a single value, else the one width.
    pub shape: Vec<usize>,
    /// [`Scope::Request`] or [`Scope::Item`].
    pub scope: Scope,
    /// The exclusive upper bound of its indices, when the schema alone knows it; see [`Schema::cardinality`].
    pub cardinality: Option<usize>,
}

impl InputSpec {
    /// The number of elements of one row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Schema {
    /// Reads `features.toml`.
    ///
    /// # Errors
    /// Every fault at once, each with its line.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, SchemaFaults> {
        within_bounds(text.len())?;
        Self::from_document(&toml::parse(text)?)
    }

    /// Reads the JSON form: the same keys as in TOML. The bytes may be anyone's.
    ///
    /// # Errors
    /// Every fault at once; faults of JSON itself stop at the first.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SchemaFaults> {
        within_bounds(bytes.len())?;
        let document: Node =
            serde_json::from_slice(bytes).map_err(|e| SchemaFaults::one(Some(e.line()), e.to_string()))?;
        Self::from_document(&document)
    }

    /// The JSON form, which [`Schema::from_json`] reads back to an equal schema.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        write::json(self)
    }

    /// The model's name, by which requests name it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Every feature, as listed.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Every input, in the order in which the features first name them.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// The inputs of one scope with their indices into [`Schema::inputs`]: the order of [`crate::encode::Encoded::blocks`].
    pub fn inputs_of(&self, scope: Scope) -> impl Iterator<Item = (usize, &InputSpec)> {
        self.inputs.iter().enumerate().filter(move |(_, input)| input.scope == scope)
    }

    /// The vocabularies that [`Index::Vocabulary`] and [`Coding::MultiHot`] point into.
    #[must_use]
    pub fn vocabularies(&self) -> &[Vocabulary] {
        &self.vocabularies
    }

    /// The exclusive upper bound of an input's indices with a catalog of `items`; `None` for f32, and for an index
    /// that the client gives as such.
    #[must_use]
    pub fn cardinality(&self, input: usize, items: usize) -> Option<usize> {
        assemble::cardinality(&self.vocabularies, self.features_of(input), Some(items))
    }

    /// The features that feed an input, by its index into [`Schema::inputs`], as listed.
    pub fn features_of(&self, input: usize) -> impl Iterator<Item = &Feature> {
        self.fed_by[input].iter().map(|&feature| &self.features[feature])
    }

    fn from_document(document: &Node) -> Result<Self, SchemaFaults> {
        let mut faults = SchemaFaults::default();
        let drafts = read::read(document, &mut faults);
        let schema = assemble::assemble(drafts, &mut faults);
        schema.filter(|_| faults.is_empty()).ok_or_else(|| faults.sorted())
    }
}

fn within_bounds(bytes: usize) -> Result<(), SchemaFaults> {
    if bytes as u64 <= limits::MAX_SCHEMA_BYTES {
        return Ok(());
    }
    let message = format!("{bytes} bytes are more than the {} that a schema may have", limits::MAX_SCHEMA_BYTES);
    Err(SchemaFaults::one(None, message))
}

#[cfg(all(test, feature = "toml"))]
mod tests;
