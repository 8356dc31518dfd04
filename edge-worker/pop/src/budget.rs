//! What an upstream is told of the time of a step upwards.

use std::time::{Duration, Instant};

/// The share of a step upwards that the upstream may use; the rest is for the way there and back.
const UPSTREAM_SHARE: f64 = 0.9;

/// What an upstream is told to be left, when it is waited for until `until`.
pub(crate) fn for_upstream(now: Instant, until: Instant) -> Duration {
    until.saturating_duration_since(now).mul_f64(UPSTREAM_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_has_its_share() {
        let now = Instant::now();
        assert_eq!(for_upstream(now, now + Duration::from_millis(80)), Duration::from_millis(72));
    }

    #[test]
    fn after_the_deadline_nothing_is_left() {
        let now = Instant::now();
        let deadline = now.checked_sub(Duration::from_millis(1)).expect("the clock has run for a millisecond");
        assert_eq!(for_upstream(now, deadline), Duration::ZERO);
    }
}
