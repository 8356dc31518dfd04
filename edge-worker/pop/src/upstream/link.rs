//! One HTTP/2 connection to the tier above, made ahead of need and made again when it is lost.
//!
//! It is there once the tier above has answered a greeting: a TLS handshake is over at this end before the other has
//! looked at our certificate.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use front::tls::{Fault, Rotation};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::overheard::Overheard;
use super::{Security, UpstreamSettings};
use crate::metrics::UpstreamMetrics;

/// How often a peer is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts to connect, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted less was none.
const STEADY: Duration = Duration::from_secs(1);

type Sender = SendRequest<Full<Bytes>>;

/// The connection, whichever it is at the time.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    peer: watch::Receiver<Option<SocketAddr>>,
    keeper: AbortHandle,
}

#[derive(Clone, Debug)]
enum State {
    /// An attempt is under way and may well succeed.
    Connecting,
    Up(Sender),
    /// The last attempt failed, for this reason.
    Down(Arc<str>),
}

impl Link {
    /// Connects, and keeps connected until dropped.
    pub(super) fn keep(target: Target, metrics: UpstreamMetrics) -> Self {
        let (tell, state) = watch::channel(State::Connecting);
        let (tell_peer, peer) = watch::channel(None);
        let keeper = tokio::spawn(keep(target, tell, tell_peer, metrics)).abort_handle();
        Self { state, peer, keeper }
    }

    /// The address that it was last connected to.
    pub(super) fn peer(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.peer.clone()
    }

    /// A handle to send on; waits while an attempt is under way that may well succeed.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn sender(&self) -> Result<Sender, String> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| match state {
            State::Connecting => false,
            // Its keeper is about to notice.
            State::Up(sender) => !sender.is_closed(),
            State::Down(_) => true,
        });
        match settled.await.as_deref() {
            Ok(State::Up(sender)) => Ok(sender.clone()),
            Ok(State::Down(reason)) => Err(reason.to_string()),
            Ok(State::Connecting) | Err(_) => Err("nobody keeps the connection".to_owned()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) settings: UpstreamSettings,
    /// `Some` exactly when the settings say TLS.
    pub(super) tls: Option<Rotation<ClientConfig>>,
    /// Where a greeting goes.
    pub(super) uri: Uri,
}

async fn keep(
    target: Target,
    tell: watch::Sender<State>,
    tell_peer: watch::Sender<Option<SocketAddr>>,
    metrics: UpstreamMetrics,
) {
    let upstream = target.settings.authority.clone();
    let connect_timeout = target.settings.connect_timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match timeout(connect_timeout, connect(&target)).await {
            Ok(Ok(Connected { sender, ended, peer })) => {
                tracing::info!(%upstream, "connected to the tier above");
                metrics.connected(true);
                tell_peer.send_replace(Some(peer));
                tell.send_replace(State::Up(sender));
                let since = Instant::now();
                let ended = ended.await;
                metrics.connected(false);
                if since.elapsed() >= STEADY {
                    // It was there a moment ago: what comes now may wait for the next attempt.
                    tracing::warn!(%upstream, reason = %ended, "lost the tier above, connecting again");
                    tell.send_replace(State::Connecting);
                    pause = FIRST_PAUSE;
                    continue;
                }
                ended
            }
            Ok(Err(reason)) => reason,
            Err(_) => Unconnected::Other(format!("not connected within {connect_timeout:?}")),
        };
        if let Unconnected::Tls(fault) = &reason {
            metrics.tls.failed(fault);
        }
        tracing::warn!(%upstream, %reason, again_in = ?pause, "cannot connect to the tier above");
        tell.send_replace(State::Down(reason.to_string().into()));
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
enum Unconnected {
    #[error("{0}")]
    Tls(Fault),
    #[error("{0}")]
    Other(String),
}

impl Unconnected {
    fn of(error: &dyn Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// What ends when the connection does, with the reason.
type Ended = std::pin::Pin<Box<dyn Future<Output = Unconnected> + Send>>;

struct Connected {
    sender: Sender,
    ended: Ended,
    peer: SocketAddr,
}

async fn connect(target: &Target) -> Result<Connected, Unconnected> {
    let Target { settings, tls, uri } = target;
    let default_port = if tls.is_some() { 443 } else { 80 };
    let host = settings.authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = settings.authority.port_u16().unwrap_or(default_port);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| Unconnected::of(&error))?;
    stream.set_nodelay(true).map_err(|error| Unconnected::of(&error))?;
    let peer = stream.peer_addr().map_err(|error| Unconnected::of(&error))?;
    let (sender, ended) = match (tls, &settings.security) {
        (Some(tls), Security::Tls { name, .. }) => {
            let mut config = tls.current().as_ref().clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let connecting = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
            let stream = connecting.await.map_err(|error| Unconnected::Tls(Fault::of_io(&error)))?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(Unconnected::Other("it does not speak HTTP/2 over TLS".to_owned()));
            }
            let (stream, ear) = Overheard::new(TokioIo::new(stream));
            greeted(stream, uri).await.map_err(|reason| ear.fault().map_or(reason, Unconnected::Tls))?
        }
        _ => greeted(TokioIo::new(stream), uri).await?,
    };
    Ok(Connected { sender, ended, peer })
}

/// Speaks HTTP/2, and waits for the answer to a greeting. Any answer will do: whoever gives one has let us in.
async fn greeted<T>(io: T, uri: &Uri) -> Result<(Sender, Ended), Unconnected>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let (mut sender, connection) = builder.handshake(io).await.map_err(|error| Unconnected::of(&error))?;
    let mut ended: Ended = Box::pin(ended(connection));
    let mut greeting = Request::new(Full::default());
    *greeting.uri_mut() = uri.clone();
    let answer = tokio::select! {
        biased;
        reason = &mut ended => return Err(reason),
        answer = sender.send_request(greeting) => answer,
    };
    match answer {
        Ok(_answer) => Ok((sender, ended)),
        // The connection knows better why.
        Err(_) => Err(ended.await),
    }
}

async fn ended<T>(connection: Connection<T, Full<Bytes>, TokioExecutor>) -> Unconnected
where
    T: Read + Write + Unpin + Send + 'static,
{
    match connection.await {
        Ok(()) => Unconnected::Other("it closed the connection".to_owned()),
        Err(error) => Unconnected::of(&error),
    }
}
