//! Origin, region and edge in this process, on ports of the system's choosing, configured as an operator would.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdn_config::Config;
use tempfile::TempDir;

use crate::certs::Certs;
use crate::client::{Client, Error, Protocol, Response};

/// The bundle that `scripts/test-bundle.sh` builds of the repo's own model.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn test_bundle() -> PathBuf {
    built("target/test-bundle", "scripts/test-bundle.sh")
}

/// The worker that `scripts/build-worker.sh` builds.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn worker() -> PathBuf {
    built("target/worker/worker.wasm", "scripts/build-worker.sh")
}

fn built(path: &str, by: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    assert!(path.exists(), "{} is missing: run {by}", path.display());
    path
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Builder {
    bundles: [PathBuf; 3],
    extra: [String; 3],
    worker: String,
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

/// Running tiers. Dropped, they are gone at once.
#[derive(Debug)]
pub struct Stack {
    client: Client,
    certs: Certs,
    addresses: [Addresses; 3],
    origin: Option<origin::Running>,
    region: Option<pop::Running>,
    edge: Option<pop::Running>,
    _dir: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    https: SocketAddr,
    admin: SocketAddr,
}

impl Default for Builder {
    fn default() -> Self {
        let bundle = test_bundle();
        Self { bundles: [bundle.clone(), bundle.clone(), bundle], extra: Default::default(), worker: String::new() }
    }
}

impl Builder {
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

    /// Lines for the section `[worker]` of the edge.
    #[must_use]
    pub fn worker(mut self, lines: &str) -> Self {
        self.worker += lines;
        self
    }

    /// Starts the three, the highest first.
    ///
    /// # Errors
    /// Says what does not start.
    pub async fn start(self) -> Result<Stack, Error> {
        let dir = tempfile::tempdir()?;
        let certs = Certs::write(dir.path())?;
        let config = |which: Which, upstream: Option<SocketAddr>| {
            Config::parse(&self.rung_toml(which, upstream, &certs), dir.path())
        };
        let origin = origin::start(origin::Settings::from_config(&config(Which::Origin, None)?)?).await?;
        let origin_at = Addresses { https: origin.https().ok_or("no listener")?, admin: origin.admin() };
        let region = pop::start(pop::Settings::from_config(&config(Which::Region, Some(origin_at.https))?)?).await?;
        let region_at = Addresses { https: region.https().ok_or("no listener")?, admin: region.admin() };
        let edge = pop::start(pop::Settings::from_config(&config(Which::Edge, Some(region_at.https))?)?).await?;
        let edge_at = Addresses { https: edge.https().ok_or("no listener")?, admin: edge.admin() };
        Ok(Stack {
            client: Client::new(&certs.ca, Protocol::Http2)?,
            certs,
            addresses: [edge_at, region_at, origin_at],
            origin: Some(origin),
            region: Some(region),
            edge: Some(edge),
            _dir: dir,
        })
    }

    fn rung_toml(&self, which: Which, upstream: Option<SocketAddr>, certs: &Certs) -> String {
        let tier = ["edge", "region", "origin"][which as usize];
        let mut text = format!(
            "schema_version = 1\ntier = {tier:?}\n[listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = {:?}\nkey = {:?}\n[[model]]\nbundle = {:?}\n",
            certs.certificate, certs.key, self.bundles[which as usize]
        );
        if let Some(upstream) = upstream {
            let lines = if which == Which::Edge { self.worker.as_str() } else { "" };
            let lines =
                if lines.contains("max_rank_ms") { lines.to_owned() } else { format!("max_rank_ms = 1000\n{lines}") };
            let _ = write!(
                text,
                "[upstream]\nurl = \"https://localhost:{}\"\nca = {:?}\n[worker]\nwasm = {:?}\ninstances = 1\n{lines}",
                upstream.port(),
                certs.ca,
                worker(),
            );
        }
        text + &self.extra[which as usize]
    }
}

impl Stack {
    /// All three, on the repo's own model.
    ///
    /// # Errors
    /// Says what does not start.
    pub async fn start() -> Result<Self, Error> {
        Builder::default().start().await
    }

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

    /// An address of one tier.
    #[must_use]
    pub fn url(&self, which: Which, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addresses[which as usize].https.port())
    }

    /// `GET` from the admin listener of one tier.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn admin(&self, which: Which, path: &str) -> Result<Response, Error> {
        self.client.get(&format!("http://{}{path}", self.addresses[which as usize].admin)).await
    }

    /// `POST` to the admin listener of one tier.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn order(&self, which: Which, path: &str, body: &str) -> Result<Response, Error> {
        self.client.post(&format!("http://{}{path}", self.addresses[which as usize].admin), body.to_owned()).await
    }

    /// The value of a metric of one tier, without labels or with all of them as written.
    ///
    /// # Errors
    /// Nothing came back, or it has no such metric.
    pub async fn metric(&self, which: Which, name: &str) -> Result<f64, Error> {
        let text = self.admin(which, "/metrics").await?;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let value = line.and_then(|l| l.rsplit(' ').next()).ok_or_else(|| format!("no metric {name} in\n{text}"))?;
        Ok(value.parse()?)
    }

    /// A client of another protocol.
    ///
    /// # Errors
    /// Never for a stack that runs.
    pub fn client(&self, protocol: Protocol) -> Result<Client, Error> {
        Client::new(&self.certs.ca, protocol)
    }

    /// Takes one tier away, as if its machine were gone.
    pub async fn stop(&mut self, which: Which) {
        match which {
            Which::Edge => drop(self.edge.take()),
            Which::Region => drop(self.region.take()),
            Which::Origin => drop(self.origin.take()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
