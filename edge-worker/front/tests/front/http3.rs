//! HTTP/3 answers as the others do, and is held to the same.

use std::time::{Duration, Instant};

use bytes::Bytes;
use front::{Drained, Limits};
use http::{Method, Request, Version};
use http_body_util::Full;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::rig::{Client, RANK, Rig, TOO_LONG, asking, http3, post};

#[tokio::test]
async fn answers_over_http3_and_says_so_on_the_others() {
    let rig = Rig::start().await;
    let reply = rig.tls("h3").await.send(post(RANK, &asking("movies"))).await;
    assert_eq!((reply.status.as_u16(), reply.version), (200, Version::HTTP_3), "{}", reply.text());
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    assert_eq!(reply.json()["ranked"][0]["id"], "a");
    assert_eq!(reply.header("alt-svc"), "");
    for protocol in ["http/1.1", "h2"] {
        let reply = rig.tls(protocol).await.send(post(RANK, &asking("movies"))).await;
        assert_eq!(reply.header("alt-svc"), format!("h3=\":{}\"; ma=86400", rig.https.port()));
    }
    let plain = rig.http1().await.send(post(RANK, &asking("movies"))).await;
    assert_eq!(plain.header("alt-svc"), "", "a plain answer could be anybody's");
}

#[tokio::test]
async fn problems_look_the_same() {
    let rig = Rig::with(Limits { max_body_bytes: 1024, ..Limits::default() }).await;
    let client = rig.tls("h3").await;
    client.send(post("/nowhere", "{}")).await.is_problem(404, "not-found");
    client.send(post(RANK, &" ".repeat(2000))).await.is_problem(413, "body-too-long");
    client.send(post(RANK, &asking("films"))).await.is_problem(404, "unknown-model");
    let long = Request::post(RANK).header("x-long", "x".repeat(20_000)).body(Full::default()).unwrap();
    client.send(long).await.is_problem(431, "head-too-long");
    let head = Request::builder().method(Method::HEAD).uri(RANK).body(Full::default()).unwrap();
    let reply = client.send(head).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (405, 0));
    assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_frame_that_is_said_to_be_endless_is_not_collected() {
    let rig = Rig::start().await;
    let mut tls = rig.stranger(None).config().as_ref().clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    // HEADERS, and a kind that nobody knows (RFC 9114 §7.2.8).
    for kind in [0x01_u8, 0x21] {
        let (_endpoint, quic) = http3::quic(rig.https, tls.clone()).await.unwrap();
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        // A gigabyte.
        send.write_all(&[kind, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
        let mut taken = 0;
        while let Ok(Ok(())) = timeout(TOO_LONG, send.write_all(&[0; 65_536])).await {
            taken += 65_536;
            assert!(taken < 4 << 20, "kind {kind}: it is taken without end");
        }
    }
    assert!(rig.probe.calls().is_empty());
    assert_eq!(rig.tls("h3").await.send(post(RANK, &asking("movies"))).await.status, 200);
}

#[tokio::test]
async fn such_a_frame_behind_a_head_is_not_collected_either() {
    let limits = Limits { body_timeout: Duration::from_secs(2), ..Limits::default() };
    let rig = Rig::with(limits).await;
    let mut tls = rig.stranger(None).config().as_ref().clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let (_endpoint, quic) = http3::quic(rig.https, tls).await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    // `POST https://localhost/v1/rank` with a JSON body, by the static table of QPACK (RFC 9204 A).
    let head = b"\x00\x00\xd4\xd7\x50\x09localhost\x51\x08/v1/rank\xee";
    send.write_all(&[0x01, u8::try_from(head.len()).unwrap()]).await.unwrap();
    send.write_all(head).await.unwrap();
    send.write_all(&[0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let (started, mut taken) = (Instant::now(), 0);
    while let Ok(Ok(())) = timeout(TOO_LONG, send.write_all(&[0; 65_536])).await {
        taken += 65_536;
        assert!(taken < 4 << 20, "it is taken without end");
    }
    assert!(started.elapsed() >= Duration::from_secs(1), "the head was not understood");
    assert_eq!(rig.metric("edge_requests_total{code=\"408\"}").await, 1.0);
}

#[tokio::test]
async fn a_long_body_comes_through_whole() {
    let rig = Rig::start().await;
    let many: Vec<String> = (0..9_000).map(|i| format!("\"{i}-{}\"", "x".repeat(80))).collect();
    let body = format!(r#"{{"model":"movies","k":1,"user":{{}},"candidates":[{}]}}"#, many.join(","));
    assert!(body.len() > 700_000 && body.len() < 1 << 20);
    let reply = rig.tls("h3").await.send(post(RANK, &body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(rig.probe.calls()[0].request.candidates.len(), 9_000);
}

#[tokio::test]
async fn a_body_too_slow_is_408() {
    let rig = Rig::with(Limits { body_timeout: Duration::from_millis(100), ..Limits::default() }).await;
    let client = rig.tls("h3").await;
    let mut stream = client.open_http3(post(RANK, "")).await;
    stream.send_data(Bytes::from_static(b"{")).await.unwrap();
    assert_eq!(timeout(TOO_LONG, stream.recv_response()).await.unwrap().unwrap().status(), 408);
}

#[tokio::test]
async fn http3_counts_among_the_connections_and_one_too_many_is_refused() {
    let rig = Rig::with(Limits { max_connections: 2, ..Limits::default() }).await;
    let (first, second) = (rig.tls("h3").await, rig.tls("h2").await);
    for client in [&first, &second] {
        assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
    }
    assert_eq!(rig.metric("edge_open_connections").await, 2.0);
    assert!(Client::connect(rig.https, &rig.stranger(None), "h3").await.is_err());
    assert_eq!(rig.metric("edge_refused_total{reason=\"connections\"}").await, 1.0);
    drop(second);
    let started = Instant::now();
    // Half of the places are taken: the address is checked first, which is nothing to an honest client.
    while Client::connect(rig.https, &rig.stranger(None), "h3").await.is_err() {
        assert!(started.elapsed() < TOO_LONG, "the place is never freed");
    }
}

#[tokio::test]
async fn what_is_no_quic_is_ignored() {
    let rig = Rig::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for hostile in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1200], &[0xc0; 1452], &[0; 65_000]] {
        socket.send_to(hostile, rig.https).await.unwrap();
    }
    assert_eq!(rig.tls("h3").await.send(post(RANK, &asking("movies"))).await.status, 200);
}

#[tokio::test]
async fn one_that_drains_says_goodbye_and_answers_what_is_in_flight() {
    let rig = Rig::start().await;
    let client = rig.tls("h3").await;
    let in_flight = client.another().await.start(post(RANK, &asking("held")));
    rig.probe.held(1).await;
    let (https, stranger) = (rig.https, rig.stranger(None));
    let (probe, drained) = rig.drain(TOO_LONG);
    // After GOAWAY this client asks nothing more.
    let started = Instant::now();
    while client.is_open_http3(post(RANK, &asking("movies"))).await {
        assert!(started.elapsed() < TOO_LONG, "there is no GOAWAY");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Client::connect(https, &stranger, "h3").await.is_err(), "a new connection is taken");
    assert!(!drained.is_finished() && !in_flight.is_finished());
    probe.release(1);
    assert_eq!(in_flight.await.unwrap().status, 200);
    assert_eq!(drained.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_front_without_http3_has_no_udp_port() {
    let (own, roots) = crate::rig::identity();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = front::Settings {
        tier: shared_model::wire::Tier::Edge,
        http: Some(any),
        https: Some(front::Https { address: any, tls: front::tls::Server::open(own.clone()).unwrap() }),
        tiers: None,
        http3: false,
        admin: any,
        limits: Limits::default(),
        clients: front::Clients::default(),
        drain_notice: Duration::ZERO,
    };
    let rig = Rig::of(settings, own, roots).await;
    UdpSocket::bind(rig.https).await.expect("the port is free for UDP");
    assert_eq!(rig.tls("h2").await.send(post(RANK, &asking("movies"))).await.header("alt-svc"), "");
}
