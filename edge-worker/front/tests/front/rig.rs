//! A front on ports of its own with a tier behind it that does as the model's name says, and clients for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use front::generations::{Operations, OrderError, Refused, Reload, Running};
use front::tls::{self, Identity, Pem};
use front::{
    Call, Clients, Drained, Failure, Found, Front, Given, Health, Https, Limits, Popular, Ranker, Serving, Settings,
};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::Value;
use shared_model::wire::{Answer, Digest, Ranked, Reason, Refusal, Stamp, Tier, Timing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) mod http3;

/// Nothing in these tests takes this long.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(20);

/// What the tier says when it is asked for the time of its backlog.
pub(crate) const BACKLOG: Duration = Duration::from_secs(2);

pub(crate) const RANK: &str = "/v1/rank";
pub(crate) const STAMP: Stamp = Stamp { bundle: Digest([7; 32]), catalog: 3 };

/// The tier behind the front.
pub(crate) struct Probe {
    calls: Mutex<Vec<Call>>,
    orders: Mutex<Vec<String>>,
    health: Mutex<Health>,
    started: Semaphore,
    released: Semaphore,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self {
            calls: Mutex::default(),
            orders: Mutex::default(),
            health: Mutex::new(Health::Ready),
            started: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }

    /// Waits until that many calls of the model `held` have begun.
    pub(crate) async fn held(&self, calls: u32) {
        timeout(TOO_LONG, self.started.acquire_many(calls)).await.expect("the calls begin").unwrap().forget();
    }

    /// Lets calls of the model `held` end.
    pub(crate) fn release(&self, calls: usize) {
        self.released.add_permits(calls);
    }

    pub(crate) fn become_unready(&self, missing: &str) {
        *self.health.lock().unwrap() = Health::Missing(vec![missing.to_owned()]);
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The orders that were carried out so far.
    pub(crate) fn orders(&self) -> Vec<String> {
        let carried_out = |order: &&String| !order.ends_with(" bad");
        self.orders.lock().unwrap().iter().filter(carried_out).cloned().collect()
    }

    fn ordered(&self, order: String) -> Running {
        self.orders.lock().unwrap().push(order);
        let text = str::to_owned;
        Running { model: text("movies"), version: text("7"), serial: 8, bundle: text("07"), catalog: STAMP.catalog }
    }
}

/// It takes every delta but `bad`, and serves `movies`.
impl Operations for Probe {
    fn refused(&self) -> Vec<Refused> {
        let bad = self.orders.lock().unwrap().iter().any(|order| order.ends_with(" bad"));
        let refused = || Refused { model: "movies".to_owned(), why: "it is bad".to_owned() };
        bad.then(refused).into_iter().collect()
    }

    fn reload(&self, Reload { model, rollback }: &Reload) -> Result<Vec<Running>, OrderError> {
        match model.as_deref() {
            None | Some("movies") => Ok(vec![self.ordered(format!("reload {model:?} {rollback:?}"))]),
            Some(other) => Err(OrderError::UnknownModel(other.to_owned())),
        }
    }

    fn add_delta(&self, delta: &[u8]) -> Result<Running, OrderError> {
        let running = self.ordered(format!("delta {}", String::from_utf8_lossy(delta)));
        if delta == b"bad" { Err(OrderError::Refused("it is bad".to_owned())) } else { Ok(running) }
    }
}

impl Ranker for Probe {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        self.calls.lock().unwrap().push(call.clone());
        match call.request.model.as_str() {
            "movies" => Ok(answer(&call)),
            "held" => {
                self.started.add_permits(1);
                self.released.acquire().await.unwrap().forget();
                Ok(answer(&call))
            }
            "explained" => Ok(Answer { explanation: Some("{\"margin\":0.5}".to_owned()), ..answer(&call) }),
            "refusing" => {
                Err(Failure::Refused(Refusal { field: "user.age".to_owned(), message: "is missing".to_owned() }))
            }
            "small" => Err(Failure::OverLimit { field: "candidates", limit: 2 }),
            "busy" => Err(Failure::Overloaded { retry_after: Duration::from_secs(3) }),
            "broken" => Err(Failure::Unavailable { what: "no level is left".to_owned() }),
            "panicking" => panic!("a bug, on purpose"),
            "hanging" => std::future::pending().await,
            other => Err(Failure::UnknownModel(other.to_owned())),
        }
    }

    async fn serve(&self, call: Call) -> Result<Given, Failure> {
        let found = match call.request.model.as_str() {
            "kept" => Found::Fresh { age: Duration::from_millis(1700) },
            "stale" => Found::Stale { age: Duration::from_millis(2700) },
            "collapsed" => Found::Collapsed,
            "missed" => Found::Missed,
            _ => return self.rank(call).await.map(Given::from),
        };
        Ok(Given {
            answer: Answer { degradation: 0, ..answer(&call) },
            found: Some(found),
            keep: Duration::from_secs(10),
        })
    }

    fn popular(&self, model: Option<&str>, geo: Option<&str>, k: usize) -> Result<Popular, Failure> {
        let model = model.unwrap_or("movies");
        if model != "movies" {
            return Err(Failure::UnknownModel(model.to_owned()));
        }
        let items = (0..k.min(200)).map(|i| (format!("item-{i}"), 1000.0 - i as f32)).collect();
        let (model, version, geo) = (model.to_owned(), "7".to_owned(), geo.map(str::to_owned));
        Ok(Popular { model, version, geo, items, stamp: STAMP })
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }

    fn retry_after(&self) -> Duration {
        BACKLOG
    }

    fn models(&self) -> Vec<Serving> {
        let text = str::to_owned;
        vec![Serving {
            model: text("movies"),
            version: text("7"),
            variant: text("w4"),
            runs_on: text("nothing"),
            stamp: STAMP,
        }]
    }

    fn operations(&self) -> Option<&dyn Operations> {
        Some(self)
    }
}

fn answer(call: &Call) -> Answer {
    let ranked = call.request.candidates.iter().take(call.request.k as usize).enumerate();
    Answer {
        model: call.request.model.clone(),
        version: "7".to_owned(),
        tier: Tier::Edge,
        variant: Some("w4".to_owned()),
        degradation: 1,
        reason: Reason::UpstreamGone,
        ranked: ranked
            .map(|(i, c)| Ranked { id: c.id.clone(), score: Some(1.0 / (i + 1) as f32), by: Tier::Edge })
            .collect(),
        agreement: None,
        timing: Timing::default(),
        warnings: Vec::new(),
        stamp: Some(STAMP),
        explanation: None,
    }
}

/// A running front.
pub(crate) struct Rig {
    pub(crate) probe: Arc<Probe>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) tiers: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    own: Identity,
    roots: Pem,
    front: Front,
}

/// A certificate for `localhost` that vouches for itself, and its key.
pub(crate) fn identity() -> (Identity, Pem) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = Pem::new("test.crt", made.cert.pem());
    (Identity::new(certificate.clone(), Pem::new("test.key", made.signing_key.serialize_pem())), certificate)
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::at(Tier::Edge, limits).await
    }

    /// A tier that has one below it.
    pub(crate) async fn region() -> Self {
        Self::at(Tier::Region, Limits::default()).await
    }

    pub(crate) async fn at(tier: Tier, limits: Limits) -> Self {
        Self::facing(tier, limits, Clients::default()).await
    }

    pub(crate) async fn facing(tier: Tier, limits: Limits, clients: Clients) -> Self {
        let (own, roots) = identity();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let below = tls::Server::only_for(own.clone(), roots.clone()).expect("an identity");
        let settings = Settings {
            tier,
            http: Some(any),
            https: Some(Https { address: any, tls: tls::Server::open(own.clone()).expect("an identity") }),
            tiers: (tier > Tier::Edge).then_some(Https { address: any, tls: below }),
            http3: true,
            admin: any,
            limits,
            clients,
            drain_notice: Duration::ZERO,
        };
        Self::of(settings, own, roots).await
    }

    /// A front of these settings, which has an identity and a certificate that vouches for it.
    pub(crate) async fn of(settings: Settings, own: Identity, roots: Pem) -> Self {
        let (probe, tier) = (Arc::new(Probe::new()), settings.tier);
        let front = front::serve(settings, probe.clone(), front::metrics::registry(tier)).await.expect("it starts");
        let (http, https) = (front.http().expect("bound"), front.https().expect("bound"));
        Self { probe, http, https, tiers: front.tiers(), admin: front.admin(), own, roots, front }
    }

    /// Starts to drain, and goes on.
    pub(crate) fn drain(self, patience: Duration) -> (Arc<Probe>, JoinHandle<Drained>) {
        (self.probe, tokio::spawn(self.front.drain(patience)))
    }

    /// The front itself.
    pub(crate) fn into_front(self) -> Front {
        self.front
    }

    pub(crate) async fn http1(&self) -> Client {
        Client::http1(tcp(self.http).await).await
    }

    pub(crate) async fn http2(&self) -> Client {
        Client::http2(tcp(self.http).await).await
    }

    /// A client like any other, by the protocol's name in TLS.
    pub(crate) async fn tls(&self, protocol: &str) -> Client {
        let client = tls::Client::anonymous(self.roots.clone()).expect("a root");
        Client::connect(self.https, &client, protocol).await.expect("a connection")
    }

    /// The tier below.
    pub(crate) async fn tier(&self, protocol: &str) -> Client {
        let client = tls::Client::known_as(self.own.clone(), self.roots.clone()).expect("an identity");
        Client::connect(self.tiers.expect("bound"), &client, protocol).await.expect("a connection")
    }

    /// Somebody who knows whom to trust, and is perhaps known.
    pub(crate) fn stranger(&self, identity: Option<Identity>) -> tls::Client {
        let roots = self.roots.clone();
        match identity {
            Some(identity) => tls::Client::known_as(identity, roots),
            None => tls::Client::anonymous(roots),
        }
        .expect("a client")
    }

    /// Ranks with a body over a connection of its own.
    pub(crate) async fn rank(&self, body: &str) -> Reply {
        self.http1().await.send(post(RANK, body)).await
    }

    /// Asks the admin listener.
    pub(crate) async fn asked(&self, method: Method, path: &str) -> Reply {
        asked(self.admin, method, path).await
    }

    /// Sends an order to the admin listener.
    pub(crate) async fn ordered(&self, path: &str, body: &str) -> Reply {
        Client::http1(tcp(self.admin).await).await.send(post(path, body)).await
    }

    /// The value of a metric's line, 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.asked(Method::GET, "/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

pub(crate) async fn asked(admin: SocketAddr, method: Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).body(Full::default()).expect("a request");
    Client::http1(tcp(admin).await).await.send(request).await
}

async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends bytes as they are, and reads until the other side closes or has nothing more to say for now.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut io = tcp(address).await;
    io.write_all(bytes).await.expect("it is sent");
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = timeout(Duration::from_secs(3), io.read(&mut buffer)).await {
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
        }
        // A problem document is one object at the end of the answer.
        if all.ends_with(b"}") {
            break;
        }
    }
    String::from_utf8(all).expect("text")
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Client(Arc<tokio::sync::Mutex<Sender>>);

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
    Http3(http3::Sender),
}

/// What went wrong, in words.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Connects and speaks this protocol: `http/1.1`, `h2` or `h3`.
    pub(crate) async fn connect(at: SocketAddr, client: &tls::Client, protocol: &str) -> Result<Self, Error> {
        let mut config = client.config().as_ref().clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        if protocol == "h3" {
            return Ok(Self(Arc::new(Sender::Http3(http3::Sender::connect(at, config).await?).into())));
        }
        let name = ServerName::try_from("localhost").expect("a name");
        let io = TlsConnector::from(Arc::new(config)).connect(name, tcp(at).await).await?;
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        Ok(match protocol {
            "h2" => Self::http2(io).await,
            _ => Self::http1(io).await,
        })
    }

    async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("a connection");
        tokio::spawn(connection);
        Self(Arc::new(Sender::Http1(sender).into()))
    }

    async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("a connection");
        tokio::spawn(connection);
        Self(Arc::new(Sender::Http2(sender).into()))
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        timeout(TOO_LONG, self.try_send(request)).await.expect("an answer in time").expect("an answer")
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let sender = &mut *self.0.lock().await;
        let response = match sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let mut stream = sender.clone();
                stream.send_request(request).await?
            }
            Sender::Http3(sender) => return sender.send(request).await,
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, version: head.version, headers: head.headers, body })
    }

    /// Sends without waiting; on HTTP/2 the answers of one connection come in any order.
    pub(crate) fn start(&self, request: Request<Full<Bytes>>) -> JoinHandle<Reply> {
        let client = self.clone();
        tokio::spawn(async move { client.send(request).await })
    }

    /// Begins a request on an HTTP/3 connection, and leaves it to the test.
    pub(crate) async fn open_http3(&self, request: Request<Full<Bytes>>) -> http3::Stream {
        match &mut *self.0.lock().await {
            Sender::Http3(sender) => sender.open(request).await.expect("a stream"),
            Sender::Http1(_) | Sender::Http2(_) => panic!("it is another protocol's"),
        }
    }

    /// Whether an HTTP/3 connection takes new requests.
    pub(crate) async fn is_open_http3(&self, request: Request<Full<Bytes>>) -> bool {
        match &mut *self.0.lock().await {
            Sender::Http3(sender) => sender.open(request).await.is_ok(),
            Sender::Http1(_) | Sender::Http2(_) => panic!("it is another protocol's"),
        }
    }

    /// Another handle to the same HTTP/2 or HTTP/3 connection, which does not wait for this one's answers.
    pub(crate) async fn another(&self) -> Self {
        match &*self.0.lock().await {
            Sender::Http2(sender) => Self(Arc::new(Sender::Http2(sender.clone()).into())),
            Sender::Http3(sender) => Self(Arc::new(Sender::Http3(sender.clone()).into())),
            Sender::Http1(_) => panic!("an HTTP/1 connection answers one request at a time"),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Checks that it is a problem document of this kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let document = self.json();
        assert_eq!(document["type"], format!("urn:rung:problem:{name}"));
        assert_eq!(document["status"], status);
        assert_eq!(document["instance"], self.header("x-request-id"));
        assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
        document
    }
}

/// A request with JSON.
pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .expect("a request")
}

/// A sound request for a model.
pub(crate) fn asking(model: &str) -> String {
    format!(r#"{{"model":"{model}","k":2,"user":{{"id":"u1"}},"candidates":["a","b","c"]}}"#)
}
