//! `scripts/bench-batching.sh` without the building: see [`rung_tests::batching`].

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::Parser;
use rung_tests::batching::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(rows) => {
            for row in rows {
                let value = row.value.unwrap_or(f64::NAN);
                if writeln!(stdout(), "{:<28} {value:>10.2} {}  ({})", row.name, row.unit, row.subject).is_err() {
                    return ExitCode::from(2);
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-batching: {error}");
            ExitCode::from(2)
        }
    }
}
