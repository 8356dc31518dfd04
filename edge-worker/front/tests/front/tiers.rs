//! The listener for the tiers below: who is let in, and what is answered there.

use front::tls::Identity;
use http::{Method, Request};
use http_body_util::Full;

use crate::rig::{Client, RANK, Rig, asking, identity, post};

const ESCALATE: &str = "/v1/escalate";

fn greeting() -> Request<Full<bytes::Bytes>> {
    Request::get(ESCALATE).body(Full::default()).unwrap()
}

/// Whether somebody with this certificate gets an answer.
async fn let_in(rig: &Rig, identity: Option<Identity>, protocol: &str) -> bool {
    // In TLS 1.3 a client's handshake is over before the server has seen its certificate.
    match Client::connect(rig.tiers.unwrap(), &rig.stranger(identity), protocol).await {
        Ok(client) => client.try_send(greeting()).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_tier_is_greeted() {
    let rig = Rig::region().await;
    for protocol in ["h2", "h3"] {
        let reply = rig.tier(protocol).await.send(greeting()).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0), "{protocol}");
    }
}

#[tokio::test]
async fn nobody_gets_in_without_the_certificate_of_a_tier() {
    let rig = Rig::region().await;
    for protocol in ["http/1.1", "h2", "h3"] {
        assert!(!let_in(&rig, None, protocol).await, "{protocol}");
        assert!(!let_in(&rig, Some(identity().0), protocol).await, "{protocol}");
    }
    let failures =
        |reason: &str| format!("region_tiers_tls_handshake_failures_total{{reason=\"{reason}\",found_by=\"us\"}}");
    for reason in ["no_certificate", "unknown_issuer"] {
        assert_eq!(rig.metric(&failures(reason)).await, 3.0, "{reason}");
    }
    assert_eq!(rig.metric("region_in_flight_requests").await, 0.0);
}

#[tokio::test]
async fn nothing_but_escalations_is_answered_there_and_those_nowhere_else() {
    let rig = Rig::region().await;
    rig.tier("h2").await.send(post(RANK, &asking("movies"))).await.is_problem(404, "not-found");
    for client in [rig.http1().await, rig.http2().await, rig.tls("h2").await, rig.tls("h3").await] {
        client.send(post(ESCALATE, "{}")).await.is_problem(404, "not-found");
        client.send(greeting()).await.is_problem(404, "not-found");
    }
    let delete = Request::builder().method(Method::DELETE).uri(ESCALATE).body(Full::default()).unwrap();
    let reply = rig.tier("h2").await.send(delete).await;
    reply.is_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), "GET, POST");
    assert!(rig.probe.calls().is_empty());
}

#[tokio::test]
async fn an_edge_has_no_such_listener() {
    assert_eq!(Rig::start().await.tiers, None);
}
