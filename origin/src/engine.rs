//! The device's side of the origin: one named thread owns the device and the executors.
//!
//! Async code sees a bounded queue, a reply and a health watch, and nothing else. What does not fit the queue is refused
//! at once; what nobody waits for any more, or what is too late, is dropped before it costs the device anything. A panic
//! of the device is a failed batch, not the end of the thread. Nothing here knows HTTP, models or requests.

mod worker;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout_at;

use crate::executor::{Batch, Executor, RunError};
use crate::metrics::Metrics;

/// What the thread runs: an executor, or in tests something that is easier to break.
pub trait Scorer: 'static {
    /// A score for each candidate of the batch.
    ///
    /// # Errors
    /// The batch does not fit, or the device failed.
    fn score(&self, batch: Batch) -> Result<Vec<f32>, RunError>;

    /// A batch that is quick to score: what the thread tries the device with.
    fn sample(&self) -> Batch;
}

impl Scorer for Executor {
    fn score(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        self.run(batch)
    }

    fn sample(&self) -> Batch {
        self.zeros()
    }
}

/// Whether the device works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// It has failed several times in a row; it is tried again every second.
    Failing(String),
    /// The thread has ended.
    Stopped,
}

/// The scores of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// One a candidate, before the link.
    pub scores: Vec<f32>,
    /// From the door to the device.
    pub queued: Duration,
    /// On the device.
    pub ran: Duration,
}

/// Why a job has no scores.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScoreError {
    /// The queue is full: the caller may try again soon.
    #[error("the device's queue is full")]
    Full,
    /// The deadline passed first.
    #[error("the device had no scores by the deadline")]
    Overdue,
    /// The batch has an id without a row in its table: the request's fault, not the device's.
    #[error("{0}")]
    Unfit(String),
    /// The batch failed.
    #[error("{0}")]
    Failed(String),
    /// The thread has ended.
    #[error("the device's thread has ended")]
    Stopped,
}

/// Why an engine cannot start.
#[derive(Debug, Error)]
pub enum StartError<E> {
    /// No thread.
    #[error("the device's thread cannot be started: {0}")]
    Thread(io::Error),
    /// No scorers.
    #[error(transparent)]
    Load(E),
    /// The device failed while it was tried.
    #[error("the device failed its trial: {0}")]
    Trial(String),
}

/// A handle on the thread; the thread ends when it is dropped, after the batch it is at.
#[derive(Debug)]
pub struct Engine {
    jobs: SyncSender<Job>,
    health: watch::Receiver<Health>,
    metrics: Metrics,
}

/// One batch on its way to the device.
#[derive(Debug)]
struct Job {
    scorer: usize,
    batch: Batch,
    deadline: Instant,
    queued: Instant,
    done: oneshot::Sender<Result<Scored, ScoreError>>,
}

/// Why a batch came back from a scorer without scores.
#[derive(Debug, Error)]
enum Fault {
    #[error("{0}")]
    Panic(String),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("there is no scorer {0}")]
    NoScorer(usize),
}

impl Fault {
    /// Whether the device is at fault; the others are found before it has anything to do.
    fn is_the_devices(&self) -> bool {
        matches!(self, Self::Panic(_) | Self::Run(RunError::Device(_)))
    }
}

impl From<Fault> for ScoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Run(RunError::Index { .. }) => Self::Unfit(fault.to_string()),
            Fault::Panic(_) | Fault::Run(_) | Fault::NoScorer(_) => Self::Failed(fault.to_string()),
        }
    }
}

impl Engine {
    /// Starts the thread, loads the scorers on it and tries each. Blocks until the device is ready.
    ///
    /// # Errors
    /// There is no thread, `load` failed, or the device did.
    pub fn start<S: Scorer, E: Send + 'static>(
        queue: usize,
        metrics: Metrics,
        load: impl FnOnce() -> Result<Vec<S>, E> + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        let (jobs, waiting) = sync_channel(queue);
        let (report, reported) = sync_channel(1);
        let (health, watched) = watch::channel(Health::Ready);
        let counted = metrics.clone();
        let body = move || {
            // Whoever started the thread waits for one message; if it is gone, so is the reason to go on.
            match prepare(load) {
                Ok(scorers) if report.send(Ok(())).is_ok() => {
                    worker::Worker::new(scorers, waiting, health, counted).work();
                }
                Ok(_unwanted) => {}
                Err(error) => drop(report.send(Err(error))),
            }
        };
        thread::Builder::new().name("origin-device".to_owned()).spawn(body).map_err(StartError::Thread)?;
        match reported.recv() {
            Ok(outcome) => outcome.map(|()| Self { jobs, health: watched, metrics }),
            Err(_) => Err(StartError::Trial("the thread ended without a word".to_owned())),
        }
    }

    /// Scores a batch by `deadline`. Dropping the future gives the job up.
    ///
    /// # Errors
    /// See [`ScoreError`].
    pub async fn score(&self, scorer: usize, batch: Batch, deadline: Instant) -> Result<Scored, ScoreError> {
        let (done, waiter) = oneshot::channel();
        self.metrics.queued();
        match self.jobs.try_send(Job { scorer, batch, deadline, queued: Instant::now(), done }) {
            Ok(()) => {}
            Err(refused) => {
                self.metrics.unqueued();
                return Err(match refused {
                    TrySendError::Full(_) => ScoreError::Full,
                    TrySendError::Disconnected(_) => ScoreError::Stopped,
                });
            }
        }
        match timeout_at(deadline.into(), waiter).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_gone)) => Err(ScoreError::Stopped),
            Err(_elapsed) => Err(ScoreError::Overdue),
        }
    }

    /// Whether the device works now.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.health.has_changed().is_err() { Health::Stopped } else { self.health.borrow().clone() }
    }
}

/// Loads the scorers and scores a sample with each, so that ready means ready.
fn prepare<S: Scorer, E>(load: impl FnOnce() -> Result<Vec<S>, E>) -> Result<Vec<S>, StartError<E>> {
    let scorers = caught(load).map_err(StartError::Trial)?.map_err(StartError::Load)?;
    for scorer in &scorers {
        run(scorer, scorer.sample()).map_err(|fault| StartError::Trial(fault.to_string()))?;
    }
    Ok(scorers)
}

/// Scores, and turns a panic into a fault. A scorer keeps nothing from one batch to the next that a panic could break.
fn run<S: Scorer>(scorer: &S, batch: Batch) -> Result<Vec<f32>, Fault> {
    Ok(caught(|| scorer.score(batch)).map_err(Fault::Panic)??)
}

fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| format!("the device panicked: {}", text(panic.as_ref())))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = || panic.downcast_ref::<&str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or_else(literal).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
