//! One HTTP/3 connection to each host, made when it is needed and again when it is lost.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::uri::Authority;
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connecting, Endpoint};
use tokio::task::JoinSet;

use super::Error;

/// The connections.
#[derive(Clone)]
pub(super) struct Http3 {
    config: ClientConfig,
    open: Arc<Mutex<HashMap<Authority, Open>>>,
}

#[derive(Clone)]
struct Open {
    requests: SendRequest<OpenStreams, Bytes>,
    quic: quinn::Connection,
}

impl std::fmt::Debug for Http3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http3")
    }
}

impl Http3 {
    pub(super) fn new(mut tls: rustls::ClientConfig) -> Result<Self, Error> {
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Ok(Self { config: ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)), open: Arc::default() })
    }

    pub(super) async fn request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let authority = request.uri().authority().ok_or("a URL needs a host")?.clone();
        let Open { mut requests, .. } = self.connection(&authority).await?;
        let (head, body) = request.into_parts();
        let mut stream = requests.send_request(Request::from_parts(head, ())).await?;
        // A tier that has answered already may not want the rest; one that is gone has no answer either.
        if body.is_empty() || stream.send_data(body).await.is_ok() {
            let _ = stream.finish().await;
        }
        let (head, ()) = stream.recv_response().await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(mut data) = stream.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok(Response::from_parts(head, body.freeze()))
    }

    async fn connection(&self, authority: &Authority) -> Result<Open, Error> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(authority).cloned();
        if let Some(open) = known.filter(|open| open.quic.close_reason().is_none()) {
            return Ok(open);
        }
        let quic = self.connect(authority).await?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        tokio::spawn(async move { driver.wait_idle().await });
        let open = Open { requests, quic };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(authority.clone(), open.clone());
        Ok(open)
    }

    /// To the first of the host's addresses that answers.
    async fn connect(&self, authority: &Authority) -> Result<quinn::Connection, Error> {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(443);
        let mut tries = JoinSet::new();
        let mut last: Option<Error> = None;
        for address in tokio::net::lookup_host((name, port)).await? {
            let any: SocketAddr =
                if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
            // A host without IPv6 has no endpoint for it, and perhaps one for the next address.
            match self.begin(any, address, name) {
                Ok(connecting) => {
                    tries.spawn(connecting);
                }
                Err(error) => last = Some(error),
            }
        }
        while let Some(tried) = tries.join_next().await {
            match tried? {
                Ok(quic) => return Ok(quic),
                Err(error) => last = Some(error.into()),
            }
        }
        Err(last.unwrap_or_else(|| "the host has no address".into()))
    }

    fn begin(&self, from: SocketAddr, to: SocketAddr, name: &str) -> Result<Connecting, Error> {
        Ok(Endpoint::client(from)?.connect_with(self.config.clone(), to, name)?)
    }
}
