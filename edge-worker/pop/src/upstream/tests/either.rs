//! HTTP/3 and HTTP/2 to the tier above, where one of them fails a request.

use std::sync::atomic::Ordering;

use front::Limits;
use shared_model::wire::{Candidate, Tier};
use tokio::time::sleep;

use super::over_tls::{LONG, Ranking, counted, goes_by, shown, watched};
use super::wire::Wire;
use super::{PATIENCE, answered, ask, escalation};
use crate::upstream::above::Above;
use crate::upstream::*;

#[tokio::test]
async fn an_answer_over_http3_that_is_only_late_counts_where_http2_is_gone() {
    let above = Above::start(Tier::Origin, Ranking::default(), true).await;
    let wire = Wire::to(above.address()).await;
    let authority = wire.address.to_string().parse().expect("an authority");
    let (upstream, registry) = watched(UpstreamSettings { authority, ..above.settings(true) });
    goes_by(&registry, "http3").await;
    wire.cut_tcp();
    let begun = Instant::now();
    while !counted(&registry, "edge_upstream_connected 0") {
        assert!(begun.elapsed() < LONG, "it is not lost:\n{}", shown(&registry));
        sleep(Duration::from_millis(10)).await;
    }
    wire.cut.store(true, Ordering::Relaxed);
    let late = async {
        while !counted(&registry, "edge_upstream_fallbacks_total{reason=\"silent\"} 1") {
            sleep(Duration::from_millis(10)).await;
        }
        // Longer than HTTP/2 takes to fail.
        sleep(Duration::from_millis(300)).await;
        wire.cut.store(false, Ordering::Relaxed);
    };
    let id = RequestId::fresh();
    let (outcome, ()) = tokio::join!(upstream.ask(escalation(), &id, Instant::now() + LONG), late);
    answered(outcome);
    answered(ask(&upstream, PATIENCE).await);
    assert!(counted(&registry, "edge_upstream_protocol{protocol=\"http3\"} 1"), "{}", shown(&registry));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_one() {
    let limits = Limits { max_body_bytes: 1_024, ..Limits::default() };
    let above = Above::within(limits, Ranking::default()).await;
    let (upstream, registry) = watched(above.settings(true));
    goes_by(&registry, "http3").await;
    // More than is taken before somebody reads.
    let mut long = escalation();
    let candidate = |i| Candidate { id: format!("{i:060}"), features: None };
    long.request.candidates = (0..20_000).map(candidate).collect();
    let outcome = upstream.ask(long, &RequestId::fresh(), Instant::now() + PATIENCE).await;
    assert_eq!(outcome, Outcome::Gone);
    assert!(!shown(&registry).contains("edge_upstream_fallbacks_total{"), "{}", shown(&registry));
    assert!(!shown(&registry).contains("requests_total{protocol=\"http2\"}"), "{}", shown(&registry));
    answered(ask(&upstream, PATIENCE).await);
    assert!(counted(&registry, "edge_upstream_requests_total{protocol=\"http3\"} 2"), "{}", shown(&registry));
}
