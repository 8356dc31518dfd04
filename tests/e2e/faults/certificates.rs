//! Certificates between tiers that are not good: who says so, what clients get, and that a good one mends it.

use std::time::Instant;

use rung_tests::certs::Flaw;
use rung_tests::client::Protocol;
use rung_tests::proxy::Proxy;
use rung_tests::stack::Which;
use tokio::time::sleep;

use super::{LONG, LOOK, answered, answered_at, back_to_normal, forgetful, place, until, upwards};

/// A ladder in which the edge shows such a certificate to the region, and the origin serves the region with another.
/// `found` is what the side that looks at it counts, `told` what the other side gets to know of it.
async fn refused(flaw: Flaw, found: &str, told: &str) {
    let tiers = forgetful().shows(Which::Edge, flaw).serves(Which::Origin, flaw).spawn().await.unwrap();
    let answer = answered(&tiers, &upwards()).await;
    assert_eq!(place(&answer), ("edge", 1), "the region does not let the edge in: {answer}");
    let answer = answered_at(&tiers, Which::Region, &upwards()).await;
    assert_eq!(place(&answer), ("region", 1), "the region does not believe the origin: {answer}");
    for (which, listener, reason, by) in [
        (Which::Region, "tiers", found, "us"),
        (Which::Edge, "upstream", told, "peer"),
        (Which::Region, "upstream", found, "us"),
        (Which::Origin, "tiers", told, "peer"),
    ] {
        let tier = which.name();
        let failures = format!("{tier}_{listener}_tls_handshake_failures_total");
        until(&tiers, which, &format!("{failures}{{reason=\"{reason}\",found_by=\"{by}\"}}"), 1.0).await;
    }
    let connected = [(Which::Edge, "edge_upstream_connected"), (Which::Region, "region_upstream_connected")];
    for (which, metric) in connected {
        assert_eq!(tiers.metric(which, metric).await.unwrap(), 0.0);
    }
    tiers.rotate(Which::Edge).unwrap();
    tiers.rotate(Which::Origin).unwrap();
    // Nobody asks before, so that there are too few failures for the breaker.
    for (which, metric) in connected {
        until(&tiers, which, metric, 1.0).await;
    }
    back_to_normal(&tiers).await;
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_a_wrong_authority_is_refused_on_both_sides() {
    refused(Flaw::Stranger, "unknown_issuer", "unknown_issuer").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    refused(Flaw::Expired, "expired", "outside_validity").await;
}

/// A certificate whose time has not come stands for a clock that is behind: to the tier that looks at it both are the
/// same, and no clock has to be moved for a test.
#[tokio::test]
async fn with_a_clock_that_is_behind_a_certificate_is_refused_on_both_sides() {
    refused(Flaw::NotYetValid, "not_yet_valid", "outside_validity").await;
}

#[tokio::test]
async fn an_authority_and_all_that_it_has_issued_are_replaced_without_a_restart() {
    let (below, above) = (Proxy::start().await.unwrap(), Proxy::start().await.unwrap());
    let tiers = forgetful().through(Which::Edge, &below).through(Which::Region, &above).spawn().await.unwrap();
    assert_eq!(place(&answered(&tiers, &upwards()).await), ("origin", 0));
    let of_old = tiers.client(Protocol::Http2).unwrap();
    tiers.replace_authority().unwrap();
    for (which, listeners) in [
        (Which::Edge, &["https", "upstream"][..]),
        (Which::Region, &["https", "tiers", "upstream"]),
        (Which::Origin, &["https", "tiers"]),
    ] {
        for listener in listeners {
            let taken = format!("{}_{listener}_tls_reloads_total{{outcome=\"taken\"}}", which.name());
            until(&tiers, which, &taken, 1.0).await;
        }
    }
    // What was connected before goes on. So that the new ones are shown, everything connects anew.
    assert_eq!(place(&answered(&tiers, &upwards()).await), ("origin", 0));
    for (proxy, which) in [(&below, Which::Edge), (&above, Which::Region)] {
        let (before, begun) = (proxy.connections(), Instant::now());
        proxy.block_udp(true);
        proxy.cut_all();
        while proxy.connections() == before {
            assert!(begun.elapsed() < LONG, "nobody connects");
            sleep(LOOK).await;
        }
        until(&tiers, which, &format!("{}_upstream_connected", which.name()), 1.0).await;
    }
    assert!(of_old.post(&tiers.url(Which::Edge, "/v1/rank"), upwards().to_string()).await.is_err());
    let ask = async |protocol| {
        let client = tiers.client(protocol).unwrap();
        let response = client.post(&tiers.url(Which::Edge, "/v1/rank"), upwards().to_string()).await.unwrap();
        let answer = response.json().unwrap();
        assert_eq!(place(&answer), ("origin", 0), "{answer}");
    };
    ask(Protocol::Http2).await;
    for (proxy, which) in [(&below, Which::Edge), (&above, Which::Region)] {
        proxy.block_udp(false);
        until(&tiers, which, &format!("{}_upstream_protocol{{protocol=\"http3\"}}", which.name()), 1.0).await;
    }
    ask(Protocol::Http3).await;
    tiers.stop().await.unwrap();
}
