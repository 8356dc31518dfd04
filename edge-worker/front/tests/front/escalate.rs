//! Between tiers: CBOR in, CBOR out.

use std::time::Duration;

use bytes::Bytes;
use front::{CBOR, ESCALATE_PATH, Escalated, Limits};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use shared_model::limits::{MAX_CANDIDATES, MAX_ID_BYTES};
use shared_model::wire::{
    Candidate, Escalation, RankRequest, Record, Refusal, Reply, Tier, TierChoice, Why, from_cbor, to_cbor,
};

use crate::rig::{self, Rig, STAMP};

const NOT_BELOW: &str = "`from`: is not a tier below this one";

fn escalation(model: &str) -> Escalation {
    Escalation {
        request: RankRequest {
            model: model.to_owned(),
            k: 1,
            user: Record::default(),
            context: Record::default(),
            candidates: ["a", "b"].map(|id| Candidate { id: id.to_owned(), features: None }).into(),
            exclude: Vec::new(),
            timeout_ms: Some(50),
            tier: TierChoice::Auto,
            explain: false,
        },
        stamp: STAMP,
        from: Tier::Edge,
        why: Why::Unsure,
        remaining_us: 30_000,
        part: None,
    }
}

async fn sent(rig: &Rig, body: Vec<u8>) -> rig::Reply {
    let request = Request::post(ESCALATE_PATH).header("content-type", CBOR).header("x-request-id", "from-the-edge");
    rig.tls("h2").await.send(request.body(Full::new(Bytes::from(body))).unwrap()).await
}

#[tokio::test]
async fn an_escalation_is_answered_in_kind_and_its_time_goes_on() {
    let rig = Rig::region().await;
    let reply = sent(&rig, to_cbor(&escalation("movies"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, CBOR));
    assert_eq!((reply.header("rung-tier"), reply.header("x-request-id")), ("edge", "from-the-edge"));
    let Reply::Answer(answer) = from_cbor(&reply.body).unwrap() else { panic!("it is refused") };
    assert_eq!(answer.ranked[0].id, "a");
    assert_eq!(answer.stamp, Some(STAMP));
    assert!(answer.timing.total > 0);

    let call = &rig.probe.calls()[0];
    assert_eq!(call.request, escalation("movies").request);
    assert_eq!(call.escalation, Some(Escalated { stamp: STAMP, from: Tier::Edge, why: Why::Unsure, part: None }));
    assert_eq!(call.deadline.duration_since(call.arrived), Duration::from_millis(30));
    assert_eq!(call.request_id.as_str(), "from-the-edge");
}

#[tokio::test]
async fn what_is_wrong_with_the_request_goes_down_as_a_reply() {
    let rig = Rig::region().await;
    let reply = sent(&rig, to_cbor(&escalation("refusing"))).await;
    let refusal = Refusal { field: "user.age".to_owned(), message: "is missing".to_owned() };
    assert_eq!(from_cbor::<Reply>(&reply.body).unwrap(), Reply::Refused(refusal));
    let reply = sent(&rig, to_cbor(&escalation("small"))).await;
    let Reply::Refused(refusal) = from_cbor(&reply.body).unwrap() else { panic!("it is answered") };
    assert_eq!(refusal.field, "candidates");
}

#[tokio::test]
async fn what_is_wrong_with_the_tier_is_a_problem_document() {
    let rig = Rig::region().await;
    sent(&rig, to_cbor(&escalation("films"))).await.is_problem(404, "unknown-model");
    sent(&rig, to_cbor(&escalation("busy"))).await.is_problem(429, "overloaded");
    sent(&rig, to_cbor(&escalation("broken"))).await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn a_body_that_is_no_escalation_is_422() {
    let rig = Rig::region().await;
    let mut long = to_cbor(&escalation("movies"));
    long.push(0);
    for body in [b"{}".to_vec(), Vec::new(), long] {
        sent(&rig, body).await.is_problem(422, "malformed");
    }
}

#[tokio::test]
async fn an_escalation_with_k_of_zero_is_422() {
    let mut escalation = escalation("movies");
    escalation.request.k = 0;
    let problem = sent(&Rig::region().await, to_cbor(&escalation)).await.is_problem(422, "invalid-request");
    assert_eq!(problem["field"], "k");
}

#[tokio::test]
async fn there_is_nothing_to_escalate_to_at_the_edge() {
    let rig = Rig::start().await;
    sent(&rig, to_cbor(&escalation("movies"))).await.is_problem(404, "not-found");
    assert!(rig.probe.calls().is_empty());
}

#[tokio::test]
async fn an_escalation_from_a_tier_that_is_not_below_is_422() {
    let rig = Rig::region().await;
    for from in [Tier::Region, Tier::Origin] {
        let body = to_cbor(&Escalation { from, ..escalation("movies") });
        let problem = sent(&rig, body).await.is_problem(422, "invalid-request");
        assert_eq!((&problem["field"], &problem["detail"]), (&json!("from"), &json!(NOT_BELOW)));
    }
    assert!(rig.probe.calls().is_empty());
}

#[tokio::test]
async fn what_json_refuses_is_refused_in_cbor_too() {
    let rig = Rig::region().await;
    let candidate = |id: &str| Candidate { id: id.to_owned(), features: None };
    let long = "x".repeat(MAX_ID_BYTES + 1);
    type Spoil<'a> = &'a dyn Fn(&mut RankRequest);
    let spoilt: [(&str, Spoil<'_>); 7] = [
        ("model", &|r| r.model.clear()),
        ("candidates[2].id", &|r| r.candidates.push(candidate("a"))),
        ("candidates[2].id", &|r| r.candidates.push(candidate(&long))),
        ("candidates[0].id", &|r| r.candidates[0].id.clear()),
        ("candidates", &|r| r.candidates = (0..=MAX_CANDIDATES).map(|i| candidate(&i.to_string())).collect()),
        ("exclude[1]", &|r| r.exclude = vec!["a".to_owned(), long.clone()]),
        ("exclude", &|r| r.exclude = vec!["a".to_owned(); MAX_CANDIDATES + 1]),
    ];
    for (field, spoil) in spoilt {
        let mut escalation = escalation("movies");
        spoil(&mut escalation.request);
        let problem = sent(&rig, to_cbor(&escalation)).await.is_problem(422, "invalid-request");
        assert_eq!(problem["field"], field, "{problem}");
    }
    assert!(rig.probe.calls().is_empty());
}

#[tokio::test]
async fn a_body_may_be_four_times_as_long_as_a_clients() {
    let rig = Rig::at(Tier::Region, Limits { max_body_bytes: 1024, max_in_flight: 1, ..Limits::default() }).await;
    for (ids, status) in [(35, 200_u16), (45, 413)] {
        let mut long = escalation("movies");
        // An id of 98 bytes takes 100 in CBOR.
        long.request.exclude = vec!["x".repeat(98); ids];
        assert_eq!(sent(&rig, to_cbor(&long)).await.status, status);
    }
}

#[tokio::test]
async fn a_remaining_time_beyond_the_limit_is_cut_to_it() {
    let rig = Rig::region().await;
    let endless = Escalation { remaining_us: u64::MAX, ..escalation("movies") };
    assert_eq!(sent(&rig, to_cbor(&endless)).await.status, 200);
    let call = &rig.probe.calls()[0];
    assert_eq!(call.deadline.duration_since(call.arrived), Duration::from_secs(10));
}

#[tokio::test]
async fn a_message_nested_without_end_is_no_harm() {
    let rig = Rig::region().await;
    let mut body = to_cbor(&escalation("movies"));
    // One element more than an escalation has: a list in a list in a list.
    assert_eq!(body[0], 0x85);
    body[0] = 0x86;
    body.extend(vec![0x81; 900_000]);
    body.push(0);
    let status = sent(&rig, body).await.status.as_u16();
    assert!([200, 422].contains(&status), "{status}");
    assert_eq!(sent(&rig, to_cbor(&escalation("movies"))).await.status, 200);
}
