//! `cdn-config`: arguments in, exit status out. 0: fit, 1: faults found, 2: wrong usage or a file that cannot be read.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cdn_config::check::{self, Verdict};
use clap::{Parser, Subcommand, ValueEnum};

/// Check the rung.toml of a tier before it is deployed
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Tell every fault of each file, with its line and key
    Check {
        /// The files to check; the paths in each are relative to its own folder
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How to write the report
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("cdn-config: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> io::Result<ExitCode> {
    match cli.verb {
        Verb::Check { files, format } => check(&files, format),
    }
}

fn check(files: &[PathBuf], format: Format) -> io::Result<ExitCode> {
    let report = check::check(files);
    let mut stdout = io::stdout().lock();
    match format {
        Format::Text => report.write_text(&mut stdout)?,
        Format::Json => report.write_json(&mut stdout)?,
    }
    stdout.flush()?;
    Ok(match report.verdict() {
        Verdict::Fit => ExitCode::SUCCESS,
        Verdict::Faulty => ExitCode::from(1),
        Verdict::Unreadable => ExitCode::from(2),
    })
}
