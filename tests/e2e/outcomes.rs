//! Every row of the outcome table (docs/api.md), as a client of the edge sees it.

use http::{Method, Request, StatusCode, Version};
use http_body_util::Full;
use rung_tests::client::Protocol;
use rung_tests::stack::{Builder, Stack, Which};
use serde_json::{Value, json};

use crate::requests::{eval, ids, one, with};

/// The problem document of a body that is refused.
async fn refused(stack: &Stack, body: impl Into<String>) -> (StatusCode, Value) {
    let response = stack.rank(body).await.unwrap();
    assert_eq!(response.headers["content-type"], "application/problem+json", "{response:?}");
    (response.status, response.json().unwrap())
}

async fn answered(stack: &Stack, body: Value) -> Value {
    let response = stack.rank(body.to_string()).await.unwrap();
    assert_eq!(response.status, StatusCode::OK, "{:?}", response.body);
    response.json().unwrap()
}

#[tokio::test]
async fn no_candidates_give_an_empty_answer() {
    let stack = Stack::start().await.unwrap();
    let answer = answered(&stack, with(one(), json!({ "candidates": [] }))).await;
    assert_eq!((ids(&answer).len(), &answer["degradation"]), (0, &json!(0)));
}

#[tokio::test]
async fn a_k_above_n_ranks_all() {
    let stack = Stack::start().await.unwrap();
    let few: Vec<Value> = one()["candidates"].as_array().unwrap()[..3].to_vec();
    let answer = answered(&stack, with(one(), json!({ "candidates": few }))).await;
    assert_eq!((ids(&answer).len(), &answer["reason"], &answer["tier"]), (3, &json!("trivial"), &json!("edge")));
}

#[tokio::test]
async fn a_field_at_fault_is_named() {
    let stack = Stack::start().await.unwrap();
    let faults = [
        (json!({ "k": 0 }), "k"),
        (json!({ "k": "ten" }), "k"),
        (json!({ "candidates": ["m1", "m1"] }), "candidates[1]"),
        (json!({ "candidates": "m1" }), "candidates"),
        (json!({ "tier": "moon" }), "tier"),
        (json!({ "timeout_ms": 0 }), "timeout_ms"),
        (json!({ "user": { "id": "u1", "mean_rating": "high" } }), "user.mean_rating"),
    ];
    for (fields, field) in faults {
        let (status, problem) = refused(&stack, with(one(), fields).to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let named = problem["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{named} for {field}: {problem}");
        assert!(problem["type"].as_str().is_some_and(|t| t.starts_with("urn:rung:problem:")), "{problem}");
    }
}

#[tokio::test]
async fn json_that_is_none_is_refused_with_its_place() {
    let stack = Stack::start().await.unwrap();
    let (status, problem) = refused(&stack, "{\"model\": \"movies\",\n \"k\": }").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("line 2")), "{problem}");
}

#[tokio::test]
async fn an_unknown_field_is_ignored_and_named() {
    let stack = Stack::start().await.unwrap();
    let answer = answered(&stack, with(one(), json!({ "exclud": ["m1"], "tier": "edge" }))).await;
    assert!(answer["warnings"][0].as_str().is_some_and(|w| w.contains("exclud")), "{answer}");
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let stack = Stack::start().await.unwrap();
    let (status, problem) = refused(&stack, with(one(), json!({ "model": "books" })).to_string()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("books")), "{problem}");
}

#[tokio::test]
async fn above_the_tiers_limit_it_goes_up_whole() {
    let stack = Builder::default().with(Which::Edge, "[limits]\nmax_candidates = 50\n").start().await.unwrap();
    let answer = answered(&stack, one()).await;
    assert_ne!(answer["tier"], "edge");
    assert_eq!(stack.metric(Which::Edge, "edge_escalations_total{reason=\"over_limit\"}").await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_k_above_the_tiers_limit_goes_up_whole_too() {
    let stack = Builder::default().with(Which::Edge, "[limits]\nmax_k = 5\n").start().await.unwrap();
    let answer = answered(&stack, one()).await;
    assert_eq!((answer["tier"] == "edge", ids(&answer).len()), (false, 10), "{answer}");
}

#[tokio::test]
async fn above_the_tiers_limit_and_nobody_there_popularity_answers() {
    let mut stack = Builder::default().with(Which::Edge, "[limits]\nmax_candidates = 50\n").start().await.unwrap();
    stack.stop(Which::Region).await;
    let answer = answered(&stack, one()).await;
    assert_eq!((&answer["degradation"], &answer["variant"]), (&json!(3), &Value::Null));
    assert_eq!(ids(&answer).len(), 10);
}

#[tokio::test]
async fn an_item_nobody_knows_is_scored_by_the_origin() {
    let stack = Stack::start().await.unwrap();
    let mut candidates = one()["candidates"].as_array().unwrap().clone();
    candidates.push(json!("m-unheard-of"));
    let answer = answered(&stack, with(one(), json!({ "candidates": candidates }))).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("origin"), &json!(0)));
}

#[tokio::test]
async fn an_item_nobody_knows_is_scored_with_defaults_when_nobody_is_there() {
    let mut stack = Stack::start().await.unwrap();
    stack.stop(Which::Region).await;
    let answer = answered(&stack, with(one(), json!({ "candidates": ["m-unheard-of", "m1", "m2"], "k": 2 }))).await;
    assert_eq!(answer["degradation"], 1);
    assert!(answer["warnings"][0].as_str().is_some_and(|w| w.contains("m-unheard-of")), "{answer}");
}

#[tokio::test]
async fn inline_features_rank_an_item_the_catalog_lacks() {
    let stack = Stack::start().await.unwrap();
    let new = json!({ "id": "new1", "year": 2016, "genres": ["Drama"], "popularity": 12, "mean_rating": 4.1 });
    let fields = json!({ "candidates": [new, "m1", "m2"], "k": 3 });
    let answer = answered(&stack, with(one(), fields)).await;
    assert!(ids(&answer).contains(&"new1") && answer["tier"] == "edge", "{answer}");
}

#[tokio::test]
async fn excluded_items_are_not_ranked() {
    let stack = Stack::start().await.unwrap();
    let whole = answered(&stack, with(one(), json!({ "tier": "edge" }))).await;
    let best = ids(&whole)[0];
    let answer = answered(&stack, with(one(), json!({ "tier": "edge", "exclude": [best] }))).await;
    assert_eq!(ids(&answer)[..9], ids(&whole)[1..], "the best is gone, the others move up");
}

#[tokio::test]
async fn a_timeout_used_up_gives_the_best_that_is_ready() {
    let stack = Stack::start().await.unwrap();
    let started = std::time::Instant::now();
    let fields = json!({ "timeout_ms": 1, "tier": "origin" });
    let answer = answered(&stack, with(one(), fields)).await;
    assert!(answer["degradation"].as_u64() >= Some(1), "three tiers in a millisecond: {answer}");
    assert_eq!(ids(&answer).len(), 10, "{answer}");
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn a_body_too_long_or_too_deep_is_refused() {
    let stack = Builder::default().with(Which::Edge, "[limits]\nmax_body_bytes = 4096\n").start().await.unwrap();
    let (status, _) = refused(&stack, " ".repeat(5000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = refused(&stack, format!("{{\"user\":{}1", "[".repeat(200))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_body_too_slow_is_refused() {
    let stack = Builder::default().with(Which::Edge, "[limits]\nbody_timeout_ms = 100\n").start().await.unwrap();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = stack.client(protocol).unwrap();
        let response = client.stall(&stack.url(Which::Edge, "/v1/rank"), "{\"model\":").await.unwrap();
        assert_eq!(response.status, StatusCode::REQUEST_TIMEOUT, "{response:?}");
        assert_eq!(response.json().unwrap()["type"], "urn:rung:problem:body-too-slow");
    }
}

#[tokio::test]
async fn other_paths_methods_and_types_are_refused() {
    let stack = Stack::start().await.unwrap();
    let client = stack.client(Protocol::Http2).unwrap();
    let status = |r: rung_tests::client::Response| r.status;
    let elsewhere = client.get(&stack.url(Which::Edge, "/v1/nothing")).await.unwrap();
    assert_eq!(status(elsewhere), StatusCode::NOT_FOUND);
    let read = client.get(&stack.url(Which::Edge, "/v1/rank")).await.unwrap();
    assert_eq!(
        (read.headers["allow"].to_str().unwrap(), status(read.clone())),
        ("POST", StatusCode::METHOD_NOT_ALLOWED)
    );
    let text = Request::builder().method(Method::POST).uri(stack.url(Which::Edge, "/v1/rank"));
    let text = text.header("content-type", "text/plain").body(Full::from("hello")).unwrap();
    assert_eq!(status(client.request(text).await.unwrap()), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn overload_is_refused_at_the_door() {
    let limits = "[limits]\nmax_in_flight = 1\n";
    let stack = Builder::default().with(Which::Edge, limits).start().await.unwrap();
    let bodies = eval(40);
    let sends = bodies.iter().map(|body| stack.rank(with(body.clone(), json!({ "tier": "origin" })).to_string()));
    let mut refused = 0;
    let mut sends: Vec<_> = sends.map(Box::pin).collect();
    let all = std::future::poll_fn(|cx| {
        sends.retain_mut(|send| match send.as_mut().poll(cx) {
            std::task::Poll::Ready(Ok(response)) => {
                if response.status == StatusCode::TOO_MANY_REQUESTS {
                    assert!(response.headers.contains_key("retry-after"));
                    refused += 1;
                } else {
                    assert_eq!(response.status, StatusCode::OK);
                }
                false
            }
            std::task::Poll::Ready(Err(error)) => panic!("{error}"),
            std::task::Poll::Pending => true,
        });
        if sends.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    all.await;
    assert!(refused > 0, "40 at once, one place");
}

#[tokio::test]
async fn answers_over_http_1_and_2() {
    let stack = Stack::start().await.unwrap();
    for (protocol, version) in [(Protocol::Http1, Version::HTTP_11), (Protocol::Http2, Version::HTTP_2)] {
        let client = stack.client(protocol).unwrap();
        let response = client.post(&stack.url(Which::Edge, "/v1/rank"), one().to_string()).await.unwrap();
        assert_eq!((response.status, response.version), (StatusCode::OK, version));
        assert!(response.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn every_tier_is_ready_and_counts() {
    let stack = Stack::start().await.unwrap();
    for which in [Which::Edge, Which::Region, Which::Origin] {
        let ready = stack.admin(which, "/readyz").await.unwrap();
        assert_eq!(ready.status, StatusCode::OK, "{:?}", ready.body);
        assert_eq!(stack.admin(which, "/healthz").await.unwrap().status, StatusCode::OK);
    }
    answered(&stack, one()).await;
    assert_eq!(stack.metric(Which::Edge, "edge_requests_total{code=\"200\"}").await.unwrap(), 1.0);
}
