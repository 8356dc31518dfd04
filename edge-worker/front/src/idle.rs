//! When a connection has had nothing to do for too long.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// The requests of one connection that are under way; a clone counts the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Activity(watch::Sender<usize>);

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> Busy {
        self.0.send_modify(|requests| *requests += 1);
        Busy(self.clone())
    }

    /// Waits until no request has been under way for this long; without end if there is no limit.
    pub(crate) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut requests = self.0.subscribe();
        loop {
            let _ = requests.wait_for(|requests| *requests == 0).await;
            tokio::select! {
                () = sleep(limit) => return,
                _ = requests.changed() => {}
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| *requests -= 1);
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
    async fn without_a_limit_it_never_is() {
        assert!(timeout(LIMIT, Activity::new().idle_for(None)).await.is_err());
    }
}
