//! Between tiers: CBOR in, CBOR out.

use std::time::Duration;

use bytes::Bytes;
use front::{CBOR, ESCALATE_PATH, Escalated};
use http::Request;
use http_body_util::Full;
use shared_model::wire::{
    Candidate, Escalation, RankRequest, Record, Refusal, Reply, Tier, TierChoice, Why, from_cbor, to_cbor,
};

use crate::rig::{self, Rig, STAMP};

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
    }
}

async fn sent(rig: &Rig, body: Vec<u8>) -> rig::Reply {
    let request = Request::post(ESCALATE_PATH).header("content-type", CBOR).header("x-request-id", "from-the-edge");
    rig.tls("h2").await.send(request.body(Full::new(Bytes::from(body))).unwrap()).await
}

#[tokio::test]
async fn an_escalation_is_answered_in_kind_and_its_time_goes_on() {
    let rig = Rig::start().await;
    let reply = sent(&rig, to_cbor(&escalation("movies"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, CBOR));
    assert_eq!((reply.header("rung-tier"), reply.header("x-request-id")), ("edge", "from-the-edge"));
    let Reply::Answer(answer) = from_cbor(&reply.body).unwrap() else { panic!("it is refused") };
    assert_eq!(answer.ranked[0].id, "a");
    assert_eq!(answer.stamp, Some(STAMP));
    assert!(answer.timing.total > 0);

    let call = &rig.probe.calls()[0];
    assert_eq!(call.request, escalation("movies").request);
    assert_eq!(call.escalation, Some(Escalated { stamp: STAMP, from: Tier::Edge, why: Why::Unsure }));
    assert_eq!(call.deadline.duration_since(call.arrived), Duration::from_millis(30));
    assert_eq!(call.request_id.as_str(), "from-the-edge");
}

#[tokio::test]
async fn what_is_wrong_with_the_request_goes_down_as_a_reply() {
    let rig = Rig::start().await;
    let reply = sent(&rig, to_cbor(&escalation("refusing"))).await;
    let refusal = Refusal { field: "user.age".to_owned(), message: "is missing".to_owned() };
    assert_eq!(from_cbor::<Reply>(&reply.body).unwrap(), Reply::Refused(refusal));
    let reply = sent(&rig, to_cbor(&escalation("small"))).await;
    let Reply::Refused(refusal) = from_cbor(&reply.body).unwrap() else { panic!("it is answered") };
    assert_eq!(refusal.field, "candidates");
}

#[tokio::test]
async fn what_is_wrong_with_the_tier_is_a_problem_document() {
    let rig = Rig::start().await;
    sent(&rig, to_cbor(&escalation("films"))).await.is_problem(404, "unknown-model");
    sent(&rig, to_cbor(&escalation("busy"))).await.is_problem(429, "overloaded");
    sent(&rig, to_cbor(&escalation("broken"))).await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn a_body_that_is_no_escalation_is_422() {
    let rig = Rig::start().await;
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
    let problem = sent(&Rig::start().await, to_cbor(&escalation)).await.is_problem(422, "invalid-request");
    assert_eq!(problem["field"], "k");
}

#[tokio::test]
async fn a_remaining_time_beyond_the_limit_is_cut_to_it() {
    let rig = Rig::start().await;
    let endless = Escalation { remaining_us: u64::MAX, ..escalation("movies") };
    assert_eq!(sent(&rig, to_cbor(&endless)).await.status, 200);
    let call = &rig.probe.calls()[0];
    assert_eq!(call.deadline.duration_since(call.arrived), Duration::from_secs(10));
}

#[tokio::test]
async fn a_message_nested_without_end_is_no_harm() {
    let rig = Rig::start().await;
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
