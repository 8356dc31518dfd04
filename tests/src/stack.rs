//! Origin, region and edge in this process, on ports of the system's choosing, configured as an operator would.

mod builder;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdn_config::Config;
use tempfile::TempDir;

pub use builder::{Builder, Ports, Which};

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

/// The one it builds of the same model with an edge whose candidates are not equally noisy.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn noisy_test_bundle() -> PathBuf {
    built("target/test-bundle-noisy", "scripts/test-bundle.sh")
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

/// Copies [`test_bundle`] to a folder, which is made if it is not there.
///
/// # Errors
/// A file cannot be written.
///
/// # Panics
/// It was not built.
pub fn copy_of_test_bundle(to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(test_bundle())? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn built(path: &str, by: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    assert!(path.exists(), "{} is missing: run {by}", path.display());
    path
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

impl Builder {
    /// Starts the three, the highest first.
    ///
    /// # Errors
    /// Says what does not start.
    pub async fn start(self) -> Result<Stack, Error> {
        let dir = tempfile::tempdir()?;
        let certs = Certs::write(dir.path())?;
        let config = |which: Which, upstream: Option<SocketAddr>| {
            let above = upstream.map(|at| at.port());
            Ok::<_, Error>(Config::parse(&self.rung_toml(which, Ports::default(), above, &certs)?, dir.path())?)
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
        self.admin(which, "/metrics").await?.metric(name)
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
