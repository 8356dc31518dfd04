//! `quantize parity`: our plan and tract against another runtime's recorded scores, for every model of a folder.
//!
//! A folder holds `<model>.onnx`, `catalog.jsonl` and `golden.json`: requests by line number, and for each model their
//! scores and the values before the last monotone op.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared_model::ladder::prepare;
use shared_model::limits;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::json;

use crate::check::{Difference, MAX_ABSOLUTE, MAX_RELATIVE, Reference};
use crate::failure::Failure;
use crate::import::import;
use crate::score::Scorer;
use crate::source::{self, SourceError};

/// The most bytes of a `golden.json`.
const MAX_GOLDEN_BYTES: u64 = 64 << 20;

/// The least size that a difference of scores before the link is divided by.
const RELATIVE_FLOOR: f32 = 0.01;

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

#[derive(Deserialize)]
struct Golden {
    requests: BTreeMap<String, serde_json::Value>,
    #[serde(flatten)]
    models: BTreeMap<String, BTreeMap<String, Recorded>>,
}

#[derive(Deserialize)]
struct Recorded {
    score: Vec<f32>,
    logit: Vec<f32>,
}

/// The differences of one model from what was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Parity {
    /// The model.
    pub model: String,
    /// Of our f32 plan.
    pub plan: Difference,
    /// Of tract.
    pub tract: Difference,
}

impl Parity {
    /// Whether our plan is within rounding.
    #[must_use]
    pub fn met(&self) -> bool {
        self.plan.is_rounding()
    }
}

/// Measures every model that has recorded scores.
///
/// # Errors
/// A file cannot be used, or a model not imported.
pub fn run(options: &Options) -> Result<Vec<Parity>, Failure> {
    let schema_path = options.schema.clone().unwrap_or_else(|| options.dir.join("features.toml"));
    let (schema, _) = source::schema(&schema_path)?;
    let catalog = source::catalog(&options.dir.join("catalog.jsonl"), &schema)?;
    let golden_path = options.dir.join("golden.json");
    let golden: Golden = serde_json::from_slice(&source::bytes(&golden_path, MAX_GOLDEN_BYTES)?)
        .map_err(|e| SourceError::file(&golden_path, e))?;
    let mut rows = Vec::new();
    for (model, recorded) in &golden.models {
        let path = options.dir.join(format!("{model}.onnx"));
        let bytes = source::bytes(&path, limits::MAX_TENSORS_BYTES)?;
        let imported = import(&bytes, schema.inputs()).map_err(|e| Failure::import(&path, e))?;
        let variant =
            Variant { name: VariantName::F32, graph: imported.graph.clone(), tensors: imported.tensors.clone() };
        let scorer = Scorer::new(&variant, &schema).map_err(|e| SourceError::file(&path, e))?;
        let mut arena = scorer.arena();
        let mut reference = Reference::new(&bytes, &imported).map_err(|e| SourceError::file(&path, e))?;
        let link = imported.graph.link();
        let mut row = Parity { model: model.clone(), plan: Difference::default(), tract: Difference::default() };
        for (line, expected) in recorded {
            let fault = |what: String| SourceError::file(&golden_path, format!("request {line}: {what}"));
            let request = golden.requests.get(line).ok_or_else(|| fault("is not recorded".into()))?;
            let request = request.to_string();
            let decoded = json::decode_line(request.as_bytes(), schema.model(), &json::JsonLimits::default())
                .map_err(|e| fault(e.to_string()))?;
            let prepared = prepare(&schema, &catalog, &decoded.request).map_err(|r| fault(r.message))?;
            let scores = scorer.score(&mut arena, &prepared).map_err(|e| fault(e.to_string()))?;
            if scores.len() != expected.logit.len() || scores.len() != expected.score.len() {
                return Err(fault(format!("{} candidates but {} scores", scores.len(), expected.logit.len())).into());
            }
            let (logits, _) =
                reference.run(&scorer.inputs(&prepared), scores.len()).map_err(|e| fault(e.to_string()))?;
            row.plan = row.plan.max(Difference::of(link, &scores, &expected.logit, &expected.score, RELATIVE_FLOOR));
            row.tract = row.tract.max(Difference::of(link, &logits, &expected.logit, &expected.score, RELATIVE_FLOOR));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The rows of a benchmark file (the form that every script of `scripts/` writes).
#[must_use]
pub fn benchmark(rows: &[Parity]) -> serde_json::Value {
    let row = |name: &str, subject: &str, value: f32, must: Option<f32>| {
        serde_json::json!({
            "name": name, "subject": subject, "value": value, "unit": "1", "must": must.map(|m| format!("<={m:e}")),
            "want": null, "met": must.is_none_or(|m| value <= m), "reason": null,
        })
    };
    // tract's own distance is for comparison: no bar is set for it.
    let rows: Vec<_> = rows
        .iter()
        .flat_map(|p| {
            [
                row("parity_max_abs_output", &p.model, p.plan.absolute, Some(MAX_ABSOLUTE)),
                row("parity_max_rel_score", &p.model, p.plan.relative, Some(MAX_RELATIVE)),
                row("parity_tract_max_abs_output", &p.model, p.tract.absolute, None),
                row("parity_tract_max_rel_score", &p.model, p.tract.relative, None),
            ]
        })
        .collect();
    let machine = serde_json::json!({
        "arch": std::env::consts::ARCH, "os": std::env::consts::OS,
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
    });
    serde_json::json!({ "schema_version": 1, "machine": machine, "rows": rows })
}

/// As a table.
#[must_use]
pub fn table(rows: &[Parity]) -> String {
    let mut table =
        crate::report::table(&["model", "ours: output", "ours: score", "tract: output", "tract: score", "within"]);
    for p in rows {
        let cells = [p.plan.absolute, p.plan.relative, p.tract.absolute, p.tract.relative].map(|v| format!("{v:.1e}"));
        let within = if p.met() { "yes" } else { "NO" };
        table.add_row(std::iter::once(p.model.clone()).chain(cells).chain([within.to_owned()]));
    }
    format!(
        "{table}\nlargest difference from the recorded scores: absolute on the output (at most {MAX_ABSOLUTE:e}), relative to the larger of {RELATIVE_FLOOR} and the score before the link (at most {MAX_RELATIVE:e})"
    )
}

/// Writes the benchmark file.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, rows: &[Parity]) -> Result<(), Failure> {
    let mut bytes = serde_json::to_vec_pretty(&benchmark(rows)).map_err(|e| SourceError::file(path, e))?;
    bytes.push(b'\n');
    std::fs::write(path, bytes).map_err(|e| SourceError::io(path, e).into())
}
