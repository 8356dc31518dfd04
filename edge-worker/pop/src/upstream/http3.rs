//! HTTP/3 to the tier above, found out beside HTTP/2 and kept while it is there. It never makes a request wait.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use front::tls::{Fault, Rotation};
use h3::client::{Connection, SendRequest};
use h3_quinn::OpenStreams;
use http::{Request, StatusCode, Uri};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AckFrequencyConfig, Endpoint, TransportConfig, VarInt};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::MAX_REPLY_BYTES;
use super::route::{self, Route};
use crate::metrics::UpstreamMetrics;

/// How often a silent connection is asked whether it is still there, and when it is given up.
const PING_EVERY: Duration = Duration::from_secs(3);
const SILENCE_MS: u32 = 10_000;
/// How long a try may take; nobody waits for it.
const TRY: Duration = Duration::from_secs(3);
/// The application's error code of HTTP/3 for an end without an error.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Where and as whom.
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) name: ServerName<'static>,
    pub(super) tls: Rotation<ClientConfig>,
    /// Where TCP gets to: UDP is tried there and nowhere else.
    pub(super) peer: watch::Receiver<Option<SocketAddr>>,
}

/// The connection, when there is one.
#[derive(Debug)]
pub(super) struct Http3 {
    state: watch::Receiver<Option<Up>>,
    keeper: AbortHandle,
}

/// A connection that has answered.
#[derive(Clone)]
pub(super) struct Up {
    requests: SendRequest<OpenStreams, Bytes>,
    quic: quinn::Connection,
    retired: Arc<Notify>,
}

impl std::fmt::Debug for Up {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Up").field("peer", &self.quic.remote_address()).finish_non_exhaustive()
    }
}

impl Http3 {
    /// Finds out, and keeps finding out until dropped.
    pub(super) fn keep(target: Target, metrics: UpstreamMetrics) -> Self {
        let (tell, state) = watch::channel(None);
        let keeper = tokio::spawn(keep(target, tell, metrics)).abort_handle();
        Self { state, keeper }
    }

    /// The connection as it is now.
    pub(super) fn up(&self) -> Option<Up> {
        self.state.borrow().clone().filter(|up| up.quic.close_reason().is_none())
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Up {
    /// One request, and the whole answer.
    pub(super) async fn exchange(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), String> {
        let (head, body) = request.into_parts();
        let mut requests = self.requests.clone();
        let said = |error: h3::error::StreamError| error.to_string();
        let mut stream = requests.send_request(Request::from_parts(head, ())).await.map_err(said)?;
        // A tier that has answered already may not want the rest; one that is gone has no answer either.
        if body.is_empty() || stream.send_data(body).await.is_ok() {
            let _ = stream.finish().await;
        }
        let status = stream.recv_response().await.map_err(said)?.status();
        let mut body = BytesMut::new();
        while let Some(mut data) = stream.recv_data().await.map_err(said)? {
            if data.remaining() > MAX_REPLY_BYTES - body.len() {
                return Err(format!("its reply is longer than {MAX_REPLY_BYTES} bytes"));
            }
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok((status, body.freeze()))
    }

    /// How much has been heard from the other side.
    pub(super) fn heard(&self) -> u64 {
        self.quic.stats().udp_rx.datagrams
    }

    /// Ends when nothing has been heard since `heard` for longer than a request with this much time `left` can wait;
    /// if something has, never.
    pub(super) async fn silent_since(&self, heard: u64, left: Duration) {
        sleep(route::patience(self.quic.rtt(), left)).await;
        if self.heard() != heard {
            std::future::pending::<()>().await;
        }
    }

    /// It takes no new requests: those under way may end.
    pub(super) fn retire(&self) {
        self.retired.notify_one();
    }

    /// It is of no use to anybody.
    pub(super) fn give_up(&self) {
        self.quic.close(NO_ERROR, b"silent");
    }
}

async fn keep(mut target: Target, tell: watch::Sender<Option<Up>>, metrics: UpstreamMetrics) {
    let mut route = Route::new(Instant::now());
    loop {
        let Ok(Some(peer)) = target.peer.wait_for(Option::is_some).await.map(|peer| *peer) else { return };
        if let Some(at) = route.next_try() {
            sleep_until(at.into()).await;
        }
        let reason = match timeout(TRY, connect(&target, peer)).await {
            Ok(Ok((up, mut driver))) => {
                tracing::info!(%peer, "HTTP/3 gets to the tier above");
                route = route.answered(Instant::now());
                metrics.http3(true);
                let retired = up.retired.clone();
                tell.send_replace(Some(up));
                let reason = tokio::select! {
                    ended = driver.wait_idle() => ended.to_string(),
                    () = retired.notified() => {
                        // Requests under way hold it; when the last has ended, it closes.
                        tokio::spawn(async move { driver.wait_idle().await });
                        "it takes no more requests".to_owned()
                    }
                };
                tell.send_replace(None);
                metrics.http3(false);
                reason
            }
            Ok(Err(fault)) => {
                metrics.tls.failed(&fault);
                fault.to_string()
            }
            Err(_elapsed) => format!("no answer within {TRY:?}; does UDP pass?"),
        };
        route = route.failed(Instant::now());
        let again_in = route.next_try().map(|at| at.saturating_duration_since(Instant::now()));
        tracing::info!(%peer, reason, ?again_in, "HTTP/3 does not get to the tier above, HTTP/2 is used");
    }
}

type Driver = Connection<h3_quinn::Connection, Bytes>;

/// Connects, and waits for the answer to a greeting: whoever gives one has let us in.
async fn connect(target: &Target, peer: SocketAddr) -> Result<(Up, Driver), Fault> {
    let broken = |detail: String| Fault { reason: front::tls::Reason::Broken, by: front::tls::By::Us, detail };
    let any: SocketAddr =
        if peer.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let endpoint = Endpoint::client(any).map_err(|error| broken(error.to_string()))?;
    let connecting = endpoint.connect_with(config(&target.tls.current()), peer, &target.name.to_str());
    let connecting = connecting.map_err(|error| broken(error.to_string()))?;
    let quic = connecting.await.map_err(|error| Fault::of_quic(&error))?;
    // What ended the connection is the better reason, if it has ended.
    let failed = |error: String| quic.close_reason().map_or_else(|| broken(error), |reason| Fault::of_quic(&reason));
    let (mut driver, requests) =
        h3::client::new(h3_quinn::Connection::new(quic.clone())).await.map_err(|error| failed(error.to_string()))?;
    let up = Up { requests, quic: quic.clone(), retired: Arc::default() };
    let mut greeting = Request::new(Bytes::new());
    *greeting.uri_mut() = target.uri.clone();
    tokio::select! {
        ended = driver.wait_idle() => return Err(failed(ended.to_string())),
        answer = up.exchange(greeting) => answer.map_err(failed)?,
    };
    Ok((up, driver))
}

fn config(tls: &ClientConfig) -> quinn::ClientConfig {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(tls).expect("ring has the cipher suite that QUIC begins with");
    // How soon a path is known to be dead depends on how soon the other side acknowledges.
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.max_ack_delay(Some(route::ACK_DELAY));
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledgements))
        .keep_alive_interval(Some(PING_EVERY))
        .max_idle_timeout(Some(VarInt::from_u32(SILENCE_MS).into()))
        .datagram_receive_buffer_size(None);
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}
