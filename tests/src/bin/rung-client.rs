//! A client to try a tier with, over HTTP/1.1, 2 or 3. The answer goes to stdout, how it came to stderr.
//!
//! 0: answered; 1: answered with a problem; 2: no answer, or wrong usage.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use rung_tests::client::{Client, Error, Protocol, Response};

/// Ask a tier, and tell over which protocol it answered and how long it took
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Send a request to rank
    Rank(Rank),
}

#[derive(Args)]
struct Rank {
    /// Where the tier is, such as https://localhost:8443
    url: String,
    /// The PEM roots that it is trusted by
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    #[command(flatten)]
    protocol: Wanted,
    /// The request; `-` is standard input
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    json: PathBuf,
}

#[derive(Args)]
#[group(multiple = false)]
struct Wanted {
    /// Over HTTP/1.1
    #[arg(long)]
    http1: bool,
    /// Over HTTP/2 (the default)
    #[arg(long)]
    http2: bool,
    /// Over HTTP/3
    #[arg(long)]
    http3: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Verb::Rank(rank) = Cli::parse().verb;
    match run(&rank).await {
        Ok(response) if response.status.is_success() => ExitCode::SUCCESS,
        Ok(_problem) => ExitCode::from(1),
        Err(error) => {
            eprintln!("rung-client: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(rank: &Rank) -> Result<Response, Error> {
    let protocol = match rank.protocol {
        Wanted { http1: true, .. } => Protocol::Http1,
        Wanted { http3: true, .. } => Protocol::Http3,
        Wanted { .. } => Protocol::Http2,
    };
    let body = read(&rank.json).map_err(|error| format!("{}: {error}", rank.json.display()))?;
    let client = Client::new(&rank.ca, protocol).map_err(|error| format!("{}: {error}", rank.ca.display()))?;
    let url = format!("{}/v1/rank", rank.url.trim_end_matches('/').trim_end_matches("/v1/rank"));
    let begun = Instant::now();
    let response = client.post(&url, body).await.map_err(|error| format!("{url}: {error}"))?;
    let took = begun.elapsed();
    let mut out = std::io::stdout().lock();
    out.write_all(&response.body)?;
    writeln!(out)?;
    eprintln!("{:?} {} in {took:.1?}, connecting included", response.version, response.status);
    Ok(response)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}
