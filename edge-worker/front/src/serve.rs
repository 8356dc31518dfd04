//! A front's life: bind, serve, drain.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::admin::{self, Admin};
use crate::admit::Door;
use crate::body::Media;
use crate::connection;
use crate::drain::{Drained, Stage, Stages};
use crate::listen::{Bounds, Listener, Pair, Secure, Security, Unbound};
use crate::metrics::{Metrics, Registry};
use crate::router::{self, Entrance, Site};
use crate::tls::{Rotation, TlsMetrics};
use crate::{Https, Limits, Ranker, Settings, Signals};

/// Connections of the admin listener; they have places of their own, so that a full front can still be asked.
const ADMIN_CONNECTIONS: usize = 64;
const ADMIN_STREAMS: u32 = 16;
/// Streams that an HTTP/2 client may count on, as RFC 9113 §6.5.2 recommends.
const MIN_STREAMS: u32 = 100;
/// How long answers that were cut off may take to leave.
const FLUSH: Duration = Duration::from_millis(500);

/// A front cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No listener for requests is asked for.
    #[error("no listener for requests: give `http`, `https` or `tiers` an address")]
    NoListener,
    /// An address cannot be bound.
    #[error("cannot listen on {address} for {purpose}: {reason}")]
    Bind {
        /// `http`, `https`, `tiers`, `HTTP/3` or `admin`.
        purpose: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
}

/// A running front. Dropped, it is gone at once, with all its connections.
#[derive(Debug)]
pub struct Front {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    tiers: Option<SocketAddr>,
    admin: SocketAddr,
    stages: Stages,
    // The admin listener outlives the others: it closes when the front is gone.
    _admin_stages: Stages,
    listeners: JoinSet<()>,
    _admin_listener: JoinSet<()>,
    metrics: Metrics,
    drain_asked: Arc<Notify>,
    drain_notice: Duration,
}

/// Binds every listener and starts to answer with what `ranker` says.
///
/// `registry` is that of [`crate::metrics::registry`], with the tier's own metrics in it.
///
/// # Errors
/// A listener is missing or cannot be bound; then none is open.
pub async fn serve<R: Ranker>(settings: Settings, ranker: Arc<R>, mut registry: Registry) -> Result<Front, StartError> {
    let Settings { tier, http, https, tiers, http3, admin, limits, clients, drain_notice } = settings;
    if http.is_none() && https.is_none() && tiers.is_none() {
        return Err(StartError::NoListener);
    }
    let metrics = Metrics::register(&mut registry);
    let of_clients = client_bounds(&limits, &metrics);
    let of_tiers = tier_bounds(&of_clients);
    let http = match http {
        Some(address) => Some(bind("http", address, Security::Plain).await?),
        None => None,
    };
    let https = match https {
        Some(https) => Some(bind_pair("https", https, http3, of_clients.each, &mut registry).await?),
        None => None,
    };
    let tiers = match tiers {
        Some(tiers) => Some(bind_pair("tiers", tiers, http3, of_tiers.each, &mut registry).await?),
        None => None,
    };
    let (admin_listener, admin) = bind("admin", admin, Security::Plain).await?;

    let (stages, admin_stages, drain_asked) = (Stages::new(), Stages::new(), Arc::new(Notify::new()));
    let mut front = Front {
        http: http.as_ref().map(|(_, address)| *address),
        https: https.as_ref().map(Pair::address),
        tiers: tiers.as_ref().map(Pair::address),
        admin,
        metrics: metrics.clone(),
        listeners: JoinSet::new(),
        _admin_listener: JoinSet::new(),
        drain_asked: drain_asked.clone(),
        drain_notice,
        stages,
        _admin_stages: admin_stages,
    };

    let operations = Arc::new(Admin {
        ranker: ranker.clone(),
        registry,
        stage: front.stages.watch(),
        drain: drain_asked,
        body_timeout: limits.body_timeout,
    });
    let answer = service_fn(move |request: Request<Incoming>| {
        let operations = operations.clone();
        async move { Ok::<_, Infallible>(admin::answer(operations, request).await) }
    });
    let bounds = Bounds {
        connections: Arc::new(Semaphore::new(ADMIN_CONNECTIONS)),
        places: ADMIN_CONNECTIONS,
        each: connection::Bounds { max_streams: ADMIN_STREAMS, ..of_clients.each },
        metrics: None,
    };
    front._admin_listener.spawn(admin_listener.run(answer, bounds, front._admin_stages.watch()));

    let longest = if tiers.is_some() { Media::Cbor } else { Media::Json };
    let door = Door::new(&limits, longest.max_bytes(&limits));
    let stage = front.stages.watch();
    let site = Arc::new(Site { tier, ranker, limits, clients, door, metrics, stage: stage.clone() });
    if let Some((listener, _)) = http {
        let site = site.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(router::answer(site, Entrance::Clients, request).await) }
        });
        front.listeners.spawn(listener.run(answer, of_clients.clone(), stage.clone()));
    }
    if let Some(https) = https {
        https.serve(&site, Entrance::Clients, &of_clients, &stage, &mut front.listeners);
    }
    if let Some(tiers) = tiers {
        tiers.serve(&site, Entrance::Tiers, &of_tiers, &stage, &mut front.listeners);
    }
    tracing::info!(
        tier = tier.as_str(), http = ?front.http, https = ?front.https, tiers = ?front.tiers, http3,
        admin = %front.admin, "listening"
    );
    Ok(front)
}

async fn bind(
    purpose: &'static str,
    address: SocketAddr,
    security: Security,
) -> Result<(Listener, SocketAddr), StartError> {
    let failed = |reason| StartError::Bind { purpose, address, reason };
    let listener = Listener::bind(address, security).await.map_err(failed)?;
    let bound = listener.address().map_err(failed)?;
    Ok((listener, bound))
}

async fn bind_pair(
    name: &'static str,
    Https { address, tls }: Https,
    http3: bool,
    each: connection::Bounds,
    registry: &mut Registry,
) -> Result<Pair, StartError> {
    let metrics = TlsMetrics::register(registry, name);
    let loud = tls.knows_its_clients();
    let secure = Secure { rotation: Rotation::start(tls, name, metrics.clone()), metrics, name, loud };
    Pair::bind(address, secure, http3, each).await.map_err(|unbound| match unbound {
        Unbound::Tcp(reason) => StartError::Bind { purpose: name, address, reason },
        Unbound::Udp(reason) => StartError::Bind { purpose: "HTTP/3", address, reason },
    })
}

fn client_bounds(limits: &Limits, metrics: &Metrics) -> Bounds {
    let places = limits.max_connections.min(Semaphore::MAX_PERMITS);
    Bounds {
        connections: Arc::new(Semaphore::new(places)),
        places,
        each: connection::Bounds {
            header_timeout: limits.header_timeout,
            idle_timeout: Some(limits.idle_timeout),
            send_timeout: limits.body_timeout,
            // More than can be worked on: who asks too much is to be told 429, and not to wait unseen at the client.
            max_streams: u32::try_from(limits.max_in_flight.saturating_mul(2)).unwrap_or(u32::MAX).max(MIN_STREAMS),
        },
        metrics: Some(metrics.clone()),
    }
}

/// The tiers below have places of their own, so that clients cannot take them, and keep their connections: one that is
/// made only when it is needed costs a request its time.
fn tier_bounds(clients: &Bounds) -> Bounds {
    Bounds {
        connections: Arc::new(Semaphore::new(clients.places)),
        each: connection::Bounds { idle_timeout: None, ..clients.each },
        ..clients.clone()
    }
}

impl Front {
    /// Where plain HTTP is taken, with the port that the system chose.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where HTTP over TLS is taken.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Where the tiers below pass requests up.
    #[must_use]
    pub fn tiers(&self) -> Option<SocketAddr> {
        self.tiers
    }

    /// Where the operations are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until a signal or `POST /drain` on the admin listener, then drains. A second signal ends it at once.
    pub async fn run(self, mut signals: Signals, patience: Duration) -> Drained {
        let why = tokio::select! {
            signal = signals.next() => signal,
            () = self.drain_asked.notified() => "POST /drain",
        };
        tracing::info!(why, "draining");
        let in_flight = self.metrics.clone();
        tokio::select! {
            drained = self.drain(patience) => drained,
            _ = signals.next() => Drained { cut: in_flight.in_flight() },
        }
    }

    /// Ends in order: `/readyz` says so first; then nothing new is accepted and open connections are told; what is in
    /// flight may finish until `patience` has passed, and is then answered with 503.
    pub async fn drain(mut self, patience: Duration) -> Drained {
        let until = Instant::now() + patience;
        self.stages.advance(Stage::Leaving);
        sleep(self.drain_notice.min(patience)).await;
        self.stages.advance(Stage::Closing);
        if timeout_at(until, all_ended(&mut self.listeners)).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = self.metrics.in_flight();
        self.stages.advance(Stage::Cut);
        let _ = timeout(FLUSH, all_ended(&mut self.listeners)).await;
        Drained { cut }
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
