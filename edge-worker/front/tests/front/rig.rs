//! A front on ports of its own with a tier behind it that does as the model's name says, and clients for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use front::generations::{Operations, OrderError, Refused, Reload, Running};
use front::tls::{self, Identity, Pem};
use front::{
    Call, Clients, Drained, Failure, Found, Front, Given, Health, Https, Limits, Popular, Ranker, Serving, Settings,
};
use http::Method;
use shared_model::wire::{Answer, Digest, Ranked, Reason, Refusal, Stamp, Tier, Timing};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod client;
pub(crate) mod http3;

use client::tcp;
pub(crate) use client::{Client, Error, Reply, asked, asking, post, raw};

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
            note: None,
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
