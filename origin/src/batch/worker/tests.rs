//! The worker on a clock that stands still unless a test sleeps; the test is the device.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use front::metrics::{Registry, registry};
use prometheus_client::encoding::text::encode;
use shared_model::encode::Data;
use shared_model::wire::Tier;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use super::*;
use crate::batch::{Lane, Limits, ScoreError, Scored};
use crate::device::{Device, Kind, Precision};
use crate::engine::{RunsOn, Scorer, Scores};
use crate::executor::{Batch, RunError};
use crate::metrics::Metrics;

const LIMITS: Limits = Limits { max_delay: ms(4), max_candidates: 100, max_requests: 3, max_waiting_candidates: 1000 };

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The test is the device: nothing is scored by this.
#[derive(Debug)]
struct Unused;

impl Scorer for Unused {
    fn score(&self, _: Batch) -> Result<Scores, RunError> {
        panic!("nothing asks it")
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        panic!("nothing tries it")
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
    }
}

struct Rig {
    shared: Arc<Shared>,
    lanes: [Arc<Lane>; 2],
    jobs: Receiver<Job>,
    registry: Registry,
}

impl Rig {
    fn with(limits: Limits) -> Self {
        let mut registry = registry(Tier::Origin);
        let shared = Arc::new(Shared::new(limits, Metrics::register(&mut registry, &Device::cpu())));
        let lanes = [(); 2].map(|()| Arc::new(Lane::open(shared.clone(), Arc::new(Unused)).expect("a queue")));
        let (sender, jobs) = channel();
        tokio::spawn(work(shared.clone(), sender));
        Self { shared, lanes, jobs, registry }
    }

    /// A request that waits for its scores; each of its candidates is `name`.
    fn asks(&self, lane: usize, name: f32, candidates: usize, timeout: Duration) -> JoinHandle<Asked> {
        let (shared, lane) = (self.shared.clone(), self.lanes[lane].clone());
        let rows = Batch { requests: 1, owner: vec![0; candidates], inputs: vec![Data::F32(vec![name; candidates])] };
        let deadline = now() + timeout;
        tokio::spawn(async move {
            let asked = now();
            let place = shared.room.enter(candidates).expect("room");
            (lane.score(place, rows, deadline).await, now() - asked)
        })
    }

    /// The job that waits for the device.
    async fn job(&self) -> Option<Job> {
        settle().await;
        match self.jobs.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the worker has ended"),
        }
    }

    /// The device computes a job for so long: a candidate's score is its name.
    async fn runs(&self, took: Duration) -> Vec<f32> {
        let (begun, batch) = self.job().await.expect("a job").begin(now()).expect("somebody waits");
        let names = names(&batch);
        sleep(took).await;
        begun.end(Ok(names.clone().into()), now());
        settle().await;
        names
    }

    fn counts(&self, line: &str) -> bool {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines().any(|l| l == line)
    }
}

/// What came back, and after how long.
type Asked = (Result<Scored, ScoreError>, Duration);

fn names(batch: &Batch) -> Vec<f32> {
    match &batch.inputs[0] {
        Data::F32(names) => names.clone(),
        Data::I32(_) => panic!("names are f32"),
    }
}

fn scores(asked: Asked) -> Vec<f32> {
    asked.0.unwrap().scores
}

/// Lets every task go as far as it can without time.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_close_together_share_a_batch_and_each_gets_its_own_scores() {
    let rig = Rig::with(LIMITS);
    let first = rig.asks(0, 1.0, 2, ms(100));
    sleep(ms(2)).await;
    let second = rig.asks(0, 2.0, 1, ms(100));
    assert!(rig.job().await.is_none(), "the first still waits for company");
    sleep(ms(2)).await;
    assert_eq!(rig.runs(ms(10)).await, [1.0, 1.0, 2.0]);
    let (scored, took) = first.await.unwrap();
    assert_eq!(scored, Ok(Scored { scores: vec![1.0, 1.0], precision: Precision::F32, queued: ms(4), ran: ms(10) }));
    assert_eq!(took, ms(14));
    assert_eq!(
        second.await.unwrap().0,
        Ok(Scored { scores: vec![2.0], precision: Precision::F32, queued: ms(2), ran: ms(10) })
    );
    assert!(rig.counts("origin_batch_requests_sum 2.0") && rig.counts("origin_batch_requests_count 1"));
    assert!(rig.counts("origin_batch_size_sum 3.0") && rig.counts("origin_batch_delay_seconds_count 2"));
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let rig = Rig::with(LIMITS);
    let asked = [1.0, 2.0, 3.0].map(|name| rig.asks(0, name, 1, ms(100)));
    assert_eq!(rig.runs(ms(1)).await, [1.0, 2.0, 3.0]);
    for asked in asked {
        assert_eq!(asked.await.unwrap().1, ms(1));
    }
}

#[tokio::test(start_paused = true)]
async fn models_do_not_share_a_batch() {
    let rig = Rig::with(LIMITS);
    let (a, b) = (rig.asks(0, 1.0, 1, ms(100)), rig.asks(1, 2.0, 1, ms(90)));
    sleep(ms(4)).await;
    assert_eq!(rig.runs(ms(1)).await, [2.0], "the earlier deadline");
    assert_eq!(rig.runs(ms(1)).await, [1.0]);
    assert_eq!((scores(a.await.unwrap()), scores(b.await.unwrap())), (vec![1.0], vec![2.0]));
}

#[tokio::test(start_paused = true)]
async fn one_batch_is_made_ahead_and_no_more() {
    let rig = Rig::with(Limits { max_requests: 1, ..LIMITS });
    let asked = [1.0, 2.0, 3.0].map(|name| rig.asks(0, name, 1, ms(1000)));
    sleep(ms(50)).await;
    let first = rig.job().await.unwrap();
    assert!(rig.job().await.is_none(), "it waits for the device, so no other is made");
    let (first, batch) = first.begin(now()).unwrap();
    let second = rig.job().await.unwrap();
    sleep(ms(50)).await;
    assert!(rig.job().await.is_none(), "the device computes one and has one");
    first.end(Ok(names(&batch).into()), now());
    assert!(rig.job().await.is_none(), "it has not taken the second yet");
    let (second, batch) = second.begin(now()).unwrap();
    second.end(Ok(names(&batch).into()), now());
    assert_eq!(rig.runs(ms(1)).await, [3.0]);
    for asked in asked {
        asked.await.unwrap().0.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_arrives_while_the_device_computes_overtakes_by_its_deadline() {
    let rig = Rig::with(Limits { max_requests: 1, ..LIMITS });
    let slow = rig.asks(0, 1.0, 1, ms(1000));
    rig.runs(ms(100)).await;
    scores(slow.await.unwrap());
    // The next batch takes at least 100 ms, so the one after it is not made before 75 have passed.
    let (_running, patient) = (rig.asks(0, 2.0, 1, ms(1000)), rig.asks(0, 3.0, 1, ms(1000)));
    let (begun, batch) = rig.job().await.unwrap().begin(now()).unwrap();
    sleep(ms(60)).await;
    assert!(rig.job().await.is_none());
    let hurried = rig.asks(0, 4.0, 1, ms(300));
    sleep(ms(40)).await;
    begun.end(Ok(names(&batch).into()), now());
    assert_eq!((rig.runs(ms(1)).await, rig.runs(ms(1)).await), (vec![4.0], vec![3.0]));
    assert_eq!((scores(hurried.await.unwrap()), scores(patient.await.unwrap())), (vec![4.0], vec![3.0]));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_in_no_batch_and_gives_its_room_back() {
    let rig = Rig::with(LIMITS);
    let (leaves, stays) = (rig.asks(0, 1.0, 5, ms(100)), rig.asks(0, 2.0, 1, ms(100)));
    settle().await;
    assert!(rig.counts("origin_queue_candidates 6"));
    leaves.abort();
    settle().await;
    assert!(rig.counts("origin_queue_candidates 1"));
    assert!(rig.counts("origin_dropped_total{reason=\"abandoned\"} 1"));
    sleep(ms(4)).await;
    assert_eq!(rig.runs(ms(1)).await, [2.0]);
    assert_eq!(scores(stays.await.unwrap()), [2.0]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_batch_that_is_made_ahead_never_reaches_the_device() {
    let rig = Rig::with(LIMITS);
    let [first, leaves, last] = [1.0, 2.0, 3.0].map(|name| rig.asks(0, name, 2, ms(100)));
    let job = rig.job().await.unwrap();
    leaves.abort();
    settle().await;
    let (begun, batch) = job.begin(now()).unwrap();
    assert_eq!((batch.requests, batch.owner.as_slice()), (2, &[0, 0, 1, 1][..]));
    assert_eq!(names(&batch), [1.0, 1.0, 3.0, 3.0]);
    begun.end(Ok(names(&batch).into()), now());
    assert_eq!((scores(first.await.unwrap()), scores(last.await.unwrap())), (vec![1.0; 2], vec![3.0; 2]));
    assert!(rig.counts("origin_dropped_total{reason=\"abandoned\"} 1") && rig.counts("origin_scores_total 4"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_all_have_left_is_not_begun() {
    let rig = Rig::with(LIMITS);
    let leaves = rig.asks(0, 1.0, 1, ms(100));
    sleep(ms(4)).await;
    let job = rig.job().await.unwrap();
    leaves.abort();
    settle().await;
    assert!(job.begin(now()).is_none());
    assert!(rig.counts("origin_batch_size_count 0") && rig.counts("origin_queue_candidates 0"));
    let stays = rig.asks(0, 2.0, 1, ms(100));
    sleep(ms(4)).await;
    assert_eq!(rig.runs(ms(1)).await, [2.0], "the place ahead is free again");
    scores(stays.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_in_time_is_told_at_once() {
    let rig = Rig::with(LIMITS);
    let first = rig.asks(0, 1.0, 1, ms(1000));
    sleep(ms(4)).await;
    rig.runs(ms(50)).await;
    scores(first.await.unwrap());
    let late = rig.asks(0, 2.0, 1, ms(40)).await.unwrap();
    assert_eq!(late, (Err(ScoreError::TooLate), ms(0)));
    assert!(rig.counts("origin_dropped_total{reason=\"late\"} 1") && rig.counts("origin_queue_candidates 0"));
    let in_time = rig.asks(0, 3.0, 1, ms(60));
    sleep(ms(4)).await;
    rig.runs(ms(50)).await;
    assert_eq!(scores(in_time.await.unwrap()), [3.0]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_let_go_at_the_deadline() {
    let rig = Rig::with(Limits { max_requests: 1, ..LIMITS });
    let asked = [1.0, 2.0, 3.0].map(|name| rig.asks(0, name, 1, ms(30)));
    let (begun, batch) = rig.job().await.unwrap().begin(now()).unwrap();
    let ahead = rig.job().await.unwrap();
    sleep(ms(31)).await;
    for asked in asked {
        // The timer's tick is a millisecond.
        let (outcome, took) = asked.await.unwrap();
        assert_eq!(outcome, Err(ScoreError::TooLate));
        assert!((ms(30)..=ms(31)).contains(&took), "{took:?}");
    }
    assert!(ahead.begin(now()).is_none(), "its deadline has passed");
    begun.end(Ok(names(&batch).into()), now());
    assert!(rig.counts("origin_dropped_total{reason=\"late\"} 2"), "not the one that the device computed");
}

#[tokio::test(start_paused = true)]
async fn room_is_given_back_when_the_device_begins() {
    let rig = Rig::with(LIMITS);
    let asked = rig.asks(0, 1.0, 90, ms(1000));
    sleep(ms(4)).await;
    assert!(rig.counts("origin_queue_candidates 90"));
    let (begun, batch) = rig.job().await.unwrap().begin(now()).unwrap();
    assert!(rig.counts("origin_queue_candidates 0"));
    begun.end(Ok(names(&batch).into()), now());
    assert_eq!(scores(asked.await.unwrap()).len(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_is_told_to_all_of_it() {
    let rig = Rig::with(LIMITS);
    for (outcome, told) in [
        (Err("lost, on purpose".to_owned()), "lost, on purpose"),
        (Ok(vec![1.0; 2].into()), "the device gave 2 scores for 3 candidates"),
    ] {
        let asked = [1.0, 2.0, 3.0].map(|name| rig.asks(0, name, 1, ms(100)));
        let (begun, _) = rig.job().await.unwrap().begin(now()).unwrap();
        begun.end(outcome, now());
        for asked in asked {
            assert_eq!(asked.await.unwrap().0, Err(ScoreError::Failed(told.to_owned())));
        }
    }
    assert!(rig.counts("origin_failed_batches_total 2") && rig.counts("origin_scores_total 0"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_slowly_makes_nobody_late() {
    let rig = Rig::with(LIMITS);
    let fails = rig.asks(0, 1.0, 1, ms(1000));
    sleep(ms(4)).await;
    let (begun, _) = rig.job().await.unwrap().begin(now()).unwrap();
    sleep(ms(500)).await;
    begun.end(Err("lost, on purpose".to_owned()), now());
    fails.await.unwrap().0.unwrap_err();
    let next = rig.asks(0, 2.0, 1, ms(100));
    sleep(ms(4)).await;
    assert_eq!(rig.runs(ms(1)).await, [2.0]);
    assert_eq!(scores(next.await.unwrap()), [2.0]);
}

#[tokio::test(start_paused = true)]
async fn when_the_thread_has_ended_nobody_waits_in_vain() {
    let mut rig = Rig::with(LIMITS);
    let (_, none) = channel();
    drop(std::mem::replace(&mut rig.jobs, none));
    let (found_out, next) = (rig.asks(0, 1.0, 1, ms(1000)), rig.asks(1, 2.0, 1, ms(1000)));
    assert_eq!(found_out.await.unwrap(), (Err(ScoreError::Stopped), ms(4)));
    assert_eq!(next.await.unwrap(), (Err(ScoreError::Stopped), ms(4)));
    assert_eq!(rig.asks(0, 3.0, 1, ms(1000)).await.unwrap(), (Err(ScoreError::Stopped), ms(0)));
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_takes_one_request_at_a_time_is_given_one() {
    #[derive(Debug)]
    struct Narrow;

    impl Scorer for Narrow {
        fn score(&self, batch: Batch) -> Result<Scores, RunError> {
            Unused.score(batch)
        }

        fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
            panic!("nothing tries it")
        }

        fn runs_on(&self) -> RunsOn {
            Unused.runs_on()
        }

        fn most_requests(&self) -> usize {
            1
        }
    }

    let mut rig = Rig::with(LIMITS);
    rig.lanes[0] = Arc::new(Lane::open(rig.shared.clone(), Arc::new(Narrow)).expect("a queue"));
    let asked = [1.0, 2.0].map(|name| rig.asks(0, name, 2, ms(100)));
    assert_eq!([rig.runs(ms(1)).await, rig.runs(ms(1)).await], [[1.0, 1.0], [2.0, 2.0]]);
    for asked in asked {
        asked.await.unwrap().0.unwrap();
    }
}
