//! Guests side by side: threads that own one instance each, and the async side that waits for them.
//!
//! A job is one call of a guest. It is refused at the door when the queue is full, dropped when nobody waits for it,
//! and fails alone when its guest fails: that guest's thread makes a new instance while the others go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use front::panicked;
use shared_model::ladder::{Call, Outcome, Step};
use shared_model::wire::to_cbor;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::queue::Queue;
use super::{GuestFault, Instance, Load, Program};
use crate::metrics::GuestMetrics;

/// Between two attempts to replace a guest that cannot even be started.
const RETRY: Duration = Duration::from_millis(500);

/// How many guests, and how much may wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolSize {
    pub(crate) instances: usize,
    pub(crate) queue: usize,
}

/// The guests of one model.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    program: Program,
    load: Load,
    queue: Queue<Job>,
    live: AtomicUsize,
    metrics: GuestMetrics,
}

struct Job {
    work: Work,
    queued: Instant,
    until: Instant,
    done: oneshot::Sender<Result<Done, GuestFault>>,
}

enum Work {
    /// A [`Call`], as CBOR.
    Rank(Vec<u8>),
    Resume {
        held: Vec<u8>,
        outcome: Box<Outcome>,
    },
}

/// A guest's step, and where its time went.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) step: Step,
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
}

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("the queue to the workers is full")]
    Full,
    #[error("no worker is running")]
    NoGuest,
    #[error("no worker was done in time")]
    Late,
    #[error(transparent)]
    Fault(#[from] GuestFault),
}

impl Pool {
    /// Starts every guest and waits until all are loaded.
    ///
    /// # Errors
    /// The first guest that cannot be started.
    pub(crate) fn start(
        program: &Program,
        load: Load,
        size: PoolSize,
        metrics: GuestMetrics,
    ) -> Result<Self, GuestFault> {
        let queue = Queue::new(size.queue);
        let shared = Arc::new(Shared { program: program.clone(), load, queue, live: AtomicUsize::new(0), metrics });
        let pool = Self { shared: shared.clone() };
        let (tell, told) = std::sync::mpsc::channel();
        for number in 0..size.instances {
            let (shared, tell) = (shared.clone(), tell.clone());
            thread::Builder::new()
                .name(format!("guest-{number}"))
                .spawn(move || {
                    let started = caught(|| Instance::start(&shared.program, &shared.load));
                    let (instance, result) = match started {
                        Ok(instance) => (Some(instance), Ok(())),
                        Err(fault) => (None, Err(fault)),
                    };
                    let live = instance.as_ref().map(|_| Live::of(&shared));
                    let _ = tell.send(result);
                    drop(tell);
                    if let (Some(instance), Some(live)) = (instance, live) {
                        shared.run(instance, live);
                    }
                })
                .map_err(|error| GuestFault::Foreign(format!("its thread cannot be started: {error}")))?;
        }
        drop(tell);
        // On an error the pool is dropped, which ends the threads that did start.
        told.iter().collect::<Result<(), _>>()?;
        Ok(pool)
    }

    /// Ranks; `until` is when the caller stops waiting.
    pub(crate) async fn rank(&self, call: &Call, until: Instant) -> Result<Done, PoolError> {
        self.submit(Work::Rank(to_cbor(call)), until, |job| {
            self.shared.queue.push(job, |waiting| waiting.is_wanted(Instant::now()))
        })
        .await
    }

    /// Goes on after an escalation, on any guest and before new calls.
    pub(crate) async fn resume(&self, held: Vec<u8>, outcome: Outcome, until: Instant) -> Result<Done, PoolError> {
        let work = Work::Resume { held, outcome: Box::new(outcome) };
        self.submit(work, until, |job| self.shared.queue.push_first(job)).await
    }

    /// The bytes of the variant that its guests are loaded with.
    pub(crate) fn variant(&self) -> Arc<[u8]> {
        self.shared.load.variant.clone()
    }

    /// Guests that can take a call.
    pub(crate) fn live(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    async fn submit(
        &self,
        work: Work,
        until: Instant,
        push: impl FnOnce(Job) -> Result<(), Job>,
    ) -> Result<Done, PoolError> {
        if self.live() == 0 {
            return Err(PoolError::NoGuest);
        }
        let (done, wait) = oneshot::channel();
        push(Job { work, queued: Instant::now(), until, done }).map_err(|_| PoolError::Full)?;
        match timeout_at(until.into(), wait).await {
            Ok(Ok(result)) => Ok(result?),
            // Its thread found it too late, or is gone.
            Ok(Err(_)) | Err(_) => Err(PoolError::Late),
        }
    }
}

/// The threads go when they are done with what they are at.
impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Job {
    fn is_wanted(&self, now: Instant) -> bool {
        now < self.until && !self.done.is_closed()
    }
}

impl Shared {
    /// A guest thread's life.
    fn run<'a>(&'a self, mut instance: Instance, mut live: Live<'a>) {
        while let Some(job) = self.queue.pop() {
            let started = Instant::now();
            if !job.is_wanted(started) {
                continue;
            }
            let result = caught(|| match &job.work {
                Work::Rank(call) => instance.rank(call),
                Work::Resume { held, outcome } => instance.resume(held, outcome),
            });
            let (queued, ran) = (started - job.queued, started.elapsed());
            self.metrics.ran(queued, ran);
            let fault = result.as_ref().err().cloned();
            if let Some(fault) = &fault {
                self.metrics.failed(fault);
                tracing::error!(model = self.load.terms.model, %fault, "a worker failed a request");
            }
            let sound = fault.is_none_or(|fault| fault.is_sound());
            if sound {
                let _ = job.done.send(result.map(|step| Done { step, queued, ran }));
                continue;
            }
            drop(live);
            let _ = job.done.send(result.map(|step| Done { step, queued, ran }));
            // The old instance's memory goes before the new one's comes.
            drop(instance);
            let Some(next) = self.replace() else { return };
            instance = next;
            live = Live::of(self);
        }
    }

    /// A new instance in place of one that failed; `None` when the pool is gone.
    fn replace(&self) -> Option<Instance> {
        loop {
            match caught(|| Instance::start(&self.program, &self.load)) {
                Ok(instance) => return Some(instance),
                Err(fault) => {
                    self.metrics.failed(&fault);
                    tracing::error!(model = self.load.terms.model, %fault, "a worker cannot be replaced, trying again");
                }
            }
            if self.queue.is_closed_after(RETRY) {
                return None;
            }
        }
    }
}

/// Turns a panic on this side of the guest into a fault, so that its thread goes on. What the panic may have broken is
/// the instance, which is replaced.
fn caught<T>(work: impl FnOnce() -> Result<T, GuestFault>) -> Result<T, GuestFault> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| Err(GuestFault::Host(panicked(panic.as_ref()).to_owned())))
}

/// Counted among the guests that can take a call, even if its thread should panic.
struct Live<'a>(&'a Shared);

impl<'a> Live<'a> {
    fn of(shared: &'a Shared) -> Self {
        shared.live.fetch_add(1, Ordering::Relaxed);
        shared.metrics.instances(1);
        Self(shared)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.instances(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_host_costs_the_instance_and_not_the_thread() {
        let fault = caught::<()>(|| panic!("on purpose")).expect_err("it panics");
        assert_eq!(fault, GuestFault::Host("on purpose".to_owned()));
        assert!(!fault.is_sound());
    }
}
