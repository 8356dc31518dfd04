//! The origin's GPU against the same machine's CPU, and against recorded scores: what `scripts/gpu-check.sh` runs.
//!
//! Parity first, then time. Without a GPU every row is null, with the reason.

mod chain;
mod model;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use origin::device::{Choice, Device, Missing, Precision};
use origin::executor::Executor;
use quantize::golden::{self, Folder};
use shared_model::graph::Graph;
use shared_model::tensor::Tensor;

use crate::client::Error;
use crate::rows::{Document, Row};
use model::Model;

/// Where the repo's own model is.
const OWN: &str = "tests/fixtures/demo";

/// What is checked.
#[derive(Debug, Parser)]
#[command(name = "gpu-check", about = "Check and measure the origin on this machine's GPU", version)]
pub struct Options {
    /// A folder of models beside the repo's own
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Its schema; DIR/features.toml unless given
    #[arg(long, requires = "dir")]
    schema: Option<PathBuf>,
    /// Which GPU
    #[arg(long, default_value_t = 0)]
    index: usize,
    /// Rows of another runtime on the same machine, to compare with
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    /// Where the rows are written
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A device under the name of its rows; none where there is no GPU.
#[derive(Debug)]
struct Runs {
    name: &'static str,
    device: Option<Device>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// The rows.
    pub rows: Vec<Row>,
    /// The GPU.
    pub gpu: Option<String>,
    /// Why nothing was measured.
    pub missing: Option<Missing>,
}

/// Checks and measures every model.
///
/// # Errors
/// A file cannot be used, or a device fails under way.
pub fn run(options: &Options) -> Result<Report, Error> {
    let peer = options.peer.as_deref().map(Document::read).transpose()?.unwrap_or_default();
    let probe = |precision| Device::probe(Choice::Cuda(options.index), precision).map(|probed| probed.device);
    let missing = probe(Precision::F32).err();
    let gpu = probe(Precision::F32).ok().and_then(|device| device.name());
    let all = [
        Runs { name: "gpu_f32", device: probe(Precision::F32).ok() },
        Runs { name: "gpu_tf32", device: probe(Precision::Tf32).ok() },
        Runs { name: "gpu_bf16", device: probe(Precision::Bf16).ok() },
        Runs { name: "cpu", device: missing.is_none().then(Device::cpu) },
    ];
    let mut rows = Vec::new();
    for runs in &all {
        rows.push(chain::row(runs)?);
    }
    let own = golden::Options { dir: OWN.into(), schema: None };
    let given = options.dir.iter().map(|dir| golden::Options { dir: dir.clone(), schema: options.schema.clone() });
    for options in std::iter::once(own).chain(given) {
        let folder = Folder::open(&options)?;
        for name in folder.models() {
            let model = Model::read(&folder, name)?;
            for runs in &all {
                rows.extend(model.rows(runs)?);
            }
        }
    }
    let ratios: Vec<Row> = rows.iter().filter_map(|row| against(row, &rows, &peer)).collect();
    rows.extend(ratios);
    rows.extend(peer);
    let reason = missing.as_ref().map(ToString::to_string);
    let rows = rows.into_iter().map(|row| row.because(reason.clone())).collect();
    Ok(Report { rows, gpu, missing })
}

/// How many times faster the GPU is than the CPU, or than the fastest of the peer's ways, wherever that was measured.
fn against(row: &Row, rows: &[Row], peer: &[Row]) -> Option<Row> {
    let size = row.name.strip_prefix("gpu_f32_ms_");
    let (size, name) = match size {
        Some(size) => (size, "gpu_f32_over_peer"),
        None => (row.name.strip_prefix("cpu_ms_")?, "gpu_f32_over_cpu"),
    };
    let named = |all: &[Row], matches: &dyn Fn(&str) -> bool| {
        let of = all.iter().filter(|other| other.subject == row.subject && matches(&other.name));
        of.filter_map(|other| other.value).min_by(f64::total_cmp)
    };
    let ours = named(rows, &|name| name == format!("gpu_f32_ms_{size}"));
    let theirs = match name {
        "gpu_f32_over_cpu" => row.value,
        _ => Some(named(peer, &|name| name.ends_with(&format!("_ms_{size}")))?),
    };
    let value = theirs.zip(ours).map(|(theirs, ours)| theirs / ours);
    Some(Row::new(&format!("{name}_{size}"), &row.subject, "ratio", value))
}

/// A graph on a device, compiled and tuned for every size of batch.
fn ready(graph: &Graph, tensors: &BTreeMap<String, Tensor>, device: &Device) -> Result<Executor, Error> {
    let executor = Executor::new(graph, tensors, &Device::cpu())?.on(device)?;
    for sample in executor.samples() {
        executor.run(sample)?;
    }
    Ok(executor)
}
