//! Certificates between tiers that are not good: who says so, what clients get, and that a good one mends it.

use rung_tests::certs::Flaw;
use rung_tests::stack::Which;

use super::{answered, answered_at, back_to_normal, forgetful, place, until, upwards};

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
