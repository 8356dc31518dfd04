//! `cdn-config`: arguments in, exit status out. 0: done, 1: a check found something, 2: wrong usage or a file at fault.

use std::error::Error;
use std::io::{self, StdoutLock, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cdn_config::Config;
use cdn_config::check::{self, Verdict};
use cdn_config::diff::diff;
use cdn_config::explain::explain;
use cdn_config::render::{Certificate, Options, PROVIDERS, Proxy};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};

/// Check, explain, compare and install the rung.toml of a tier
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// How to write the result
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Subcommand)]
enum Verb {
    /// Tell every fault of each file, with its line and key
    Check {
        /// The files to check; the paths in each are relative to its own folder
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tell every setting in effect: its value, where it comes from, what it means
    Explain {
        /// The rung.toml
        file: PathBuf,
        /// A key or a section, such as `limits.max_k` or `upstream`; without it, all in effect
        key: Option<String>,
    },
    /// Tell what another file would change in effect; exits with 1 if anything
    Diff {
        /// The rung.toml that is
        before: PathBuf,
        /// The rung.toml that is to be
        after: PathBuf,
    },
    /// Write the files that put a tier on a platform
    Render {
        /// The rung.toml
        file: PathBuf,
        /// The platform
        #[arg(long, value_parser = PossibleValuesParser::new(PROVIDERS.iter().map(|provider| provider.name())))]
        provider: String,
        /// The folder to write: a new one, an empty one, or one that an earlier render wrote
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Write nothing; compare the folder with what would be written, and exit with 1 if it differs
        #[arg(long)]
        check: bool,
        /// What stands in front of the tier
        #[arg(long, value_enum, default_value_t = ProxyArg::None)]
        proxy: ProxyArg,
        /// The host name that clients use; for a proxy
        #[arg(long, value_name = "NAME")]
        server_name: Option<String>,
        /// The proxy's PEM chain, where the proxy runs; else /etc/rung/proxy.crt for nginx, and ACME for Caddy
        #[arg(long, value_name = "PATH", requires = "certificate_key")]
        certificate: Option<PathBuf>,
        /// The proxy's PEM private key, where the proxy runs
        #[arg(long, value_name = "PATH", requires = "certificate")]
        certificate_key: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum ProxyArg {
    None,
    Nginx,
    Caddy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut stdout = io::stdout().lock();
    match run(&cli, &mut stdout).and_then(|status| stdout.flush().map(|()| status).map_err(Into::into)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("cdn-config: {error}");
            ExitCode::from(FAILED)
        }
    }
}

const DONE: u8 = 0;
const FOUND: u8 = 1;
const FAILED: u8 = 2;

fn run(cli: &Cli, out: &mut StdoutLock<'_>) -> Result<u8, Box<dyn Error>> {
    match &cli.verb {
        Verb::Check { files } => {
            let report = check::check(files);
            match cli.format {
                Format::Text => report.write_text(out)?,
                Format::Json => report.write_json(out)?,
            }
            Ok(match report.verdict() {
                Verdict::Fit => DONE,
                Verdict::Faulty => FOUND,
                Verdict::Unreadable => FAILED,
            })
        }
        Verb::Explain { file, key } => {
            let config = Config::from_path(file)?;
            let explanation = explain(&config, key.as_deref())?;
            match cli.format {
                Format::Text => explanation.write_text(out)?,
                Format::Json => explanation.write_json(out)?,
            }
            Ok(DONE)
        }
        Verb::Diff { before, after } => {
            let (before, after) = (Config::from_path(before)?, Config::from_path(after)?);
            let difference = diff(&before, &after);
            match cli.format {
                Format::Text => difference.write_text(out)?,
                Format::Json => difference.write_json(out)?,
            }
            Ok(if difference.is_none() { DONE } else { FOUND })
        }
        Verb::Render { file, provider, out: dir, check, proxy, server_name, certificate, certificate_key } => {
            let (config, text) = Config::from_path_with_text(file)?;
            let certificate = certificate.clone().zip(certificate_key.clone());
            let options = Options {
                proxy: match proxy {
                    ProxyArg::None => Proxy::None,
                    ProxyArg::Nginx => Proxy::Nginx,
                    ProxyArg::Caddy => Proxy::Caddy,
                },
                server_name: server_name.clone(),
                certificate: certificate.map(|(chain, key)| Certificate { chain, key }),
            };
            let provider = PROVIDERS.iter().find(|known| known.name() == provider).expect("clap takes no other");
            let folder = provider.render(&config, &text, &options)?;
            let outcome = if *check { folder.compare(dir)? } else { folder.write(dir)? };
            match (cli.format, check) {
                (Format::Text, true) => outcome.write_difference(dir, out)?,
                (Format::Text, false) => outcome.write_text(dir, out)?,
                (Format::Json, _) => outcome.write_json(dir, out)?,
            }
            Ok(if *check && !outcome.is_same() { FOUND } else { DONE })
        }
    }
}
