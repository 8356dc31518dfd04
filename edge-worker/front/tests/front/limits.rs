//! What a front holds its connections to.

use std::time::{Duration, Instant};

use bytes::Bytes;
use front::Limits;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared_model::wire::Tier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{RANK, Rig, TOO_LONG, asking, post};

/// Sends the start of something, and tells how long the front waits for the rest.
async fn patience(address: std::net::SocketAddr, start: &[u8]) -> Duration {
    let started = Instant::now();
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(start).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), io.read_to_end(&mut rest)).await.expect("it is closed");
    started.elapsed()
}

#[tokio::test]
async fn a_connection_that_asks_nothing_in_time_is_closed() {
    let limit = Duration::from_millis(200);
    let rig = Rig::with(Limits { header_timeout: limit, ..Limits::default() }).await;
    for (address, start) in [
        (rig.http, &b""[..]),
        (rig.http, b"PRI * HTTP/2"),
        (rig.http, b"POST /v1/rank HTTP/1.1\r\nhost:"),
        (rig.https, b""),
        (rig.https, b"\x16\x03\x01"),
        (rig.admin, b"GET /"),
    ] {
        let waited = patience(address, start).await;
        assert!(waited >= limit && waited < Duration::from_secs(3), "{start:?}: {waited:?}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed_whatever_its_protocol() {
    let idle_timeout = Duration::from_millis(300);
    let rig = Rig::with(Limits { idle_timeout, ..Limits::default() }).await;
    for protocol in ["http/1.1", "h2", "h3"] {
        let client = rig.tls(protocol).await;
        assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
        let asked = Instant::now();
        while rig.metric("edge_open_connections").await > 0.0 {
            assert!(asked.elapsed() < TOO_LONG, "{protocol}: it is never closed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(asked.elapsed() >= idle_timeout - Duration::from_millis(50), "{protocol}: {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_connection_with_a_request_under_way_is_not_idle_and_a_tiers_never_is() {
    let idle_timeout = Duration::from_millis(100);
    let rig = Rig::at(Tier::Region, Limits { idle_timeout, ..Limits::default() }).await;
    let tiers = [rig.tier("h2").await, rig.tier("h3").await];
    let clients = [rig.tls("h2").await, rig.tls("h3").await];
    let held: Vec<_> = clients.iter().map(|client| client.start(post(RANK, &asking("held")))).collect();
    rig.probe.held(2).await;
    tokio::time::sleep(4 * idle_timeout).await;
    rig.probe.release(2);
    for reply in held {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    for tier in tiers {
        assert_eq!(tier.send(post(RANK, "{}")).await.status, 404);
    }
}

#[tokio::test]
async fn over_http2_a_client_that_does_not_take_an_answer_is_let_go_though_it_asks_on() {
    let rig = Rig::with(Limits { body_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let popular = |method| {
        let request = Request::builder().method(method).uri(format!("http://{}/v1/popular", rig.http));
        request.body(Full::<Bytes>::default()).unwrap()
    };
    // It has room for a byte of each answer, and none once it has that.
    let io = TokioIo::new(TcpStream::connect(rig.http).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.initial_stream_window_size(1).handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..5 {
        assert_eq!(sender.send_request(popular(Method::HEAD)).await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _unread = sender.send_request(popular(Method::GET)).await.unwrap();
    let asks_on = async {
        while sender.send_request(popular(Method::HEAD)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TOO_LONG, asks_on).await.expect("it is let go");
    let closed = async { while rig.metric("edge_open_connections").await > 0.0 {} };
    timeout(TOO_LONG, closed).await.expect("the connection is closed");
    connection.abort();
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once_and_the_admin_listener_still_answers() {
    let rig = Rig::with(Limits { max_connections: 1, ..Limits::default() }).await;
    let only = rig.http1().await;
    assert_eq!(only.send(post(RANK, &asking("movies"))).await.status, 200);
    assert!(patience(rig.http, b"").await < Duration::from_secs(3));
    assert!(patience(rig.https, b"").await < Duration::from_secs(3));
    assert_eq!(rig.metric("edge_refused_total{reason=\"connections\"}").await, 2.0);
    assert_eq!(rig.metric("edge_open_connections").await, 1.0);
    assert_eq!(only.send(post(RANK, &asking("movies"))).await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let rig = Rig::with(Limits { max_in_flight: 1, ..Limits::default() }).await;
    for protocol in ["http/1.1", "h2", "h3"] {
        let client = rig.tls(protocol).await;
        let left = client.start(post(RANK, &asking("held")));
        rig.probe.held(1).await;
        left.abort();
        let _ = left.await;
        drop(client);
        let mut tries = 0;
        while rig.rank(&asking("movies")).await.status != 200 {
            tries += 1;
            assert!(tries < 100, "{protocol}: the place is never freed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(rig.metric("edge_in_flight_requests").await, 0.0);
}
