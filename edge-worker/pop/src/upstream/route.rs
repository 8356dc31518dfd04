//! When to try HTTP/3, and when not to wait for it: pure functions of (state, event, now).
//!
//! HTTP/2 is always there. HTTP/3 is tried beside it, and used once it has answered; a path that loses it is given
//! longer and longer rests, for there are networks through which UDP never passes, and some through which it passes now
//! and then.

use std::time::{Duration, Instant};

/// The rest after the first failure, doubled with each further one up to the last.
const FIRST_REST: Duration = Duration::from_secs(1);
const LAST_REST: Duration = Duration::from_secs(300);
/// A connection that lasted less does not make up for the failures before it.
const STEADY: Duration = Duration::from_secs(60);
/// How long the other side is asked to wait at most before it acknowledges a packet.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(5);
/// What the other side's timers and ours may be off by.
const SLACK: Duration = Duration::from_millis(5);

/// What is known of HTTP/3 to the tier above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// It is not tried before this.
    Resting { until: Instant, failures: u32 },
    /// It is there.
    Up { since: Instant, failures: u32 },
}

impl Route {
    /// It is tried at once.
    pub(super) fn new(now: Instant) -> Self {
        Self::Resting { until: now, failures: 0 }
    }

    /// When to try it next; `None` while it is there.
    pub(super) fn next_try(self) -> Option<Instant> {
        match self {
            Self::Resting { until, .. } => Some(until),
            Self::Up { .. } => None,
        }
    }

    /// It has answered.
    pub(super) fn answered(self, now: Instant) -> Self {
        let (Self::Resting { failures, .. } | Self::Up { failures, .. }) = self;
        Self::Up { since: now, failures }
    }

    /// A try failed, or the connection is lost.
    pub(super) fn failed(self, now: Instant) -> Self {
        let failures = match self {
            Self::Up { since, .. } if now.saturating_duration_since(since) >= STEADY => 0,
            Self::Up { failures, .. } | Self::Resting { failures, .. } => failures,
        };
        let rest = FIRST_REST.saturating_mul(1 << failures.min(16)).min(LAST_REST);
        Self::Resting { until: now + rest, failures: failures.saturating_add(1) }
    }
}

/// How long a connection may be silent after a request was sent on it, before the same request is sent on HTTP/2 as
/// well. The other side acknowledges what it gets within a round trip and its delay, however long the answer takes: so
/// this does not depend on how busy it is. It leaves time for HTTP/2, unless the round trip itself is too long for that;
/// a request with much time waits longer, as haste could only mistake a slow machine for a dead path.
pub(super) fn patience(round_trip: Duration, left: Duration) -> Duration {
    let acknowledged = 2 * round_trip + ACK_DELAY + SLACK;
    acknowledged.max(left / 10).min(left / 3).max(round_trip + round_trip / 4 + SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rest(route: Route, now: Instant) -> Duration {
        route.next_try().expect("it rests") - now
    }

    #[test]
    fn it_is_tried_at_once_and_then_with_longer_and_longer_rests() {
        let now = Instant::now();
        let mut route = Route::new(now);
        assert_eq!(rest(route, now), Duration::ZERO);
        let mut rests = Vec::new();
        for _ in 0..12 {
            route = route.failed(now);
            rests.push(rest(route, now).as_secs());
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn while_it_is_there_it_is_not_tried() {
        let now = Instant::now();
        assert_eq!(Route::new(now).answered(now).next_try(), None);
    }

    #[test]
    fn a_connection_that_lasted_makes_up_for_the_failures_and_a_short_one_does_not() {
        let now = Instant::now();
        let failed = Route::new(now).failed(now).failed(now).failed(now);
        let short = failed.answered(now).failed(now + SECOND);
        assert_eq!(rest(short, now + SECOND), 8 * SECOND);
        let steady = failed.answered(now).failed(now + STEADY);
        assert_eq!(rest(steady, now + STEADY), SECOND);
    }

    #[test]
    fn failures_without_end_are_no_overflow() {
        let now = Instant::now();
        let route = Route::Resting { until: now, failures: u32::MAX };
        assert_eq!(rest(route.failed(now), now), LAST_REST);
    }

    #[test]
    fn patience_is_long_enough_for_an_acknowledgement_and_leaves_time_for_http2() {
        let ms = Duration::from_millis;
        assert_eq!(patience(ms(1), ms(80)), ms(12), "on a near path");
        assert_eq!(patience(ms(1), ms(5_000)), ms(500), "with much time");
        assert_eq!(patience(ms(20), ms(90)), ms(30), "a third of what is left");
        assert_eq!(patience(ms(40), ms(80)), ms(55), "but never less than a round trip");
    }
}
