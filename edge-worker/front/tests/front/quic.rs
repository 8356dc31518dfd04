//! HTTP/3 by hand: clients that keep to no rule, and the end of streams and connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use front::{Clients, Cors, Limits, Origins};
use http::{Method, Request};
use http_body_util::Full;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, ReadError, TransportConfig, VarInt};
use shared_model::wire::Tier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rig::{RANK, Rig, TOO_LONG, asking, http3, post};

const NO_ERROR: VarInt = VarInt::from_u32(0x100);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);
/// A HEADERS frame that says that it has a gigabyte.
const ENDLESS_HEAD: [u8; 9] = [0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];

/// `POST https://localhost/v1/rank` with a JSON body, by the static table of QPACK (RFC 9204 A).
fn fields() -> Vec<u8> {
    b"\x00\x00\xd4\xd7\x50\x09localhost\x51\x08/v1/rank\xee".to_vec()
}

fn headers(fields: &[u8]) -> Vec<u8> {
    let length = 0x8000_0000 | u32::try_from(fields.len()).unwrap();
    [&[0x01], &length.to_be_bytes()[..], fields].concat()
}

fn tls(rig: &Rig) -> rustls::ClientConfig {
    let mut tls = rig.stranger(None).config().as_ref().clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls
}

/// A connection on which nothing is spoken yet.
async fn quic(rig: &Rig) -> (Endpoint, quinn::Connection) {
    http3::quic(rig.https, tls(rig)).await.unwrap()
}

/// A request whose answer has about this many bytes.
fn asking_for(bytes: usize) -> String {
    let k = bytes / 100;
    let ids: Vec<String> = (0..k).map(|i| format!("\"{i:060}\"")).collect();
    format!(r#"{{"model":"movies","k":{k},"user":{{}},"candidates":[{}]}}"#, ids.join(","))
}

#[tokio::test]
async fn a_client_whose_streams_have_no_heads_is_sent_away() {
    let rig = Rig::with(Limits { header_timeout: TOO_LONG, ..Limits::default() }).await;
    let (_endpoint, quic) = quic(&rig).await;
    let asking = async {
        for _ in 0..20_000 {
            let Ok((mut send, _recv)) = quic.open_bi().await else { return };
            let _ = send.finish();
        }
    };
    timeout(TOO_LONG, asking).await.expect("streams are taken or refused");
    let closed = timeout(TOO_LONG, quic.closed()).await.expect("it is closed");
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(end) if end.error_code == NO_ERROR),
        "{closed}"
    );
}

#[tokio::test]
async fn the_last_answer_reaches_a_client_that_has_said_goodbye() {
    let rig = Rig::start().await;
    let (_endpoint, quic) = quic(&rig).await;
    let (mut driver, mut requests) = h3::client::new(h3_quinn::Connection::new(quic)).await.unwrap();
    let body = Bytes::from(asking_for(60_000));
    let (mut head, _) = post(RANK, "").into_parts();
    head.uri = format!("https://localhost{RANK}").parse().unwrap();
    let mut stream = requests.send_request(Request::from_parts(head, ())).await.unwrap();
    stream.send_data(body).await.unwrap();
    stream.finish().await.unwrap();
    driver.shutdown(0).await.unwrap();
    let _driven = tokio::spawn(async move { driver.wait_idle().await });
    let head = timeout(TOO_LONG, stream.recv_response()).await.unwrap().unwrap();
    let length: usize = head.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(head.status() == 200 && length > 50_000, "{length}");
    let mut got = 0;
    while let Some(data) = timeout(TOO_LONG, stream.recv_data()).await.unwrap().expect("the whole answer") {
        got += data.remaining();
    }
    assert_eq!(got, length);
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_goodbye() {
    let rig = Rig::with(Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let (_endpoint, quic) = quic(&rig).await;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&headers(&fields())).await.unwrap();
    send.finish().unwrap();
    assert!(!timeout(TOO_LONG, recv.read_to_end(65_536)).await.unwrap().unwrap().is_empty());
    let mut streams = JoinSet::new();
    while let Ok(mut stream) = timeout(TOO_LONG, quic.accept_uni()).await.expect("it ends") {
        streams.spawn(async move {
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                all.extend_from_slice(&chunk.bytes);
            }
            (all[0], all)
        });
    }
    let streams: BTreeMap<u8, Vec<u8>> = streams.join_all().await.into_iter().collect();
    // GOAWAY, with the first stream that is not answered.
    assert!(streams[&0x00].ends_with(&[0x07, 0x01, 0x04]), "{streams:?}");
}

#[tokio::test]
async fn the_heads_of_one_connection_are_not_collected_without_end() {
    let rig = Rig::with(Limits { header_timeout: 3 * TOO_LONG, ..Limits::default() }).await;
    let (_endpoint, quic) = quic(&rig).await;
    let mut streams = JoinSet::new();
    for _ in 0..64 {
        let (mut send, recv) = quic.open_bi().await.unwrap();
        streams.spawn(async move {
            let _ = send.write_all(&ENDLESS_HEAD).await;
            let _ = send.write_all(&[0; 120 << 10]).await;
            // Without end where it was all taken.
            let _ = send.stopped().await;
            drop(recv);
        });
    }
    // A mebibyte in all.
    for refused in 0..64 - 9 {
        timeout(TOO_LONG, streams.join_next()).await.unwrap_or_else(|_| panic!("only {refused} are refused"));
    }
    assert_eq!(rig.tls("h3").await.send(post(RANK, &asking("movies"))).await.status, 200);
}

#[tokio::test]
async fn a_request_whose_head_does_not_come_is_reset() {
    let rig = Rig::with(Limits { header_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    let (_endpoint, quic) = quic(&rig).await;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&ENDLESS_HEAD).await.unwrap();
    let end = timeout(TOO_LONG, recv.read_chunk(usize::MAX, true)).await.unwrap();
    assert_eq!(end.unwrap_err(), ReadError::Reset(REQUEST_CANCELLED));
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_reset_and_does_not_end_as_if_it_were_whole() {
    let rig = Rig::with(Limits { body_timeout: Duration::from_millis(500), ..Limits::default() }).await;
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls(&rig)).unwrap()));
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(1_000_u32.into());
    config.transport_config(Arc::new(transport));
    let quic = endpoint.connect_with(config, rig.https, "localhost").unwrap().await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let body = asking_for(20_000).into_bytes();
    let length = 0x8000_0000 | u32::try_from(body.len()).unwrap();
    send.write_all(&headers(&fields())).await.unwrap();
    send.write_all(&[&[0x00], &length.to_be_bytes()[..], &body].concat()).await.unwrap();
    send.finish().unwrap();
    let reset = timeout(TOO_LONG, recv.received_reset()).await.unwrap().unwrap();
    assert_eq!(reset, Some(REQUEST_CANCELLED));
}

#[tokio::test]
async fn what_h3_says_of_a_head_that_is_too_long_comes_to_its_end() {
    let rig = Rig::start().await;
    let (_endpoint, quic) = quic(&rig).await;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    // A `user-agent` of 70,000 bytes: more than is ever decoded.
    let long = [&fields()[..], b"\x5f\x50\x7f\xf1\xa1\x04", &[b'x'; 70_000]].concat();
    send.write_all(&headers(&long)).await.unwrap();
    let answer = timeout(TOO_LONG, recv.read_to_end(65_536)).await.unwrap().expect("a whole answer");
    assert_eq!(answer.first(), Some(&0x01), "{answer:?}");
}

#[tokio::test]
async fn what_has_no_body_has_no_length() {
    let cors = Cors { origins: Origins::Any, max_age: Duration::from_secs(600) };
    let clients = Clients { cors: Some(cors), ..Clients::default() };
    let rig = Rig::facing(Tier::Edge, Limits::default(), clients).await;
    let client = rig.tls("h3").await;
    let asking = |method: Method, path: &str, fields: &[(&str, &str)]| {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        client.send(request.body(Full::default()).unwrap())
    };
    let page = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let reply = asking(Method::OPTIONS, RANK, &page).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-length")), (204, ""));
    let reply = asking(Method::GET, "/v1/popular", &[("if-none-match", "*")]).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-length")), (304, ""));
}
