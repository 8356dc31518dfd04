//! Listeners: they accept within bounds, find out what is spoken, and see their connections to the end.

mod pair;
mod sniff;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub(crate) use pair::{Pair, Unbound};

use crate::connection::{self, Protocol};
use crate::drain::{Stage, StageWatch};
use crate::metrics::{Metrics, RefusedFor};
use crate::tls::{Fault, Rotation, TlsMetrics};

/// The wait after a failed accept: most often the process is out of file descriptors, and more haste would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much of what a refused client sends is still taken, and for how long.
const LINGER_BYTES: usize = 64 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// A bound socket that does not yet accept.
pub(crate) struct Listener {
    socket: TcpListener,
    security: Security,
}

/// Whether a listener speaks TLS.
#[derive(Clone)]
pub(crate) enum Security {
    Plain,
    Tls(Secure),
}

/// As whom a listener speaks TLS, and with whom.
#[derive(Clone)]
pub(crate) struct Secure {
    pub(crate) rotation: Rotation<ServerConfig>,
    pub(crate) metrics: TlsMetrics,
    /// The listener's name, in the log.
    pub(crate) name: &'static str,
    /// Whether a failed handshake is worth a line of its own: clients of the open internet fail all the time.
    pub(crate) loud: bool,
}

impl Secure {
    /// Tells of a handshake that failed.
    pub(crate) fn failed(&self, fault: &Fault) {
        self.metrics.failed(fault);
        if self.loud {
            tracing::warn!(listener = self.name, reason = fault.reason.as_str(), %fault, "a handshake failed");
        } else {
            tracing::debug!(listener = self.name, reason = fault.reason.as_str(), %fault, "a handshake failed");
        }
    }
}

/// What a listener's connections are held to.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// Places for connections; several listeners may share them.
    pub(crate) connections: Arc<Semaphore>,
    /// How many they are in all.
    pub(crate) places: usize,
    pub(crate) each: connection::Bounds,
    /// Counts the connections; `None` for those that are not clients'.
    pub(crate) metrics: Option<Metrics>,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, security: Security) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, security })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until the front closes, then waits for the connections to end. Dropped, it drops them.
    pub(crate) async fn run<S>(self, service: S, bounds: Bounds, mut stage: StageWatch)
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let Self { socket, security } = self;
        let mut open = JoinSet::new();
        let watch = stage.clone();
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((tcp, _peer)) => {
                        // One too many is closed at once: in a queue it would wait without knowing for what.
                        if let Ok(place) = bounds.connections.clone().try_acquire_owned() {
                            let one = one(tcp, security.clone(), service.clone(), bounds.clone(), watch.clone());
                            open.spawn(async move {
                                one.await;
                                drop(place);
                            });
                        } else if let Some(metrics) = &bounds.metrics {
                            metrics.refused(RefusedFor::Connections);
                        }
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = open.join_next() => {}
                () = stage.reached(Stage::Closing) => break,
            }
        }
        drop(socket);
        while open.join_next().await.is_some() {}
    }
}

/// One connection, from the first byte on.
async fn one<S>(tcp: TcpStream, security: Security, service: S, bounds: Bounds, mut stage: StageWatch)
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let _counted = bounds.metrics.as_ref().map(Metrics::connected);
    // Answers are written whole: waiting for more to fill a packet only delays them.
    let _ = tcp.set_nodelay(true);
    let limit = bounds.each.header_timeout;
    let watch = stage.clone();
    // Nothing has been asked yet, so a front that closes need not wait for it.
    let opening = async {
        match security {
            Security::Plain => {
                let (io, protocol) = timeout(limit, sniff::sniff(tcp)).await.ok()?.ok()??;
                Some(Opened::Plain(io, protocol))
            }
            Security::Tls(secure) => {
                let accepting = TlsAcceptor::from(secure.rotation.current()).accept(tcp).into_fallible();
                let tls = match timeout(limit, accepting).await {
                    Ok(Ok(tls)) => tls,
                    Ok(Err((error, tcp))) => {
                        secure.failed(&Fault::of_io(&error));
                        let _ = timeout(LINGER, linger(tcp)).await;
                        return None;
                    }
                    Err(_elapsed) => {
                        secure.failed(&Fault::too_slow());
                        return None;
                    }
                };
                let protocol =
                    if tls.get_ref().1.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
                Some(Opened::Tls(Box::new(tls), protocol))
            }
        }
    };
    let opened = tokio::select! {
        opened = opening => opened,
        () = stage.reached(Stage::Closing) => None,
    };
    match opened {
        Some(Opened::Plain(io, protocol)) => connection::serve(io, protocol, service, bounds.each, watch).await,
        Some(Opened::Tls(io, protocol)) => connection::serve(io, protocol, service, bounds.each, watch).await,
        None => {}
    }
}

/// Takes what a refused client still sends. A connection closed before is reset, and the reset can overtake the alert
/// that says why.
async fn linger(mut tcp: TcpStream) {
    let mut left = LINGER_BYTES;
    let mut buffer = [0; 4096];
    let _ = tcp.shutdown().await;
    while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
        match left.checked_sub(read) {
            Some(less) => left = less,
            None => break,
        }
    }
}

/// A connection of which it is known what is spoken on it.
enum Opened {
    Plain(sniff::Sniffed, Protocol),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, Protocol),
}
