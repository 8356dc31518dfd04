//! A scorer on a device that may be lost, with one beside it that will not: exact all the same, and slower.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{Fault, RunsOn, Scorer, Scores, caught, run};
use crate::executor::{Batch, RunError};
use crate::metrics::Metrics;

/// How long a device that was lost is left alone; after each attempt in vain twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// How often the device's memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Makes the scorer on the device; asked again after the device was lost.
pub(crate) type Make = Box<dyn Fn() -> Result<Arc<dyn Scorer>, RunError> + Send + Sync>;

/// Scores on a device, and on another while that one is lost. No batch fails for it: the one that finds out is scored
/// again.
#[derive(Clone, Debug)]
pub(crate) struct Guarded(Arc<Guard>);

struct Guard {
    spare: Arc<dyn Scorer>,
    make: Make,
    first_wait: Duration,
    state: Mutex<State>,
    looked: Mutex<Instant>,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
enum State {
    On(Arc<dyn Scorer>),
    Lost(String),
}

impl Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("spare", &self.spare).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Guarded {
    /// Tries the device that `make` uses. If it does not score its samples, it is lost from the start.
    pub(crate) fn start(spare: Arc<dyn Scorer>, make: Make, metrics: Metrics) -> Self {
        Self::waiting(spare, make, metrics, FIRST)
    }

    fn waiting(spare: Arc<dyn Scorer>, make: Make, metrics: Metrics, first_wait: Duration) -> Self {
        let (state, reason) = match made(&make) {
            Ok(scorer) => {
                metrics.memory(scorer.memory().unwrap_or_default());
                (State::On(scorer), None)
            }
            Err(reason) => (State::Lost(reason.clone()), Some(reason)),
        };
        let (state, looked) = (Mutex::new(state), Mutex::new(Instant::now()));
        let guarded = Self(Arc::new(Guard { spare, make, first_wait, state, looked, metrics }));
        if let Some(reason) = reason {
            guarded.0.alarm(&reason);
        }
        guarded
    }

    /// Why the device does not score, if it is lost.
    pub(crate) fn lost(&self) -> Option<String> {
        match &*self.0.state() {
            State::On(_) => None,
            State::Lost(reason) => Some(reason.clone()),
        }
    }

    /// From here on the spare one scores, until the device is back.
    fn lose(&self, lost: &Arc<dyn Scorer>, fault: &Fault) {
        let mut state = self.0.state();
        // Another batch may have found out before, or the device may be back by now.
        match &*state {
            State::On(scorer) if Arc::ptr_eq(scorer, lost) => {}
            State::On(_) | State::Lost(_) => return,
        }
        *state = State::Lost(fault.to_string());
        drop(state);
        self.0.alarm(&fault.to_string());
    }
}

impl Scorer for Guarded {
    fn score(&self, batch: Batch) -> Result<Scores, RunError> {
        let state = self.0.state().clone();
        if let State::On(scorer) = state {
            match run(&*scorer, batch.clone()) {
                Ok(scores) => {
                    self.0.look(&*scorer);
                    return Ok(scores);
                }
                Err(Fault::Run(unfit)) if !unfit.is_the_devices() => return Err(unfit),
                Err(fault) => self.lose(&scorer, &fault),
            }
        }
        self.0.spare.score(batch)
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        // The device was tried when it was made.
        self.0.spare.samples()
    }

    fn most_requests(&self) -> usize {
        self.0.spare.most_requests()
    }

    fn runs_on(&self) -> RunsOn {
        match &*self.0.state() {
            State::On(scorer) => scorer.runs_on(),
            State::Lost(reason) => {
                RunsOn { note: Some(format!("the GPU is lost: {reason}")), ..self.0.spare.runs_on() }
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(*self.state(), State::Lost(_)) {
            self.metrics.found();
        }
    }
}

impl Guard {
    /// Tells of the loss, and sees that the device is tried again.
    fn alarm(self: &Arc<Self>, reason: &str) {
        self.metrics.lost();
        tracing::error!(%reason, "the GPU is lost: the CPU scores");
        let (guard, wait) = (Arc::downgrade(self), self.first_wait);
        let spawned = thread::Builder::new().name("origin-device-retry".to_owned()).spawn(move || retry(&guard, wait));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to try the GPU again: it stays lost until this origin is started again");
        }
    }

    /// Only whole values are put under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the device's memory, once in a while.
    fn look(&self, scorer: &dyn Scorer) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() >= LOOK {
            *looked = Instant::now();
            if let Some(bytes) = scorer.memory() {
                self.metrics.memory(bytes);
            }
        }
    }
}

/// Tries the device again until it works, or nobody needs it any more.
fn retry(guard: &Weak<Guard>, mut wait: Duration) {
    loop {
        thread::sleep(wait);
        let Some(guard) = guard.upgrade() else { return };
        match made(&guard.make) {
            Ok(scorer) => {
                tracing::info!(device = %scorer.runs_on().device, "the GPU is back");
                *guard.state() = State::On(scorer);
                guard.metrics.found();
                return;
            }
            Err(reason) => {
                wait = (wait * 2).min(LONGEST);
                tracing::warn!(%reason, again_in = ?wait, "the GPU is still lost");
                *guard.state() = State::Lost(reason);
            }
        }
    }
}

/// A scorer that has scored every sample.
fn made(make: &Make) -> Result<Arc<dyn Scorer>, String> {
    let scorer = caught(make)?.map_err(|e| e.to_string())?;
    for sample in scorer.samples() {
        run(&*scorer, sample).map_err(|fault| fault.to_string())?;
    }
    Ok(scorer)
}

#[cfg(test)]
mod tests;
