use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use front::metrics::{Registry, registry};
use prometheus_client::encoding::text::encode;
use shared_model::wire::Tier;

use super::*;
use crate::device::Device;

/// Scores with the number of the batch's requests, once it is let through.
struct Gate {
    arrived: Sender<usize>,
    open: Mutex<Receiver<()>>,
}

impl Scorer for Gate {
    fn score(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        if batch.requests > 0 {
            self.arrived.send(batch.requests).unwrap();
            self.open.lock().unwrap().recv().unwrap();
        }
        Ok(vec![1.0; batch.owner.len()])
    }

    fn sample(&self) -> Batch {
        batch(0)
    }
}

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

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
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

fn start<S: Scorer + Send>(scorer: S) -> (Arc<Engine>, Registry) {
    let (metrics, registry) = metrics();
    let engine = Engine::start(1, metrics, move || Ok::<_, RunError>(vec![scorer])).unwrap();
    (Arc::new(engine), registry)
}

/// An engine at work on one job, what tells its next jobs, and what lets them through.
async fn busy() -> (Arc<Engine>, Registry, Receiver<usize>, Sender<()>) {
    let ((arrived, arrivals), (let_through, open)) = (channel(), channel());
    let (engine, registry) = start(Gate { arrived, open: Mutex::new(open) });
    let first = engine.clone();
    tokio::spawn(async move { first.score(0, batch(1), soon()).await });
    let arrivals = tokio::task::spawn_blocking(move || {
        assert_eq!(arrivals.recv().unwrap(), 1);
        arrivals
    });
    (engine, registry, arrivals.await.unwrap(), let_through)
}

/// Waits until so many jobs are in the queue.
async fn waiting(registry: &Registry, jobs: usize) {
    while !shown(registry).contains(&format!("origin_queue_depth {jobs}\n")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn scores_come_back_to_whoever_waits() {
    let (engine, registry) = start(Fragile);
    let scored = engine.score(0, batch(1), soon()).await.unwrap();
    assert_eq!(scored.scores, [0.5, 0.5]);
    let text = shown(&registry);
    assert!(text.contains("origin_scores_total 2") && text.contains("origin_batch_size_count 1"), "{text}");
    assert!(text.contains("origin_queue_depth 0") && text.contains("origin_device_info{kind=\"cpu\"} 1"), "{text}");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (engine, registry, _arrivals, _let_through) = busy().await;
    let waits = engine.clone();
    tokio::spawn(async move { waits.score(0, batch(2), soon()).await });
    waiting(&registry, 1).await;
    assert_eq!(engine.score(0, batch(3), soon()).await, Err(ScoreError::Full));
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_never_reaches_the_device() {
    let (engine, registry, arrivals, let_through) = busy().await;
    let given_up = tokio::spawn({
        let engine = engine.clone();
        async move { engine.score(0, batch(2), soon()).await }
    });
    waiting(&registry, 1).await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    for () in [(), ()] {
        let_through.send(()).unwrap();
    }
    // Its place is free once the thread has come by it.
    waiting(&registry, 0).await;
    engine.score(0, batch(3), soon()).await.unwrap();
    assert_eq!(arrivals.recv().unwrap(), 3, "not 2");
    assert!(shown(&registry).contains("origin_dropped_jobs_total{reason=\"abandoned\"} 1"));
}

#[tokio::test]
async fn a_late_job_never_reaches_the_device() {
    let (engine, registry) = start(Fragile);
    assert_eq!(engine.score(0, batch(1), Instant::now()).await, Err(ScoreError::Overdue));
    engine.score(0, batch(1), soon()).await.unwrap();
    let text = shown(&registry);
    assert!(text.contains("origin_scores_total 2"), "{text}");
}

#[tokio::test]
async fn a_waiter_is_let_go_at_its_deadline() {
    let (engine, _registry, _arrivals, _let_through) = busy().await;
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(engine.score(0, batch(2), deadline).await, Err(ScoreError::Overdue));
}

#[tokio::test]
async fn a_panic_fails_its_job_and_the_thread_goes_on() {
    let (engine, registry) = start(Fragile);
    let failed = engine.score(0, batch(13), soon()).await.unwrap_err();
    assert_eq!(failed, ScoreError::Failed("the device panicked: out of memory, on purpose".to_owned()));
    assert_eq!(engine.health(), Health::Ready, "once is no pattern");
    engine.score(0, batch(1), soon()).await.unwrap();
    assert!(shown(&registry).contains("origin_failed_batches_total 1"));
}

#[tokio::test]
async fn a_device_that_fails_in_a_row_is_unhealthy_until_it_scores_again() {
    let (engine, _registry) = start(Fragile);
    for _ in 0..3 {
        engine.score(0, batch(7), soon()).await.unwrap_err();
    }
    assert_eq!(engine.health(), Health::Failing("the device failed: lost, on purpose".to_owned()));
    // No job comes: the thread tries the sample by itself.
    while engine.health() != Health::Ready {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_that_does_not_fit_says_nothing_about_the_device() {
    let (engine, registry) = start(Fragile);
    for _ in 0..4 {
        let unfit = engine.score(0, batch(5), soon()).await.unwrap_err();
        assert_eq!(unfit, ScoreError::Unfit("index 9 into table `genres` of 3 rows".to_owned()));
    }
    assert_eq!(engine.health(), Health::Ready);
    let text = shown(&registry);
    assert!(text.contains("origin_dropped_jobs_total{reason=\"unfit\"} 4"), "{text}");
    assert!(text.contains("origin_failed_batches_total 0") && text.contains("origin_batch_size_count 0"), "{text}");
}

#[tokio::test]
async fn a_job_for_no_scorer_fails() {
    let (engine, _registry) = start(Fragile);
    assert!(matches!(engine.score(1, batch(1), soon()).await, Err(ScoreError::Failed(_))));
}

#[test]
fn a_device_that_fails_its_trial_does_not_start() {
    let refused = Engine::start(1, metrics().0, || Ok::<_, RunError>(vec![Broken])).unwrap_err();
    assert_eq!(refused.to_string(), "the device failed its trial: the device panicked: no such device");
}

#[test]
fn scorers_that_do_not_load_are_the_error_of_the_start() {
    let lost = || Err::<Vec<Fragile>, _>(RunError::Device("no memory".to_owned()));
    assert!(matches!(Engine::start(1, metrics().0, lost), Err(StartError::Load(RunError::Device(_)))));
}
