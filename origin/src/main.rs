//! `origin`: arguments in, exit status out. 0: drained, 2: a file, a bundle or an address, 64: the configuration.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use cdn_config::{Config, LoadError, LogFormat};
use clap::Parser;
use front::Signals;
use front::logging::{self, Format};
use origin::{Settings, SettingsError, start};

const IO: u8 = 2;
const CONFIGURATION: u8 = 64;

/// Rank at full precision, at the top of the ladder
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The rung.toml of this origin
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(status) => ExitCode::from(status),
    }
}

async fn run(cli: &Cli) -> Result<(), u8> {
    let config = Config::from_path(&cli.config).map_err(|error| match error {
        LoadError::Unreadable { .. } => tell(IO, error),
        LoadError::Faults(_) => tell(CONFIGURATION, error),
    })?;
    let in_config = |error: &dyn Display| format!("{}: {error}", cli.config.display());
    let format = match config.log().format() {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    logging::init(format, config.log().filter()).map_err(|e| tell(CONFIGURATION, in_config(&e)))?;
    let settings = Settings::from_config(&config).map_err(|error| match error {
        SettingsError::Tier(_) => tell(CONFIGURATION, in_config(&error)),
        SettingsError::Tls(_) => tell(IO, in_config(&error)),
    })?;
    // Before anything is open, so that a signal during the start is not lost.
    let signals = Signals::listen().map_err(|error| tell(IO, error))?;
    let running = start(settings).await.map_err(|error| tell(IO, error))?;
    let drained = running.run(signals, config.tier().drain_patience()).await;
    tracing::info!(cut = drained.cut, "drained");
    Ok(())
}

fn tell(status: u8, error: impl Display) -> u8 {
    eprintln!("origin: {error}");
    status
}
