//! `scripts/bench-edge.sh` without the building: see [`rung_tests::edge`].

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::Parser;
use rung_tests::client::Error;
use rung_tests::edge::{Options, run};
use rung_tests::rows::Document;

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-edge: {error}");
            ExitCode::from(2)
        }
    }
}

fn bench(options: &Options) -> Result<(), Error> {
    if let Some(path) = &options.json {
        // A path that cannot be written should be known before the long run.
        std::fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let rows = run(options)?;
    let mut out = stdout().lock();
    for row in &rows {
        let value = row.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let (must, want) = (row.must.as_deref().unwrap_or_default(), row.want.as_deref().unwrap_or_default());
        let missed = if row.met == Some(false) { "MISSED" } else { "" };
        let reason = row.reason.as_deref().unwrap_or_default();
        let (name, subject, unit) = (&row.name, &row.subject, &row.unit);
        writeln!(out, "{name:<44} {subject:<9} {value:>14} {unit:<8} {must:<12} {want:<12} {missed:<6} {reason}")?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&Document::new(rows))? + "\n")?;
    }
    Ok(())
}
