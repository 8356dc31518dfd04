//! The thread, behind the batcher that feeds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use front::metrics::{Registry, registry};
use prometheus_client::encoding::text::encode;
use shared_model::wire::Tier;

use super::*;
use crate::batch::{Batcher, Full, Lane, Limits, ScoreError, Scored};
use crate::device::{Device, Kind, Precision};
use crate::metrics::Metrics;

/// A request larger than a batch: it shares none.
const LIMITS: Limits =
    Limits { max_delay: Duration::ZERO, max_candidates: 1, max_requests: 1, max_waiting_candidates: 4 };

/// Panics or fails as told by the number of requests: 13 panics, 7 fails, 5 does not fit.
#[derive(Debug)]
struct Fragile;

impl Scorer for Fragile {
    fn score(&self, batch: Batch) -> Result<Scores, RunError> {
        match batch.requests {
            13 => panic!("out of memory, on purpose"),
            7 => Err(RunError::Device("lost, on purpose".to_owned())),
            5 => Err(RunError::Index { table: "genres".to_owned(), index: 9, rows: 3 }),
            _ => Ok(vec![0.5; batch.owner.len()].into()),
        }
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(std::iter::once(batch(1)))
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
    }
}

/// A device on which not even the sample works.
#[derive(Debug)]
struct Broken;

impl Scorer for Broken {
    fn score(&self, _: Batch) -> Result<Scores, RunError> {
        panic!("no such device")
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(std::iter::once(batch(1)))
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
    }
}

fn batch(requests: usize) -> Batch {
    Batch { requests, owner: vec![0; 2], inputs: Vec::new() }
}

async fn score((batcher, lane): &(Batcher, Lane), requests: usize) -> Result<Scored, ScoreError> {
    let place = batcher.admit(2).expect("room");
    lane.score(place, batch(requests), Instant::now() + Duration::from_secs(30)).await
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

/// A batcher, and a lane of it to a fragile scorer.
fn start() -> ((Batcher, Lane), Registry) {
    let (metrics, registry) = metrics();
    let batcher = Batcher::start(LIMITS, metrics).unwrap();
    let lane = open(&batcher).unwrap();
    ((batcher, lane), registry)
}

fn open(batcher: &Batcher) -> Result<Lane, OpenError<RunError>> {
    batcher.open(|| Ok(Fragile))
}

#[tokio::test]
async fn scores_come_back_to_whoever_waits() {
    let (device, registry) = start();
    assert_eq!(score(&device, 1).await.unwrap().scores, [0.5, 0.5]);
    let text = shown(&registry);
    assert!(text.contains("origin_scores_total 2") && text.contains("origin_batch_size_count 1"), "{text}");
    assert!(
        text.contains("origin_queue_candidates 0")
            && text.contains("origin_device_info{kind=\"cpu\",precision=\"f32\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn without_room_a_request_is_refused_at_once() {
    let (device, _registry) = start();
    let places = [device.0.admit(3).unwrap(), device.0.admit(1).unwrap()];
    assert_eq!(device.0.admit(1).unwrap_err(), Full { retry_after: Duration::ZERO }, "nothing is known of the device");
    drop(places);
    assert!(device.0.admit(4).is_ok());
}

#[tokio::test]
async fn a_panic_fails_its_batch_and_the_thread_goes_on() {
    let (device, registry) = start();
    let failed = score(&device, 13).await.unwrap_err();
    assert_eq!(failed, ScoreError::Failed("the device panicked: out of memory, on purpose".to_owned()));
    assert_eq!(device.0.health(), Health::Ready, "once is no pattern");
    score(&device, 1).await.unwrap();
    assert!(shown(&registry).contains("origin_failed_batches_total 1"));
}

#[tokio::test]
async fn a_device_that_fails_in_a_row_is_unhealthy_until_it_scores_again() {
    let (device, _registry) = start();
    for _ in 0..3 {
        score(&device, 7).await.unwrap_err();
    }
    assert_eq!(device.0.health(), Health::Failing("the device failed: lost, on purpose".to_owned()));
    // No job comes: the thread tries the sample by itself.
    while device.0.health() != Health::Ready {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_a_failed_one_and_says_nothing_about_the_device() {
    let (device, registry) = start();
    for _ in 0..4 {
        let unfit = score(&device, 5).await.unwrap_err();
        assert_eq!(unfit, ScoreError::Failed("index 9 into table `genres` of 3 rows".to_owned()));
    }
    assert_eq!(device.0.health(), Health::Ready);
    assert!(shown(&registry).contains("origin_failed_batches_total 4"));
}

#[tokio::test]
async fn a_scorer_that_has_gone_is_not_held_against_the_device() {
    /// Scores once: its trial.
    #[derive(Debug, Default)]
    struct Worn(AtomicBool);

    impl Scorer for Worn {
        fn score(&self, batch: Batch) -> Result<Scores, RunError> {
            match self.0.swap(true, Ordering::Relaxed) {
                false => Ok(vec![0.5; batch.owner.len()].into()),
                true => Err(RunError::Device("worn out, on purpose".to_owned())),
            }
        }

        fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
            Box::new(std::iter::once(batch(1)))
        }

        fn runs_on(&self) -> RunsOn {
            RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
        }
    }

    let batcher = Batcher::start(LIMITS, metrics().0).unwrap();
    let lane = batcher.open(|| Ok::<_, RunError>(Worn::default())).unwrap();
    let device = (batcher, lane);
    for _ in 0..3 {
        score(&device, 1).await.unwrap_err();
    }
    let (batcher, lane) = device;
    assert!(matches!(batcher.health(), Health::Failing(_)));
    drop(lane);
    let begun = Instant::now();
    while batcher.health() != Health::Ready {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", batcher.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn scorers_come_and_go_and_each_scores_its_own() {
    #[derive(Debug)]
    struct Says {
        score: f32,
        _alive: Arc<()>,
    }

    impl Scorer for Says {
        fn score(&self, batch: Batch) -> Result<Scores, RunError> {
            Ok(vec![self.score; batch.owner.len()].into())
        }

        fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
            Box::new(std::iter::once(batch(1)))
        }

        fn runs_on(&self) -> RunsOn {
            RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
        }
    }

    let batcher = Batcher::start(LIMITS, metrics().0).unwrap();
    let alive = Arc::new(());
    let open = |score| batcher.open(|| Ok::<_, RunError>(Says { score, _alive: alive.clone() })).unwrap();
    let scored = async |lane: &Lane| {
        let place = batcher.admit(1).unwrap();
        lane.score(place, batch(1), Instant::now() + Duration::from_secs(30)).await.unwrap().scores
    };
    let before = open(1.0);
    let after = open(2.0);
    assert_eq!((scored(&before).await, scored(&after).await), (vec![1.0; 2], vec![2.0; 2]));
    drop(before);
    let last = open(3.0);
    assert_eq!((scored(&after).await, scored(&last).await), (vec![2.0; 2], vec![3.0; 2]));
    drop((after, last));
    // The thread may still be at the end of a batch.
    while Arc::strong_count(&alive) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_device_that_fails_its_trial_gets_no_scorer() {
    let batcher = Batcher::start(LIMITS, metrics().0).unwrap();
    let refused = batcher.open(|| Ok::<_, RunError>(Broken)).unwrap_err();
    assert_eq!(refused.to_string(), "the device failed its trial: the device panicked: no such device");
    let panics = batcher.open(|| -> Result<Fragile, RunError> { panic!("out of memory, on purpose") }).unwrap_err();
    assert_eq!(panics.to_string(), "the device failed its trial: the device panicked: out of memory, on purpose");
    assert_eq!(batcher.health(), Health::Ready, "what is in service goes on");
    assert!(open(&batcher).is_ok());
}

#[tokio::test]
async fn a_scorer_that_cannot_be_made_is_not_opened() {
    let batcher = Batcher::start(LIMITS, metrics().0).unwrap();
    let lost = || Err::<Fragile, _>(RunError::Device("no memory".to_owned()));
    assert!(matches!(batcher.open(lost), Err(OpenError::Load(RunError::Device(_)))));
}
