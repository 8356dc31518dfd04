//! A scorer and its line in the queue: what a model has of the device.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::policy::{Entry, LaneId, Ticket};
use super::{Place, ScoreError, Scored, Share, Shared, now};
use crate::engine::{RunsOn, Scorer};
use crate::executor::Batch;
use crate::metrics::Dropped;

/// A scorer, and the line of those who wait for it. Dropped, both are given up; who waits has it borrowed.
#[derive(Debug)]
pub struct Lane {
    shared: Arc<Shared>,
    id: LaneId,
    scorer: Arc<dyn Scorer>,
}

impl Lane {
    /// `None` once nobody takes from the queue any more.
    pub(super) fn open(shared: Arc<Shared>, scorer: Arc<dyn Scorer>) -> Option<Self> {
        let most_requests = scorer.most_requests();
        let id = shared.queue().as_mut().map(|queue| queue.open(most_requests))?;
        Some(Self { shared, id, scorer })
    }

    /// What its scorer runs on now.
    #[must_use]
    pub fn runs_on(&self) -> RunsOn {
        self.scorer.runs_on()
    }

    /// Scores a request by `deadline`, in a batch with others. Dropping the future gives it up.
    ///
    /// # Errors
    /// See [`ScoreError`].
    pub async fn score(&self, mut place: Place, rows: Batch, deadline: Instant) -> Result<Scored, ScoreError> {
        let candidates = rows.owner.len();
        place.shrink_to(candidates);
        let (done, waiter) = oneshot::channel();
        let load = Share { rows, scorer: self.scorer.clone(), done, _place: place };
        let entry = Entry { candidates, arrived: now(), deadline, load };
        let ticket = self.shared.queue().as_mut().map(|queue| queue.push(self.id, entry));
        let ticket = ticket.ok_or(ScoreError::Stopped)?;
        self.shared.changed.notify_one();
        let _waiting = Waiting { shared: &self.shared, ticket };
        match timeout_at(deadline.into(), waiter).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_gone)) => Err(ScoreError::Stopped),
            Err(_elapsed) => Err(ScoreError::TooLate),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(queue) = self.shared.queue().as_mut() {
            queue.close(self.id);
        }
    }
}

/// Somebody waits for an entry; dropped, nobody does.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.shared.queue().as_mut().and_then(|queue| queue.remove(self.ticket));
        if let Some(entry) = left {
            let late = now() >= entry.deadline;
            self.shared.metrics.dropped(if late { Dropped::Late } else { Dropped::Abandoned });
        }
    }
}
