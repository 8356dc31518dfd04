//! The demo: a real model through `quantize`, three tiers as processes on loopback, real requests, and a table.

mod bundle;
mod drive;
mod options;
mod report;

pub use options::Options;

use std::path::Path;

use crate::client::{Error, Protocol};
use crate::processes::{Terms, is_free};
use crate::stack::{Builder, Which};

/// Where the edge answers if the port is free and the tiers stay, so that the printed command can be typed again.
const FAVOURITE_PORT: u16 = 8443;

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
    let terms = Terms {
        dir: Some(&work),
        edge: Some(FAVOURITE_PORT).filter(|port| options.serve && is_free(*port)),
        ..Terms::default()
    };
    // Nor is it how they keep answers: those to the requests of the warm-up would be counted as ranked.
    let tiers = Builder::serving(&bundle).without_caches();
    let tiers = Which::HIGHEST_FIRST.into_iter().fold(tiers, |builder, which| {
        // Longer than a client waits by default: what is measured is how the tiers rank.
        builder.with(which, "[limits]\ndefault_timeout_ms = 1000\n")
    });
    let tiers = tiers.spawn_on(terms).await?;
    eprintln!("demo: the tiers are ready, the edge at {}", tiers.url(Which::Edge, "/v1/rank"));
    let client = tiers.client(Protocol::Http2)?;
    let measured = drive::drive(options, &bundle, &tiers, &client).await?;
    report::print(&measured, options)?;
    std::fs::write(work.join("request.json"), &measured.sample)?;
    if options.serve {
        report::invite(&tiers, options)?;
        tokio::signal::ctrl_c().await?;
    }
    tiers.stop().await
}
