//! Every problem document, each by what provokes it.

use std::time::Duration;

use bytes::Bytes;
use front::Limits;
use http::{Method, Request};
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::rig::{RANK, Rig, asking, post, raw};

fn small() -> Limits {
    Limits { max_body_bytes: 1000, body_timeout: Duration::from_millis(150), ..Limits::default() }
}

#[tokio::test]
async fn malformed_json_is_422() {
    Rig::start().await.rank("{\"model\":").await.is_problem(422, "malformed");
}

#[tokio::test]
async fn json_too_deep_is_422() {
    let body = format!(r#"{{"model":"movies","user":{}1{},"candidates":[]}}"#, r#"{"a":"#.repeat(50), "}".repeat(50));
    let problem = Rig::start().await.rank(&body).await.is_problem(422, "invalid-request");
    assert_eq!(problem["detail"].as_str().map(|d| d.contains("32 levels")), Some(true), "{problem}");
}

#[tokio::test]
async fn k_of_zero_is_422_and_names_k() {
    let problem = Rig::start().await.rank(r#"{"model":"movies","k":0,"user":{},"candidates":["a"]}"#).await;
    assert_eq!(problem.is_problem(422, "invalid-request")["field"], "k");
}

#[tokio::test]
async fn a_request_that_the_tier_refuses_is_422_and_names_the_field() {
    let problem = Rig::start().await.rank(&asking("refusing")).await.is_problem(422, "invalid-request");
    assert_eq!(problem["field"], "user.age");
}

#[tokio::test]
async fn more_than_the_last_tier_takes_is_422() {
    let problem = Rig::start().await.rank(&asking("small")).await.is_problem(422, "invalid-request");
    assert_eq!(problem["field"], "candidates");
}

#[tokio::test]
async fn an_unknown_model_is_404() {
    let problem = Rig::start().await.rank(&asking("films")).await.is_problem(404, "unknown-model");
    assert_eq!(problem["field"], "model");
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let reply = Rig::start().await.http2().await.send(post("/v1/rnk", "{}")).await;
    let problem = reply.is_problem(404, "not-found");
    assert_eq!(problem["detail"], "there is nothing at `/v1/rnk`");
}

#[tokio::test]
async fn a_wrong_method_is_405_and_told_the_right_one() {
    let get = Request::get(RANK).body(Full::default()).unwrap();
    let reply = Rig::start().await.http1().await.send(get).await;
    reply.is_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), "POST");
}

#[tokio::test]
async fn a_body_declared_too_long_is_413_before_it_is_sent() {
    let rig = Rig::with(small()).await;
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1001\r\n\r\n";
    let answer = raw(rig.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("urn:rung:problem:body-too-long"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_to_send_too_much_is_not_told_to_continue() {
    let rig = Rig::with(small()).await;
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1001\r\n\
        expect: 100-continue\r\n\r\n";
    let answer = raw(rig.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_too_long_is_413() {
    let rig = Rig::with(small()).await;
    let chunk = format!("258\r\n{}\r\n", " ".repeat(0x258));
    let body = format!(
        "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
        {chunk}{chunk}0\r\n\r\n"
    );
    let answer = raw(rig.http, body.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_why() {
    let rig = Rig::with(small()).await;
    let long = " ".repeat(2 << 20);
    rig.http1().await.send(post(RANK, &long)).await.is_problem(413, "body-too-long");
    rig.http2().await.send(post(RANK, &long)).await.is_problem(413, "body-too-long");
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let rig = Rig::with(small()).await;
    let part = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = raw(rig.http, part.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:rung:problem:body-too-slow"), "{answer}");
}

#[tokio::test]
async fn a_wrong_content_type_is_415_and_told_the_right_one() {
    let rig = Rig::region().await;
    for (client, path, expected) in [
        (rig.http1().await, RANK, "application/json"),
        (rig.tier("http/1.1").await, "/v1/escalate", "application/cbor"),
    ] {
        let mut request = post(path, &asking("movies"));
        request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        let reply = client.send(request).await;
        reply.is_problem(415, "unsupported-media-type");
        assert_eq!(reply.header("accept-post"), expected);
    }
}

#[tokio::test]
async fn a_missing_content_type_is_415() {
    let request = Request::post(RANK).body(Full::new(Bytes::from(asking("movies")))).unwrap();
    Rig::start().await.http1().await.send(request).await.is_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_known_is_415_and_told_those_that_are() {
    let rig = Rig::start().await;
    for coding in ["br", "gzip, gzip", ""] {
        let mut request = post(RANK, &asking("movies"));
        request.headers_mut().insert("content-encoding", coding.parse().unwrap());
        let reply = rig.http1().await.send(request).await;
        reply.is_problem(415, "unsupported-encoding");
        assert_eq!(reply.header("accept-encoding"), "gzip, identity");
    }
}

#[tokio::test]
async fn a_head_too_long_is_431() {
    let rig = Rig::start().await;
    for client in [rig.http1().await, rig.http2().await] {
        let mut request = post(RANK, &asking("movies"));
        request.headers_mut().insert("x-long", "x".repeat(20_000).parse().unwrap());
        client.send(request).await.is_problem(431, "head-too-long");
    }
}

#[tokio::test]
async fn a_head_far_too_long_is_431_by_the_protocol_itself() {
    let head = format!("POST /v1/rank HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    let answer = raw(Rig::start().await.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn overload_is_429_with_retry_after_and_never_a_queue() {
    let rig = Rig::with(Limits { max_in_flight: 1, ..Limits::default() }).await;
    let held = rig.http1().await.start(post(RANK, &asking("held")));
    rig.probe.held(1).await;
    let refused = rig.rank(&asking("movies")).await;
    refused.is_problem(429, "overloaded");
    assert_eq!(refused.header("retry-after"), "2", "the tier's own");
    assert_eq!(rig.metric("edge_refused_total{reason=\"in_flight\"}").await, 1.0);
    rig.probe.release(1);
    assert_eq!(held.await.unwrap().status, 200);
    assert_eq!(rig.rank(&asking("movies")).await.status, 200);
}

#[tokio::test]
async fn those_who_send_slowly_do_not_hold_the_places_of_others() {
    let rig = Rig::with(Limits { max_in_flight: 1, ..Limits::default() }).await;
    let mut slow = TcpStream::connect(rig.http).await.unwrap();
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    while rig.metric("edge_in_flight_requests").await < 1.0 {}
    assert_eq!(rig.rank(&asking("movies")).await.status, 200);
}

#[tokio::test]
async fn those_who_have_sent_a_byte_do_not_hold_the_memory_of_others() {
    let rig = Rig::with(Limits { max_in_flight: 4, ..Limits::default() }).await;
    let mut slow = Vec::new();
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for rest in ["transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", "content-length: 1048576\r\n\r\n{"] {
        for _ in 0..8 {
            let mut io = TcpStream::connect(rig.http).await.unwrap();
            io.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
            slow.push(io);
        }
    }
    while rig.metric("edge_in_flight_requests").await < 16.0 {}
    assert_eq!(rig.rank(&asking("movies")).await.status, 200);
    assert_eq!(rig.metric("edge_refused_total{reason=\"bodies\"}").await, 0.0);
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_them_are_429() {
    let rig = Rig::with(Limits { max_in_flight: 1, max_body_bytes: 1 << 16, ..Limits::default() }).await;
    let head = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut slow = TcpStream::connect(rig.http).await.unwrap();
    slow.write_all(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    while rig.metric("edge_in_flight_requests").await < 1.0 {}
    // The room is for one of the longest bodies, and a little of it is taken.
    let declared = "content-length: 65536\r\n\r\n".to_owned();
    let arriving = format!("transfer-encoding: chunked\r\n\r\n10000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x10000));
    for (before, rest) in [declared, arriving].into_iter().enumerate() {
        let answer = raw(rig.http, format!("{head}{rest}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert_eq!(rig.metric("edge_refused_total{reason=\"bodies\"}").await, (before + 1) as f64);
    }
    assert_eq!(rig.rank(&asking("movies")).await.status, 200);
}

#[tokio::test]
async fn requests_that_take_too_much_memory_once_decoded_are_429_while_others_are_answered() {
    let rig = Rig::with(Limits { max_body_bytes: 1 << 16, max_in_flight: 8, ..Limits::default() }).await;
    let lists: Vec<String> = (0..7).map(|i| format!(r#""{i}":[{}]"#, vec!["1"; 4096].join(","))).collect();
    let dense = |model| format!(r#"{{"model":"{model}","candidates":["a"],"user":{{{}}}}}"#, lists.join(","));
    let client = rig.http2().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(client.another().await.start(post(RANK, &dense("held"))));
    }
    rig.probe.held(3).await;
    rig.rank(&dense("movies")).await.is_problem(429, "overloaded");
    assert_eq!(rig.metric("edge_refused_total{reason=\"bodies\"}").await, 1.0);
    assert_eq!(rig.rank(&asking("movies")).await.status, 200);
    rig.probe.release(3);
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
    assert_eq!(rig.rank(&dense("movies")).await.status, 200);
}

#[tokio::test]
async fn a_tier_without_room_is_429_with_its_own_retry_after() {
    let reply = Rig::start().await.rank(&asking("busy")).await;
    reply.is_problem(429, "overloaded");
    assert_eq!(reply.header("retry-after"), "3");
}

#[tokio::test]
async fn a_tier_that_has_nothing_left_is_503() {
    let problem = Rig::start().await.rank(&asking("broken")).await.is_problem(503, "unavailable");
    assert_eq!(problem["detail"], "no level is left");
}

#[tokio::test]
async fn a_tier_that_panics_is_503_and_the_connection_lives() {
    let rig = Rig::start().await;
    let client = rig.http1().await;
    client.send(post(RANK, &asking("panicking"))).await.is_problem(503, "broken");
    assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
}

#[tokio::test]
async fn a_tier_that_never_answers_is_503() {
    let body = r#"{"model":"hanging","user":{},"candidates":["a"],"timeout_ms":1}"#;
    Rig::start().await.rank(body).await.is_problem(503, "broken");
}

#[tokio::test]
async fn an_unknown_admin_path_is_404_and_a_wrong_method_405() {
    let rig = Rig::start().await;
    rig.asked(Method::GET, "/").await.is_problem(404, "not-found");
    assert_eq!(rig.asked(Method::POST, "/metrics").await.header("allow"), "GET, HEAD");
    assert_eq!(rig.asked(Method::GET, "/drain").await.header("allow"), "POST");
}
