//! A client of HTTP/3.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::Request;
use http_body_util::{BodyExt, Full};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};

use super::{Error, Reply};

/// A connection on which nothing is spoken yet.
pub(crate) async fn quic(at: SocketAddr, tls: rustls::ClientConfig) -> Result<(Endpoint, quinn::Connection), Error> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let quic = endpoint.connect_with(config, at, "localhost")?.await?;
    Ok((endpoint, quic))
}

/// A request under way.
pub(crate) type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A connection.
#[derive(Clone)]
pub(crate) struct Sender {
    requests: SendRequest<OpenStreams, Bytes>,
    _endpoint: Endpoint,
}

impl Sender {
    pub(super) async fn connect(at: SocketAddr, tls: rustls::ClientConfig) -> Result<Self, Error> {
        let (endpoint, quic) = quic(at, tls).await?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
        tokio::spawn(async move { driver.wait_idle().await });
        Ok(Self { requests, _endpoint: endpoint })
    }

    /// Sends the head of a request.
    pub(super) async fn open(&mut self, request: Request<Full<Bytes>>) -> Result<Stream, Error> {
        let (mut head, _body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("https://localhost{path}").parse()?;
        Ok(self.requests.send_request(Request::from_parts(head, ())).await?)
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let body = request.body().clone().collect().await?.to_bytes();
        let mut stream = self.open(request).await?;
        // A server that has answered already may not want the rest.
        if stream.send_data(body).await.is_ok() {
            let _ = stream.finish().await;
        }
        let (head, ()) = stream.recv_response().await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(mut data) = stream.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok(Reply { status: head.status, version: head.version, headers: head.headers, body: body.freeze() })
    }
}
