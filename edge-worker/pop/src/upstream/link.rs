//! One HTTP/2 connection to the tier above, made ahead of need and made again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

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
    pub(super) fn keep(settings: UpstreamSettings, metrics: UpstreamMetrics) -> Self {
        let (tell, state) = watch::channel(State::Connecting);
        let keeper = tokio::spawn(keep(settings, tell, metrics)).abort_handle();
        Self { state, keeper }
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

async fn keep(settings: UpstreamSettings, tell: watch::Sender<State>, metrics: UpstreamMetrics) {
    let upstream = settings.authority.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match timeout(settings.connect_timeout, connect(&settings)).await {
            Ok(Ok((sender, connection))) => {
                tracing::info!(%upstream, "connected to the tier above");
                metrics.connected(true);
                tell.send_replace(State::Up(sender));
                let since = Instant::now();
                let ended = connection.await;
                metrics.connected(false);
                if since.elapsed() >= STEADY {
                    // It was there a moment ago: what comes now may wait for the next attempt.
                    tracing::warn!(%upstream, reason = ended, "lost the tier above, connecting again");
                    tell.send_replace(State::Connecting);
                    pause = FIRST_PAUSE;
                    continue;
                }
                ended
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("not connected within {:?}", settings.connect_timeout),
        };
        tracing::warn!(%upstream, reason, again_in = ?pause, "cannot connect to the tier above");
        tell.send_replace(State::Down(reason.into()));
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// What ends when the connection does, with the reason.
type Ended = std::pin::Pin<Box<dyn Future<Output = String> + Send>>;

async fn connect(settings: &UpstreamSettings) -> Result<(Sender, Ended), String> {
    let default_port = match settings.security {
        Security::Plain => 80,
        Security::Tls { .. } => 443,
    };
    let host = settings.authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = settings.authority.port_u16().unwrap_or(default_port);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    match &settings.security {
        Security::Plain => handshake(TokioIo::new(stream)).await,
        Security::Tls { config, name } => {
            let mut config = config.as_ref().clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let tls = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
            let stream = tls.await.map_err(|error| format!("TLS: {error}"))?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err("it does not speak HTTP/2 over TLS".to_owned());
            }
            handshake(TokioIo::new(stream)).await
        }
    }
}

async fn handshake<T>(io: T) -> Result<(Sender, Ended), String>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let (sender, connection) = builder.handshake(io).await.map_err(|error| error.to_string())?;
    Ok((sender, Box::pin(ended(connection))))
}

async fn ended<T>(connection: Connection<T, Full<Bytes>, TokioExecutor>) -> String
where
    T: Read + Write + Unpin + Send + 'static,
{
    match connection.await {
        Ok(()) => "it closed the connection".to_owned(),
        Err(error) => error.to_string(),
    }
}
