//! What carries requests: HTTP/3, certificates between tiers, and what is answered when one of them fails.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::{StatusCode, Version};
use rung_tests::certs::Flaw;
use rung_tests::client::{Client, Protocol};
use rung_tests::proxy::Proxy;
use rung_tests::stack::{Builder, Stack, Which};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::requests::{eval, one, with};

/// Nothing here takes this long, on a machine with much to do.
const LONG: Duration = Duration::from_secs(60);

/// A request that goes up to the origin.
fn upwards() -> Value {
    with(one(), json!({ "tier": "origin" }))
}

async fn answered(stack: &Stack, body: &Value) -> Value {
    let response = stack.rank(body.to_string()).await.unwrap();
    assert_eq!(response.status, StatusCode::OK, "{:?}", response.body);
    response.json().unwrap()
}

/// Waits until a metric has a value.
async fn until(stack: &Stack, which: Which, metric: &str, at_least: f64) {
    let begun = Instant::now();
    while stack.metric(which, metric).await.unwrap_or(0.0) < at_least {
        assert!(begun.elapsed() < LONG, "{metric} never gets to {at_least}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_edge_answers_over_http3_with_what_it_answers_over_http2() {
    let stack = Stack::start().await.unwrap();
    let client = stack.client(Protocol::Http3).unwrap();
    for request in eval(20).into_iter().map(|request| with(request, json!({ "tier": "edge" }))) {
        let third = client.post(&stack.url(Which::Edge, "/v1/rank"), request.to_string()).await.unwrap();
        assert_eq!((third.status, third.version), (StatusCode::OK, Version::HTTP_3));
        assert_eq!(third.json().unwrap()["ranked"], answered(&stack, &request).await["ranked"]);
    }
    let problem = client.post(&stack.url(Which::Edge, "/v1/rank"), "{").await.unwrap();
    assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn our_client_tells_the_answer_and_how_it_came() {
    let stack = Stack::start().await.unwrap();
    let url = stack.url(Which::Edge, "");
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), one().to_string()).unwrap();
    for (flag, version) in [("--http1", "HTTP/1.1"), ("--http2", "HTTP/2.0"), ("--http3", "HTTP/3.0")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rung-client"));
        command.args(["rank", &url, flag, "--ca"]).arg(stack.ca()).arg("--json").arg(body.path());
        let ran = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
        let ran = ran.await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && told.starts_with(&format!("{version} 200 OK in ")), "{told}");
        let answer: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(answer["ranked"].as_array().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn tiers_go_over_to_http3_where_udp_passes() {
    let stack = Stack::start().await.unwrap();
    answered(&stack, &upwards()).await;
    for (tier, which) in [("edge", Which::Edge), ("region", Which::Region)] {
        until(&stack, which, &format!("{tier}_upstream_protocol{{protocol=\"http3\"}}"), 1.0).await;
    }
    // Another request than the first, whose answer is kept.
    let answer = answered(&stack, &with(upwards(), json!({ "k": 7 }))).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("origin"), &json!(0)), "{answer}");
    for (tier, which) in [("edge", Which::Edge), ("region", Which::Region)] {
        let sent = format!("{tier}_upstream_requests_total{{protocol=\"http3\"}}");
        assert!(stack.metric(which, &sent).await.unwrap() >= 1.0, "{tier}");
    }
}

#[tokio::test]
async fn where_udp_is_blocked_no_request_fails() {
    let quiet = "http3 = false\n";
    let stack = Builder::default().listen(Which::Region, quiet).start().await.unwrap();
    let hole = UdpSocket::bind(stack.tiers(Which::Region)).await.unwrap();
    timeout(LONG, hole.readable()).await.expect("HTTP/3 is tried").unwrap();
    for request in eval(20) {
        let answer = answered(&stack, &with(request, json!({ "tier": "origin" }))).await;
        assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("origin"), &json!(0)), "{answer}");
    }
    let protocol = "edge_upstream_protocol{protocol=\"http2\"}";
    assert_eq!(stack.metric(Which::Edge, protocol).await.unwrap(), 1.0);
}

#[tokio::test]
async fn without_a_certificate_nobody_escalates() {
    let stack = Stack::start().await.unwrap();
    let port = stack.tiers(Which::Region).port();
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
        let client = stack.client(protocol).unwrap();
        let refused = client.post(&format!("https://localhost:{port}/v1/escalate"), "{}").await;
        assert!(refused.is_err(), "{refused:?}");
        for which in [Which::Edge, Which::Region, Which::Origin] {
            let elsewhere = client.post(&stack.url(which, "/v1/escalate"), "{}").await.unwrap();
            assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
        }
    }
    let metric = "region_tiers_tls_handshake_failures_total{reason=\"no_certificate\",found_by=\"us\"}";
    assert!(stack.metric(Which::Region, metric).await.unwrap() >= 3.0);
}

/// A stack in which the edge cannot escalate: its clients get an answer of level 1, whatever it is that is wrong.
async fn answered_at_level_1(stack: &Stack, at_the_region: &str, at_the_edge: &str) {
    let answer = answered(stack, &upwards()).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("edge"), &json!(1)), "{answer}");
    assert_eq!(answer["ranked"].as_array().unwrap().len(), 10);
    let failures = "tls_handshake_failures_total";
    if !at_the_region.is_empty() {
        until(stack, Which::Region, &format!("region_tiers_{failures}{{{at_the_region}}}"), 1.0).await;
    }
    until(stack, Which::Edge, &format!("edge_upstream_{failures}{{{at_the_edge}}}"), 1.0).await;
    assert_eq!(stack.metric(Which::Edge, "edge_upstream_connected").await.unwrap(), 0.0);
}

#[tokio::test]
async fn a_tier_whose_certificate_is_not_good_gets_no_answer_from_above_and_still_gives_one() {
    for (flaw, found, told) in [
        (Flaw::Expired, "expired", "outside_validity"),
        (Flaw::NotYetValid, "not_yet_valid", "outside_validity"),
        (Flaw::Stranger, "unknown_issuer", "unknown_issuer"),
    ] {
        let stack = Builder::default().shows(Which::Edge, flaw).start().await.unwrap();
        let found = format!("reason=\"{found}\",found_by=\"us\"");
        answered_at_level_1(&stack, &found, &format!("reason=\"{told}\",found_by=\"peer\"")).await;
    }
}

#[tokio::test]
async fn a_tier_above_whose_certificate_is_not_good_is_not_asked() {
    for (flaw, found) in
        [(Flaw::Expired, "expired"), (Flaw::NotYetValid, "not_yet_valid"), (Flaw::Stranger, "unknown_issuer")]
    {
        let stack = Builder::default().serves(Which::Region, flaw).start().await.unwrap();
        answered_at_level_1(&stack, "", &format!("reason=\"{found}\",found_by=\"us\"")).await;
    }
}

#[tokio::test]
async fn an_expired_certificate_is_replaced_without_a_restart() {
    let stack = Builder::default().shows(Which::Edge, Flaw::Expired).start().await.unwrap();
    assert_eq!(answered(&stack, &upwards()).await["degradation"], 1);
    stack.rotate(Which::Edge).unwrap();
    until(&stack, Which::Edge, "edge_upstream_connected", 1.0).await;
    let begun = Instant::now();
    // The breaker has seen the failures before.
    while answered(&stack, &upwards()).await["tier"] != "origin" {
        assert!(begun.elapsed() < LONG, "the tier above is never asked again");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn certificates_change_under_load_without_a_failed_request() {
    let (below, above) = (Proxy::start().await.unwrap(), Proxy::start().await.unwrap());
    let stack = Builder::default().without_caches().through(Which::Edge, &below).through(Which::Region, &above);
    let stack = stack.start().await.unwrap();
    let requests: Vec<Value> = eval(40).into_iter().map(|r| with(r, json!({ "tier": "origin" }))).collect();
    let clients = [Protocol::Http1, Protocol::Http2, Protocol::Http3].map(|p| stack.client(p).unwrap());
    let taken = |tier: &str, name: &str| format!("{tier}_{name}_tls_reloads_total{{outcome=\"taken\"}}");
    let url = stack.url(Which::Edge, "/v1/rank");
    let ask = async |client: &Client, request: &Value| {
        let response = client.post(&url, request.to_string()).await.unwrap();
        let answer = response.json().unwrap();
        assert_eq!(response.status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("origin"), &json!(0)), "{answer}");
    };
    let mut done = 0;
    for which in [Which::Edge, Which::Region, Which::Origin] {
        stack.rotate(which).unwrap();
    }
    let begun = Instant::now();
    loop {
        for request in &requests {
            // A new connection now and then, so that both certificates are used.
            let fresh = stack.client([Protocol::Http2, Protocol::Http3][done % 2]).unwrap();
            for client in clients.iter().chain((done % 5 == 0).then_some(&fresh)) {
                ask(client, request).await;
            }
            done += 1;
        }
        let mut all = true;
        for (which, tier, name) in [
            (Which::Edge, "edge", "https"),
            (Which::Edge, "edge", "upstream"),
            (Which::Region, "region", "tiers"),
            (Which::Region, "region", "upstream"),
            (Which::Origin, "origin", "tiers"),
        ] {
            all &= stack.metric(which, &taken(tier, name)).await.is_ok_and(|n| n >= 1.0);
        }
        if all {
            break;
        }
        assert!(begun.elapsed() < LONG, "a change is never seen");
    }
    // The new ones are as good as the old, to clients and between tiers, which connect anew by each protocol.
    ask(&stack.client(Protocol::Http3).unwrap(), &requests[0]).await;
    let links = [(&below, Which::Edge, "edge"), (&above, Which::Region, "region")];
    for (proxy, which, tier) in links {
        let (before, begun) = (proxy.connections(), Instant::now());
        proxy.block_udp(true);
        proxy.cut_all();
        while proxy.connections() == before {
            assert!(begun.elapsed() < LONG, "nobody connects");
            sleep(Duration::from_millis(20)).await;
        }
        until(&stack, which, &format!("{tier}_upstream_connected"), 1.0).await;
    }
    for request in &requests[..10] {
        ask(&clients[1], request).await;
    }
    for (proxy, which, tier) in links {
        proxy.block_udp(false);
        until(&stack, which, &format!("{tier}_upstream_protocol{{protocol=\"http3\"}}"), 1.0).await;
    }
    for request in &requests[..10] {
        ask(&clients[1], request).await;
    }
}
