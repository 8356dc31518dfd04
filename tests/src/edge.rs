//! The edge against the runtimes that one would use instead: what `scripts/bench-edge.sh` runs.
//!
//! The guest runs in wasmtime as `pop` runs it, and in Node's V8; its peers are ONNX Runtime, native and for the web. All
//! that is compared runs in this run, in turns, one thread each; ratios come first.

mod bits;
mod cores;
mod cost;
mod export;
mod growth;
mod guest;
mod linear;
mod load;
mod model;
mod peer;
mod speed;
mod turns;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use pop::hosting::Worker;
use serde_json::json;

use crate::client::Error;
use crate::rows::Row;
use cores::OneCore;
use model::Model;
use peer::Peer;
use turns::Turns;

/// The reference models, in the order of their rows.
const MODELS: [&str; 4] = ["dlrm", "dcn", "din", "bst"];

/// Measure the worker of the edge beside its peers
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-edge", version)]
pub struct Options {
    /// A folder with NAME.onnx, catalog.jsonl and requests.{calibration,gate,eval}.jsonl
    #[arg(long, default_value = "../shared/models")]
    dir: PathBuf,
    /// Their schema
    #[arg(long, value_name = "FILE", default_value = "tests/fixtures/reference/features.toml")]
    schema: PathBuf,
    /// A model of the folder; all four unless given
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// What is measured; all of it unless given
    #[arg(long, value_enum)]
    only: Vec<Topic>,
    /// Turns that everybody has
    #[arg(long, default_value_t = 60)]
    turns: u32,
    /// Milliseconds of a turn
    #[arg(long, default_value_t = 50)]
    turn_ms: u64,
    /// The worker
    #[arg(long, value_name = "FILE", default_value = "target/worker/worker.wasm")]
    worker: PathBuf,
    /// The worker, built without relaxed SIMD: what a Node without it runs
    #[arg(long, value_name = "FILE", default_value = "target/worker/simd128.wasm")]
    simd128_worker: PathBuf,
    /// The worker, built without SIMD
    #[arg(long, value_name = "FILE")]
    scalar_worker: Option<PathBuf>,
    /// Requests whose scores are compared bit by bit, of all models together
    #[arg(long, default_value_t = 10_000)]
    cases: usize,
    /// Node: what onnxruntime-web and the guest beside it run in
    #[arg(long, value_name = "FILE", default_value = "node")]
    node: String,
    /// The folder of onnxruntime-web
    #[arg(long, value_name = "DIR")]
    ort_web: Option<PathBuf>,
    /// Where bundles are kept between runs, and what the peers are given
    #[arg(long, value_name = "DIR", default_value = "target/bench/edge")]
    work: PathBuf,
    /// Where the rows are written
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// A request of 100 candidates, beside the peers
    Speed,
    /// One int8 linear, beside onnxruntime-web's
    Linear,
    /// The worker's bytes, its first answer and its memory
    Cost,
    /// `pop` over HTTP, beside the guest alone
    Load,
    /// More candidates, larger catalogs
    Growth,
    /// Whether scores have the same bits everywhere
    Bits,
}

/// What is measured with.
struct Bench<'a> {
    options: &'a Options,
    worker: Worker,
    turns: Turns,
    /// ONNX Runtime, or why there is none.
    native: Result<Peer, String>,
    /// Node with onnxruntime-web, or why there is none.
    node: Result<Peer, String>,
    /// The worker for it.
    node_worker: &'a Path,
}

/// Measures.
///
/// # Errors
/// A file cannot be used, or the guest fails. A peer that is not there is no error: its rows say so.
pub fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let names: Vec<&str> = match options.model.as_slice() {
        [] => MODELS.to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    // What is missing should be known before the long run.
    for file in names.iter().map(|name| format!("{name}.onnx")).chain(["requests.eval.jsonl".to_owned()]) {
        let file = options.dir.join(file);
        std::fs::metadata(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let models = names.iter().map(|name| Model::open(options, name)).collect::<Result<Vec<_>, _>>()?;
    let bench = Bench::new(options)?;
    let asked = |topic| options.only.is_empty() || options.only.contains(&topic);
    let mut rows = Vec::new();
    // On the core that the peers have.
    let core = OneCore::take()?;
    if asked(Topic::Speed) {
        for model in &models {
            rows.extend(speed::rows(&bench, model)?);
        }
    }
    if asked(Topic::Linear) {
        rows.extend(linear::rows(&bench)?);
    }
    drop(core);
    // Of one model, the smallest unless others are asked for.
    let one = models.first().ok_or("no model is given")?;
    if asked(Topic::Cost) {
        rows.extend(cost::rows(&bench, one)?);
    }
    if asked(Topic::Load) {
        rows.extend(load::rows(&bench, one)?);
    }
    if asked(Topic::Growth) {
        rows.extend(growth::rows(&bench, one)?);
    }
    if asked(Topic::Bits) {
        rows.extend(bits::rows(&bench, &models)?);
    }
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        let ort_web = options.ort_web.as_ref().map(std::path::absolute).transpose()?;
        let environment: Vec<(&str, &OsStr)> =
            ort_web.iter().map(|folder| ("RUNG_ORT_WEB", folder.as_os_str())).collect();
        let peer = |program: &str, script: &str, environment: &[_]| {
            let peer = Peer::start(program, script, environment).map_err(|e| e.to_string())?;
            let versions = peer.versions().map_err(|e| format!("{program} {script}: {e}"))?;
            eprintln!("{versions}");
            // Not before it has answered: by then it has started what compiles and collects.
            peer.join_first_core().map_err(|e| e.to_string())?;
            Ok(peer)
        };
        let node = peer(&options.node, "scripts/edge_peer.mjs", &environment);
        let relaxed = node.as_ref().is_ok_and(|node| node.ask(&json!({"do": "relaxed"})).is_ok());
        Ok(Self {
            options,
            worker: guest::compile(&options.worker)?,
            turns: Turns { count: options.turns, time: Duration::from_millis(options.turn_ms) },
            native: peer("python3", "scripts/edge_peer.py", &[]),
            node,
            node_worker: if relaxed { &options.worker } else { &options.simd128_worker },
        })
    }
}
