//! `quantize schema check`: is `features.toml` sound, and does it feed what a model takes?

use std::path::PathBuf;

use serde::Serialize;
use shared_model::limits;

use crate::failure::Failure;
use crate::import::import;
use crate::source::{self, SourceError};

/// What is checked.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The schema.
    pub schema: PathBuf,
    /// A model that it should feed.
    #[arg(long)]
    pub model: Option<PathBuf>,
}

/// What the check found.
#[derive(Clone, Debug, Serialize)]
pub struct SchemaChecked {
    /// Features of a sound schema.
    pub features: usize,
    /// Inputs that they feed.
    pub inputs: usize,
    /// What is wrong, one a line.
    pub faults: Vec<String>,
}

/// Checks a schema.
///
/// # Errors
/// A file cannot be read. Faults of the schema, or of schema and model together, are the result and no error.
pub fn run(options: &Options) -> Result<SchemaChecked, Failure> {
    let faulty = |faults: Vec<String>| SchemaChecked { features: 0, inputs: 0, faults };
    let schema = match source::schema(&options.schema) {
        Ok((schema, _)) => schema,
        Err(faults @ SourceError::Schema { .. }) => {
            return Ok(faulty(faults.to_string().lines().map(str::to_owned).collect()));
        }
        Err(e) => return Err(e.into()),
    };
    let mut faults = Vec::new();
    if let Some(path) = &options.model {
        let bytes = source::bytes(path, limits::MAX_TENSORS_BYTES)?;
        faults.extend(import(&bytes, schema.inputs()).err().map(|e| Failure::import(path, e).to_string()));
    }
    Ok(SchemaChecked { features: schema.features().len(), inputs: schema.inputs().len(), faults })
}
