//! Health, readiness and metrics.

use http::Method;
use serde_json::json;

use crate::rig::{Rig, asking};

#[tokio::test]
async fn a_live_front_says_so() {
    let reply = Rig::start().await.asked(Method::GET, "/healthz").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "alive\n"));
}

#[tokio::test]
async fn a_ready_tier_shows_its_models() {
    let reply = Rig::start().await.asked(Method::GET, "/readyz").await;
    assert_eq!(reply.status, 200);
    let bundle = "07".repeat(32);
    let models = json!([
        {"model":"movies","version":"7","variant":"w4","runs_on":"nothing","bundle":bundle,"catalog":3}
    ]);
    assert_eq!(reply.json(), json!({"ready": true, "missing": [], "models": models}));
}

#[tokio::test]
async fn a_tier_that_is_not_ready_says_what_is_missing_and_is_still_alive() {
    let rig = Rig::start().await;
    rig.probe.become_unready("model movies: no bundle");
    let reply = rig.asked(Method::GET, "/readyz").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["missing"], json!(["model movies: no bundle"]));
    assert_eq!(rig.asked(Method::GET, "/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_count_answers_by_code_and_their_durations() {
    let rig = Rig::start().await;
    for model in ["movies", "movies", "films"] {
        rig.rank(&asking(model)).await;
    }
    assert_eq!(rig.metric("edge_requests_total{code=\"200\"}").await, 2.0);
    assert_eq!(rig.metric("edge_requests_total{code=\"404\"}").await, 1.0);
    assert_eq!(rig.metric("edge_request_duration_seconds_count").await, 3.0);
    assert!(rig.metric("edge_request_duration_seconds_sum").await > 0.0);
    assert_eq!(rig.metric("edge_in_flight_requests").await, 0.0);
    let reply = rig.asked(Method::GET, "/metrics").await;
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    assert!(reply.text().ends_with("# EOF\n"));
}
