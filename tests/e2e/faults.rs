//! Faults, end to end, in real processes: what happens while they last, and that it is over when they are.
//! docs/testing.md lists them; `scripts/faults.sh` runs them all.

mod bodies;
mod certificates;
mod guest;
mod heads;
mod idle;
mod network;
mod raw;
mod slow;
mod upstream;

use std::time::{Duration, Instant};

use rung_tests::processes::Processes;
use rung_tests::stack::{Builder, Which};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::requests::{ids, one, with};

/// Nothing here takes this long, on a machine with much to do; the longest wait is the breaker's, of 30 s.
const LONG: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Tiers none of which gives an answer again that it has given: a fault should be seen.
fn forgetful() -> Builder {
    Builder::default().without_caches()
}

/// A request that only the origin answers.
fn upwards() -> Value {
    with(one(), json!({ "tier": "origin" }))
}

/// The answer of the edge, which is whole whatever its level.
async fn answered(tiers: &Processes, body: &Value) -> Value {
    answered_at(tiers, Which::Edge, body).await
}

async fn answered_at(tiers: &Processes, which: Which, body: &Value) -> Value {
    let response = tiers.rank_at(which, body.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    let answer = response.json().unwrap();
    let wanted = body["k"].as_u64().unwrap().min(body["candidates"].as_array().unwrap().len() as u64);
    assert_eq!(ids(&answer).len() as u64, wanted, "{answer}");
    answer
}

/// Tier and degradation level.
fn place(answer: &Value) -> (&str, u64) {
    (answer["tier"].as_str().unwrap(), answer["degradation"].as_u64().unwrap())
}

/// Waits until a metric has a value.
async fn until(tiers: &Processes, which: Which, metric: &str, at_least: f64) {
    let begun = Instant::now();
    while tiers.metric(which, metric).await.unwrap_or(f64::MIN) < at_least {
        assert!(begun.elapsed() < LONG, "{metric} never gets to {at_least}");
        sleep(LOOK).await;
    }
}

/// Waits until the origin's answers get down to the edge's clients, which has to happen without a restart.
async fn back_to_normal(tiers: &Processes) {
    let begun = Instant::now();
    loop {
        let answer = answered(tiers, &upwards()).await;
        match place(&answer) {
            ("origin", 0) => return,
            (_, 1) => assert!(begun.elapsed() < LONG, "it stays as it is: {answer}"),
            _ => panic!("{answer}"),
        }
        // The breaker has seen the failures, and asks again when its time has come.
        sleep(Duration::from_millis(200)).await;
    }
}

/// That another client of a tier gets the tier's own answer, as always.
async fn others_are_served(tiers: &Processes, which: Which) {
    let client = tiers.client(rung_tests::client::Protocol::Http2).unwrap();
    let own = with(one(), json!({ "tier": which.name() }));
    let response = client.post(&tiers.url(which, "/v1/rank"), own.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    let answer = response.json().unwrap();
    assert_eq!(place(&answer), (which.name(), 0), "{answer}");
}

/// A test that the document does not name is not found by those who look for what happens, and a name without a test
/// is a promise that nobody keeps.
#[test]
fn the_document_names_every_test_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("../docs/testing.md")).unwrap();
    let mut tests = Vec::new();
    for file in std::fs::read_dir(root.join("e2e/faults")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("#[tokio::test") {
                let name = lines.find_map(|line| line.strip_prefix("async fn ")).unwrap();
                tests.push(name.split('(').next().unwrap().to_owned());
            }
        }
    }
    let mut named: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("| ")).collect::<Vec<_>>();
    named.retain(|line| line.contains('`'));
    let mut named: Vec<_> = named.iter().map(|line| line.rsplit('`').nth(1).unwrap().to_owned()).collect();
    tests.sort_unstable();
    named.sort_unstable();
    assert_eq!(tests, named);
}
