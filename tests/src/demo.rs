//! The demo: a real model through `quantize`, three tiers as processes on loopback, real requests, and a table.

mod bundle;
mod drive;
mod options;
mod replay;
mod report;
mod tiers;

pub use options::Options;

use std::path::Path;

use crate::certs::Certs;
use crate::client::{Client, Error, Protocol};
use tiers::Tiers;

/// Runs the demo; the table goes to stdout, progress to stderr.
///
/// # Errors
/// Says what failed and where its log lies.
pub async fn run(options: &Options) -> Result<(), Error> {
    if let Some(file) = &options.json {
        // A path that cannot be written should be known before the long run.
        std::fs::File::create(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let work = Path::new(".rung").join(&options.model);
    let bundle = bundle::build(options, &work)?;
    let certs = Certs::write(&work.join("certs"))?;
    let tiers = Tiers::start(&work, &bundle, &certs, options.serve).await?;
    let client = Client::new(&certs.ca, Protocol::Http2)?;
    let measured = drive::drive(options, &bundle, &tiers, &client).await?;
    report::print(&measured, options)?;
    std::fs::write(work.join("request.json"), &measured.sample)?;
    if options.serve {
        report::invite(&tiers, &certs, options)?;
        tokio::signal::ctrl_c().await?;
    }
    tiers.stop().await
}
