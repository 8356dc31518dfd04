//! `quantize schema init`: a first draft of `features.toml` from what a model takes in.
//!
//! What the model says (names, types, shapes, the tables that indices are looked up in) is taken as it is. What it does
//! not say, above all where a value comes from, is guessed from names, and from requests and a catalog where they are
//! given; every guess is a `# CHECK:` in the draft. The draft is checked as `schema check --model` would.

mod draft;
mod guess;
mod model;
mod observed;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use shared_model::limits;
use shared_model::schema::Schema;

use crate::failure::Failure;
use crate::import::import;
use crate::source::{self, SourceError};
use observed::Observed;

/// What is drafted from.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The ONNX model.
    pub model: PathBuf,
    /// Example requests, one a line: which fields there are and what they hold.
    #[arg(long)]
    pub requests: Option<PathBuf>,
    /// The items, one a line: which fields they have and what they hold.
    #[arg(long)]
    pub catalog: Option<PathBuf>,
    /// Where to write the draft, a file that is not there yet; stdout unless given.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// A draft.
#[derive(Clone, Debug, Serialize)]
pub struct Drafted {
    /// The text of `features.toml`.
    pub toml: String,
    /// Where it was written.
    pub out: Option<PathBuf>,
    /// Features in it.
    pub features: usize,
    /// The guesses in it, which nobody but you can confirm.
    pub guesses: usize,
    /// What `schema check --model` says against it.
    pub faults: Vec<String>,
}

/// Drafts a schema.
///
/// # Errors
/// A file cannot be used; names it, and the line.
pub fn run(options: &Options) -> Result<Drafted, Failure> {
    let bytes = source::bytes(&options.model, limits::MAX_TENSORS_BYTES)?;
    let model = model::read(&bytes).map_err(|e| Failure::import(&options.model, e))?;
    let mut observed = Observed::default();
    if let Some(path) = &options.requests {
        observed.requests(path)?;
    }
    if let Some(path) = &options.catalog {
        observed.catalog(path)?;
    }
    let name = options.model.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
    let drafts = guess::drafts(&model, &observed);
    let toml = draft::toml(&name, &model, &drafts);
    let faults = faults(&toml, &bytes, options);
    if let Some(path) = &options.out {
        // What is there already may be somebody's work.
        let written = File::create_new(path).and_then(|mut file| file.write_all(toml.as_bytes()));
        written.map_err(|e| SourceError::io(path, e))?;
    }
    let marked = format!("# {}", draft::CHECK);
    let guesses = toml.lines().filter(|line| line.starts_with(&marked)).count();
    Ok(Drafted { toml, out: options.out.clone(), features: drafts.features.len(), guesses, faults })
}

fn faults(toml: &str, model: &[u8], options: &Options) -> Vec<String> {
    match Schema::from_toml(toml) {
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
        Ok(schema) => {
            let refused = import(model, schema.inputs()).err();
            refused.map(|e| Failure::import(&options.model, e).to_string()).into_iter().collect()
        }
    }
}

/// The draft, or where it was written.
pub(crate) fn text(drafted: &Drafted) -> String {
    let Drafted { toml, out, features, guesses, faults } = drafted;
    let faults: String = faults.iter().map(|fault| format!("# FAULT: {fault}\n")).collect();
    match out {
        None => format!("{faults}{toml}"),
        Some(path) => format!(
            "{faults}{features} features are in {}; {guesses} guesses are marked {}",
            path.display(),
            draft::CHECK
        ),
    }
}
