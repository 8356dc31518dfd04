//! What a front holds its connections to.

use std::time::{Duration, Instant};

use front::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{RANK, Rig, asking, post};

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
    for protocol in ["http/1.1", "h2"] {
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
