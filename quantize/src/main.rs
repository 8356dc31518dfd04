//! The `quantize` command.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // clap itself ends with 2 on a wrong command line.
    ExitCode::from(quantize::cli::run(&quantize::cli::Cli::parse(), &mut std::io::stdout().lock()))
}
