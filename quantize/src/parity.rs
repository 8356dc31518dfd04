//! `quantize parity`: our plan and tract against another runtime's recorded scores, for every model of a folder.

use std::path::Path;

use serde::Serialize;

use crate::build::full_precision;
use crate::check::{Difference, MAX_ABSOLUTE, MAX_RELATIVE, RELATIVE_FLOOR, Reference};
use crate::failure::Failure;
use crate::golden::{Folder, Options, Recorded};
use crate::score::Scorer;
use crate::source::SourceError;

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
    let folder = Folder::open(options)?;
    folder.models().map(|model| measure(&folder, model)).collect()
}

fn measure(folder: &Folder, model: &str) -> Result<Parity, Failure> {
    let path = folder.file(model);
    let (bytes, imported) = folder.import(model)?;
    let mut reference = Reference::new(&mut &bytes[..], &imported).map_err(|e| SourceError::file(&path, e))?;
    let link = imported.graph.link();
    let variant = full_precision(imported).map_err(|e| Failure::import(&path, e))?;
    let scorer = Scorer::new(&variant, folder.schema()).map_err(|e| SourceError::file(&path, e))?;
    let mut arena = scorer.arena();
    let mut row = Parity { model: model.to_owned(), plan: Difference::default(), tract: Difference::default() };
    for Recorded { line, prepared, outputs, scores: expected } in folder.recorded(model)? {
        let fault = |what: String| SourceError::file(&path, format!("request {line}: {what}"));
        let of = |scores: &[f32]| Difference::of(link, scores, &expected, &outputs, RELATIVE_FLOOR);
        let scores = scorer.score(&mut arena, &prepared).map_err(|e| fault(e.to_string()))?;
        let (logits, _) = reference.run(&scorer.inputs(&prepared), scores.len()).map_err(|e| fault(e.to_string()))?;
        row.plan = row.plan.max(of(&scores));
        row.tract = row.tract.max(of(&logits));
    }
    Ok(row)
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
