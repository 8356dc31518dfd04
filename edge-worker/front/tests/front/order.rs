//! Orders of the admin listener about bundles, and what `/readyz` tells of those that are refused.

use http::Method;
use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_reload_is_carried_out_and_tells_what_runs() {
    let rig = Rig::start().await;
    for (body, model) in [("", "movies"), (r#"{"model":"movies","rollback":"6"}"#, "movies")] {
        let reply = rig.ordered("/v1/reload", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let running = &reply.json()["models"][0];
        assert_eq!((&running["model"], &running["serial"]), (&json!(model), &json!(8)), "{running}");
    }
    assert_eq!(rig.probe.orders(), ["reload None None", "reload Some(\"movies\") Some(\"6\")"]);
}

#[tokio::test]
async fn a_delta_is_handed_on_as_it_came() {
    let rig = Rig::start().await;
    let reply = rig.ordered("/v1/catalog", "a delta").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["models"][0]["catalog"]), (200, &json!(3)));
    assert_eq!(rig.probe.orders(), ["delta a delta"]);
}

#[tokio::test]
async fn what_is_refused_is_told_and_the_tier_stays_ready() {
    let rig = Rig::start().await;
    let reply = rig.ordered("/v1/catalog", "bad").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["detail"]), (409, &json!("it is bad")));
    assert_eq!(reply.json()["type"], "urn:rung:problem:bundle-refused");
    let ready = rig.asked(Method::GET, "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["refused"], json!([{"model":"movies","why":"it is bad"}]));
}

#[tokio::test]
async fn an_order_that_cannot_be_is_refused() {
    let rig = Rig::start().await;
    let unknown = rig.ordered("/v1/reload", r#"{"model":"books"}"#).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["field"]), (404, &json!("model")));
    for body in ["{", r#"{"modle":"movies"}"#, "7"] {
        assert_eq!(rig.ordered("/v1/reload", body).await.status, 422, "{body}");
    }
    let long = rig.ordered("/v1/reload", &" ".repeat(70_000)).await.is_problem(413, "body-too-long");
    assert_eq!(long["detail"], "the body of this order may have 65536 bytes; of a longer delta make several");
    for path in ["/v1/reload", "/v1/catalog"] {
        assert_eq!(rig.asked(Method::GET, path).await.status, 405);
    }
    assert!(rig.probe.orders().is_empty());
}
