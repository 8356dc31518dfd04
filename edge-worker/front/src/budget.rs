//! How the time until a deadline is shared out: each step leaves some for the next (DESIGN §10).

use std::time::Instant;

/// The share of what is left that one step may use.
const STEP_SHARE: f64 = 0.8;

/// Until when the step that begins now may last.
#[must_use]
pub fn step_until(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now).mul_f64(STEP_SHARE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_step_leaves_time_for_the_next() {
        let now = Instant::now();
        let deadline = now + Duration::from_millis(100);
        let first = step_until(now, deadline);
        assert_eq!(first, now + Duration::from_millis(80));
        assert_eq!(step_until(first, deadline), now + Duration::from_millis(96));
    }

    #[test]
    fn after_the_deadline_nothing_is_left() {
        let now = Instant::now();
        let deadline = now.checked_sub(Duration::from_millis(1)).expect("the clock has run for a millisecond");
        assert_eq!(step_until(now, deadline), now);
    }
}
