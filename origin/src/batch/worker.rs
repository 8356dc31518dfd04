//! The worker around the policy: waits for what the policy waits for, and hands over the batches that it takes.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::time::sleep_until;

use super::policy::Next;
use super::{Job, Shared, now};

/// Until nobody takes jobs any more, or the task is aborted.
///
/// A job is only put together once the place ahead of the device is free, so that there is never more than one besides
/// the one that the device computes.
pub(super) async fn work(shared: Arc<Shared>, jobs: Sender<Job>) {
    let _stop = Stop(shared.clone());
    let mut ahead = None;
    loop {
        let now = now();
        let (late, next) = match shared.queue().as_mut() {
            Some(queue) => (queue.late(now), queue.next(now, ahead.is_some())),
            None => return,
        };
        late.into_iter().for_each(|entry| shared.too_late(entry));
        match next {
            Next::Take { lane, entries } => {
                let job = Job::new(shared.clone(), lane, entries, ahead.take());
                if jobs.send(job).is_err() {
                    return;
                }
            }
            Next::Wait(until) => {
                let at = until.unwrap_or(now).into();
                tokio::select! {
                    () = shared.changed.notified() => {}
                    permit = shared.ahead.clone().acquire_owned(), if ahead.is_none() => ahead = permit.ok(),
                    () = sleep_until(at), if until.is_some() => {}
                }
            }
        }
    }
}

/// However the worker ends, nobody waits for it in vain.
struct Stop(Arc<Shared>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests;
