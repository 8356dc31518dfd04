//! A small HTTPS client: HTTP/1.1 or 2 by ALPN, or HTTP/3; connections are kept, every answer is read whole.

mod http3;

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
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
        let tls = trusting(ca)?;
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

    /// `POST` with a JSON body of so many blanks, which may say beforehand how many. Also tells how many were taken.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn flood(&self, uri: &str, blanks: u64, declared: bool) -> Result<(Response, u64), Error> {
        let taken = Arc::new(AtomicU64::new(0));
        let request = Request::post(uri.parse::<Uri>()?).header("content-type", "application/json");
        let body = Floods { left: blanks, declared, taken: taken.clone() };
        let response = self.sent(request.body(body)?.map(BodyExt::boxed_unsync)).await?;
        Ok((response, taken.load(Ordering::Relaxed)))
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

/// TLS with whoever the authority in a PEM file vouches for.
///
/// # Errors
/// The file is not readable or not PEM.
pub fn trusting(ca: &Path) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    Ok(rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A body that is very long.
struct Floods {
    left: u64,
    declared: bool,
    taken: Arc<AtomicU64>,
}

impl Body for Floods {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const BLANKS: &[u8] = &[b' '; 64 << 10];
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(BLANKS.len());
        if most == 0 {
            return Poll::Ready(None);
        }
        self.left -= most as u64;
        self.taken.fetch_add(most as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLANKS[..most])))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.declared { SizeHint::with_exact(self.left) } else { SizeHint::default() }
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
    /// The value of a metric in Prometheus text, without labels or with all of them as written.
    ///
    /// # Errors
    /// There is no such metric.
    pub fn metric(&self, name: &str) -> Result<f64, Error> {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let value = line.and_then(|l| l.rsplit(' ').next()).ok_or_else(|| format!("no metric {name} in\n{text}"))?;
        Ok(value.parse()?)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|e| format!("{e} in {:?}", String::from_utf8_lossy(&self.body)).into())
    }
}
