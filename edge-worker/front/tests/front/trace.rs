//! A request's place in a trace.

use http::HeaderValue;

use crate::rig::{RANK, Rig, asking, post};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn the_call_is_part_of_the_clients_trace() {
    let rig = Rig::start().await;
    let mut request = post(RANK, &asking("movies"));
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    request.headers_mut().insert("traceparent", parent.parse().unwrap());
    request.headers_mut().insert("tracestate", HeaderValue::from_static("vendor=1"));
    rig.http1().await.send(request).await;
    let mut upwards = http::HeaderMap::new();
    rig.probe.calls()[0].request_id.pass_on(&mut upwards);
    let passed = upwards["traceparent"].to_str().unwrap().to_owned();
    assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-01"), "{passed}");
    assert!(!passed.contains("00f067aa0ba902b7"), "the tier is a span of its own: {passed}");
    assert_eq!(upwards["tracestate"], "vendor=1");
    assert!(upwards.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_call_without_a_sound_trace_begins_one() {
    let rig = Rig::start().await;
    for parent in ["", "00-zz-00f067aa0ba902b7-01"] {
        let mut request = post(RANK, &asking("movies"));
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        assert_eq!(rig.http1().await.send(request).await.status, 200);
    }
    let traces: Vec<_> = rig.probe.calls().iter().map(|call| call.request_id.trace().id()).collect();
    assert!(traces[0] != traces[1] && traces.iter().all(|id| id.len() == 32), "{traces:?}");
}
