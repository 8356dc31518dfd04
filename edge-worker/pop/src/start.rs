//! A POP's life: read, compile, load, connect, serve, drain.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use front::generations::{BundleSource, Generations, LoadError, OpenError, Read};
use front::metrics::Registry;
use front::{Drained, Front, Signals};
use shared_model::ladder::TierLimits;
use shared_model::limits::MAX_WASM_BYTES;
use shared_model::variant::VariantName;
use shared_model::wire::Tier;
use thiserror::Error;

use crate::bundle::{Guests, LoadFault};
use crate::cache::Cached;
use crate::guest::{GuestFault, GuestLimits, PoolSize, Program};
use crate::metrics::{CacheMetrics, GuestMetrics, ServiceMetrics, UpstreamMetrics};
use crate::service::Service;
use crate::settings::{Settings, WorkerSettings};
use crate::upstream::Upstream;

/// The longest that a guest may take to load a bundle.
const LOAD_TIME: Duration = Duration::from_secs(60);

/// A POP cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A bundle cannot be read, or is of the model of another.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// A bundle cannot be run.
    #[error(transparent)]
    Load(#[from] Box<LoadError<LoadFault>>),
    /// The worker's file cannot be read.
    #[error("the worker {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The worker cannot be run.
    #[error("the worker {}: {fault}", file.display())]
    Worker {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: GuestFault,
    },
    /// A listener cannot be opened.
    #[error(transparent)]
    Front(#[from] front::StartError),
}

/// A running POP. Dropped, it is gone at once.
#[derive(Debug)]
pub struct Running {
    front: Front,
}

/// Starts a POP: when it returns, all guests are loaded and requests are answered. It begins to connect to the tier
/// above and does not wait for it.
///
/// # Errors
/// Names the file at fault, or the address.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { front, bundles, limits, worker, upstream, cache } = settings;
    let tier = front.tier;
    let mut registry = front::metrics::registry(tier);
    let answers = ServiceMetrics::register(&mut registry);

    let loading = tokio::task::spawn_blocking(move || {
        let models = load(&bundles, tier, limits, &worker, &mut registry)?;
        Ok::<_, StartError>((models, registry))
    });
    let loaded = loading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (models, mut registry) = loaded?;
    // Only a tier that can answer asks another.
    let upstream = upstream.map(|settings| Upstream::new(settings, UpstreamMetrics::register(&mut registry)));
    let kept = CacheMetrics::register(&mut registry);
    let service = Arc::new(Cached::new(Service::new(models, upstream, answers), cache, kept));
    Ok(Running { front: front::serve(front, service, registry).await? })
}

fn load(
    bundles: &[BundleSource],
    tier: Tier,
    limits: TierLimits,
    worker: &WorkerSettings,
    registry: &mut Registry,
) -> Result<Arc<Generations<Guests>>, StartError> {
    // Bundles first: they are refused faster than a module is compiled.
    let bundles = Read::new(bundles, VariantName::of(tier))?;
    let guest = GuestLimits { memory_bytes: worker.memory_bytes, call: worker.max_rank, load: LOAD_TIME };
    let failed = |fault| StartError::Worker { file: worker.wasm.clone(), fault };
    let program = Program::compile(&module(&worker.wasm)?, guest).map_err(failed)?;
    let size = PoolSize { instances: worker.instances, queue: worker.queue };
    let metrics = GuestMetrics::register(registry);
    let guests = Guests { tier, limits, program, size, metrics, wasm: worker.wasm.clone() };
    Ok(bundles.load(guests, registry).map_err(Box::new)?)
}

fn module(file: &Path) -> Result<Vec<u8>, StartError> {
    let unreadable = |reason| StartError::Unreadable { file: file.to_owned(), reason };
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    opened.take(MAX_WASM_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_WASM_BYTES {
        return Err(unreadable(format!("is longer than {MAX_WASM_BYTES} bytes, which no worker is")));
    }
    Ok(bytes)
}

impl Running {
    /// Where plain HTTP is taken, with the port that the system chose.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.front.http()
    }

    /// Where HTTP over TLS is taken.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.front.https()
    }

    /// Where the tiers below pass requests up.
    #[must_use]
    pub fn tiers(&self) -> Option<SocketAddr> {
        self.front.tiers()
    }

    /// Where the operations are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.front.admin()
    }

    /// Serves until a signal or `POST /drain`, then drains.
    pub async fn run(self, signals: Signals, patience: Duration) -> Drained {
        self.front.run(signals, patience).await
    }

    /// Lets requests in flight end, for `patience` at most.
    pub async fn drain(self, patience: Duration) -> Drained {
        self.front.drain(patience).await
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::net::TcpStream;

    use super::*;
    use crate::sample;

    fn settings(bundles: &[&TempDir]) -> Settings {
        let address = "127.0.0.1:0".parse().expect("an address");
        Settings {
            front: front::Settings {
                tier: Tier::Edge,
                http: Some(address),
                https: None,
                tiers: None,
                http3: false,
                admin: address,
                limits: front::Limits { default_timeout: Duration::from_secs(5), ..front::Limits::default() },
                clients: front::Clients::default(),
                drain_notice: Duration::ZERO,
            },
            bundles: bundles.iter().map(|folder| source(folder)).collect(),
            limits: sample::LIMITS,
            worker: WorkerSettings {
                wasm: sample::worker_file(),
                instances: 1,
                queue: 8,
                memory_bytes: 64 << 20,
                max_rank: Duration::from_secs(1),
            },
            upstream: None,
            cache: None,
        }
    }

    fn source(folder: &TempDir) -> BundleSource {
        BundleSource { folder: folder.path().to_owned(), poll: Duration::from_millis(20) }
    }

    fn sample_bundle() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        sample::bundle(folder.path());
        folder
    }

    /// The status and the body of an answer over HTTP/2.
    async fn ask(address: SocketAddr, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let body = body.map_or(String::new(), |body| body.to_string());
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn rank(address: SocketAddr, body: Value) -> (u16, Value) {
        let (status, text) = ask(address, "POST", "/v1/rank", Some(body)).await;
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_over_http_from_start_to_drain() {
        let bundle = sample_bundle();
        let running = start(settings(&[&bundle])).await.expect("it starts");
        let (address, admin) = (running.http().expect("an address"), running.admin());
        let items = ["m0", "m3", "m5", "m9"];

        let sure = json!({"model": "toy", "k": 2, "user": {"mood": 1.0}, "candidates": items});
        let (status, answer) = rank(address, sure).await;
        assert_eq!((status, &answer["tier"], &answer["reason"]), (200, &json!("edge"), &json!("sure")), "{answer}");
        assert_eq!((&answer["ranked"][0]["id"], &answer["ranked"][1]["id"]), (&json!("m9"), &json!("m5")));
        assert!(answer["timing_us"]["score"].as_u64().expect("a number") > 0, "{answer}");

        let unsure = json!({"model": "toy", "k": 2, "user": {"mood": 0.1}, "candidates": items});
        let (status, answer) = rank(address, unsure).await;
        assert_eq!((status, &answer["degradation"], &answer["agreement"]), (200, &json!(1), &Value::Null), "{answer}");

        let faulty = json!({"model": "toy", "k": 2, "user": {}, "candidates": items});
        let (status, problem) = rank(address, faulty).await;
        assert_eq!((status, &problem["field"]), (422, &json!("user.mood")), "{problem}");
        assert_eq!(rank(address, json!({"model": "books", "candidates": items})).await.0, 404);

        assert_eq!(ask(admin, "GET", "/readyz", None).await.0, 200);
        let (_, metrics) = ask(admin, "GET", "/metrics", None).await;
        for line in [
            r#"edge_answers_total{tier="edge",reason="sure"} 1"#,
            r#"edge_answers_total{tier="edge",reason="upstream_gone"} 1"#,
            r#"edge_escalations_total{reason="unsure"} 1"#,
            r#"edge_degraded_answers_total{level="1"} 1"#,
            "edge_guest_instances 1",
            "edge_score_seconds_count 3",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
        }
        assert_eq!(running.drain(Duration::from_secs(5)).await, Drained { cut: 0 });
    }

    async fn refused(settings: Settings) -> String {
        start(settings).await.expect_err("it starts").to_string()
    }

    #[tokio::test]
    async fn rejects_a_worker_that_is_not_there_or_is_none() {
        let (bundle, folder) = (sample_bundle(), TempDir::new().expect("a folder"));
        let wasm = folder.path().join("worker.wasm");
        let with = |wasm: &Path| {
            let settings = settings(&[&bundle]);
            Settings { worker: WorkerSettings { wasm: wasm.to_owned(), ..settings.worker.clone() }, ..settings }
        };
        assert!(refused(with(&wasm)).await.contains("worker.wasm: No such file"));
        std::fs::write(&wasm, "not a module").expect("written");
        let text = refused(with(&wasm)).await;
        assert!(text.contains("worker.wasm: it is not a worker") && text.contains("scripts/build-worker.sh"), "{text}");
    }

    #[tokio::test]
    async fn rejects_two_bundles_of_one_model() {
        let (first, second) = (sample_bundle(), sample_bundle());
        let text = refused(settings(&[&first, &second])).await;
        assert!(text.contains("model `toy` is served from another bundle already"), "{text}");
    }

    #[tokio::test]
    async fn rejects_a_bundle_that_is_not_there() {
        let folder = TempDir::new().expect("a folder");
        let text = refused(settings(&[&folder])).await;
        assert!(text.contains("manifest.json"), "{text}");
    }
}
