//! Answers given before, between the front and the [`crate::service`] (DESIGN §9, §11).
//!
//! ```text
//! serve ─ Key ─ Board ─┬─ fresh ─────▶ the answer
//!                      ├─ stale ─────▶ the answer, and one computation behind its back
//!                      ├─ in flight ── wait ─┬─▶ the same answer
//!                      │                     └─ late, failed or degraded ─▶ one's own
//!                      └─ nothing ──── compute ─▶ one's own, kept if it may be
//! ```
//!
//! Only clients are answered from here: an escalation is of another tier's question, and is ranked. What is kept is an
//! answer at degradation level 0 and nothing else, so a fault is never remembered. An answer depends on the decoded
//! request, the bundle and the catalog's revision alone, and the key has them all: with another generation there are no
//! answers yet. One that does not come from where its key says, for the tier above has another bundle or this one was
//! swapped meanwhile, goes to who asked and is not kept. A waiter never waits for longer than a share of its own time,
//! and a computation that fails takes nobody with it.

mod board;
mod key;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use front::generations::Operations;
use front::{Call, Failure, Found, Given, Health, Popular, Ranker, Serving, step_until};
use shared_model::wire::{Answer, Stamp, Timing};
use tokio::sync::Semaphore;

use crate::metrics::CacheMetrics;
use board::{Board, Landing, Lead, Turn};
use key::Key;

/// Computations behind a stale answer's back at a time. They have no place at the door, so that they are few.
const REFRESHES: usize = 8;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes of all answers together; the least recently asked for go first, in each of up to sixteen parts by key.
    pub max_bytes: usize,
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How long after that it is still given, while a new one is computed.
    pub stale: Duration,
    /// How long a client may keep it, counted from when it was computed.
    pub client_ttl: Duration,
}

/// What the cache stands before: a ranker that can say what a model's answers come from now.
pub(crate) trait Source: Ranker {
    /// `None` for a model that is not served.
    fn stamp(&self, model: &str) -> Option<Stamp>;
}

/// A source, and the answers it gave.
pub(crate) struct Cached<S> {
    source: Arc<S>,
    cache: Option<Cache>,
}

struct Cache {
    board: Board,
    settings: CacheSettings,
    refreshes: Arc<Semaphore>,
    metrics: CacheMetrics,
}

impl<S: Source> Cached<S> {
    /// Without settings every answer is computed.
    pub(crate) fn new(source: S, settings: Option<CacheSettings>, metrics: CacheMetrics) -> Self {
        let cache = settings.map(|settings| Cache {
            board: Board::new(settings, metrics.clone()),
            settings,
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            metrics,
        });
        Self { source: Arc::new(source), cache }
    }

    async fn through(&self, cache: &Cache, mut call: Call) -> Result<Given, Failure> {
        let Some(stamp) = self.source.stamp(&call.request.model) else {
            return Err(Failure::UnknownModel(call.request.model));
        };
        let key = Key::of(&mut call.request, stamp);
        loop {
            let now = Instant::now();
            match cache.board.turn(key, now) {
                Turn::Fresh { answer, age } => return Ok(cache.again(&answer, Found::Fresh { age }, Duration::ZERO)),
                Turn::Stale { answer, age, lead } => {
                    if let Some(lead) = lead {
                        self.refresh(cache, call, stamp, lead);
                    }
                    return Ok(cache.again(&answer, Found::Stale { age }, Duration::ZERO));
                }
                Turn::Wait(flight) => match flight.landing(step_until(now, call.deadline)).await {
                    Landing::Shared(answer) => return Ok(cache.again(&answer, Found::Collapsed, now.elapsed())),
                    // Whoever computed has left: somebody else has to, perhaps this one.
                    Landing::Abandoned => {}
                    Landing::Unshared | Landing::Late => return Ok(cache.own(self.source.rank(call).await?, stamp)),
                },
                Turn::Lead(lead) => {
                    let answer = self.source.rank(call).await;
                    lead.land(kept(&answer, stamp), Instant::now());
                    return Ok(cache.own(answer?, stamp));
                }
            }
        }
    }

    /// Computes a stale answer anew, with as much time as the call had.
    fn refresh(&self, cache: &Cache, call: Call, stamp: Stamp, lead: Lead) {
        let Ok(place) = cache.refreshes.clone().try_acquire_owned() else { return };
        let source = self.source.clone();
        tokio::spawn(async move {
            let arrived = Instant::now();
            let deadline = arrived + call.deadline.saturating_duration_since(call.arrived);
            let answer = source.rank(Call { arrived, deadline, ..call }).await;
            lead.land(kept(&answer, stamp), Instant::now());
            drop(place);
        });
    }
}

impl<S: Source> Ranker for Cached<S> {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        self.source.rank(call).await
    }

    async fn serve(&self, call: Call) -> Result<Given, Failure> {
        match &self.cache {
            Some(cache) => self.through(cache, call).await,
            None => self.source.rank(call).await.map(Given::from),
        }
    }

    fn popular(&self, model: Option<&str>, geo: Option<&str>, k: usize) -> Result<Popular, Failure> {
        self.source.popular(model, geo, k)
    }

    fn health(&self) -> Health {
        self.source.health()
    }

    fn models(&self) -> Vec<Serving> {
        self.source.models()
    }

    fn operations(&self) -> Option<&dyn Operations> {
        self.source.operations()
    }
}

impl Cache {
    /// An answer computed for another request, given again. Its time is this request's: nothing but the wait.
    fn again(&self, answer: &Answer, found: Found, waited: Duration) -> Given {
        let queue = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let answer = Answer { timing: Timing { queue, ..Timing::default() }, ..answer.clone() };
        self.metrics.looked_up(found);
        Given { answer, found: Some(found), keep: self.settings.client_ttl }
    }

    fn own(&self, answer: Answer, stamp: Stamp) -> Given {
        self.metrics.looked_up(Found::Missed);
        let keep = if may_be_kept(&answer, stamp) { self.settings.client_ttl } else { Duration::ZERO };
        Given { answer, found: Some(Found::Missed), keep }
    }
}

/// What of a computation may be kept under the key of this stamp.
fn kept(outcome: &Result<Answer, Failure>, stamp: Stamp) -> Option<&Answer> {
    outcome.as_ref().ok().filter(|answer| may_be_kept(answer, stamp))
}

/// A degraded answer is of a moment that should pass; one of another bundle or revision would outlive it here.
fn may_be_kept(answer: &Answer, stamp: Stamp) -> bool {
    answer.degradation == 0 && answer.stamp == Some(stamp)
}
