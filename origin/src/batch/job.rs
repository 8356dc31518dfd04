//! A batch on its way to the device and back: put together ahead of time, looked through once more when the device takes
//! it, taken apart when it has scores.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::policy::{Entry, LaneId};
use super::{ScoreError, Scored, Share, Shared};
use crate::engine::{Scorer, Scores};
use crate::executor::Batch;
use crate::metrics::Dropped;

/// A batch that waits for the device.
#[derive(Debug)]
pub(crate) struct Job {
    shared: Arc<Shared>,
    lane: LaneId,
    entries: Vec<Entry<Share>>,
    batch: Batch,
    ahead: Option<OwnedSemaphorePermit>,
}

/// A batch that the device computes.
#[derive(Debug)]
pub(crate) struct Begun {
    shared: Arc<Shared>,
    lane: LaneId,
    /// What computes it; kept until it is done, whatever takes its place meanwhile.
    pub(crate) scorer: Arc<dyn Scorer>,
    waiters: Vec<Waiter>,
    since: Instant,
}

/// Who waits for some of a batch's scores.
#[derive(Debug)]
struct Waiter {
    candidates: usize,
    arrived: Instant,
    done: oneshot::Sender<Result<Scored, ScoreError>>,
}

impl Job {
    pub(super) fn new(
        shared: Arc<Shared>,
        lane: LaneId,
        entries: Vec<Entry<Share>>,
        ahead: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let batch = Batch::join(entries.iter().map(|entry| &entry.load.rows));
        Self { shared, lane, entries, batch, ahead }
    }

    /// The device takes it. None if nobody waits for any of it.
    pub(crate) fn begin(self, now: Instant) -> Option<(Begun, Batch)> {
        let Self { shared, lane, entries, batch, ahead } = self;
        let before = entries.len();
        let entries: Vec<_> = entries.into_iter().filter_map(|entry| still_wanted(&shared, entry, now)).collect();
        let Some(scorer) = entries.first().map(|entry| entry.load.scorer.clone()) else {
            if let Some(queue) = shared.queue().as_mut() {
                queue.given_up();
            }
            return None;
        };
        let batch = match entries.len() {
            all if all == before => batch,
            _ => Batch::join(entries.iter().map(|entry| &entry.load.rows)),
        };
        let metrics = &shared.metrics;
        metrics.began(entries.len(), batch.owner.len());
        for entry in &entries {
            metrics.delayed(now.saturating_duration_since(entry.arrived));
        }
        if let Some(queue) = shared.queue().as_mut() {
            queue.began(lane, batch.owner.len(), now);
        }
        // Only now may the next one be put together: the policy goes by what the device is at.
        drop(ahead);
        let waiter =
            |Entry { candidates, arrived, load, .. }: Entry<Share>| Waiter { candidates, arrived, done: load.done };
        let waiters = entries.into_iter().map(waiter).collect();
        Some((Begun { shared, lane, scorer, waiters, since: now }, batch))
    }
}

/// The entry, unless its waiter has gone or its deadline has passed.
fn still_wanted(shared: &Shared, entry: Entry<Share>, now: Instant) -> Option<Entry<Share>> {
    if now >= entry.deadline {
        shared.too_late(entry);
        None
    } else if entry.load.done.is_closed() {
        shared.metrics.dropped(Dropped::Abandoned);
        None
    } else {
        Some(entry)
    }
}

impl Begun {
    /// The device is done: to each its scores, or to all the reason why there are none.
    pub(crate) fn end(self, outcome: Result<Scores, String>, now: Instant) {
        let Self { shared, lane, scorer: _, waiters, since } = self;
        let candidates = waiters.iter().map(|waiter| waiter.candidates).sum();
        let outcome = outcome.and_then(|scores| match scores.values.len() {
            got if got == candidates => Ok(scores),
            got => Err(format!("the device gave {got} scores for {candidates} candidates")),
        });
        let ran = now.saturating_duration_since(since);
        shared.metrics.ran(candidates, ran, outcome.is_ok());
        if let Some(queue) = shared.queue().as_mut() {
            match outcome {
                Ok(_) => queue.ended(lane, candidates, now),
                Err(_) => queue.failed(),
            }
        }
        shared.changed.notify_one();
        let mut start = 0;
        for Waiter { candidates, arrived, done } in waiters {
            let own = start..start + candidates;
            start = own.end;
            let scored = |scores: &Scores| Scored {
                scores: scores.values[own].to_vec(),
                precision: scores.precision,
                queued: since.saturating_duration_since(arrived),
                ran,
            };
            // A waiter that has gone in the meantime has no use for it.
            let _ = done.send(outcome.as_ref().map(scored).map_err(|reason| ScoreError::Failed(reason.clone())));
        }
    }
}
