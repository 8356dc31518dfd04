//! The thread, behind the batcher that feeds it.

use std::time::{Duration, Instant};

use front::metrics::{Registry, registry};
use prometheus_client::encoding::text::encode;
use shared_model::wire::Tier;

use super::*;
use crate::batch::{Batcher, Full, Limits, ScoreError, Scored};
use crate::device::Device;
use crate::metrics::Metrics;

/// A request larger than a batch: it shares none.
const LIMITS: Limits =
    Limits { max_delay: Duration::ZERO, max_candidates: 1, max_requests: 1, max_waiting_candidates: 4 };

/// Panics or fails as told by the number of requests: 13 panics, 7 fails, 5 does not fit.
struct Fragile;

impl Scorer for Fragile {
    fn score(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        match batch.requests {
            13 => panic!("out of memory, on purpose"),
            7 => Err(RunError::Device("lost, on purpose".to_owned())),
            5 => Err(RunError::Index { table: "genres".to_owned(), index: 9, rows: 3 }),
            _ => Ok(vec![0.5; batch.owner.len()]),
        }
    }

    fn sample(&self) -> Batch {
        batch(1)
    }
}

/// A device on which not even the sample works.
struct Broken;

impl Scorer for Broken {
    fn score(&self, _: Batch) -> Result<Vec<f32>, RunError> {
        panic!("no such device")
    }

    fn sample(&self) -> Batch {
        batch(1)
    }
}

fn batch(requests: usize) -> Batch {
    Batch { requests, owner: vec![0; 2], inputs: Vec::new() }
}

async fn score(batcher: &Batcher, requests: usize) -> Result<Scored, ScoreError> {
    let place = batcher.admit(2).expect("room");
    batcher.score(place, 0, batch(requests), Instant::now() + Duration::from_secs(30)).await
}

fn metrics() -> (Metrics, Registry) {
    let mut registry = registry(Tier::Origin);
    (Metrics::register(&mut registry, &Device::cpu()), registry)
}

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

fn start<S: Scorer + Send>(scorer: S) -> (Batcher, Registry) {
    let (metrics, registry) = metrics();
    (Batcher::start(LIMITS, metrics, move || Ok::<_, RunError>(vec![scorer])).unwrap(), registry)
}

#[tokio::test]
async fn scores_come_back_to_whoever_waits() {
    let (batcher, registry) = start(Fragile);
    assert_eq!(score(&batcher, 1).await.unwrap().scores, [0.5, 0.5]);
    let text = shown(&registry);
    assert!(text.contains("origin_scores_total 2") && text.contains("origin_batch_size_count 1"), "{text}");
    assert!(
        text.contains("origin_queue_candidates 0") && text.contains("origin_device_info{kind=\"cpu\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn without_room_a_request_is_refused_at_once() {
    let (batcher, _registry) = start(Fragile);
    let places = [batcher.admit(3).unwrap(), batcher.admit(1).unwrap()];
    assert_eq!(batcher.admit(1).unwrap_err(), Full { retry_after: Duration::ZERO }, "nothing is known of the device");
    drop(places);
    assert!(batcher.admit(4).is_ok());
}

#[tokio::test]
async fn a_panic_fails_its_batch_and_the_thread_goes_on() {
    let (batcher, registry) = start(Fragile);
    let failed = score(&batcher, 13).await.unwrap_err();
    assert_eq!(failed, ScoreError::Failed("the device panicked: out of memory, on purpose".to_owned()));
    assert_eq!(batcher.health(), Health::Ready, "once is no pattern");
    score(&batcher, 1).await.unwrap();
    assert!(shown(&registry).contains("origin_failed_batches_total 1"));
}

#[tokio::test]
async fn a_device_that_fails_in_a_row_is_unhealthy_until_it_scores_again() {
    let (batcher, _registry) = start(Fragile);
    for _ in 0..3 {
        score(&batcher, 7).await.unwrap_err();
    }
    assert_eq!(batcher.health(), Health::Failing("the device failed: lost, on purpose".to_owned()));
    // No job comes: the thread tries the sample by itself.
    while batcher.health() != Health::Ready {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_that_does_not_fit_says_nothing_about_the_device() {
    let (batcher, registry) = start(Fragile);
    for _ in 0..4 {
        let unfit = score(&batcher, 5).await.unwrap_err();
        assert_eq!(unfit, ScoreError::Failed("index 9 into table `genres` of 3 rows".to_owned()));
    }
    assert_eq!(batcher.health(), Health::Ready);
    assert!(shown(&registry).contains("origin_failed_batches_total 4"));
}

#[test]
fn a_device_that_fails_its_trial_does_not_start() {
    let refused = Batcher::start(LIMITS, metrics().0, || Ok::<_, RunError>(vec![Broken])).unwrap_err();
    assert_eq!(refused.to_string(), "the device failed its trial: the device panicked: no such device");
}

#[test]
fn scorers_that_do_not_load_are_the_error_of_the_start() {
    let lost = || Err::<Vec<Fragile>, _>(RunError::Device("no memory".to_owned()));
    assert!(matches!(Batcher::start(LIMITS, metrics().0, lost), Err(StartError::Load(RunError::Device(_)))));
}
