//! Origin, region and edge as what they are to an operator: programs with a `rung.toml` each, on loopback, that can be
//! killed, halted and started again.

mod port;
mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certs::{Certs, Flaw};
use crate::client::{Client, Error, Protocol, Response};
use crate::stack::{Builder, Which};

use port::Block;
pub use port::is_free;
use process::Process;
pub use process::{cpu_time, program};

/// Running tiers. Dropped, they are killed; if that is because a test has failed, their logs are told.
#[derive(Debug)]
pub struct Processes {
    /// The highest first.
    tiers: Vec<Process>,
    client: Client,
    certs: Certs,
    _ports: Block,
    _dir: Option<TempDir>,
}

/// What the programs are started with beside the [`Builder`]'s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Where the configuration and the logs stay; a folder that goes with the processes if `None`.
    pub dir: Option<&'a Path>,
    /// Where the edge answers over TLS; any port if `None`.
    pub edge: Option<u16>,
    /// The tiers that are started, the others being gone from the start; all if empty.
    pub only: &'a [Which],
}

impl Builder {
    /// Starts the programs, each once the one above is ready.
    ///
    /// # Errors
    /// Says what does not start, with its log.
    pub async fn spawn(self) -> Result<Processes, Error> {
        self.spawn_on(Terms::default()).await
    }

    /// Starts the programs of some tiers.
    ///
    /// # Errors
    /// Says what does not start, with its log.
    pub async fn spawn_only(self, only: &[Which]) -> Result<Processes, Error> {
        self.spawn_on(Terms { only, ..Terms::default() }).await
    }

    /// Starts the programs on these terms.
    ///
    /// # Errors
    /// Says what does not start, with its log.
    pub async fn spawn_on(self, terms: Terms<'_>) -> Result<Processes, Error> {
        let own = terms.dir.is_none().then(tempfile::tempdir).transpose()?;
        let dir = terms.dir.or(own.as_ref().map(TempDir::path)).unwrap_or(Path::new(".")).to_owned();
        let certs = Certs::write(&dir.join("certs"))?;
        let ports = Block::take()?;
        let client = Client::new(&certs.ca, Protocol::Http2)?;
        let mut started = Processes { tiers: Vec::new(), client, certs, _ports: ports, _dir: own };
        let mut above = None;
        for which in Which::HIGHEST_FIRST {
            let mut at = started._ports.of(which);
            if let Some(edge) = terms.edge.filter(|_| which == Which::Edge) {
                at.https = edge;
            }
            let config = dir.join(format!("{}.toml", which.name()));
            std::fs::write(&config, self.rung_toml(which, at, above, &started.certs)?)?;
            above = Some(at.tiers);
            let process = Process::new(which, at, config, dir.join(format!("{}.log", which.name())));
            if terms.only.is_empty() || terms.only.contains(&which) {
                process.start(&started.client).await?;
            }
            started.tiers.push(process);
        }
        Ok(started)
    }
}

impl Processes {
    /// `POST /v1/rank` to the edge.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn rank(&self, body: impl Into<String>) -> Result<Response, Error> {
        self.rank_at(Which::Edge, body).await
    }

    /// `POST /v1/rank` to one tier.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn rank_at(&self, which: Which, body: impl Into<String>) -> Result<Response, Error> {
        self.client.post(&self.url(which, "/v1/rank"), body.into()).await
    }

    /// An address of one tier, over TLS.
    #[must_use]
    pub fn url(&self, which: Which, path: &str) -> String {
        format!("https://localhost:{}{path}", self.tier(which).ports.https)
    }

    /// Where one tier listens without TLS.
    #[must_use]
    pub fn plain(&self, which: Which) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tier(which).ports.http.unwrap_or_default()).into()
    }

    /// Where one tier listens with TLS.
    #[must_use]
    pub fn secure(&self, which: Which) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tier(which).ports.https).into()
    }

    /// `GET` from the admin listener of one tier.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn admin(&self, which: Which, path: &str) -> Result<Response, Error> {
        self.client.get(&format!("http://127.0.0.1:{}{path}", self.tier(which).ports.admin)).await
    }

    /// The value of a metric of one tier, without labels or with all of them as written.
    ///
    /// # Errors
    /// Nothing came back, or it has no such metric.
    pub async fn metric(&self, which: Which, name: &str) -> Result<f64, Error> {
        self.admin(which, "/metrics").await?.metric(name)
    }

    /// A client of its own connections.
    ///
    /// # Errors
    /// Never while the processes are there.
    pub fn client(&self, protocol: Protocol) -> Result<Client, Error> {
        Client::new(&self.certs.ca, protocol)
    }

    /// The authority that everybody trusts, and what it has issued.
    #[must_use]
    pub fn certs(&self) -> &Certs {
        &self.certs
    }

    /// Issues new certificates for one tier, good ones, in the places of those that it has.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn rotate(&self, which: Which) -> Result<(), Error> {
        self.certs.issue(which.served(), Flaw::None)?;
        self.certs.issue(which.shown(), Flaw::None)?;
        Ok(())
    }

    /// Another authority for everybody, and new certificates of it for every tier.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn replace_authority(&self) -> Result<(), Error> {
        self.certs.replace_authority()?;
        Which::HIGHEST_FIRST.into_iter().try_for_each(|which| self.rotate(which))
    }

    /// Ends one tier as a machine that loses its power does.
    ///
    /// # Errors
    /// It had ended before; tells its log.
    pub fn kill(&self, which: Which) -> Result<(), Error> {
        self.tier(which).kill()
    }

    /// Starts one tier that was killed, with the same configuration, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; tells its log.
    pub async fn start_again(&self, which: Which) -> Result<(), Error> {
        self.tier(which).start(&self.client).await
    }

    /// Halts one tier: its ports are open, and nothing is done there.
    ///
    /// # Errors
    /// It had ended before; tells its log.
    pub fn halt(&self, which: Which) -> Result<(), Error> {
        self.tier(which).signal(Signal::STOP)
    }

    /// Lets one tier go on that was halted.
    ///
    /// # Errors
    /// It had ended before; tells its log.
    pub fn go_on(&self, which: Which) -> Result<(), Error> {
        self.tier(which).signal(Signal::CONT)
    }

    /// Forgets how much memory one tier has had, but for what it has now, which is returned in bytes.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn forget_peak(&self, which: Which) -> Result<u64, Error> {
        self.tier(which).forget_peak()
    }

    /// The most memory that one tier has had since that was forgotten, in bytes.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn peak(&self, which: Which) -> Result<u64, Error> {
        self.tier(which).memory("VmHWM:")
    }

    /// The CPU time that one tier has used, by the threads that it has now.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn cpu(&self, which: Which) -> Result<Duration, Error> {
        self.tier(which).cpu()
    }

    /// Ends every tier that runs as an operator would.
    ///
    /// # Errors
    /// One had ended without having been told to, or does not end in order; tells its log.
    pub async fn stop(self) -> Result<(), Error> {
        let running: Vec<_> = self.tiers.iter().filter(|tier| tier.is_started()).collect();
        for tier in &running {
            tier.end()?;
        }
        for tier in running {
            tier.ended().await?;
        }
        Ok(())
    }

    fn tier(&self, which: Which) -> &Process {
        // Highest first, as they were started.
        &self.tiers[Which::HIGHEST_FIRST.len() - 1 - which as usize]
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for tier in &self.tiers {
            if std::thread::panicking() {
                tier.tell();
            }
        }
    }
}
