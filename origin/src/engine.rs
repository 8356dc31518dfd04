//! The device's side of the origin: one named thread computes all batches.
//!
//! It takes the jobs that [`crate::batch`] makes, each with its scorer, one after the other, and has nothing else to do with
//! requests. A scorer is made and tried by whoever brings it, before it gets its first job: a device takes uploads from
//! other threads while it computes. Async code sees a health watch. A panic of the device is a failed batch, not the end
//! of the thread; with a guarded scorer it is not even that. Nothing here knows HTTP, models or requests.

pub(crate) mod guarded;
mod worker;

use std::fmt::Debug;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::thread;

use front::panicked;
use thiserror::Error;
use tokio::sync::watch;

use crate::batch::Job;
use crate::device::{Kind, Precision};
use crate::executor::{Batch, Executor, RunError};

/// What the thread runs: an executor, or in tests something that is easier to break.
pub trait Scorer: Debug + Send + Sync + 'static {
    /// A score for each candidate of the batch.
    ///
    /// # Errors
    /// The batch does not fit, or the device failed.
    fn score(&self, batch: Batch) -> Result<Scores, RunError>;

    /// What the device is tried and warmed up with; the first is quick to score.
    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_>;

    /// What it scores on now.
    fn runs_on(&self) -> RunsOn;

    /// The most requests that a batch may have.
    fn most_requests(&self) -> usize {
        usize::MAX
    }

    /// Bytes of the device's memory that this program holds, where that can be told.
    fn memory(&self) -> Option<u64> {
        None
    }
}

/// The scores of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One a candidate, before the link.
    pub values: Vec<f32>,
    /// How they were computed.
    pub precision: Precision,
}

impl From<Vec<f32>> for Scores {
    /// In full precision.
    fn from(values: Vec<f32>) -> Self {
        Self { values, precision: Precision::F32 }
    }
}

/// What a model is scored on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsOn {
    /// The device.
    pub device: Kind,
    /// How it multiplies matrices.
    pub precision: Precision,
    /// Why it is not the device that was meant.
    pub note: Option<String>,
}

impl Scorer for Executor {
    fn score(&self, batch: Batch) -> Result<Scores, RunError> {
        Ok(Scores { values: self.run(batch)?, precision: self.precision() })
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(Self::samples(self))
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: self.kind(), precision: self.precision(), note: None }
    }

    fn memory(&self) -> Option<u64> {
        Self::memory(self)
    }

    fn most_requests(&self) -> usize {
        self.most_requests
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

/// Why a scorer cannot be used.
#[derive(Debug, Error)]
pub enum OpenError<E> {
    /// There is none.
    #[error(transparent)]
    Load(E),
    /// The device failed while it was tried.
    #[error("the device failed its trial: {0}")]
    Trial(String),
    /// The device's thread has ended.
    #[error("the device's thread has ended")]
    Stopped,
}

/// A handle on the thread, which ends when nobody can send it jobs any more.
#[derive(Debug)]
pub(crate) struct Engine {
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
    /// Whether the device is at fault.
    fn is_the_devices(&self) -> bool {
        match self {
            Self::Panic(_) => true,
            Self::Run(error) => error.is_the_devices(),
        }
    }
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn start(jobs: Receiver<Job>) -> io::Result<Self> {
        let (health, watched) = watch::channel(Health::Ready);
        let body = move || worker::Worker::new(jobs, health).work();
        thread::Builder::new().name("origin-device".to_owned()).spawn(body)?;
        Ok(Self { health: watched })
    }

    /// Whether the device works now.
    pub(crate) fn health(&self) -> Health {
        if self.health.has_changed().is_err() { Health::Stopped } else { self.health.borrow().clone() }
    }
}

/// Makes a scorer and scores its samples with it, so that ready means ready.
pub(crate) fn ready<S: Scorer, E>(make: impl FnOnce() -> Result<S, E>) -> Result<S, OpenError<E>> {
    let scorer = caught(make).map_err(OpenError::Trial)?.map_err(OpenError::Load)?;
    for sample in scorer.samples() {
        run(&scorer, sample).map_err(|fault| OpenError::Trial(fault.to_string()))?;
    }
    Ok(scorer)
}

/// Scores, and turns a panic into a fault. A scorer keeps nothing from one batch to the next that a panic could break.
fn run(scorer: &dyn Scorer, batch: Batch) -> Result<Scores, Fault> {
    Ok(caught(|| scorer.score(batch)).map_err(Fault::Panic)??)
}

/// What a panic of the device says, in place of the panic.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| format!("the device panicked: {}", panicked(panic.as_ref())))
}

#[cfg(test)]
mod tests;
