//! What tiers to start, and the `rung.toml` that says so to each: in this process or in processes of their own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{test_bundle, worker};
use crate::certs::{Certs, Flaw};
use crate::client::Error;
use crate::proxy::Proxy;

/// What to start.
#[derive(Clone, Debug)]
pub struct Builder {
    bundles: [PathBuf; 3],
    extra: [String; 3],
    listen: [String; 3],
    upstream: [String; 3],
    through: [Option<Proxy>; 3],
    serves: [Flaw; 3],
    shows: [Flaw; 3],
    worker: String,
    wasm: [PathBuf; 3],
}

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The edge.
    Edge = 0,
    /// The region.
    Region = 1,
    /// The origin.
    Origin = 2,
}

impl Which {
    /// All of them, in the order in which they are started.
    pub const HIGHEST_FIRST: [Self; 3] = [Self::Origin, Self::Region, Self::Edge];

    /// Its name, in `rung.toml` and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["edge", "region", "origin"][self as usize]
    }

    /// The name of the certificate that it serves with.
    pub(crate) fn served(self) -> &'static str {
        self.name()
    }

    /// The name of the certificate that it shows upwards.
    pub(crate) fn shown(self) -> &'static str {
        ["edge-up", "region-up", "origin-up"][self as usize]
    }
}

/// Where a tier listens, on the loopback; 0 leaves the port to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Without TLS; not there if `None`.
    pub http: Option<u16>,
    /// With TLS, and over UDP with HTTP/3.
    pub https: u16,
    /// Where the tier below asks; an edge has none.
    pub tiers: u16,
    /// The operations.
    pub admin: u16,
}

impl Default for Builder {
    fn default() -> Self {
        Self::serving(&test_bundle())
    }
}

impl Builder {
    /// Three tiers that serve a bundle.
    ///
    /// # Panics
    /// There is no worker.
    #[must_use]
    pub fn serving(bundle: &Path) -> Self {
        Self {
            bundles: std::array::from_fn(|_| bundle.to_owned()),
            extra: Default::default(),
            listen: Default::default(),
            upstream: Default::default(),
            through: Default::default(),
            serves: [Flaw::None; 3],
            shows: [Flaw::None; 3],
            worker: String::new(),
            wasm: std::array::from_fn(|_| worker()),
        }
    }

    /// Another bundle for one tier.
    #[must_use]
    pub fn bundle(mut self, which: Which, bundle: &Path) -> Self {
        self.bundles[which as usize] = bundle.to_owned();
        self
    }

    /// Lines for the end of one tier's `rung.toml`.
    #[must_use]
    pub fn with(mut self, which: Which, lines: &str) -> Self {
        self.extra[which as usize] += lines;
        self
    }

    /// No tier gives an answer again that it has given.
    #[must_use]
    pub fn without_caches(self) -> Self {
        let none = "[cache]\nmax_mib = 0\n";
        self.with(Which::Edge, none).with(Which::Region, none)
    }

    /// Lines for the section `[listen]` of one tier.
    #[must_use]
    pub fn listen(mut self, which: Which, lines: &str) -> Self {
        self.listen[which as usize] += lines;
        self
    }

    /// Lines for the section `[upstream]` of one tier.
    #[must_use]
    pub fn upstream(mut self, which: Which, lines: &str) -> Self {
        self.upstream[which as usize] += lines;
        self
    }

    /// A network between one tier and the one above.
    #[must_use]
    pub fn through(mut self, which: Which, proxy: &Proxy) -> Self {
        self.through[which as usize] = Some(proxy.clone());
        self
    }

    /// What is the matter with the certificate that one tier serves with.
    #[must_use]
    pub fn serves(mut self, which: Which, flaw: Flaw) -> Self {
        self.serves[which as usize] = flaw;
        self
    }

    /// What is the matter with the certificate that one tier shows to the one above.
    #[must_use]
    pub fn shows(mut self, which: Which, flaw: Flaw) -> Self {
        self.shows[which as usize] = flaw;
        self
    }

    /// Lines for the section `[worker]` of the edge.
    #[must_use]
    pub fn worker(mut self, lines: &str) -> Self {
        self.worker += lines;
        self
    }

    /// Another worker for one tier.
    #[must_use]
    pub fn wasm(mut self, which: Which, wasm: &Path) -> Self {
        self.wasm[which as usize] = wasm.to_owned();
        self
    }

    /// The `rung.toml` of one tier, whose certificates are issued; `above` is the port at which the one above takes
    /// requests.
    pub(crate) fn rung_toml(
        &self,
        which: Which,
        ports: Ports,
        above: Option<u16>,
        certs: &Certs,
    ) -> Result<String, Error> {
        let own = which as usize;
        let served = certs.issue(which.served(), self.serves[own])?;
        let shown = certs.issue(which.shown(), self.shows[own])?;
        let ca = std::path::absolute(&certs.ca)?;
        let Ports { http, https, tiers, admin } = ports;
        let mut text = format!(
            "schema_version = 1\ntier = {:?}\n\n[listen]\nhttps = \"127.0.0.1:{https}\"\nadmin = \"127.0.0.1:{admin}\"\n",
            which.name()
        );
        if let Some(http) = http {
            writeln!(text, "http = \"127.0.0.1:{http}\"")?;
        }
        let mut client_ca = String::new();
        if which != Which::Edge {
            writeln!(text, "tiers = \"127.0.0.1:{tiers}\"")?;
            client_ca = format!("client_ca = {ca:?}\n");
        }
        write!(
            text,
            "{}\n[tls]\ncertificate = {:?}\nkey = {:?}\n{client_ca}\n[[model]]\nbundle = {:?}\n",
            self.listen[own],
            std::path::absolute(&served.certificate)?,
            std::path::absolute(&served.key)?,
            std::path::absolute(&self.bundles[own])?,
        )?;
        if let Some(above) = above {
            let above = self.through[own].as_ref().map_or(above, |proxy| proxy.lead_to(above));
            write!(
                text,
                "\n[upstream]\nurl = \"https://localhost:{above}\"\nca = {ca:?}\ncertificate = {:?}\nkey = {:?}\n\
                 connect_timeout_ms = 5000\n{}",
                std::path::absolute(&shown.certificate)?,
                std::path::absolute(&shown.key)?,
                self.upstream[own],
            )?;
            let lines = if which == Which::Edge { self.worker.as_str() } else { "" };
            // By default a machine with much to do may take its time.
            let time = if lines.contains("max_rank_ms") { "" } else { "max_rank_ms = 1000\n" };
            let wasm = std::path::absolute(&self.wasm[own])?;
            write!(text, "\n[worker]\nwasm = {wasm:?}\ninstances = 1\n{time}{lines}")?;
        }
        text += "\n";
        text += &self.extra[own];
        Ok(text)
    }
}
