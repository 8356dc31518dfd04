//! Bodies that are sent packed, both ways.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use front::Limits;
use http::Request;
use http_body_util::Full;

use crate::rig::{RANK, Rig, asking, post};

fn packed(body: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body).unwrap();
    packed.finish().unwrap().into()
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    GzDecoder::new(body).read_to_end(&mut unpacked).unwrap();
    unpacked
}

fn post_packed(body: Bytes) -> Request<Full<Bytes>> {
    let mut request = post(RANK, "");
    *request.body_mut() = Full::new(body);
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    request
}

/// A request for all of many candidates: its answer is long.
fn long() -> String {
    let candidates: Vec<_> = (0..200).map(|i| format!("\"candidate-{i}\"")).collect();
    format!(r#"{{"model":"movies","k":200,"user":{{}},"candidates":[{}]}}"#, candidates.join(","))
}

#[tokio::test]
async fn a_packed_body_is_the_same_request() {
    let rig = Rig::start().await;
    for client in [rig.http1().await, rig.http2().await] {
        let reply = client.send(post_packed(packed(asking("movies").as_bytes()))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let calls = rig.probe.calls();
    assert_eq!(calls[0].request, calls[1].request);
    assert_eq!(calls[0].request.candidates.len(), 3);
}

#[tokio::test]
async fn a_packed_body_that_is_too_long_when_unpacked_is_413() {
    let rig = Rig::with(Limits { max_body_bytes: 10_000, ..Limits::default() }).await;
    let bomb = packed(&vec![b' '; 5 << 20]);
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    rig.http1().await.send(post_packed(bomb)).await.is_problem(413, "body-too-long");
    assert_eq!(rig.probe.calls().len(), 0);
}

#[tokio::test]
async fn a_packed_body_that_is_none_is_422() {
    let reply = Rig::start().await.http1().await.send(post_packed(Bytes::from(asking("movies")))).await;
    let problem = reply.is_problem(422, "malformed");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("not gzip")), "{problem}");
}

#[tokio::test]
async fn a_long_answer_is_packed_for_a_client_that_takes_it_so() {
    let rig = Rig::start().await;
    let plain = rig.rank(&long()).await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
    let mut request = post(RANK, &long());
    request.headers_mut().insert("accept-encoding", "br, gzip".parse().unwrap());
    let reply = rig.http2().await.send(request).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (200, "gzip"));
    assert!(reply.body.len() < plain.body.len() / 4, "{} of {}", reply.body.len(), plain.body.len());
    let answer: serde_json::Value = serde_json::from_slice(&unpacked(&reply.body)).unwrap();
    assert_eq!(answer["ranked"], plain.json()["ranked"]);
}

#[tokio::test]
async fn a_short_answer_is_sent_as_it_is() {
    let mut request = post(RANK, &asking("movies"));
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let reply = Rig::start().await.http1().await.send(request).await;
    assert_eq!((reply.header("content-encoding"), reply.header("vary")), ("", ""));
    assert_eq!(reply.json()["model"], "movies");
}
