//! One answer, whatever the connection.

use http::HeaderValue;
use serde_json::json;

use crate::rig::{Client, RANK, Rig, asking, post};

async fn answers(client: &Client) {
    for _ in 0..2 {
        let reply = client.send(post(RANK, &asking("movies"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!((reply.header("rung-tier"), reply.header("rung-degradation")), ("edge", "1"));
        let body = reply.json();
        assert_eq!(body["ranked"], json!([{"id":"a","score":1.0,"by":"edge"},{"id":"b","score":0.5,"by":"edge"}]));
        assert!(body["timing_us"]["total"].as_u64().is_some_and(|us| us > 0), "{body}");
    }
}

#[tokio::test]
async fn answers_over_http1_and_keeps_the_connection() {
    answers(&Rig::start().await.http1().await).await;
}

#[tokio::test]
async fn answers_over_http2_with_prior_knowledge() {
    answers(&Rig::start().await.http2().await).await;
}

#[tokio::test]
async fn answers_over_http1_and_tls() {
    answers(&Rig::start().await.tls("http/1.1").await).await;
}

#[tokio::test]
async fn answers_over_http2_and_tls() {
    answers(&Rig::start().await.tls("h2").await).await;
}

#[tokio::test]
async fn one_http2_connection_carries_many_requests_at_a_time() {
    let rig = Rig::start().await;
    let client = rig.tls("h2").await;
    let mut started = Vec::new();
    for _ in 0..20 {
        started.push(client.another().await.start(post(RANK, &asking("held"))));
    }
    rig.probe.held(20).await;
    rig.probe.release(20);
    for reply in started {
        assert_eq!(reply.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn the_call_carries_the_request_its_deadline_and_its_id() {
    let rig = Rig::start().await;
    let mut request = post(RANK, r#"{"model":"movies","k":1,"user":{},"candidates":["a"],"timeout_ms":40}"#);
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("from-the-client"));
    assert_eq!(rig.http1().await.send(request).await.header("x-request-id"), "from-the-client");
    let call = &rig.probe.calls()[0];
    assert_eq!((call.request.model.as_str(), call.request.k), ("movies", 1));
    assert_eq!(call.request_id.as_str(), "from-the-client");
    assert_eq!(call.deadline.duration_since(call.arrived).as_millis(), 40);
    assert_eq!(call.escalation, None);
}

#[tokio::test]
async fn a_hostile_request_id_is_replaced() {
    let rig = Rig::start().await;
    for hostile in [&b"a b"[..], b"\xff", &[b'x'; 1000]] {
        let mut request = post(RANK, &asking("movies"));
        request.headers_mut().insert("x-request-id", HeaderValue::from_bytes(hostile).unwrap());
        let reply = rig.http1().await.send(request).await;
        assert_eq!(reply.status, 200);
        let id = reply.header("x-request-id");
        assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }
}

#[tokio::test]
async fn an_explanation_is_json_in_the_answer() {
    let reply = Rig::start().await.rank(&asking("explained")).await;
    assert_eq!(reply.json()["explanation"], json!({"margin": 0.5}));
}

#[tokio::test]
async fn an_unknown_field_is_named_in_the_warnings() {
    let body = r#"{"model":"movies","k":1,"user":{},"candidates":["a"],"colour":"red"}"#;
    let reply = Rig::start().await.rank(body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.json()["warnings"].to_string().contains("colour"), "{}", reply.text());
}
