//! `pop`: arguments in, exit status out. 0: drained, 64: bad configuration, 2: usage or a file or address that fails.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use cdn_config::{Config, LoadError, LogFormat};
use clap::Parser;
use front::Signals;
use front::logging::{self, Format};
use mimalloc::MiMalloc;
use pop::{Settings, SettingsError, UpstreamError};

/// A request is hundreds of small texts, which cost less here than from the system's allocator (ADR 20).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit status of a configuration that is to be put right (`EX_USAGE` of sysexits).
const BAD_CONFIGURATION: u8 = 64;
/// The exit status of what the system refuses.
const FAILED: u8 = 2;

/// Rank at a POP or in a region
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The rung.toml of this tier
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, message)) => {
            eprintln!("pop: {message}");
            ExitCode::from(status)
        }
    }
}

fn run(cli: &Cli) -> Result<(), (u8, String)> {
    let bad = |message: String| (BAD_CONFIGURATION, message);
    let failed = |message: String| (FAILED, message);
    let config = Config::from_path(&cli.config).map_err(|error| match error {
        LoadError::Unreadable { .. } => failed(error.to_string()),
        LoadError::Faults(faults) => bad(faults.to_string()),
    })?;
    let in_config = |error: &dyn Display| format!("{}: {error}", cli.config.display());
    let format = match config.log().format() {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    logging::init(format, config.log().filter()).map_err(|error| bad(in_config(&error)))?;
    let settings = Settings::from_config(&config).map_err(|error| match error {
        SettingsError::Tls(_) | SettingsError::Upstream(UpstreamError::Tls(_)) => failed(in_config(&error)),
        SettingsError::Origin | SettingsError::Upstream(_) => bad(in_config(&error)),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("the runtime cannot start: {error}")))?;
    runtime.block_on(async {
        let signals = Signals::listen().map_err(|error| failed(format!("signals cannot be listened to: {error}")))?;
        let running = pop::start(settings).await.map_err(|error| failed(error.to_string()))?;
        let drained = running.run(signals, config.tier().drain_patience()).await;
        tracing::info!(cut = drained.cut, "drained");
        Ok(())
    })
}
