//! `scripts/bench-ladder.sh` without the building: certifies bundles on gate requests at several α and replays the
//! ladder on evaluation requests, which no step has seen.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quantize::eval::Opened;
use quantize::gate::{Claim, Level, calibrate};
use quantize::progress::Progress;
use quantize::replay::{Replay, replay};
use quantize::score::{Encoding, Scored, Scorer};
use quantize::simulate::simulate;
use rung_tests::client::Error;
use rung_tests::predictor::{Known, Saved, features, saved};
use rung_tests::rows::{Document, Row};

/// Kinds of candidates, and what their files are called by: 100 at random, 100 popular ones, 1,000 at random.
const SETS: [(&str, &str); 3] = [("random", ""), ("popular", ".popular"), ("thousand", ".1000")];
const ALPHAS: [f64; 3] = [0.01, 0.02, 0.05];
const DELTA: f64 = 0.05;
const K: u32 = 10;
/// The share of draws that may err: δ, and what 2,000 draws may miss it by.
const MOST_ERRING: f64 = 0.065;

/// Shares of requests that a tier answers, for what a predictor could save.
const SHARES: [f64; 3] = [0.1, 0.3, 0.9];
/// The share of a tier's answers that a predictor may lose.
const MOST_LOST: f64 = 0.01;

/// Certifies and replays the ladder of bundles.
#[derive(Debug, Parser)]
#[command(name = "bench-ladder")]
struct Options {
    /// Bundles, as `MODEL=FOLDER`.
    #[arg(required = true)]
    bundles: Vec<String>,
    /// A folder with requests.{gate,eval}[.popular|.1000].jsonl.
    #[arg(long)]
    dir: PathBuf,
    /// Calibrations on users drawn from all requests; 0 leaves them out.
    #[arg(long, default_value_t = 2000)]
    draws: u64,
    /// Where to write the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-ladder: {error}");
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
    for bundle in &options.bundles {
        let (model, folder) = bundle.split_once('=').ok_or("a bundle is given as MODEL=FOLDER")?;
        let folder = PathBuf::from(folder);
        let opened = Opened::read(&folder)?;
        let scorers = opened.scorers(&folder)?;
        let scorers: Vec<&Scorer> = scorers.iter().collect();
        let encoding = Encoding { schema: &opened.schema, catalog: &opened.catalog };
        for (kind, suffix) in SETS {
            let read = |of: &str| -> Result<Vec<Scored>, Error> {
                let path = options.dir.join(format!("requests.{of}{suffix}.jsonl"));
                Ok(encoding.score(&path, &scorers, &Progress::shown())?.requests)
            };
            let (gate, eval) = (read("gate")?, read("eval")?);
            let foreseen = options.dir.join(format!("requests.gate{suffix}.jsonl"));
            rows.extend(foresight(kind, model, &std::fs::read_to_string(foreseen)?, &gate)?);
            let mut all = gate.clone();
            all.extend(eval.iter().cloned());
            for alpha in ALPHAS {
                let policies = calibrate(&gate, &Claim { alpha, delta: DELTA, ks: vec![K] });
                let name = format!("{kind}_alpha_{alpha}");
                for replay in replay(&policies, &eval) {
                    rows.extend(replayed(&name, model, &replay));
                }
                if let Some(reason) = policies.iter().find_map(|p| p.reason.clone()) {
                    rows.push(Row::new(&format!("{name}_certified"), model, "share", None).because(Some(reason)));
                }
                if options.draws > 0 {
                    rows.extend(simulated(&name, model, (&all, &gate), alpha, options.draws));
                }
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for row in &rows {
        let value = row.value.map_or("null".to_owned(), |v| format!("{v:.4}"));
        let reason = row.reason.as_deref().unwrap_or_default();
        writeln!(out, "{:6} {:60} {value:>10} {reason}", row.subject, row.name)?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&Document::new(rows))? + "\n")?;
    }
    Ok(())
}

fn replayed(name: &str, model: &str, replay: &Replay) -> Vec<Row> {
    let mut rows = Vec::new();
    for c in &replay.classes {
        let class = c.class.map_or("origin", shared_model::gate::Class::as_str);
        let name = format!("{name}_entry_{}_{class}", c.entry.as_str());
        let mut row = |what: &str, value| rows.push(Row::new(&format!("{name}_{what}"), model, "share", value));
        row("answered", Some(c.share));
        row("wrong", c.wrong);
        row("wrong_low", c.interval.map(|i| i[0]));
        row("wrong_high", c.interval.map(|i| i[1]));
    }
    if let Some(upload) = &replay.upload {
        let row = |what: &str, unit, value| Row::new(&format!("{name}_{what}"), model, unit, Some(value));
        rows.push(row("sent_up_candidates", "candidates", upload.sent));
        rows.push(row("sent_up_bytes_whole", "bytes", upload.bytes_whole));
        rows.push(row("sent_up_bytes", "bytes", upload.bytes));
    }
    rows
}

/// What foreseeing that a tier will not be sure could save it, whatever share of requests it answers.
fn foresight(kind: &str, model: &str, lines: &str, scored: &[Scored]) -> Result<Vec<Row>, Error> {
    let requests: Vec<serde_json::Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if requests.len() != scored.len() {
        return Err("some gate requests are not scored: what is foreseen would be of others".into());
    }
    let mut rows = Vec::new();
    for (tier, at) in [("edge", 0), ("region", 1)] {
        let known = requests.iter().zip(scored).filter_map(|(request, scored)| {
            let margin = f64::from(scored.margin(at, K as usize)?);
            Some(Known { user: scored.user.clone(), features: features(request), margin })
        });
        let known: Vec<Known> = known.collect();
        for answered in SHARES {
            let Saved { foreseen, scorings } = saved(&known, answered, MOST_LOST);
            let name = format!("{kind}_predictor_{tier}_answering_{answered}");
            rows.push(Row::new(&format!("{name}_scorings_saved"), model, "share", Some(scorings)));
            rows.push(Row::new(&format!("{name}_variance_foreseen"), model, "share", Some(foreseen)));
        }
    }
    Ok(rows)
}

fn simulated(name: &str, model: &str, (all, gate): (&[Scored], &[Scored]), alpha: f64, draws: u64) -> Vec<Row> {
    let users = gate.iter().map(|r| r.user.as_str()).collect::<std::collections::BTreeSet<_>>().len();
    let result = simulate(all, K, users, draws, 1, Level { alpha, delta: DELTA });
    let row = |what: &str, value| Row::new(&format!("{name}_{what}"), model, "share", Some(value));
    vec![row("simulated_certified", result.certified), row("simulated_erring", result.erred).at_most(MOST_ERRING)]
}
