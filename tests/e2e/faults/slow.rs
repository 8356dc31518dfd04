//! Clients that are slow on purpose, in sending and in reading: each loses its connection in time, and nobody else
//! notices.

use std::net::SocketAddr;
use std::time::Duration;

use rung_tests::client::Protocol;
use rung_tests::processes::Processes;
use rung_tests::stack::Which;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::raw::{HTTP2, drip};
use super::{forgetful, others_are_served, until};

/// More of each kind than requests are worked on at a time.
const SLOW: usize = 40;
/// What is allowed, in milliseconds, and when a machine with much to do has noticed. An HTTP/2 client is told to leave
/// and given 5 s for it.
const ALLOWED: u64 = 3000;
const NOTICED: Duration = Duration::from_secs(40);

/// An edge that has little patience, and room for few.
async fn edge() -> Processes {
    let limits = format!(
        "[limits]\nheader_timeout_ms = {ALLOWED}\nbody_timeout_ms = {ALLOWED}\nidle_timeout_ms = {ALLOWED}\n\
         max_in_flight = 8\n"
    );
    forgetful().with(Which::Edge, &limits).spawn_only(&[Which::Edge]).await.unwrap()
}

/// Many that send the same slowly; the others are served while the slow ones are there, and none of them stays.
async fn many_drip(tiers: &Processes, at: SocketAddr, start: Vec<u8>, drop: &'static [u8], told: &str) {
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let start = start.clone();
        slow.spawn(async move { drip(at, &start, drop).await });
    }
    until(tiers, Which::Edge, "edge_open_connections", SLOW as f64).await;
    others_are_served(tiers, Which::Edge).await;
    while let Some(ended) = slow.join_next().await {
        let ended = ended.unwrap();
        assert!(ended.told.starts_with(told), "{ended:?}");
        let allowed = Duration::from_millis(ALLOWED);
        assert!(ended.after >= allowed && ended.after < NOTICED, "{ended:?}");
    }
    others_are_served(tiers, Which::Edge).await;
}

#[tokio::test]
async fn heads_that_come_too_slowly_are_cut_off_and_others_served() {
    let tiers = edge().await;
    let (plain, secure) = (tiers.plain(Which::Edge), tiers.secure(Which::Edge));
    many_drip(&tiers, plain, b"POST /v1/rank HTTP/1.1\r\nhost: x\r\nx-slow: ".to_vec(), b"x", "").await;
    // A handshake that is announced and comes byte by byte.
    many_drip(&tiers, secure, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), b"\0", "").await;
    // The head of an HTTP/2 request, which is announced with 16,000 bytes.
    many_drip(&tiers, plain, [HTTP2, b"\0\x3e\x80\x01\0\0\0\0\x01"].concat(), b"\0", "").await;
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn bodies_that_come_too_slowly_are_408_and_others_served() {
    let tiers = edge().await;
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for start in [
        format!("{head}content-length: 100000\r\n\r\n{{"),
        format!("{head}transfer-encoding: chunked\r\n\r\n186a0\r\n{{"),
    ] {
        many_drip(&tiers, tiers.plain(Which::Edge), start.into_bytes(), b" ", "HTTP/1.1 408 ").await;
    }
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let told = tiers.client(protocol).unwrap().stall(&tiers.url(Which::Edge, "/v1/rank"), "{").await.unwrap();
        assert_eq!(told.status, 408, "{protocol:?}");
    }
    until(&tiers, Which::Edge, "edge_requests_total{code=\"408\"}", (2 * SLOW + 2) as f64).await;
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn clients_that_read_nothing_are_let_go_and_others_served() {
    let tiers = edge().await;
    let mut deaf = Vec::new();
    for _ in 0..SLOW {
        let mut io = TcpStream::connect(tiers.plain(Which::Edge)).await.unwrap();
        // Far more answers than fit between here and there.
        let request = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
        io.write_all(request.as_bytes()).await.unwrap();
        deaf.push(io);
    }
    until(&tiers, Which::Edge, "edge_open_connections", SLOW as f64).await;
    others_are_served(&tiers, Which::Edge).await;
    let closed = async {
        // One is that of the client who was served.
        while tiers.metric(Which::Edge, "edge_open_connections").await.unwrap() > 1.0 {
            tokio::time::sleep(super::LOOK).await;
        }
    };
    tokio::time::timeout(NOTICED, closed).await.expect("they are closed");
    drop(deaf);
    tiers.stop().await.unwrap();
}
