//! The thread's loop: take a job, drop it or run it, say how the device does.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Fault, Health, Job, ScoreError, Scored, Scorer, run};
use crate::metrics::{Dropped, Metrics};

/// Failed batches in a row after which the device is said to fail.
const FAILURES: u32 = 3;
/// How often a failing device that gets no jobs is tried.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Worker<S> {
    scorers: Vec<S>,
    jobs: Receiver<Job>,
    health: watch::Sender<Health>,
    metrics: Metrics,
    failures: u32,
}

impl<S: Scorer> Worker<S> {
    pub(super) fn new(scorers: Vec<S>, jobs: Receiver<Job>, health: watch::Sender<Health>, metrics: Metrics) -> Self {
        Self { scorers, jobs, health, metrics, failures: 0 }
    }

    /// Until nobody can send a job any more.
    pub(super) fn work(mut self) {
        loop {
            let next = if self.failures < FAILURES {
                self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.jobs.recv_timeout(RETRY)
            };
            match next {
                Ok(job) => {
                    self.metrics.unqueued();
                    self.serve(job);
                }
                Err(RecvTimeoutError::Timeout) => self.retry(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, job: Job) {
        let Job { scorer, batch, deadline, queued, done } = job;
        let started = Instant::now();
        if done.is_closed() {
            return self.metrics.dropped(Dropped::Abandoned);
        }
        if started >= deadline {
            self.metrics.dropped(Dropped::Overdue);
            // A waiter that has gone in the meantime has no use for the reason.
            let _ = done.send(Err(ScoreError::Overdue));
            return;
        }
        let candidates = batch.owner.len();
        let outcome = match self.scorers.get(scorer) {
            Some(scorer) => run(scorer, batch),
            None => Err(Fault::NoScorer(scorer)),
        };
        let ran = started.elapsed();
        match &outcome {
            // The device had nothing to do with it, so this is no news of it.
            Err(fault) if !fault.is_the_devices() => self.metrics.dropped(Dropped::Unfit),
            known => {
                self.metrics.ran(candidates, ran, known.is_ok());
                self.note(known.as_ref().err());
            }
        }
        let outcome = outcome.map_err(ScoreError::from);
        let _ = done.send(outcome.map(|scores| Scored { scores, queued: started - queued, ran }));
    }

    fn retry(&mut self) {
        let failed = self.scorers.iter().find_map(|s| run(s, s.sample()).err().filter(Fault::is_the_devices));
        self.note(failed.as_ref());
    }

    /// Counts failures in a row and says when the device's health changes.
    fn note(&mut self, failure: Option<&Fault>) {
        let now = match failure {
            None => {
                self.failures = 0;
                Health::Ready
            }
            Some(reason) => {
                self.failures = self.failures.saturating_add(1);
                tracing::error!(%reason, in_a_row = self.failures, "a batch failed");
                if self.failures < FAILURES {
                    return;
                }
                Health::Failing(reason.to_string())
            }
        };
        self.health.send_if_modified(|health| {
            let changed = *health != now;
            *health = now;
            changed
        });
    }
}
