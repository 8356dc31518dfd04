//! Guests side by side, and the async side that calls them.
//!
//! A call that is expected to be short runs where its request is served: to wake another thread and to be woken by it
//! would take longer than the rest of what is done for a request. Any other has a thread of its own. A call is refused at
//! the door when too many wait for a guest, is gone when nobody waits for it, and fails alone when its guest fails: that
//! guest is replaced while the others go on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use front::panicked;
use minicbor::bytes::ByteSlice;
use shared_model::ladder::{Call, Outcome, Step};
use shared_model::wire::to_cbor;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout_at};

use self::idle::Idle;
use self::pace::Pace;
use super::{GuestFault, Instance, Load, Program};
use crate::metrics::GuestMetrics;

mod idle;
mod pace;

/// The longest that a call may be expected to take where requests are served: others may have to wait for it.
const SHORT: Duration = Duration::from_millis(1);
/// Between two attempts to replace a guest that cannot even be started.
const RETRY: Duration = Duration::from_millis(500);

/// How many guests, and how many calls may wait for them.
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
    idle: Idle<Instance>,
    live: AtomicUsize,
    paces: [Pace; 2],
    metrics: GuestMetrics,
}

/// One call of a guest.
struct Job {
    verb: Verb,
    message: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Verb {
    Rank,
    Resume,
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
    /// A guest that cannot be started.
    pub(crate) fn start(
        program: &Program,
        load: Load,
        size: PoolSize,
        metrics: GuestMetrics,
    ) -> Result<Self, GuestFault> {
        let guests = started(program, &load, size.instances)?;
        let live = AtomicUsize::new(guests.len());
        metrics.instances(count(guests.len()));
        let idle = Idle::new(guests, size.queue);
        let paces = [Pace::new(), Pace::new()];
        Ok(Self { shared: Arc::new(Shared { program: program.clone(), load, idle, live, paces, metrics }) })
    }

    /// Ranks; `until` is when the caller stops waiting.
    pub(crate) async fn rank(&self, call: &Call, until: Instant) -> Result<Done, PoolError> {
        self.run(Job { verb: Verb::Rank, message: to_cbor(call) }, until).await
    }

    /// Goes on after an escalation, on any guest and before all new calls but one.
    pub(crate) async fn resume(&self, held: &[u8], outcome: &Outcome, until: Instant) -> Result<Done, PoolError> {
        let message = to_cbor(&(<&ByteSlice>::from(held), outcome));
        self.run(Job { verb: Verb::Resume, message }, until).await
    }

    /// The bytes of the variant that its guests are loaded with.
    pub(crate) fn variant(&self) -> Arc<[u8]> {
        self.shared.load.variant.clone()
    }

    /// Guests that can take a call.
    pub(crate) fn live(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    async fn run(&self, job: Job, until: Instant) -> Result<Done, PoolError> {
        if self.live() == 0 {
            return Err(PoolError::NoGuest);
        }
        let asked = Instant::now();
        let taken = timeout_at(until.into(), async {
            match job.verb {
                Verb::Rank => self.shared.idle.take().await,
                Verb::Resume => self.shared.idle.take_first().await,
            }
        });
        let Ok(taken) = taken.await else {
            self.shared.metrics.late(Some(asked.elapsed()));
            return Err(PoolError::Late);
        };
        let (slot, instance) = taken.ok_or(PoolError::Full)?;
        let guest = Guest { pool: self.shared.clone(), slot, instance: Some(instance) };
        if self.shared.is_short(&job) {
            return Ok(guest.run(&job, asked)?);
        }
        match timeout_at(until.into(), spawn_blocking(move || guest.run(&job, asked))).await {
            Ok(Ok(result)) => Ok(result?),
            // Still at it, or the runtime ends.
            Ok(Err(_)) | Err(_) => {
                self.shared.metrics.late(None);
                Err(PoolError::Late)
            }
        }
    }
}

impl Shared {
    fn is_short(&self, job: &Job) -> bool {
        self.paces[job.verb as usize].expects(job.message.len()).is_some_and(|time| time <= SHORT)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.metrics.instances(-count(*self.live.get_mut()));
    }
}

/// A guest in use; dropped, it is free again.
struct Guest {
    pool: Arc<Shared>,
    slot: usize,
    /// `None` once it is broken.
    instance: Option<Instance>,
}

impl Guest {
    fn run(mut self, job: &Job, asked: Instant) -> Result<Done, GuestFault> {
        let started = Instant::now();
        let result = self.call(job);
        let (queued, ran) = (started - asked, started.elapsed());
        let pool = &self.pool;
        pool.metrics.ran(queued, ran);
        pool.paces[job.verb as usize].learn(job.message.len(), ran);
        if let Err(fault) = &result {
            pool.metrics.failed(fault);
            tracing::error!(model = pool.load.terms.model, %fault, "a worker failed a request");
            if !fault.is_sound() {
                self.replace();
            }
        }
        result.map(|step| Done { step, queued, ran })
    }

    fn call(&mut self, job: &Job) -> Result<Step, GuestFault> {
        let Some(instance) = &mut self.instance else { return Err(GuestFault::Host("its guest is gone".to_owned())) };
        caught(|| match job.verb {
            Verb::Rank => instance.rank(&job.message),
            Verb::Resume => instance.resume(&job.message),
        })
    }

    /// Has another take the place of one that failed.
    fn replace(&mut self) {
        let Some(broken) = self.instance.take() else { return };
        self.pool.live.fetch_sub(1, Ordering::Relaxed);
        self.pool.metrics.instances(-1);
        tokio::spawn(replace(Arc::downgrade(&self.pool), self.slot, broken));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.pool.idle.put(self.slot, instance);
        }
    }
}

/// A new guest for a slot, unless the pool is gone before there is one.
async fn replace(pool: Weak<Shared>, slot: usize, broken: Instance) {
    let mut broken = Some(broken);
    while let Some(shared) = pool.upgrade() {
        let (old, of) = (broken.take(), shared.clone());
        let starting = spawn_blocking(move || {
            // The old one's memory goes before the new one's comes.
            drop(old);
            caught(|| Instance::start(&of.program, &of.load))
        });
        match starting.await {
            Ok(Ok(instance)) => {
                shared.live.fetch_add(1, Ordering::Relaxed);
                shared.metrics.instances(1);
                return shared.idle.put(slot, instance);
            }
            Ok(Err(fault)) => {
                shared.metrics.failed(&fault);
                tracing::error!(model = shared.load.terms.model, %fault, "a worker cannot be replaced, trying again");
            }
            // The runtime ends.
            Err(_) => return,
        }
        drop(shared);
        sleep(RETRY).await;
    }
}

/// As many guests, started side by side.
fn started(program: &Program, load: &Load, count: usize) -> Result<Vec<Instance>, GuestFault> {
    thread::scope(|scope| {
        let start = || caught(|| Instance::start(program, load));
        let starting: Result<Vec<_>, _> =
            (0..count).map(|_| thread::Builder::new().spawn_scoped(scope, start)).collect();
        let starting =
            starting.map_err(|error| GuestFault::Foreign(format!("its thread cannot be started: {error}")))?;
        starting.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn count(guests: usize) -> i64 {
    i64::try_from(guests).unwrap_or(i64::MAX)
}

/// Turns a panic on this side of the guest into a fault, which costs the call and the guest. What the panic may have broken
/// is the instance.
fn caught<T>(work: impl FnOnce() -> Result<T, GuestFault>) -> Result<T, GuestFault> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| Err(GuestFault::Host(panicked(panic.as_ref()).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::handmade::{self, LIMITS};

    #[test]
    fn a_panic_of_the_host_costs_the_instance_and_not_the_thread() {
        let fault = caught::<()>(|| panic!("on purpose")).expect_err("it panics");
        assert_eq!(fault, GuestFault::Host("on purpose".to_owned()));
        assert!(!fault.is_sound());
    }

    /// One thread serves: it is there for nobody else while a call runs on it.
    #[tokio::test]
    async fn only_what_is_expected_to_be_short_runs_where_requests_are_served() {
        let program = handmade::program(&handmade::moody(&handmade::refused(), "(loop br 0)")).expect("a worker");
        let size = PoolSize { instances: 1, queue: 1 };
        let pool = Pool::start(&program, handmade::load(), size, GuestMetrics::unregistered()).expect("a pool");
        let soon = || Instant::now() + LIMITS.call / 4;
        let bad = handmade::failing();
        let late = pool.rank(&bad, soon()).await;
        assert!(matches!(late, Err(PoolError::Late)), "nothing is known of such calls: {late:?}");

        let mut good = bad.clone();
        good.request.exclude[0].pop();
        let job = Job { verb: Verb::Rank, message: to_cbor(&good) };
        while !pool.shared.is_short(&job) {
            let _ = pool.rank(&good, Instant::now() + Duration::from_secs(5)).await;
        }
        let stopped = pool.rank(&bad, soon()).await;
        assert!(
            matches!(stopped, Err(PoolError::Fault(GuestFault::OutOfTime { .. }))),
            "it is waited for: {stopped:?}"
        );

        while pool.live() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let late = pool.rank(&bad, soon()).await;
        assert!(matches!(late, Err(PoolError::Late)), "such a call took long: {late:?}");
    }
}
