//! The network between tiers: it breaks in the middle of an answer, and lets no UDP pass.

use std::time::Instant;

use rung_tests::processes::Processes;
use rung_tests::proxy::Proxy;
use rung_tests::stack::Which;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{LONG, LOOK, answered, forgetful, place, until, upwards};
use crate::requests::{eval, with};

const OVER_HTTP3: &str = "edge_upstream_protocol{protocol=\"http3\"}";
const OVER_HTTP2: &str = "edge_upstream_protocol{protocol=\"http2\"}";

#[tokio::test]
async fn an_answer_cut_in_the_middle_is_answered_at_level_1_and_the_next_is_whole() {
    let proxy = Proxy::start().await.unwrap();
    let tiers = forgetful().through(Which::Edge, &proxy).upstream(Which::Edge, "http3 = \"off\"\n");
    let tiers = tiers.spawn().await.unwrap();
    let request = with(upwards(), json!({ "k": 90 }));
    let whole = answered(&tiers, &request).await;
    assert_eq!(place(&whole), ("origin", 0), "{whole}");
    // The head of the answer, and its body, which has about 2 KiB.
    for (cuts, bytes) in (1..).zip([1, 30, 200, 1000]) {
        until(&tiers, Which::Edge, "edge_upstream_connected", 1.0).await;
        proxy.cut_after(bytes);
        let answer = answered(&tiers, &request).await;
        assert_eq!((proxy.cuts(), place(&answer)), (cuts, ("edge", 1)), "after {bytes} bytes: {answer}");
        assert_eq!((&answer["reason"], &answer["agreement"]), (&json!("upstream_gone"), &Value::Null));
        until(&tiers, Which::Edge, "edge_upstream_connected", 1.0).await;
        let next = answered(&tiers, &request).await;
        assert_eq!((place(&next), &next["ranked"]), (("origin", 0), &whole["ranked"]), "{next}");
    }
    let broken = tiers.metric(Which::Edge, "edge_upstream_replies_total{outcome=\"broken\"}").await.unwrap();
    assert_eq!(broken, 4.0);
    tiers.stop().await.unwrap();
}

/// Asks for the origin's answers, and takes no others.
async fn nobody_notices(tiers: &Processes, many: usize) {
    for request in eval(many) {
        let answer = answered(tiers, &with(request, json!({ "tier": "origin" }))).await;
        assert_eq!(place(&answer), ("origin", 0), "{answer}");
    }
}

#[tokio::test]
async fn where_udp_is_blocked_tiers_speak_http2() {
    let proxy = Proxy::start().await.unwrap();
    proxy.block_udp(true);
    let tiers = forgetful().through(Which::Edge, &proxy).spawn().await.unwrap();
    nobody_notices(&tiers, 10).await;
    let begun = Instant::now();
    while proxy.lost() == 0 {
        assert!(begun.elapsed() < LONG, "HTTP/3 is never tried");
        sleep(LOOK).await;
    }
    nobody_notices(&tiers, 10).await;
    assert_eq!(tiers.metric(Which::Edge, OVER_HTTP2).await.unwrap(), 1.0);
    assert_eq!(tiers.metric(Which::Edge, OVER_HTTP3).await.unwrap(), 0.0);
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn udp_that_no_longer_passes_costs_no_answer_and_is_used_again_when_it_does() {
    let proxy = Proxy::start().await.unwrap();
    let tiers = forgetful().through(Which::Edge, &proxy).spawn().await.unwrap();
    until(&tiers, Which::Edge, OVER_HTTP3, 1.0).await;
    nobody_notices(&tiers, 5).await;
    assert!(tiers.metric(Which::Edge, "edge_upstream_requests_total{protocol=\"http3\"}").await.unwrap() >= 5.0);
    proxy.block_udp(true);
    nobody_notices(&tiers, 20).await;
    let fallbacks = tiers.metric(Which::Edge, "edge_upstream_fallbacks_total{reason=\"silent\"}").await.unwrap();
    assert!((1.0..=2.0).contains(&fallbacks), "the first request notices, the others do not wait: {fallbacks}");
    assert_eq!(tiers.metric(Which::Edge, OVER_HTTP2).await.unwrap(), 1.0);
    proxy.block_udp(false);
    until(&tiers, Which::Edge, OVER_HTTP3, 1.0).await;
    nobody_notices(&tiers, 5).await;
    tiers.stop().await.unwrap();
}
