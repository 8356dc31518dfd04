//! What a tier serves its clients beside the ranking: the cache, lists for a CDN, web pages, packed bodies, traces.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::{Mutex, Once};

use flate2::read::GzDecoder;
use http::{Method, Request};
use http_body_util::Full;
use rung_tests::client::{Protocol, Response};
use rung_tests::stack::{Builder, Stack, Which};
use serde_json::{Value, json};

use crate::requests::{eval, ids, one, with};

async fn send(stack: &Stack, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Response {
    let mut request = Request::builder().method(method).uri(stack.url(Which::Edge, path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = stack.client(Protocol::Http2).unwrap();
    client.request(request.body(Full::from(body)).unwrap()).await.unwrap()
}

async fn post(stack: &Stack, headers: &[(&str, &str)], body: &Value) -> Response {
    let json = [("content-type", "application/json")];
    send(stack, Method::POST, "/v1/rank", &[&json, headers].concat(), body.to_string()).await
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Answers stay fresh for longer than a test takes.
const LONG: &str = "[cache]\nttl_ms = 60000\n";

#[tokio::test]
async fn the_same_request_is_answered_from_the_cache() {
    let stack = Builder::default().with(Which::Edge, LONG).start().await.unwrap();
    let body = with(one(), json!({ "tier": "origin" }));
    let first = post(&stack, &[], &body).await;
    assert_eq!((header(&first, "cache-status"), header(&first, "age")), ("rung; fwd=miss", ""));
    assert_eq!(header(&first, "cache-control"), "private, max-age=10");
    let again = post(&stack, &[], &with(body.clone(), json!({ "timeout_ms": 4321 }))).await;
    assert_eq!(header(&again, "cache-status"), "rung; hit");
    assert!(header(&again, "age").parse::<u64>().is_ok());
    let (first, again) = (first.json().unwrap(), again.json().unwrap());
    assert_eq!((&first["ranked"], &first["tier"]), (&again["ranked"], &again["tier"]));
    assert!(first["timing_us"]["upstream"].as_u64() > Some(0) && again["timing_us"]["upstream"] == 0, "{again}");
    assert_eq!(stack.metric(Which::Edge, "edge_cache_lookups_total{outcome=\"hit\"}").await.unwrap(), 1.0);
    assert!(stack.metric(Which::Edge, "edge_cache_bytes").await.unwrap() > 0.0);
    assert_eq!(stack.metric(Which::Region, "region_escalations_total{reason=\"asked\"}").await.unwrap(), 1.0);
}

#[tokio::test]
async fn another_request_is_not_answered_from_the_cache() {
    let stack = Builder::default().with(Which::Edge, LONG).start().await.unwrap();
    let edge = |fields: Value| with(with(one(), json!({ "tier": "edge" })), fields);
    let user = with(one()["user"].clone(), json!({ "id": "another" }));
    for body in
        [edge(json!({})), edge(json!({ "k": 9 })), edge(json!({ "user": user })), edge(json!({ "exclude": ["m1"] }))]
    {
        let response = post(&stack, &[], &body).await;
        assert_eq!(header(&response, "cache-status"), "rung; fwd=miss", "{body}");
    }
}

#[tokio::test]
async fn a_degraded_answer_is_computed_each_time() {
    let mut stack = Builder::default().with(Which::Edge, LONG).start().await.unwrap();
    stack.stop(Which::Region).await;
    for _ in 0..2 {
        let response = post(&stack, &[], &with(one(), json!({ "tier": "origin" }))).await;
        assert_eq!((header(&response, "rung-degradation"), header(&response, "cache-control")), ("1", "no-store"));
        assert_eq!(header(&response, "cache-status"), "rung; fwd=miss");
    }
}

#[tokio::test]
async fn a_cache_switched_off_says_nothing_and_keeps_nothing() {
    let stack = Builder::default().with(Which::Edge, "[cache]\nmax_mib = 0\n").start().await.unwrap();
    for _ in 0..2 {
        let response = post(&stack, &[], &one()).await;
        assert_eq!((header(&response, "cache-status"), header(&response, "cache-control")), ("", "no-store"));
    }
    assert!(stack.metric(Which::Edge, "edge_cache_lookups_total{outcome=\"hit\"}").await.is_err());
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_are_answered_by_one_computation() {
    let stack = Builder::default().with(Which::Edge, LONG).start().await.unwrap();
    let body = with(one(), json!({ "tier": "region", "timeout_ms": 20000 })).to_string();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (client, url, body) =
                (stack.client(Protocol::Http2).unwrap(), stack.url(Which::Edge, "/v1/rank"), body.clone());
            tokio::spawn(async move { client.post(&url, body).await.unwrap().status })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(stack.metric(Which::Edge, "edge_escalations_total{reason=\"asked\"}").await.unwrap(), 1.0);
}

#[tokio::test]
async fn popular_items_can_be_listed_by_every_tier_and_kept_by_a_cdn() {
    let stack = Stack::start().await.unwrap();
    let client = stack.client(Protocol::Http2).unwrap();
    for which in [Which::Edge, Which::Region, Which::Origin] {
        let list = client.get(&stack.url(which, "/v1/popular?model=movies&geo=DE&k=3")).await.unwrap();
        assert_eq!(list.status, 200);
        assert_eq!(header(&list, "cache-control"), "public, max-age=3600");
        assert_eq!(header(&list, "surrogate-key"), "popular popular/movies popular/movies/*");
        let json = list.json().unwrap();
        let numbers: Vec<f64> =
            json["items"].as_array().unwrap().iter().map(|i| i["popularity"].as_f64().unwrap()).collect();
        assert!(numbers.len() == 3 && numbers.is_sorted_by(|a, b| a >= b), "{json}");
        assert_eq!(json["geo"], Value::Null, "the demo's catalog knows no geos");
    }
    let unknown = client.get(&stack.url(Which::Edge, "/v1/popular?model=books")).await.unwrap();
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_list_that_a_cdn_has_is_not_sent_again() {
    let stack = Stack::start().await.unwrap();
    let list = send(&stack, Method::GET, "/v1/popular", &[], String::new()).await;
    let tag = header(&list, "etag").to_owned();
    let again = send(&stack, Method::GET, "/v1/popular", &[("if-none-match", &tag)], String::new()).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
}

#[tokio::test]
async fn a_web_page_may_ask_where_the_configuration_says_so() {
    let clients = "[clients]\ncors_origins = [\"https://shop.example\"]\n";
    let stack = Builder::default().with(Which::Edge, clients).start().await.unwrap();
    let asks = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let preflight = send(&stack, Method::OPTIONS, "/v1/rank", &asks, String::new()).await;
    assert_eq!((preflight.status.as_u16(), header(&preflight, "access-control-allow-methods")), (204, "POST"));
    for (origin, allowed) in [("https://shop.example", "https://shop.example"), ("https://evil.example", "")] {
        let response = post(&stack, &[("origin", origin)], &one()).await;
        assert_eq!((header(&response, "access-control-allow-origin"), response.status.as_u16()), (allowed, 200));
        assert_eq!(header(&response, "vary"), "origin");
    }
}

#[tokio::test]
async fn bodies_may_be_packed_both_ways() {
    let stack = Stack::start().await.unwrap();
    let body = with(one(), json!({ "k": 100, "tier": "edge" }));
    let plain = post(&stack, &[], &body).await.json().unwrap();
    let packed = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(body.to_string().as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let request = Request::post(stack.url(Which::Edge, "/v1/rank"))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip")
        .body(Full::from(packed))
        .unwrap();
    let response = stack.client(Protocol::Http1).unwrap().request(request).await.unwrap();
    assert_eq!((response.status.as_u16(), header(&response, "content-encoding")), (200, "gzip"));
    let mut unpacked = String::new();
    GzDecoder::new(&response.body[..]).read_to_string(&mut unpacked).unwrap();
    let answer: Value = serde_json::from_str(&unpacked).unwrap();
    assert_eq!(ids(&answer), ids(&plain));
}

/// What tiers of this process log of requests, since this was first asked.
fn logged() -> &'static Mutex<Vec<u8>> {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static STARTED: Once = Once::new();
    struct Sink;
    impl Write for Sink {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().write(line)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    STARTED.call_once(|| tracing_subscriber::fmt().json().with_env_filter("front=debug").with_writer(|| Sink).init());
    &LOG
}

#[tokio::test]
async fn every_tier_is_a_span_of_the_clients_trace_and_says_so_in_its_log() {
    let log = logged();
    let stack = Stack::start().await.unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let body = with(eval(2).remove(1), json!({ "tier": "origin" }));
    let headers = [("traceparent", &*parent), ("x-request-id", "traced-1")];
    let response = post(&stack, &headers, &body).await;
    assert_eq!((response.status.as_u16(), header(&response, "x-request-id")), (200, "traced-1"));
    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> =
        text.lines().filter(|l| l.contains(trace)).map(|l| serde_json::from_str(l).unwrap()).collect();
    let spans: BTreeSet<_> = lines.iter().map(|line| line["fields"]["span_id"].as_str().unwrap()).collect();
    assert_eq!(spans.len(), 3, "edge, region and origin: {text}");
    assert!(lines.iter().all(|line| line["fields"]["request_id"] == "traced-1"), "{text}");
}
