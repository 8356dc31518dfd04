//! The device's side of the origin: one named thread owns the device and the executors.
//!
//! It takes the jobs that [`crate::batch`] makes, one after the other, and has nothing else to do with requests. Async code
//! sees a health watch. A panic of the device is a failed batch, not the end of the thread. Nothing here knows HTTP, models
//! or requests.

mod worker;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use thiserror::Error;
use tokio::sync::watch;

use crate::batch::Job;
use crate::executor::{Batch, Executor, RunError};

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

/// A handle on the thread, which ends when nobody can send it jobs any more.
#[derive(Debug)]
pub(crate) struct Engine {
    scorers: usize,
    health: watch::Receiver<Health>,
}

/// Why a batch came back from a scorer without scores.
#[derive(Debug, Error)]
enum Fault {
    #[error("{0}")]
    Panic(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Fault {
    /// Whether the device is at fault; the others are found before it has anything to do.
    fn is_the_devices(&self) -> bool {
        matches!(self, Self::Panic(_) | Self::Run(RunError::Device(_)))
    }
}

impl Engine {
    /// Starts the thread, loads the scorers on it and tries each. Blocks until the device is ready.
    ///
    /// # Errors
    /// There is no thread, `load` failed, or the device did.
    pub(crate) fn start<S: Scorer, E: Send + 'static>(
        jobs: Receiver<Job>,
        load: impl FnOnce() -> Result<Vec<S>, E> + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        let (report, reported) = sync_channel(1);
        let (health, watched) = watch::channel(Health::Ready);
        let body = move || {
            // Whoever started the thread waits for one message; if it is gone, so is the reason to go on.
            match prepare(load) {
                Ok(scorers) if report.send(Ok(scorers.len())).is_ok() => {
                    worker::Worker::new(scorers, jobs, health).work();
                }
                Ok(_unwanted) => {}
                Err(error) => drop(report.send(Err(error))),
            }
        };
        thread::Builder::new().name("origin-device".to_owned()).spawn(body).map_err(StartError::Thread)?;
        match reported.recv() {
            Ok(outcome) => outcome.map(|scorers| Self { scorers, health: watched }),
            Err(_) => Err(StartError::Trial("the thread ended without a word".to_owned())),
        }
    }

    /// How many scorers it has.
    pub(crate) fn scorers(&self) -> usize {
        self.scorers
    }

    /// Whether the device works now.
    pub(crate) fn health(&self) -> Health {
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
