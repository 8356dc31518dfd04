//! A folder of models with another runtime's recorded scores: `<model>.onnx`, `catalog.jsonl`, and `golden.json`, which
//! has requests by line number, and for each model their scores and the values before the last monotone op.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared_model::catalog::Catalog;
use shared_model::ladder::{Prepared, prepare};
use shared_model::limits;
use shared_model::schema::Schema;
use shared_model::wire::json;

use crate::failure::Failure;
use crate::import::{Imported, import};
use crate::source::{self, SourceError};

/// The most bytes of a `golden.json`.
const MAX_GOLDEN_BYTES: u64 = 64 << 20;

/// Where to look.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The folder with the models.
    #[arg(long)]
    pub dir: PathBuf,
    /// The schema; DIR/features.toml unless given.
    #[arg(long)]
    pub schema: Option<PathBuf>,
}

/// What the folder holds.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    schema: Schema,
    catalog: Catalog,
    golden: Golden,
}

#[derive(Debug, Deserialize)]
struct Golden {
    requests: BTreeMap<String, serde_json::Value>,
    #[serde(flatten)]
    models: BTreeMap<String, BTreeMap<String, Scores>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Scores {
    score: Vec<f32>,
    logit: Vec<f32>,
}

/// A request with what another runtime made of it.
#[derive(Debug)]
pub struct Recorded {
    /// The number of its line.
    pub line: String,
    /// Its inputs.
    pub prepared: Prepared,
    /// The model's output for each candidate.
    pub outputs: Vec<f32>,
    /// The same before the last monotone op.
    pub scores: Vec<f32>,
}

impl Folder {
    /// Reads all but the models.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(options: &Options) -> Result<Self, Failure> {
        let path = options.dir.clone();
        let (schema, _) = source::schema(&options.schema.clone().unwrap_or_else(|| path.join("features.toml")))?;
        let catalog = source::catalog(&path.join("catalog.jsonl"), &schema)?;
        let golden = golden_of(&path);
        let bytes = source::bytes(&golden, MAX_GOLDEN_BYTES)?;
        let golden = serde_json::from_slice(&bytes).map_err(|e| SourceError::file(&golden, e))?;
        Ok(Self { path, schema, catalog, golden })
    }

    /// The models that have recorded scores.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.golden.models.keys().map(String::as_str)
    }

    /// What requests are encoded by.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A model's file.
    #[must_use]
    pub fn file(&self, model: &str) -> PathBuf {
        self.path.join(format!("{model}.onnx"))
    }

    /// A model's bytes, and what they are lowered to.
    ///
    /// # Errors
    /// They cannot be read or lowered.
    pub fn import(&self, model: &str) -> Result<(Vec<u8>, Imported), Failure> {
        let path = self.file(model);
        let bytes = source::bytes(&path, limits::MAX_TENSORS_BYTES)?;
        let imported = import(&bytes, self.schema.inputs()).map_err(|e| Failure::import(&path, e))?;
        Ok((bytes, imported))
    }

    /// A model's recorded requests, encoded.
    ///
    /// # Errors
    /// One is not there, cannot be encoded, or has another number of scores than candidates.
    pub fn recorded(&self, model: &str) -> Result<Vec<Recorded>, Failure> {
        let of_model = self.golden.models.get(model).into_iter().flatten();
        of_model.map(|(line, scores)| self.one(line, scores).map_err(Failure::from)).collect()
    }

    fn one(&self, line: &str, Scores { score, logit }: &Scores) -> Result<Recorded, SourceError> {
        let fault = |what: String| SourceError::file(&golden_of(&self.path), format!("request {line}: {what}"));
        let request = self.golden.requests.get(line).ok_or_else(|| fault("is not recorded".into()))?.to_string();
        let decoded = json::decode_line(request.as_bytes(), self.schema.model(), &json::JsonLimits::default())
            .map_err(|e| fault(e.to_string()))?;
        let prepared = prepare(&self.schema, &self.catalog, &decoded.request).map_err(|r| fault(r.message))?;
        let candidates = prepared.len();
        if [score.len(), logit.len()] != [candidates; 2] {
            return Err(fault(format!("{candidates} candidates but {} scores", logit.len())));
        }
        Ok(Recorded { line: line.to_owned(), prepared, outputs: score.clone(), scores: logit.clone() })
    }
}

fn golden_of(folder: &Path) -> PathBuf {
    folder.join("golden.json")
}
