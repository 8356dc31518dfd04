//! The UDP side of a TLS listener: QUIC connections, and HTTP/3 on them.
//!
//! ```text
//! Endpoint ── accept within the same places as TCP ── handshake ── connection (h3 over metered streams) ── router
//! ```
//!
//! It answers with what the TCP side answers with, and is held to the same bounds.

mod body;
mod connection;
mod metered;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectionError, EndpointConfig, Incoming, TokioRuntime, TransportConfig, VarInt};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use body::Body;

use crate::connection as tcp;
use crate::drain::{Stage, StageWatch};
use crate::listen::{Bounds, Secure};
use crate::metrics::{Metrics, RefusedFor};
use crate::tls::Fault;

/// The protocol's name in the TLS handshake.
const ALPN: &[u8] = b"h3";
/// Streams that HTTP/3 has for itself: one for control, two for QPACK, some for what a client may try.
const UNI_STREAMS: u32 = 8;
/// What a client may send before it is read: on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What may wait to be acknowledged by one client.
const SEND_WINDOW: u64 = 1 << 20;
/// What the one socket for all clients may hold, as far as the system lets it (`net.core.rmem_max`, `wmem_max`): more
/// than it gives to those that do not ask.
const SOCKET_BUFFER: usize = 7_500_000;
/// How often a silent client is asked whether it is still there, and when it is given up.
const PING_EVERY: Duration = Duration::from_secs(10);
const SILENCE_MS: u32 = 30_000;
/// How long the last packets of a front that closes may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// A bound UDP socket that does not yet answer.
pub(crate) struct Endpoint {
    endpoint: quinn::Endpoint,
    secure: Secure,
    each: tcp::Bounds,
}

impl Endpoint {
    pub(crate) fn bind(address: SocketAddr, secure: Secure, each: tcp::Bounds) -> io::Result<Self> {
        let config = config(&secure.rotation.current(), each);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), Some(config), socket(address)?, runtime)?;
        Ok(Self { endpoint, secure, each })
    }

    /// Accepts until the front closes, then waits for the connections to end. Dropped, it drops them.
    pub(crate) async fn run<A, R>(self, answer: A, bounds: Bounds, mut stage: StageWatch)
    where
        A: Fn(Request<Body>) -> R + Clone + Send + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let Self { endpoint, mut secure, each } = self;
        let mut open = JoinSet::new();
        let watch = stage.clone();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => {
                        // A sender's address can be forged: once places get scarce, it has to prove that it is there.
                        let scarce = bounds.connections.available_permits() < bounds.places / 2;
                        if scarce && incoming.may_retry() {
                            let _ = incoming.retry();
                        } else if let Ok(place) = bounds.connections.clone().try_acquire_owned() {
                            let one = one(incoming, secure.clone(), answer.clone(), bounds.clone(), watch.clone());
                            open.spawn(async move {
                                one.await;
                                drop(place);
                            });
                        } else {
                            incoming.refuse();
                            if let Some(metrics) = &bounds.metrics {
                                metrics.refused(RefusedFor::Connections);
                            }
                        }
                    }
                    None => break,
                },
                tls = secure.rotation.changed() => endpoint.set_server_config(Some(config(&tls, each))),
                Some(_ended) = open.join_next() => {}
                () = stage.reached(Stage::Closing) => break,
            }
        }
        while !open.is_empty() {
            tokio::select! {
                // Who comes now is told, and not left to wonder.
                Some(late) = endpoint.accept() => late.refuse(),
                Some(_ended) = open.join_next() => {}
            }
        }
        endpoint.set_server_config(None);
        let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let buffers = SockRef::from(&socket);
    // Whoever has set more for every socket meant it.
    if buffers.recv_buffer_size()? < SOCKET_BUFFER {
        buffers.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    if buffers.send_buffer_size()? < SOCKET_BUFFER {
        buffers.set_send_buffer_size(SOCKET_BUFFER)?;
    }
    Ok(socket)
}

/// One connection, from its first datagram on.
async fn one<A, R>(incoming: Incoming, secure: Secure, answer: A, bounds: Bounds, mut stage: StageWatch)
where
    A: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let _counted = bounds.metrics.as_ref().map(Metrics::connected);
    let watch = stage.clone();
    // Nothing has been asked yet, so a front that closes need not wait for it.
    let opened = tokio::select! {
        opened = timeout(bounds.each.header_timeout, incoming) => opened,
        () = stage.reached(Stage::Closing) => return,
    };
    match opened {
        Ok(Ok(opened)) => connection::serve(opened, answer, bounds.each, watch).await,
        // A probe that thought better of it.
        Ok(Err(ConnectionError::ApplicationClosed(_) | ConnectionError::Reset)) => {}
        Ok(Err(error)) => secure.failed(&Fault::of_quic(&error)),
        Err(_elapsed) => secure.failed(&Fault::too_slow()),
    }
}

fn config(tls: &ServerConfig, each: tcp::Bounds) -> quinn::ServerConfig {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).expect("ring has the cipher suite that QUIC begins with");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(each.max_streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(PING_EVERY))
        .max_idle_timeout(Some(VarInt::from_u32(SILENCE_MS).into()));
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_listener_asks_for_more_than_others_have() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (plain, ours) = (UdpSocket::bind(any).expect("a port"), socket(any).expect("a port"));
        let sizes = |socket: &UdpSocket| {
            let socket = SockRef::from(socket);
            (socket.recv_buffer_size().expect("a size"), socket.send_buffer_size().expect("a size"))
        };
        let (plain, ours) = (sizes(&plain), sizes(&ours));
        assert!(ours.0 > plain.0 && ours.1 > plain.1, "{ours:?}, and {plain:?} for others");
    }
}
