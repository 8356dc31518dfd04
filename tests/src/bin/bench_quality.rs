//! `scripts/bench-quality.sh` without the building: builds the bundle of every model, certified for k = 10 alone, and
//! judges its variants on evaluation requests that no step has seen.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use quantize::build::{self, Built};
use quantize::evaluate::Evaluation;
use quantize::peer::Comparison;
use quantize::progress::Progress;
use quantize::replay::{Replay, Share};
use quantize::search::Goal;
use rung_tests::client::Error;
use rung_tests::rows::{Bar, Document, Row};
use shared_model::gate::Class;
use shared_model::variant::VariantName;
use shared_model::wire::Tier;

const ALPHA: f64 = 0.01;
const DELTA: f64 = 0.05;
const K: u32 = 10;
/// What is called pure: no weight that is quantized has more than 4 bits.
const NOTHING_MORE: f64 = 1e-9;

/// Builds bundles and judges them.
#[derive(Debug, Parser)]
#[command(name = "bench-quality")]
struct Options {
    /// A folder like ../shared/models.
    #[arg(long)]
    dir: PathBuf,
    /// The schema of all models.
    #[arg(long, default_value = "tests/fixtures/reference/features.toml")]
    features: PathBuf,
    /// The models.
    #[arg(long, value_delimiter = ' ', default_value = "dlrm dcn din bst")]
    models: Vec<String>,
    /// Where bundles are made.
    #[arg(long, default_value = "target/bench/quality")]
    work: PathBuf,
    /// Where to write the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A bar that all models, or three of four, are held to.
struct Joint {
    name: &'static str,
    unit: &'static str,
    must: Bar,
    want: Bar,
    /// How many of four models must reach it.
    of_four: usize,
}

const JOINT: [Joint; 9] = [
    joint("w8_agreement", Bar::AtLeast(0.97), Bar::AtLeast(0.985), 3),
    joint("w8_agreement_of_all", Bar::AtLeast(0.96), Bar::AtLeast(0.985), 4),
    joint("w8_auc_ratio", Bar::AtLeast(0.9995), Bar::AtLeast(0.9998), 4),
    joint("w8_ndcg_ratio_low", Bar::AtLeast(0.995), Bar::AtLeast(0.998), 4),
    joint("pure_w4_agreement", Bar::AtLeast(0.65), Bar::AtLeast(0.80), 3),
    joint("pure_w4_auc_ratio", Bar::AtLeast(0.995), Bar::AtLeast(0.999), 4),
    joint("answered_by_edge", Bar::AtLeast(0.45), Bar::AtLeast(0.65), 3),
    joint("answered_by_edge_or_region", Bar::AtLeast(0.85), Bar::AtLeast(0.95), 3),
    Joint { unit: "s", ..joint("build_seconds", Bar::AtMost(300.0), Bar::AtMost(60.0), 4) },
];
/// What variants may take of the bytes of full precision.
const SHARES: [(&str, f64); 3] = [("w4_bytes", 0.22), ("w8_bytes", 0.30), ("pure_w4_bytes", 0.16)];

const fn joint(name: &'static str, must: Bar, want: Bar, of_four: usize) -> Joint {
    Joint { name, unit: "share", must, want, of_four }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-quality: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    if let Some(path) = &options.json {
        // A path that cannot be written should be known before the long run.
        std::fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut rows = Vec::new();
    for model in &options.models {
        rows.extend(of_model(options, model)?);
    }
    for joint in &JOINT {
        rows.push(joint.row(&rows, options.models.len()));
    }
    let mut out = std::io::stdout().lock();
    for row in &rows {
        let value = row.value.map_or("null".to_owned(), |v| format!("{v:.4}"));
        let bar = [&row.must, &row.want].map(|bar| bar.as_deref().unwrap_or_default());
        let met = row.met.map_or("", |met| if met { "met" } else { "MISSED" });
        let reason = row.reason.as_deref().unwrap_or_default();
        writeln!(out, "{:5} {:55} {value:>9} {:10} {:10} {met:6} {reason}", row.subject, row.name, bar[0], bar[1])?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&Document::new(rows))? + "\n")?;
    }
    Ok(())
}

fn of_model(options: &Options, model: &str) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let begun = Instant::now();
    let built = built(options, model, "", None)?;
    let taken = begun.elapsed().as_secs_f64();
    rows.extend(of_set("", model, &built)?);
    rows.push(Row::new("build_seconds", model, "s", Some(taken)));
    let pure = self::built(options, model, "", Some(NOTHING_MORE))?;
    rows.extend(of_variant("pure_w4", model, &pure, VariantName::W4)?);
    rows.extend(of_set("popular_", model, &self::built(options, model, ".popular", None)?)?);
    for (name, most) in SHARES {
        let row = rows.iter_mut().find(|r| r.name == name).ok_or("a variant's bytes were counted")?;
        *row = row.clone().held_to(Some(Bar::AtMost(most)), None);
    }
    Ok(rows)
}

/// A bundle certified on the gate requests of a kind and judged on the evaluation requests of that kind.
fn built(options: &Options, model: &str, kind: &str, edge_share: Option<f64>) -> Result<Built, Error> {
    let dir = &options.dir;
    let out = options.work.join(model);
    let _ = std::fs::remove_dir_all(&out);
    let requests = |of: &str| dir.join(format!("requests.{of}{kind}.jsonl"));
    let built = build::run(
        &build::Options {
            model: dir.join(format!("{model}.onnx")),
            schema: options.features.clone(),
            catalog: dir.join("catalog.jsonl"),
            static_list: None,
            calibration: dir.join("requests.calibration.jsonl"),
            gate: vec![requests("gate")],
            eval: Some(requests("eval")),
            out,
            worker: None,
            version: "1".to_owned(),
            serial: 1,
            alpha: ALPHA,
            delta: DELTA,
            edge_share: edge_share.unwrap_or(build::Options::EDGE_SHARE),
            region_share: build::Options::REGION_SHARE,
            goal: Goal::Agreement,
            max_bytes: None,
            min_agreement: None,
            k: vec![K],
            report: None,
            comparison: Comparison::default(),
        },
        &Progress::shown(),
    )?;
    Ok(built)
}

fn of_set(kind: &str, model: &str, built: &Built) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for variant in [VariantName::W4, VariantName::W8] {
        rows.extend(of_variant(&format!("{kind}{}", variant.as_str()), model, built, variant)?);
    }
    let findings = &built.findings;
    let reason = findings.policies.iter().find_map(|p| p.reason.clone());
    let replay = findings.replays.first().ok_or("one k has one replay")?;
    let share = |name: &str, value: f64| Row::new(&format!("{kind}{name}"), model, "share", Some(value));
    let edge = answered(replay, &[Class::Edge]);
    rows.push(share("answered_by_edge", edge));
    rows.push(share("answered_by_edge_or_region", edge + answered(replay, &[Class::Region, Class::MergedRegion])));
    for class in replay.classes.iter().filter(|c| c.entry == Tier::Edge) {
        rows.extend(of_class(kind, model, class));
    }
    if reason.is_some() {
        rows.push(Row::new(&format!("{kind}certified"), model, "share", None).because(reason));
    }
    Ok(rows)
}

fn of_class(kind: &str, model: &str, class: &Share) -> Vec<Row> {
    let Some(name) = class.class.map(Class::as_str) else { return Vec::new() };
    let row = |what: &str, value| Row::new(&format!("{kind}class_{name}_{what}"), model, "share", value);
    // What is claimed is refuted by an interval above alpha.
    let low = row("wrong_low", class.interval.map(|i| i[0])).held_to(Some(Bar::AtMost(ALPHA)), None);
    vec![
        row("answered", Some(class.share)),
        row("wrong", class.wrong),
        low,
        row("wrong_high", class.interval.map(|i| i[1])),
    ]
}

/// Of requests that enter at the edge.
fn answered(replay: &Replay, classes: &[Class]) -> f64 {
    let of_them = |c: &&Share| c.entry == Tier::Edge && c.class.is_some_and(|class| classes.contains(&class));
    // Of nothing, a sum of floats would be -0.
    replay.classes.iter().filter(of_them).fold(0.0, |sum, c| sum + c.share)
}

fn of_variant(name: &str, model: &str, built: &Built, variant: VariantName) -> Result<Vec<Row>, Error> {
    let findings = &built.findings;
    let size = findings.sizes.iter().find(|s| s.variant == variant.into()).ok_or("every variant has a size")?;
    let of = |e: &&Evaluation| e.variant == variant.into();
    let evaluation = findings.evaluations.iter().find(of).ok_or("every variant is judged")?;
    let row = |what: &str, value| Row::new(&format!("{name}_{what}"), model, "share", value);
    let beside = evaluation.beside.as_ref();
    let (ndcg, auc) = (beside.and_then(|b| b.ndcg), beside.and_then(|b| b.auc));
    Ok(vec![
        row("bytes", Some(size.share)),
        row("agreement", Some(evaluation.agreement)),
        row("auc_ratio", auc.map(|r| r.ratio)),
        row("ndcg_ratio", ndcg.map(|r| r.ratio)),
        row("ndcg_ratio_low", ndcg.and_then(|r| r.interval).map(|i| i[0])),
    ])
}

impl Joint {
    /// The value that as many of the models reach as must.
    fn row(&self, rows: &[Row], models: usize) -> Row {
        let name = self.name.trim_end_matches("_of_all");
        let mut values: Vec<f64> = rows.iter().filter(|r| r.name == name).filter_map(|r| r.value).collect();
        let better =
            |a: &f64, b: &f64| if matches!(self.must, Bar::AtMost(_)) { a.total_cmp(b) } else { b.total_cmp(a) };
        values.sort_by(better);
        let most = (models * self.of_four).div_ceil(4);
        let value = if values.len() == models { most.checked_sub(1).map(|at| values[at]) } else { None };
        let row = Row::new(&format!("{name}_of_{most}"), "all", self.unit, value);
        row.held_to(Some(self.must), Some(self.want))
    }
}
