//! `quantize fit`: which variants of a bundle a platform takes, and the best of those.
//!
//! ```text
//! limits   what each platform allows
//! deploy   what is put there, and its bytes
//! measure  the memory of an instance that loads the variant and ranks, and the multiply-adds of a request
//! text     the table
//! ```

mod deploy;
mod limits;
mod measure;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;

use serde::Serialize;
use shared_model::bundle::{Bundle, CATALOG, FEATURES};
use shared_model::variant::VariantName;

use crate::failure::Failure;
use crate::source::{self, SourceError};
use deploy::Deployed;
use limits::Limits;
use measure::{Measured, Measuring};

pub use limits::Target;
pub(crate) use text::text;

/// Where, and how much is asked of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Where it is to run.
    #[arg(long, value_enum)]
    pub target: Target,
    /// The candidates of a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub candidates: u32,
    /// The memory that an instance may have, if it is not what the platform allows: `worker.memory_mib` of a pop's rung.toml.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub memory_mib: Option<u64>,
    /// The worker that scripts/build-worker.sh makes.
    #[arg(long, default_value = "target/worker/worker.wasm")]
    pub worker: PathBuf,
    /// For Cloudflare: the package that scripts/build-web.sh makes.
    #[arg(long, default_value = "target/web")]
    pub package: PathBuf,
    /// Requests: the first lends its user and context to what is ranked, which else says nothing of either.
    #[arg(long)]
    pub requests: Option<PathBuf>,
}

/// What fits.
#[derive(Clone, Debug, Serialize)]
pub struct Fitted {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Where it is to run.
    pub target: Target,
    /// The candidates of a request.
    pub candidates: u32,
    /// Each variant that a worker runs.
    pub variants: Vec<Fit>,
    /// Of those that fit, the one that agrees most often with full precision.
    pub best: Option<VariantName>,
}

/// One variant beside the limits.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    /// Which.
    pub variant: VariantName,
    /// What is deployed for it.
    pub deployed: String,
    /// How often it agrees with full precision, by the manifest.
    pub agreement: Option<f64>,
    /// What it takes of each thing that can be limited.
    pub rows: Vec<Row>,
    /// Why it cannot be run at all.
    pub fault: Option<String>,
    /// Whether it can, within every limit.
    pub fits: bool,
}

/// What a variant takes of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Of what.
    pub what: Quantity,
    /// How much, in bytes or microseconds.
    pub value: u64,
    /// The most that the platform allows.
    pub limit: Option<u64>,
    /// Whether it is no more than that.
    pub ok: bool,
}

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Bytes of what is deployed, with gzip.
    CompressedBytes,
    /// Bytes of what is deployed.
    Bytes,
    /// Bytes of memory that an instance has after a request.
    MemoryBytes,
    /// Microseconds of CPU time a request, estimated from its multiply-adds.
    EstimatedCpuMicroseconds,
}

/// Measures every variant of a bundle that a worker runs.
///
/// # Errors
/// A file cannot be used, or the request cannot be ranked; names it.
pub fn run(options: &Options) -> Result<Fitted, Failure> {
    let bundle = read(options)?;
    let measuring = Measuring::new(options, &bundle)?;
    let mut limits = options.target.limits();
    if let Some(mib) = options.memory_mib {
        limits.memory = mib << 20;
    }
    let mut variants = Vec::new();
    for variant in VariantName::ALL.into_iter().filter(|v| v.worker_file().is_some()) {
        let (deployed, measured) = measuring.of(variant)?;
        let quality = bundle.manifest.variants.get(&variant).and_then(|entry| entry.quality.as_ref());
        variants.push(judge(variant, &deployed, measured, quality.map(|q| q.agreement), limits));
    }
    Ok(Fitted {
        model: bundle.manifest.model.clone(),
        version: bundle.manifest.version.clone(),
        target: options.target,
        candidates: options.candidates,
        best: best(&variants),
        variants,
    })
}

/// The files of a bundle that a tier with a worker reads.
fn read(options: &Options) -> Result<Bundle, SourceError> {
    let folder = &options.bundle;
    let read = |file: &str, max: u64| source::bytes(&folder.join(file), max).map_err(|e| e.to_string());
    let of = |wanted: &[&str]| Bundle::read(wanted, read).map_err(|e| SourceError::file(folder, e));
    let listed = of(&[])?.manifest.files;
    let of_workers = VariantName::ALL.into_iter().filter_map(|v| Some([v.file(), v.worker_file()?])).flatten();
    let optional = |file: &&str| !file.ends_with(".wasm") || listed.contains_key(*file);
    of(&[FEATURES, CATALOG].into_iter().chain(of_workers.filter(optional)).collect::<Vec<_>>())
}

/// Holds what was measured to the limits.
fn judge(variant: VariantName, deployed: &Deployed, measured: Measured, agreement: Option<f64>, limits: Limits) -> Fit {
    let row = |what, value, limit: Option<u64>| Row { what, value, limit, ok: limit.is_none_or(|most| value <= most) };
    let mut rows = vec![
        row(Quantity::CompressedBytes, deployed.compressed, limits.compressed),
        row(Quantity::Bytes, deployed.bytes, limits.size),
    ];
    let fault = match measured.memory {
        Ok(bytes) => {
            rows.push(row(Quantity::MemoryBytes, bytes, Some(limits.memory)));
            None
        }
        Err(fault) => Some(fault),
    };
    rows.push(row(Quantity::EstimatedCpuMicroseconds, measured.cpu, limits.cpu));
    let fits = fault.is_none() && rows.iter().all(|row| row.ok);
    Fit { variant, deployed: deployed.what.to_owned(), agreement, rows, fault, fits }
}

/// Of those that fit, the one that agrees most often with full precision; of equals, the one of more bits.
fn best(variants: &[Fit]) -> Option<VariantName> {
    let agreement = |fit: &Fit| fit.agreement.unwrap_or(0.0);
    let better = |a: &&Fit, b: &&Fit| agreement(a).total_cmp(&agreement(b)).then(a.variant.cmp(&b.variant));
    variants.iter().filter(|fit| fit.fits).max_by(better).map(|fit| fit.variant)
}
