//! Origin, region and edge as processes on loopback.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::bundle::program;
use crate::certs::Certs;
use crate::client::{Client, Error, Protocol};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);
/// Where `--serve` listens if the port is free, so that the printed command can be typed again.
const FAVOURITE_PORT: u16 = 8443;

/// The running tiers, the highest first; killed when dropped.
#[derive(Debug)]
pub(super) struct Tiers(Vec<Process>);

#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    port: u16,
    admin: u16,
    log: PathBuf,
}

impl Tiers {
    /// Starts each tier once the one above is ready.
    pub(super) async fn start(work: &Path, bundle: &Path, certs: &Certs, serve: bool) -> Result<Self, Error> {
        let mut tiers = Self(Vec::new());
        let client = Client::new(&certs.ca, Protocol::Http1)?;
        for name in ["origin", "region", "edge"] {
            let port = if name == "edge" && serve && is_free(FAVOURITE_PORT) { FAVOURITE_PORT } else { free_port()? };
            let admin = free_port()?;
            let config = work.join(format!("{name}.toml"));
            let upstream = tiers.0.last().map(|p| p.port);
            std::fs::write(&config, rung_toml(name, port, admin, upstream, bundle, certs)?)?;
            let log = work.join(format!("{name}.log"));
            let child = Command::new(program(if name == "origin" { "origin" } else { "pop" })?)
                .arg("--config")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(&log)?)
                .spawn()?;
            tiers.0.push(Process { name, child, port, admin, log });
            tiers.wait_until_ready(&client).await?;
        }
        Ok(tiers)
    }

    /// Where the edge answers.
    pub(super) fn edge(&self) -> String {
        let port = self.0.last().map_or(0, |p| p.port);
        format!("https://localhost:{port}/v1/rank")
    }

    /// Ends every tier as an operator would.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        for process in self.0.iter_mut().rev() {
            if let Some(pid) = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::TERM)?;
            }
            let deadline = Instant::now() + STOP;
            while process.child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    return Err(format!("{} did not stop; see {}", process.name, process.log.display()).into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self, client: &Client) -> Result<(), Error> {
        let Some(process) = self.0.last_mut() else { return Ok(()) };
        let url = format!("http://127.0.0.1:{}/readyz", process.admin);
        let deadline = Instant::now() + START;
        loop {
            if client.get(&url).await.is_ok_and(|r| r.status.is_success()) {
                eprintln!("demo: {} is ready on port {}", process.name, process.port);
                return Ok(());
            }
            if let Some(status) = process.child.try_wait()? {
                let log = std::fs::read_to_string(&process.log).unwrap_or_default();
                return Err(format!("{} ended ({status}):\n{log}", process.name).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} is not ready; see {}", process.name, process.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Tiers {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

fn rung_toml(
    tier: &str,
    port: u16,
    admin: u16,
    upstream: Option<u16>,
    bundle: &Path,
    certs: &Certs,
) -> Result<String, Error> {
    let absolute = |path: &Path| std::path::absolute(path).map(|p| p.display().to_string());
    let mut text = format!(
        "schema_version = 1\ntier = {tier:?}\n\n[listen]\nhttps = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin}\"\n\n\
         [tls]\ncertificate = {:?}\nkey = {:?}\n\n[[model]]\nbundle = {:?}\n\n[limits]\ndefault_timeout_ms = 1000\n",
        absolute(&certs.certificate)?,
        absolute(&certs.key)?,
        absolute(bundle)?,
    );
    if let Some(port) = upstream {
        let (ca, worker) = (absolute(&certs.ca)?, absolute(Path::new("target/worker/worker.wasm"))?);
        text += &format!("\n[upstream]\nurl = \"https://localhost:{port}\"\nca = {ca:?}\n");
        text += &format!("\n[worker]\nwasm = {worker:?}\ninstances = 1\nmax_rank_ms = 1000\n");
    }
    Ok(text)
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
