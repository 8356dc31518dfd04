//! When a connection has had nothing to do for too long, or its client has not taken an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// What is under way on one connection; a clone is of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    requests: watch::Sender<usize>,
    answers: watch::Sender<Answers>,
}

/// Answers that have not left, by number.
#[derive(Debug, Default)]
struct Answers {
    next: u64,
    leaving: BTreeSet<u64>,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

/// An answer that leaves, until it is dropped.
#[derive(Debug)]
pub(crate) struct Leaving {
    of: Activity,
    number: u64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { requests: watch::Sender::new(0), answers: watch::Sender::default() }
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> Busy {
        self.requests.send_modify(|requests| *requests += 1);
        Busy(self.clone())
    }

    /// An answer begins to leave.
    pub(crate) fn leave(&self) -> Leaving {
        let mut number = 0;
        self.answers.send_if_modified(|answers| {
            number = answers.next;
            answers.next += 1;
            answers.leaving.insert(number);
            answers.leaving.len() == 1
        });
        Leaving { of: self.clone(), number }
    }

    /// Waits until no request has been under way for this long; without end if there is no limit.
    pub(crate) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut requests = self.requests.subscribe();
        loop {
            let _ = requests.wait_for(|requests| *requests == 0).await;
            tokio::select! {
                () = sleep(limit) => return,
                _ = requests.changed() => {}
            }
        }
    }

    /// Waits until an answer has not left for this long, or for twice as long at most.
    pub(crate) async fn stuck_for(&self, limit: Duration) {
        let mut answers = self.answers.subscribe();
        loop {
            let oldest = match answers.wait_for(|answers| !answers.leaving.is_empty()).await {
                Ok(answers) => answers.leaving.first().copied(),
                Err(_) => None,
            };
            sleep(limit).await;
            if oldest.is_some_and(|oldest| self.answers.borrow().leaving.contains(&oldest)) {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.send_modify(|requests| *requests -= 1);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.of.answers.send_if_modified(|answers| {
            answers.leaving.remove(&self.number);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_connection_is_idle_only_while_nothing_is_under_way() {
        let activity = Activity::new();
        let busy = activity.begin();
        assert!(timeout(4 * LIMIT, activity.idle_for(Some(LIMIT))).await.is_err());
        drop(busy);
        timeout(Duration::from_secs(10), activity.idle_for(Some(LIMIT))).await.expect("it is idle");
    }

    #[tokio::test]
    async fn a_connection_is_stuck_if_one_answer_does_not_leave_whatever_others_do() {
        let activity = Activity::new();
        let others = async {
            loop {
                let other = activity.leave();
                sleep(LIMIT / 5).await;
                drop(other);
            }
        };
        tokio::select! {
            biased;
            () = others => {}
            () = activity.stuck_for(LIMIT) => panic!("all of them left"),
            () = sleep(4 * LIMIT) => {}
        }
        let _one = activity.leave();
        timeout(Duration::from_secs(10), activity.stuck_for(LIMIT)).await.expect("it is stuck");
    }

    #[tokio::test]
    async fn without_a_limit_it_never_is() {
        assert!(timeout(LIMIT, Activity::new().idle_for(None)).await.is_err());
    }
}
