//! Over TLS, against fronts as they are: who is let in, and when HTTP/3 is used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use front::metrics::Registry;
use front::{Call, Failure, Health, Ranker, Serving};
use shared_model::wire::{Answer, Refusal, Tier, Timing};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::wire::Wire;
use super::{PATIENCE, answer, answered, ask, escalation, upstream};
use crate::upstream::above::{self, Above};
use crate::upstream::*;

pub(super) const LONG: Duration = Duration::from_secs(30);

/// A tier above that answers or refuses by the request's k; it takes its time over a k of 4, and says when it begins.
#[derive(Clone, Default)]
pub(super) struct Ranking {
    begun: Arc<Notify>,
}

impl Ranker for Ranking {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        match call.request.k {
            4 => {
                self.begun.notify_one();
                sleep(Duration::from_millis(500)).await;
            }
            2 => {}
            _ => return Err(Failure::Refused(Refusal { field: "k".to_owned(), message: "is not 2".to_owned() })),
        }
        Ok(answer())
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn models(&self) -> Vec<Serving> {
        Vec::new()
    }
}

pub(super) fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
    text
}

/// Whether the metrics have this line.
pub(super) fn counted(registry: &Registry, line: &str) -> bool {
    shown(registry).lines().any(|l| l == line)
}

/// Waits until escalations go by this protocol.
pub(super) async fn goes_by(registry: &Registry, protocol: &str) {
    let begun = Instant::now();
    while !counted(registry, &format!("edge_upstream_protocol{{protocol=\"{protocol}\"}} 1")) {
        assert!(begun.elapsed() < LONG, "it is never {protocol}:\n{}", shown(registry));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Asks what the tier above takes its time over.
async fn ask_slowly(upstream: &Upstream) -> Outcome {
    let mut slow = escalation();
    slow.request.k = 4;
    upstream.ask(slow, &RequestId::fresh(), Instant::now() + PATIENCE).await
}

pub(super) fn watched(settings: UpstreamSettings) -> (Upstream, Registry) {
    let mut registry = front::metrics::registry(Tier::Edge);
    let metrics = UpstreamMetrics::register(&mut registry);
    (Upstream::new(settings, metrics), registry)
}

#[tokio::test]
async fn a_front_answers_over_tls() {
    let above = Above::start(Tier::Origin, Ranking::default(), false).await;
    let upstream = upstream(above.settings(false));
    let mut reply = answered(ask(&upstream, PATIENCE).await);
    reply.timing = Timing::default();
    assert_eq!(reply, answer());
    let mut refused = escalation();
    refused.request.k = 3;
    let outcome = upstream.ask(refused, &RequestId::fresh(), Instant::now() + PATIENCE).await;
    assert!(matches!(&outcome, Outcome::Reply(Reply::Refused(refusal)) if refusal.field == "k"), "{outcome:?}");
}

#[tokio::test]
async fn a_front_of_another_name_or_root_is_not_trusted_and_one_that_does_not_know_us_does_not_answer() {
    let above = Above::start(Tier::Origin, Ranking::default(), true).await;
    let ((stranger, other_roots), own) = (above::identity(), above.own.clone());
    let cases = [
        (tls::Client::known_as(own.clone(), above.roots.clone()), "elsewhere.example", "wrong_name", "us"),
        (tls::Client::known_as(own, other_roots), "localhost", "unknown_issuer", "us"),
        (tls::Client::anonymous(above.roots.clone()), "localhost", "no_certificate", "peer"),
        (tls::Client::known_as(stranger, above.roots.clone()), "localhost", "unknown_issuer", "peer"),
    ];
    for (client, name, reason, found_by) in cases {
        let mut registry = front::metrics::registry(Tier::Edge);
        let metrics = UpstreamMetrics::register(&mut registry);
        let upstream = Upstream::new(above.settings_of(client.expect("a client"), name, true), metrics);
        assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone, "{reason}");
        let counted =
            format!("edge_upstream_tls_handshake_failures_total{{reason=\"{reason}\",found_by=\"{found_by}\"}}");
        assert!(shown(&registry).contains(&counted), "{counted} is not in\n{}", shown(&registry));
    }
}

#[tokio::test]
async fn http3_is_found_out_beside_http2_and_then_used() {
    let above = Above::start(Tier::Origin, Ranking::default(), true).await;
    let (upstream, registry) = watched(above.settings(true));
    answered(ask(&upstream, PATIENCE).await);
    goes_by(&registry, "http3").await;
    answered(ask(&upstream, PATIENCE).await);
    assert!(counted(&registry, "edge_upstream_requests_total{protocol=\"http3\"} 1"), "{}", shown(&registry));
    assert!(!shown(&registry).contains("edge_upstream_fallbacks_total{"), "{}", shown(&registry));
}

#[tokio::test]
async fn a_slow_answer_over_http3_is_waited_for_and_not_asked_for_twice() {
    let above = Above::start(Tier::Origin, Ranking::default(), true).await;
    let (upstream, registry) = watched(above.settings(true));
    goes_by(&registry, "http3").await;
    answered(ask_slowly(&upstream).await);
    assert!(counted(&registry, "edge_upstream_requests_total{protocol=\"http3\"} 1"), "{}", shown(&registry));
    assert!(!shown(&registry).contains("requests_total{protocol=\"http2\"}"), "{}", shown(&registry));
}

#[tokio::test]
async fn where_udp_is_swallowed_no_request_notices() {
    let above = Above::start(Tier::Origin, Ranking::default(), false).await;
    // Every datagram disappears.
    let hole = UdpSocket::bind(above.address()).await.expect("the port is free for UDP");
    let (upstream, registry) = watched(above.settings(true));
    // The first try has begun: it will wait for seconds.
    timeout(LONG, hole.readable()).await.expect("it is tried").expect("a socket");
    for _ in 0..5 {
        let begun = Instant::now();
        answered(ask(&upstream, PATIENCE).await);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    assert!(counted(&registry, "edge_upstream_requests_total{protocol=\"http2\"} 5"), "{}", shown(&registry));
    assert!(counted(&registry, "edge_upstream_protocol{protocol=\"http2\"} 1"), "{}", shown(&registry));
}

#[tokio::test]
async fn http3_that_is_switched_off_is_not_tried() {
    let above = Above::start(Tier::Origin, Ranking::default(), false).await;
    let hole = UdpSocket::bind(above.address()).await.expect("the port is free for UDP");
    let upstream = upstream(above.settings(false));
    answered(ask(&upstream, PATIENCE).await);
    assert!(timeout(Duration::from_millis(300), hole.readable()).await.is_err());
}

#[tokio::test]
async fn when_udp_stops_passing_the_request_under_way_goes_by_http2_and_http3_is_found_again() {
    let above = Above::start(Tier::Origin, Ranking::default(), true).await;
    let wire = Wire::to(above.address()).await;
    let authority = wire.address.to_string().parse().expect("an authority");
    let (upstream, registry) = watched(UpstreamSettings { authority, ..above.settings(true) });
    goes_by(&registry, "http3").await;
    answered(ask(&upstream, PATIENCE).await);

    wire.cut.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    answered(ask(&upstream, PATIENCE).await);
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(counted(&registry, "edge_upstream_fallbacks_total{reason=\"silent\"} 1"), "{}", shown(&registry));
    goes_by(&registry, "http2").await;
    answered(ask(&upstream, PATIENCE).await);

    wire.cut.store(false, Ordering::Relaxed);
    goes_by(&registry, "http3").await;
    answered(ask(&upstream, PATIENCE).await);
}

#[tokio::test]
async fn a_tier_above_that_drains_answers_what_is_under_way_and_is_found_again() {
    for (http3, protocol) in [(false, "http2"), (true, "http3")] {
        let ranking = Ranking::default();
        let above = Above::start(Tier::Origin, ranking.clone(), true).await;
        let address = above.address();
        let (upstream, registry) = watched(above.settings(http3));
        goes_by(&registry, protocol).await;
        let Above { front, own, roots } = above;
        let drains = async {
            ranking.begun.notified().await;
            front.drain(PATIENCE).await
        };
        let (slow, drained) = tokio::join!(ask_slowly(&upstream), drains);
        answered(slow);
        assert_eq!(drained.cut, 0);
        assert!(counted(&registry, &format!("edge_upstream_requests_total{{protocol=\"{protocol}\"}} 1")));

        let _again = Above::at(address, Tier::Origin, ranking, true, own, roots).await;
        let begun = Instant::now();
        while ask(&upstream, PATIENCE).await == Outcome::Gone {
            assert!(begun.elapsed() < LONG, "it is never found again");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
