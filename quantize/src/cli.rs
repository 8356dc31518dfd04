//! The command line: which command, in which form its result is written, and the exit code.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::{build, delta, eval, explain, fit, golden, inspect, parity, report, schema_check, schema_init, simulate};

/// The form of every JSON result.
const SCHEMA_VERSION: u32 = 1;

/// Turns a trained ONNX ranking model into a bundle for edge, region and origin.
#[derive(Debug, Parser)]
#[command(name = "quantize", version, after_help = "Exit codes: 0 done, 1 a check found a problem, 2 usage or I/O.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How the result is written to stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a bundle from a model, a schema and example requests
    Build(Box<build::Options>),
    /// Evaluate a bundle on a request file
    Eval(eval::Options),
    /// Make a catalog delta: items that are added, changed or removed without a new bundle
    Delta(delta::Options),
    /// Certify on simulated gate sets, and count how often that errs
    Simulate(simulate::Options),
    /// Show what each variant of a bundle makes of a request, and which tier answers it
    Explain(explain::Options),
    /// Show which variants of a bundle a CDN's platform takes, and the best of them
    Fit(fit::Options),
    /// Show what is in a bundle or an ONNX model
    Inspect(inspect::Options),
    /// Work on schemas
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Compare imported models with recorded scores
    #[command(hide = true)]
    Parity {
        #[command(flatten)]
        options: golden::Options,
        /// Where to write the rows of a benchmark
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum SchemaCommand {
    /// Check features.toml, alone or against a model
    Check(schema_check::Options),
    /// Write a first draft of features.toml from a model's inputs
    Init(schema_init::Options),
}

/// A result in both forms.
struct Outcome {
    text: String,
    json: serde_json::Value,
    problem: bool,
}

/// Runs a command; results go to `out`, errors and progress to stderr.
///
/// Returns the exit code: 0 done, 1 a check found a problem, 2 usage or I/O.
pub fn run(cli: &Cli, out: &mut impl Write) -> u8 {
    match dispatch(&cli.command) {
        Ok(outcome) => {
            let text = match cli.format {
                Format::Text => outcome.text,
                Format::Json => outcome.json.to_string(),
            };
            // A closed pipe is the reader's choice, and there is nobody left to tell.
            let _ = writeln!(out, "{}", text.trim_end());
            u8::from(outcome.problem)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(command: &Command) -> Result<Outcome, Failure> {
    let progress = Progress::shown();
    match command {
        Command::Build(options) => {
            let built = build::run(options, &progress)?;
            Ok(outcome(report::built(&built, &options.out), &built, false))
        }
        Command::Eval(options) => {
            let evaluated = eval::run(options, &progress)?;
            Ok(outcome(report::evaluated(&evaluated), &evaluated, false))
        }
        Command::Delta(options) => {
            let made = delta::run(options)?;
            Ok(outcome(report::delta(&made), &made, false))
        }
        Command::Explain(options) => {
            let explained = explain::run(options)?;
            Ok(outcome(explain::text(&explained), &explained, false))
        }
        Command::Fit(options) => {
            let fitted = fit::run(options)?;
            Ok(outcome(fit::text(&fitted), &fitted, fitted.best.is_none()))
        }
        Command::Inspect(options) => {
            let inspected = inspect::run(options)?;
            Ok(outcome(report::inspected(&inspected), &inspected, false))
        }
        Command::Simulate(options) => {
            let simulated = simulate::run(options, &progress)?;
            Ok(outcome(report::simulated(&simulated), &simulated, false))
        }
        Command::Schema(SchemaCommand::Check(options)) => {
            let checked = schema_check::run(options)?;
            Ok(outcome(report::schema_checked(&checked), &checked, !checked.faults.is_empty()))
        }
        Command::Schema(SchemaCommand::Init(options)) => {
            let drafted = schema_init::run(options)?;
            Ok(outcome(schema_init::text(&drafted), &drafted, !drafted.faults.is_empty()))
        }
        Command::Parity { options, json } => {
            let rows = parity::run(options)?;
            if let Some(path) = json {
                parity::write(path, &rows)?;
            }
            let problem = !rows.iter().all(parity::Parity::met);
            Ok(Outcome { text: parity::table(&rows), json: parity::benchmark(&rows), problem })
        }
    }
}

fn outcome(text: String, result: &impl Serialize, problem: bool) -> Outcome {
    let mut json = serde_json::to_value(result).unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    }
    Outcome { text, json, problem }
}
