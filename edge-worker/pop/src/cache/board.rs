//! Who computes and who waits: at most one computation for one key is in flight.
//!
//! Keys are spread over parts of the board that are locked apart, so that cores do not wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared_model::wire::Answer;
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::CacheSettings;
use super::key::Key;
use super::store::{Kept, Store};
use crate::metrics::CacheMetrics;

/// The most parts that a board has.
const MAX_PARTS: usize = 16;
/// The least bytes of a part, unless it is the only one: far more than an answer.
const MIN_PART_BYTES: usize = 4 << 20;

/// The answers that are there and the computations under way; a clone is the same board.
#[derive(Clone)]
pub(super) struct Board {
    parts: Arc<[Mutex<State>]>,
    metrics: CacheMetrics,
}

struct State {
    store: Store,
    /// The bytes of it that the metrics know of.
    told: usize,
    flights: HashMap<Key, watch::Receiver<Progress>>,
}

/// What a request finds.
pub(super) enum Turn {
    /// An answer.
    Fresh { answer: Arc<Answer>, age: Duration },
    /// An answer that is due to be computed again, by whoever holds the lead.
    Stale { answer: Arc<Answer>, age: Duration, lead: Option<Lead> },
    /// Somebody computes it.
    Wait(Flight),
    /// Nobody does: the one who asks is to.
    Lead(Lead),
}

/// Where a computation is; dropped while it is under way, it is abandoned.
#[derive(Clone)]
enum Progress {
    Underway,
    Shared(Arc<Answer>),
    Unshared,
}

/// How waiting ended.
pub(super) enum Landing {
    /// With an answer for all.
    Shared(Arc<Answer>),
    /// It failed or is degraded, which says nothing about the next.
    Unshared,
    /// Whoever computed it was stopped before it was done.
    Abandoned,
    /// Not in time.
    Late,
}

/// A computation under way, as those who wait for it see it.
pub(super) struct Flight(watch::Receiver<Progress>);

/// The duty to compute.
pub(super) struct Lead {
    board: Board,
    key: Key,
    progress: watch::Sender<Progress>,
}

impl Board {
    pub(super) fn new(settings: CacheSettings, metrics: CacheMetrics) -> Self {
        let parts = (settings.max_bytes / MIN_PART_BYTES).clamp(1, MAX_PARTS);
        let settings = CacheSettings { max_bytes: settings.max_bytes / parts, ..settings };
        let part = || Mutex::new(State { store: Store::new(settings), told: 0, flights: HashMap::new() });
        Self { parts: std::iter::repeat_with(part).take(parts).collect(), metrics }
    }

    /// What there is for a key now.
    pub(super) fn turn(&self, key: Key, now: Instant) -> Turn {
        let mut state = self.state(&key);
        let found = state.store.find(&key, now);
        self.tell(&mut state);
        match (found, state.flights.get(&key)) {
            (Some(Kept { answer, age, fresh: true }), _) => Turn::Fresh { answer, age },
            (Some(Kept { answer, age, fresh: false }), Some(_)) => Turn::Stale { answer, age, lead: None },
            (Some(Kept { answer, age, fresh: false }), None) => {
                Turn::Stale { answer, age, lead: Some(self.lead(&mut state, key)) }
            }
            (None, Some(flight)) => Turn::Wait(Flight(flight.clone())),
            (None, None) => Turn::Lead(self.lead(&mut state, key)),
        }
    }

    /// Tells the metrics of the bytes that have come or gone.
    fn tell(&self, state: &mut State) {
        let told = std::mem::replace(&mut state.told, state.store.bytes());
        self.metrics.holds(told, state.told);
    }

    fn lead(&self, state: &mut State, key: Key) -> Lead {
        let (progress, flight) = watch::channel(Progress::Underway);
        state.flights.insert(key, flight);
        Lead { board: self.clone(), key, progress }
    }

    #[cfg(test)]
    pub(super) fn keep_at(&self, key: Key, answer: Answer, at: Instant) {
        self.state(&key).store.keep(key, Arc::new(answer), at);
    }

    fn state(&self, key: &Key) -> MutexGuard<'_, State> {
        // What is in there is whole between any two calls.
        self.parts[key.part(self.parts.len())].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// It is computed, or has failed. What may be kept is shared, and nothing else: those who wait for another's degraded
    /// answer may have more time than that one had.
    pub(super) fn land(self, kept: Option<&Answer>, now: Instant) {
        let progress = match kept {
            Some(answer) => {
                let answer = Arc::new(answer.clone());
                let state = &mut *self.board.state(&self.key);
                state.store.keep(self.key, answer.clone(), now);
                self.board.tell(state);
                Progress::Shared(answer)
            }
            None => Progress::Unshared,
        };
        self.progress.send_replace(progress);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.board.state(&self.key).flights.remove(&self.key);
    }
}

impl Flight {
    /// Waits for its end, until `until` at most.
    pub(super) async fn landing(mut self, until: Instant) -> Landing {
        let ended = self.0.wait_for(|progress| !matches!(progress, Progress::Underway));
        match timeout_at(until.into(), ended).await {
            Ok(Ok(progress)) => match &*progress {
                Progress::Shared(answer) => Landing::Shared(answer.clone()),
                Progress::Unshared | Progress::Underway => Landing::Unshared,
            },
            Ok(Err(_gone)) => Landing::Abandoned,
            Err(_elapsed) => Landing::Late,
        }
    }
}
