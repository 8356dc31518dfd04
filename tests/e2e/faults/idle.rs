//! Connections that are open and ask nothing: they take no answers from others, and little memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rung_tests::client::{Error, trusting};
use rung_tests::processes::Processes;
use rung_tests::stack::Which;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{LONG, answered, forgetful, others_are_served, place, until};
use crate::requests::{eval, with};

/// Opened side by side: more would only wait for the machine.
const AT_A_TIME: usize = 32;
/// What one connection may cost, TLS and HTTP/2 included.
const MEMORY: u64 = 128 << 10;

/// An open connection.
enum Held {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// How a connection is made.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Tls,
    Http2,
}

impl Held {
    async fn open(tiers: [SocketAddr; 2], kind: Kind, mut tls: ClientConfig) -> Result<Self, Error> {
        let [plain, secure] = tiers;
        if matches!(kind, Kind::Plain) {
            return Self::http1(TcpStream::connect(plain).await?).await;
        }
        tls.alpn_protocols = vec![if matches!(kind, Kind::Http2) { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let tcp = TcpStream::connect(secure).await?;
        let io = TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost")?, tcp).await?;
        if matches!(kind, Kind::Tls) {
            return Self::http1(io).await;
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    /// Something cheap, that only an open connection answers.
    async fn ask(&mut self) -> Result<StatusCode, Error> {
        let request = |uri: &str| Request::get(uri).header("host", "localhost").body(Full::<Bytes>::default());
        let path = "/v1/popular?k=1";
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request(path)?).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request(&format!("https://localhost{path}"))?).await?
            }
        };
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }
}

/// Opens connections of all kinds, each of which asks once and then no more.
async fn hold(tiers: &Processes, many: usize) -> Vec<Held> {
    let at = [tiers.plain(Which::Edge), tiers.secure(Which::Edge)];
    let tls = trusting(&tiers.certs().ca).unwrap();
    let (mut held, mut opening) = (Vec::with_capacity(many), JoinSet::new());
    for number in 0..many {
        let (tls, kind) = (tls.clone(), [Kind::Plain, Kind::Tls, Kind::Plain, Kind::Http2][number % 4]);
        opening.spawn(async move {
            let mut one = Held::open(at, kind, tls).await?;
            assert_eq!(one.ask().await?, StatusCode::OK);
            Ok::<_, Error>(one)
        });
        if opening.len() >= AT_A_TIME {
            held.push(opening.join_next().await.unwrap().unwrap().unwrap());
        }
    }
    while let Some(opened) = opening.join_next().await {
        held.push(opened.unwrap().unwrap());
    }
    held
}

async fn idle(many: usize) {
    // Longer than a test: what is idle should stay.
    let limits =
        format!("[limits]\nmax_connections = {}\nheader_timeout_ms = 60000\nidle_timeout_ms = 3600000\n", many + 100);
    let tiers = forgetful().with(Which::Edge, &limits).spawn().await.unwrap();
    others_are_served(&tiers, Which::Edge).await;
    let before = tiers.forget_peak(Which::Edge).unwrap();
    let mut held = hold(&tiers, many).await;
    until(&tiers, Which::Edge, "edge_open_connections", many as f64).await;
    for request in eval(50) {
        for tier in ["edge", "origin"] {
            let answer = answered(&tiers, &with(request.clone(), serde_json::json!({ "tier": tier }))).await;
            assert_eq!(place(&answer), (tier, 0), "{answer}");
        }
        others_are_served(&tiers, Which::Edge).await;
    }
    let each = tiers.peak(Which::Edge).unwrap().saturating_sub(before) / many as u64;
    assert!(each < MEMORY, "{each} bytes each");
    // All of them are there still, and as good as new.
    assert!(tiers.metric(Which::Edge, "edge_open_connections").await.unwrap() >= many as f64);
    for one in &mut held {
        assert_eq!(timeout(LONG, one.ask()).await.unwrap().unwrap(), StatusCode::OK);
    }
    drop(held);
    let gone = async {
        while tiers.metric(Which::Edge, "edge_open_connections").await.unwrap() > 10.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, gone).await.expect("their places are free again");
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn five_hundred_idle_connections_take_no_answers_from_others() {
    idle(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs 11,000 file descriptors: scripts/faults.sh"]
async fn ten_thousand_idle_connections_take_no_answers_from_others() {
    idle(10_000).await;
}
