//! What the demo can be asked.

use std::path::{Path, PathBuf};

use clap::Parser;

/// Where the repo's own model is.
const OWN_DIR: &str = "tests/fixtures/demo";

/// Runs a model through the whole ladder on loopback and prints how it did.
#[derive(Clone, Debug, Parser)]
#[command(name = "scripts/demo.sh")]
pub struct Options {
    /// A folder with NAME.onnx, catalog.jsonl and requests.{calibration,gate,eval}.jsonl; gate may be .jsonl.gz.
    #[arg(long, default_value = OWN_DIR)]
    pub dir: PathBuf,
    /// NAME.
    #[arg(long, default_value = "movies")]
    pub model: String,
    /// The schema; features.toml of the folder by default.
    #[arg(long)]
    pub features: Option<PathBuf>,
    /// How many of the folder's evaluation requests to send.
    #[arg(long, default_value_t = 500)]
    pub requests: usize,
    /// Requests a second, on average; arrivals are Poisson.
    #[arg(long, default_value_t = 40.0, value_parser = rate)]
    pub rate: f64,
    /// The share of tagged answers that may be wrong.
    #[arg(long, default_value_t = 0.05)]
    pub alpha: f64,
    /// The share of the full-precision bytes that the edge's variant may take.
    #[arg(long, value_name = "SHARE")]
    pub edge_share: Option<f64>,
    /// Leaves the tiers up afterwards and prints a curl to try.
    #[arg(long)]
    pub serve: bool,
    /// Also writes the table as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Options {
    /// The schema's file.
    #[must_use]
    pub fn features(&self) -> PathBuf {
        self.features.clone().unwrap_or_else(|| self.dir.join("features.toml"))
    }

    /// The share of bytes for the edge: what `quantize` would take, but for the repo's own model. That one is so small
    /// that its two large tables are nearly all of it, and with both in 4 bits nothing can be certified.
    #[must_use]
    pub fn edge_share(&self) -> f64 {
        let own = self.dir == Path::new(OWN_DIR);
        self.edge_share.unwrap_or(if own { 0.28 } else { 0.22 })
    }

    /// A file of requests, plain or compressed.
    #[must_use]
    pub fn requests_file(&self, of: &str) -> PathBuf {
        let compressed = self.dir.join(format!("requests.{of}.jsonl.gz"));
        if compressed.exists() { compressed } else { self.dir.join(format!("requests.{of}.jsonl")) }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000.0 => Ok(rate),
        _ => Err("a number above 0, at most 10000".into()),
    }
}
