//! Origin, region and edge in this process, on ports of the system's choosing, configured as an operator would.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdn_config::Config;
use tempfile::TempDir;

use crate::certs::{Certs, Flaw, Identity};
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

/// The package for JavaScript that `scripts/build-web.sh` builds.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn web_package() -> PathBuf {
    built("target/web", "scripts/build-web.sh")
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
    listen: [String; 3],
    upstream: [String; 3],
    serves: [Flaw; 3],
    shows: [Flaw; 3],
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

impl Which {
    fn name(self) -> &'static str {
        ["edge", "region", "origin"][self as usize]
    }

    /// The name of the certificate that it serves with.
    fn served(self) -> &'static str {
        self.name()
    }

    /// The name of the certificate that it shows upwards.
    fn shown(self) -> &'static str {
        ["edge-up", "region-up", "origin-up"][self as usize]
    }
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
    /// Where the tier below asks; an edge has none.
    tiers: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Default for Builder {
    fn default() -> Self {
        let bundle = test_bundle();
        Self {
            bundles: [bundle.clone(), bundle.clone(), bundle],
            extra: Default::default(),
            listen: Default::default(),
            upstream: Default::default(),
            serves: [Flaw::None; 3],
            shows: [Flaw::None; 3],
            worker: String::new(),
        }
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

    /// Starts the three, the highest first.
    ///
    /// # Errors
    /// Says what does not start.
    pub async fn start(self) -> Result<Stack, Error> {
        let dir = tempfile::tempdir()?;
        let certs = Certs::write(dir.path())?;
        let config = |which: Which, upstream: Option<SocketAddr>| {
            let served = certs.issue(which.served(), self.serves[which as usize])?;
            let shown = certs.issue(which.shown(), self.shows[which as usize])?;
            Ok::<_, Error>(Config::parse(&self.rung_toml(which, upstream, &certs.ca, [&served, &shown]), dir.path())?)
        };
        let origin = origin::start(origin::Settings::from_config(&config(Which::Origin, None)?)?).await?;
        let origin_at =
            Addresses { https: origin.https().ok_or("no listener")?, tiers: origin.tiers(), admin: origin.admin() };
        let region = pop::start(pop::Settings::from_config(&config(Which::Region, origin_at.tiers)?)?).await?;
        let region_at =
            Addresses { https: region.https().ok_or("no listener")?, tiers: region.tiers(), admin: region.admin() };
        let edge = pop::start(pop::Settings::from_config(&config(Which::Edge, region_at.tiers)?)?).await?;
        let edge_at = Addresses { https: edge.https().ok_or("no listener")?, tiers: None, admin: edge.admin() };
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

    fn rung_toml(
        &self,
        which: Which,
        upstream: Option<SocketAddr>,
        ca: &Path,
        [served, shown]: [&Identity; 2],
    ) -> String {
        let mut listen = self.listen[which as usize].clone();
        let mut client_ca = String::new();
        if which != Which::Edge {
            listen += "tiers = \"127.0.0.1:0\"\n";
            client_ca = format!("client_ca = {ca:?}\n");
        }
        let mut text = format!(
            "schema_version = 1\ntier = {:?}\n[listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{listen}\
             [tls]\ncertificate = {:?}\nkey = {:?}\n{client_ca}[[model]]\nbundle = {:?}\n",
            which.name(),
            served.certificate,
            served.key,
            self.bundles[which as usize]
        );
        if let Some(upstream) = upstream {
            let lines = if which == Which::Edge { self.worker.as_str() } else { "" };
            let lines =
                if lines.contains("max_rank_ms") { lines.to_owned() } else { format!("max_rank_ms = 1000\n{lines}") };
            let _ = write!(
                text,
                "[upstream]\nurl = \"https://localhost:{}\"\nca = {ca:?}\ncertificate = {:?}\nkey = {:?}\n\
                 connect_timeout_ms = 5000\n{}[worker]\nwasm = {:?}\ninstances = 1\n{lines}",
                upstream.port(),
                shown.certificate,
                shown.key,
                self.upstream[which as usize],
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

    /// Where the tier below asks a region or an origin.
    ///
    /// # Panics
    /// It is an edge.
    #[must_use]
    pub fn tiers(&self, which: Which) -> SocketAddr {
        self.addresses[which as usize].tiers.expect("an edge has no tier below")
    }

    /// Issues new certificates for one tier, which the others take like those before.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn rotate(&self, which: Which) -> Result<(), Error> {
        self.certs.issue(which.served(), Flaw::None)?;
        self.certs.issue(which.shown(), Flaw::None)?;
        Ok(())
    }

    /// What one tier shows to the one above.
    #[must_use]
    pub fn shown(&self, which: Which) -> Identity {
        self.certs.identity(which.shown())
    }

    /// The authority that everybody trusts.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.certs.ca
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
