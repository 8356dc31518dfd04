//! What stands between a bug in a tier and the network: a call that panics or never ends is still answered.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long after its deadline a call is given up. A tier answers by the deadline itself; this is for one that does
/// not.
const GRACE: Duration = Duration::from_secs(1);

/// How a call ended that should not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It panicked.
    Panicked,
    /// It was still running long after its deadline.
    Overdue,
}

/// Runs a call to its end, but no longer than a grace after the deadline.
pub(crate) async fn guard<F: Future>(call: F, deadline: Instant) -> Result<F::Output, Broken> {
    let mut call = pin!(call);
    // A call that has panicked is not polled again, so that nobody sees what the panic left behind in it.
    let caught = std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_panic) => Poll::Ready(Err(Broken::Panicked)),
    });
    match tokio::time::timeout_at((deadline + GRACE).into(), caught).await {
        Ok(ended) => ended,
        Err(_elapsed) => Err(Broken::Overdue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught() {
        let call = async {
            if std::hint::black_box(true) {
                panic!("a bug, on purpose");
            }
        };
        assert_eq!(guard(call, Instant::now()).await, Err(Broken::Panicked));
    }

    #[tokio::test]
    async fn an_answer_shortly_after_the_deadline_still_counts() {
        let call = tokio::time::sleep(Duration::from_millis(20));
        assert_eq!(guard(call, Instant::now()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_call_that_never_ends_is_given_up() {
        let started = Instant::now();
        assert_eq!(guard(std::future::pending::<()>(), started).await, Err(Broken::Overdue));
        assert!(started.elapsed() >= GRACE, "{:?}", started.elapsed());
    }
}
