//! From requests to batches: the one place where requests wait for the device.
//!
//! ```text
//! service ─ admit ─▶ Place ─ score ─▶ queue ─ worker: policy ─▶ job ═ one place ═▶ thread "origin-device"
//!            └ full: 429 at the door     └ who leaves, or is too late, is out          └ scores to each request of the job
//! ```
//!
//! A request takes a [`Place`] by its candidates before any work is done for it; without room it is refused at once. Then
//! it waits in the queue, as itself: it leaves when nobody waits for it any more, and is answered at once when it cannot
//! be in time. `policy` decides what is put together and when. One batch is put together ahead while the device
//! computes, never more. Nothing here knows HTTP or what a batch is computed by.
//!
//! A [`Lane`] is a scorer and its line in the queue. Lanes come and go while others go on: with another bundle there is
//! another lane, and the one before ends with the last request that has its handle. There is one queue and one device
//! all the while.

mod job;
mod lane;
mod pace;
mod policy;
mod room;
mod worker;

pub(crate) use job::Job;
pub use lane::Lane;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::device::Precision;
use crate::engine::{self, Engine, Health, OpenError, Scorer};
use crate::executor::Batch;
use crate::metrics::{Dropped, Metrics};
use policy::{Entry, Queue};
pub use room::Place;
use room::Room;

/// The bounds of batches and of the room before the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request is kept waiting for others to share its batch.
    pub max_delay: Duration,
    /// The most candidates in a batch; a request with more has one of its own.
    pub max_candidates: usize,
    /// The most requests in a batch; fewer where the device has no room for so many of the model's.
    pub max_requests: usize,
    /// The most candidates that wait for the device; one request always finds room.
    pub max_waiting_candidates: usize,
}

/// The scores of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// One a candidate, before the link.
    pub scores: Vec<f32>,
    /// How they were computed.
    pub precision: Precision,
    /// From the queue's door to the device.
    pub queued: Duration,
    /// On the device.
    pub ran: Duration,
}

/// Too many candidates wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many candidates wait for the device: try again in {retry_after:?}")]
pub struct Full {
    /// What the device has to do until then.
    pub retry_after: Duration,
}

/// Why a request has no scores.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScoreError {
    /// The deadline has passed, or the device cannot keep it any more.
    #[error("too late: the device cannot have its scores by the deadline")]
    TooLate,
    /// Its batch failed.
    #[error("{0}")]
    Failed(String),
    /// The device's thread has ended.
    #[error("the device's thread has ended")]
    Stopped,
}

/// The queue, its worker and the engine that it feeds. The thread ends when this is dropped, after the batch it is at.
#[derive(Debug)]
pub struct Batcher {
    shared: Arc<Shared>,
    engine: Engine,
    worker: JoinHandle<()>,
}

/// What callers, the worker and the device's thread have in common.
#[derive(Debug)]
struct Shared {
    /// None once nobody takes from it any more.
    queue: Mutex<Option<Queue<Share>>>,
    /// Something else may have to be decided now.
    changed: Notify,
    /// The place of the one batch that waits for the device.
    ahead: Arc<Semaphore>,
    room: Room,
    metrics: Metrics,
}

/// What a request puts into its batch, and who waits for what comes out.
#[derive(Debug)]
struct Share {
    rows: Batch,
    scorer: Arc<dyn Scorer>,
    done: oneshot::Sender<Result<Scored, ScoreError>>,
    /// Given back when the device begins, or when the request leaves.
    _place: Place,
}

impl Batcher {
    /// Starts the device's thread, and the worker that feeds it.
    ///
    /// # Errors
    /// There is no thread.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(limits: Limits, metrics: Metrics) -> io::Result<Self> {
        let (jobs, taken) = mpsc::channel();
        let engine = Engine::start(taken)?;
        let shared = Arc::new(Shared::new(limits, metrics));
        let worker = tokio::spawn(worker::work(shared.clone(), jobs));
        Ok(Self { shared, engine, worker })
    }

    /// Makes a scorer, tries the device with it, and opens a lane to it. Blocks until it is ready, on the thread that
    /// calls: what is being scored meanwhile does not wait for an upload.
    ///
    /// # Errors
    /// `make` failed, or the device did.
    pub fn open<S: Scorer, E>(&self, make: impl FnOnce() -> Result<S, E>) -> Result<Lane, OpenError<E>> {
        self.lane(engine::ready(make)?).ok_or(OpenError::Stopped)
    }

    /// Opens a lane to a scorer that was tried; `None` once nobody takes from the queue any more.
    pub fn lane<S: Scorer>(&self, scorer: S) -> Option<Lane> {
        Lane::open(self.shared.clone(), Arc::new(scorer))
    }

    /// Takes room for a request's candidates. To be asked before anything is done for it.
    ///
    /// # Errors
    /// There is none, and when there may be.
    pub fn admit(&self, candidates: usize) -> Result<Place, Full> {
        self.shared.room.enter(candidates).ok_or_else(|| Full { retry_after: self.backlog() })
    }

    /// How long the device has to do with what it is at and what waits.
    #[must_use]
    pub fn backlog(&self) -> Duration {
        self.shared.queue().as_ref().map_or(Duration::ZERO, |queue| queue.backlog(now()))
    }

    /// Whether the device works now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.engine.health()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        // With the worker goes the last sender of jobs, and with it the thread.
        self.worker.abort();
    }
}

impl Shared {
    fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            queue: Mutex::new(Some(Queue::new(limits))),
            changed: Notify::new(),
            ahead: Arc::new(Semaphore::new(1)),
            room: Room::new(limits.max_waiting_candidates, metrics.clone()),
            metrics,
        }
    }

    /// Lets an entry go that cannot be in time any more.
    fn too_late(&self, entry: Entry<Share>) {
        self.metrics.dropped(Dropped::Late);
        // A waiter that has gone in the meantime has no use for the reason.
        let _ = entry.load.done.send(Err(ScoreError::TooLate));
    }

    /// Nobody takes from the queue any more: whoever waits in it is told, and nobody comes in.
    fn stop(&self) {
        *self.queue() = None;
    }

    /// No code of others runs under the lock but drops, so a poisoned queue is a sound one.
    fn queue(&self) -> MutexGuard<'_, Option<Queue<Share>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime's clock, which a test may have stopped.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
