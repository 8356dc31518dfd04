//! `scripts/gpu-check.sh` without the building: see [`rung_tests::gpu`]. 0: all bars are met, or there is no GPU.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::Parser;
use rung_tests::client::Error;
use rung_tests::gpu::{Options, run};
use rung_tests::rows::Document;

fn main() -> ExitCode {
    match check(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu-check: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(options: &Options) -> Result<bool, Error> {
    let report = run(options)?;
    let mut out = stdout().lock();
    for row in &report.rows {
        let value = row.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4e}"));
        let bar = row.must.as_deref().unwrap_or_default();
        let missed = if row.met == Some(false) && report.missing.is_none() { "  MISSED" } else { "" };
        writeln!(out, "{:<10} {:<26} {value:>12} {:<6} {bar}{missed}", row.subject, row.name, row.unit)?;
    }
    let met = report.rows.iter().all(|row| row.met != Some(false));
    if let Some(path) = &options.json {
        let mut bytes = serde_json::to_vec_pretty(&Document::new(report.rows).with_gpu(report.gpu))?;
        bytes.push(b'\n');
        std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(missing) = report.missing {
        writeln!(out, "no GPU was measured: {missing}")?;
        return Ok(true);
    }
    Ok(met)
}
