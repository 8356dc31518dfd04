//! `scripts/demo.sh` without the building: see [`rung_tests::demo`].

use std::process::ExitCode;

use clap::Parser;
use rung_tests::demo;

#[tokio::main]
async fn main() -> ExitCode {
    match demo::run(&demo::Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    }
}
