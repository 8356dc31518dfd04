//! The thread's loop: take a job, run it, say how the device does.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Fault, Health, Scorer, run};
use crate::batch::Job;

/// Failed batches in a row after which the device is said to fail.
const FAILURES: u32 = 3;
/// How often a failing device that gets no jobs is tried.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    jobs: Receiver<Job>,
    health: watch::Sender<Health>,
    failures: u32,
    /// That of the last batch which the device failed.
    failed: Option<Weak<dyn Scorer>>,
}

impl Worker {
    pub(super) fn new(jobs: Receiver<Job>, health: watch::Sender<Health>) -> Self {
        Self { jobs, health, failures: 0, failed: None }
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
                Ok(job) => self.serve(job),
                Err(RecvTimeoutError::Timeout) => self.retry(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, job: Job) {
        let Some((begun, batch)) = job.begin(Instant::now()) else { return };
        let outcome = run(&*begun.scorer, batch);
        let ended = Instant::now();
        match &outcome {
            // The device had nothing to do with it, so this is no news of it.
            Err(fault) if !fault.is_the_devices() => {
                tracing::error!(reason = %fault, "a bug: a batch does not fit its model");
            }
            known => {
                let failure = known.as_ref().err();
                self.failed = failure.map(|_| Arc::downgrade(&begun.scorer));
                self.note(failure);
            }
        }
        begun.end(outcome.map_err(|fault| fault.to_string()), ended);
    }

    /// Once nobody has the scorer any more, nothing is known against the device: the next job tells.
    fn retry(&mut self) {
        let scorer = self.failed.as_ref().and_then(Weak::upgrade);
        let failed = scorer.and_then(|s| run(&*s, s.samples().next()?).err().filter(Fault::is_the_devices));
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
