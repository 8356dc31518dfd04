//! Requests that share a batch at the origin are answered as if each were alone.

use std::time::{Duration, Instant};

use origin::device::Device;
use origin::executor::{Batch, Executor, Fit};
use rung_tests::edition;
use rung_tests::stack::{Builder, Stack, Which, test_bundle};
use serde_json::{Value, json};
use shared_model::ladder::{Binding, prepare};
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::json::{JsonLimits, decode};

use crate::requests::{eval, one, with};

/// More than this the device's order of sums may not change with the batch.
const SAME: f32 = 1e-6;

#[test]
fn the_demo_model_scores_a_batch_as_its_requests_alone() {
    let (edition, weights) = edition::read(&test_bundle(), VariantName::F32).unwrap();
    let variant = Variant::from_bytes(&weights).unwrap();
    let binding = Binding::new(&variant.graph, edition.schema()).unwrap();
    let (executor, fit) =
        (Executor::new(&variant.graph, &variant.tensors, &Device::cpu()).unwrap(), Fit::of(&variant.graph));
    let rows = |case: Value| {
        let request = decode(case.to_string().as_bytes(), &JsonLimits::default()).unwrap().request;
        let prepared = prepare(edition.schema(), edition.catalog(), &request).unwrap();
        let inputs = binding.inputs(&prepared).into_iter().map(|block| block.data.clone()).collect();
        let rows = Batch { requests: 1, owner: vec![0; prepared.len()], inputs };
        fit.check(&rows).unwrap();
        rows
    };
    let requests: Vec<Batch> = eval(64).into_iter().map(rows).collect();
    let alone: Vec<Vec<f32>> = requests.iter().map(|rows| executor.run(rows.clone()).unwrap()).collect();
    for size in [2, 7, 64] {
        for (requests, alone) in requests.chunks(size).zip(alone.chunks(size)) {
            let together = executor.run(Batch::join(requests)).unwrap();
            let alone: Vec<f32> = alone.concat();
            assert_eq!(together.len(), alone.len());
            for (t, a) in together.iter().zip(&alone) {
                assert!((t - a).abs() <= SAME * a.abs().max(1.0), "{t} in a batch of {size}, alone {a}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_share_a_batch_and_are_answered_as_alone() {
    let lines = "[batching]\nmax_delay_us = 100_000\nmax_requests = 8\n";
    let stack = Builder::default().with(Which::Origin, lines).start().await.unwrap();
    let cases: Vec<Value> = eval(64).into_iter().map(|case| with(case, json!({ "k": 100 }))).collect();
    let url = stack.url(Which::Origin, "/v1/rank");
    let client = stack.client(rung_tests::client::Protocol::Http2).unwrap();
    let mut alone = Vec::new();
    for case in &cases {
        alone.push(scores(&client.post(&url, case.to_string()).await.unwrap().json().unwrap()));
    }
    let (before, batches) = counted(&stack).await;
    assert_eq!((before, batches), (64.0, 64.0), "nobody else asked");
    let asked: Vec<_> =
        cases.iter().map(|case| tokio::spawn(post(client.clone(), url.clone(), case.clone()))).collect();
    for (asked, alone) in asked.into_iter().zip(alone) {
        let together = scores(&asked.await.unwrap());
        assert_eq!(together.len(), alone.len());
        for ((t_id, t), (a_id, a)) in together.iter().zip(&alone) {
            assert!((t - a).abs() <= SAME, "{t_id}: {t}, alone {a_id}: {a}");
        }
    }
    let (requests, batches) = counted(&stack).await;
    assert!(requests == 128.0 && batches < 64.0 + 64.0, "{} batches for 64 requests", batches - 64.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_at_the_origin_one_request_is_429() {
    // One request waits for company, and takes all the room meanwhile.
    let lines = "[batching]\nmax_delay_us = 100_000\nmax_waiting_candidates = 100\n[limits]\nmax_candidates = 100\n";
    let stack = Builder::default().with(Which::Origin, lines).start().await.unwrap();
    let (url, case) = (stack.url(Which::Origin, "/v1/rank"), one());
    let client = stack.client(rung_tests::client::Protocol::Http2).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let asked = [(); 4].map(|()| {
            let (client, url, body) = (client.clone(), url.clone(), case.to_string());
            tokio::spawn(async move { client.post(&url, body).await.unwrap() })
        });
        let mut refused = 0;
        for asked in asked {
            let response = asked.await.unwrap();
            match response.status.as_u16() {
                200 => assert_eq!(response.json().unwrap()["degradation"], 0),
                429 => {
                    refused += 1;
                    assert_eq!(response.json().unwrap()["type"], "urn:rung:problem:overloaded");
                    assert_eq!(response.headers["retry-after"], "1");
                }
                other => panic!("{other}"),
            }
        }
        if refused > 0 {
            break;
        }
        assert!(Instant::now() < until, "four at once always find room");
    }
    assert!(stack.metric(Which::Origin, "origin_refused_total{reason=\"tier\"}").await.unwrap() >= 1.0);
}

async fn post(client: rung_tests::client::Client, url: String, case: Value) -> Value {
    client.post(&url, case.to_string()).await.unwrap().json().unwrap()
}

fn scores(answer: &Value) -> Vec<(String, f32)> {
    assert_eq!(answer["degradation"], 0, "{answer}");
    let ranked = answer["ranked"].as_array().unwrap().iter();
    ranked.map(|r| (r["id"].as_str().unwrap().to_owned(), r["score"].to_string().parse().unwrap())).collect()
}

/// Requests that were in batches, and batches.
async fn counted(stack: &Stack) -> (f64, f64) {
    let metric = |name: &'static str| async move { stack.metric(Which::Origin, name).await.unwrap() };
    (metric("origin_batch_requests_sum").await, metric("origin_batch_requests_count").await)
}
