//! A small HTTPS client: HTTP/1.1 or 2 by ALPN, or HTTP/3; connections are kept, every answer is read whole.

mod http3;

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use http3::Http3;

/// What went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over TLS.
    Http2,
    /// HTTP/3.
    Http3,
}

/// A client that trusts one authority.
#[derive(Clone, Debug)]
pub struct Client(Inner);

type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone, Debug)]
enum Inner {
    Tcp(Box<hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Outgoing>>),
    Udp(Http3),
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The protocol it came over.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client that trusts the authority in a PEM file.
    ///
    /// # Errors
    /// The file is not readable or not PEM.
    pub fn new(ca: &Path, protocol: Protocol) -> Result<Self, Error> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if protocol == Protocol::Http3 {
            return Ok(Self(Inner::Udp(Http3::new(tls)?)));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A request is several small writes: they must not wait for each other's acknowledgement.
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match protocol {
            Protocol::Http1 => builder.enable_http1().wrap_connector(tcp),
            Protocol::Http2 | Protocol::Http3 => builder.enable_all_versions().wrap_connector(tcp),
        };
        let tcp = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self(Inner::Tcp(Box::new(tcp))))
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn post(&self, uri: &str, body: impl Into<Bytes>) -> Result<Response, Error> {
        self.send(Method::POST, uri, body.into()).await
    }

    /// `GET`.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn get(&self, uri: &str) -> Result<Response, Error> {
        self.send(Method::GET, uri, Bytes::new()).await
    }

    /// Any request with a JSON body.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn send(&self, method: Method, uri: &str, body: Bytes) -> Result<Response, Error> {
        let mut request = Request::builder().method(method).uri(uri.parse::<Uri>()?);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.request(request.body(Full::new(body))?).await
    }

    /// A request made by hand.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response, Error> {
        self.sent(request.map(BodyExt::boxed_unsync)).await
    }

    /// `POST` with a JSON body that begins like this and never goes on.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn stall(&self, uri: &str, start: &'static str) -> Result<Response, Error> {
        let request = Request::post(uri.parse::<Uri>()?).header("content-type", "application/json");
        self.sent(request.body(Stalls(Some(start)))?.map(BodyExt::boxed_unsync)).await
    }

    async fn sent(&self, request: Request<Outgoing>) -> Result<Response, Error> {
        tokio::time::timeout(TIMEOUT, async {
            let (parts, body) = match &self.0 {
                Inner::Tcp(tcp) => {
                    let (parts, body) = tcp.request(request).await?.into_parts();
                    (parts, body.collect().await?.to_bytes())
                }
                Inner::Udp(udp) => {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    udp.request(Request::from_parts(parts, body)).await?.into_parts()
                }
            };
            Ok(Response { status: parts.status, version: parts.version, headers: parts.headers, body })
        })
        .await?
    }
}

/// A body that is never whole.
struct Stalls(Option<&'static str>);

impl Body for Stalls {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(start) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(start.as_bytes()))))),
            None => Poll::Pending,
        }
    }
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is not.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|e| format!("{e} in {:?}", String::from_utf8_lossy(&self.body)).into())
    }
}
