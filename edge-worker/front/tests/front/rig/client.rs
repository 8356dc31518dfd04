//! Clients of a front, of each protocol and of none, and what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use front::tls;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{TOO_LONG, http3};

pub(crate) async fn asked(admin: SocketAddr, method: Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).body(Full::default()).expect("a request");
    Client::http1(tcp(admin).await).await.send(request).await
}

pub(super) async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends bytes as they are, and reads until the other side closes or has nothing more to say for now.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut io = tcp(address).await;
    io.write_all(bytes).await.expect("it is sent");
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = timeout(Duration::from_secs(3), io.read(&mut buffer)).await {
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
        }
        // A problem document is one object at the end of the answer.
        if all.ends_with(b"}") {
            break;
        }
    }
    String::from_utf8(all).expect("text")
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Client(Arc<tokio::sync::Mutex<Sender>>);

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
    Http3(http3::Sender),
}

/// What went wrong, in words.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Connects and speaks this protocol: `http/1.1`, `h2` or `h3`.
    pub(crate) async fn connect(at: SocketAddr, client: &tls::Client, protocol: &str) -> Result<Self, Error> {
        let mut config = client.config().as_ref().clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        if protocol == "h3" {
            return Ok(Self(Arc::new(Sender::Http3(http3::Sender::connect(at, config).await?).into())));
        }
        let name = ServerName::try_from("localhost").expect("a name");
        let io = TlsConnector::from(Arc::new(config)).connect(name, tcp(at).await).await?;
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        Ok(match protocol {
            "h2" => Self::http2(io).await,
            _ => Self::http1(io).await,
        })
    }

    pub(super) async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("a connection");
        tokio::spawn(connection);
        Self(Arc::new(Sender::Http1(sender).into()))
    }

    pub(super) async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("a connection");
        tokio::spawn(connection);
        Self(Arc::new(Sender::Http2(sender).into()))
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        timeout(TOO_LONG, self.try_send(request)).await.expect("an answer in time").expect("an answer")
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let sender = &mut *self.0.lock().await;
        let response = match sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let mut stream = sender.clone();
                stream.send_request(request).await?
            }
            Sender::Http3(sender) => return sender.send(request).await,
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, version: head.version, headers: head.headers, body })
    }

    /// Sends without waiting; on HTTP/2 the answers of one connection come in any order.
    pub(crate) fn start(&self, request: Request<Full<Bytes>>) -> JoinHandle<Reply> {
        let client = self.clone();
        tokio::spawn(async move { client.send(request).await })
    }

    /// Begins a request on an HTTP/3 connection, and leaves it to the test.
    pub(crate) async fn open_http3(&self, request: Request<Full<Bytes>>) -> http3::Stream {
        match &mut *self.0.lock().await {
            Sender::Http3(sender) => sender.open(request).await.expect("a stream"),
            Sender::Http1(_) | Sender::Http2(_) => panic!("it is another protocol's"),
        }
    }

    /// Whether an HTTP/3 connection takes new requests.
    pub(crate) async fn is_open_http3(&self, request: Request<Full<Bytes>>) -> bool {
        match &mut *self.0.lock().await {
            Sender::Http3(sender) => sender.open(request).await.is_ok(),
            Sender::Http1(_) | Sender::Http2(_) => panic!("it is another protocol's"),
        }
    }

    /// Another handle to the same HTTP/2 or HTTP/3 connection, which does not wait for this one's answers.
    pub(crate) async fn another(&self) -> Self {
        match &*self.0.lock().await {
            Sender::Http2(sender) => Self(Arc::new(Sender::Http2(sender.clone()).into())),
            Sender::Http3(sender) => Self(Arc::new(Sender::Http3(sender.clone()).into())),
            Sender::Http1(_) => panic!("an HTTP/1 connection answers one request at a time"),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Checks that it is a problem document of this kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let document = self.json();
        assert_eq!(document["type"], format!("urn:rung:problem:{name}"));
        assert_eq!(document["status"], status);
        assert_eq!(document["instance"], self.header("x-request-id"));
        assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
        document
    }
}

/// A request with JSON.
pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .expect("a request")
}

/// A sound request for a model.
pub(crate) fn asking(model: &str) -> String {
    format!(r#"{{"model":"{model}","k":2,"user":{{"id":"u1"}},"candidates":["a","b","c"]}}"#)
}
