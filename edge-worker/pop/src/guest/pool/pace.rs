//! What calls took, by the length of their messages: what the next of its length is expected to take.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How much of what a call took goes into what the next is expected to take.
const WEIGHT: i64 = 8;

/// A running mean of the times of calls whose messages have as many bits in their lengths.
pub(super) struct Pace([AtomicU32; usize::BITS as usize + 1]);

impl Pace {
    pub(super) fn new() -> Self {
        Self([const { AtomicU32::new(0) }; usize::BITS as usize + 1])
    }

    /// What a call with a message of `len` bytes is expected to take; `None` before the first like it.
    pub(super) fn expects(&self, len: usize) -> Option<Duration> {
        let micros = self.of(len).load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }

    pub(super) fn learn(&self, len: usize, took: Duration) {
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX).clamp(1, u32::MAX.into());
        let mean = self.of(len);
        let before = i64::from(mean.load(Ordering::Relaxed));
        let after = if before == 0 { took } else { before + (took - before) / WEIGHT };
        // Of two that learn at once, one is forgotten.
        mean.store(u32::try_from(after).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn of(&self, len: usize) -> &AtomicU32 {
        &self.0[(usize::BITS - len.leading_zeros()) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_call_is_expected_to_take_what_those_of_its_length_took() {
        let pace = Pace::new();
        assert_eq!(pace.expects(100), None);
        pace.learn(100, 2 * MS);
        assert_eq!((pace.expects(127), pace.expects(128), pace.expects(0)), (Some(2 * MS), None, None));
        for _ in 0..100 {
            pace.learn(70, MS / 2);
        }
        assert!(pace.expects(64).is_some_and(|time| time < MS), "{:?}", pace.expects(64));
    }

    #[test]
    fn one_that_takes_long_is_remembered_for_a_while() {
        let pace = Pace::new();
        (0..100).for_each(|_| pace.learn(9, MS / 5));
        pace.learn(9, 50 * MS);
        assert!(pace.expects(9).is_some_and(|time| time > 6 * MS));
        (0..16).for_each(|_| pace.learn(9, MS / 5));
        assert!(pace.expects(9).is_some_and(|time| time < MS), "{:?}", pace.expects(9));
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let pace = Pace::new();
        pace.learn(usize::MAX, Duration::ZERO);
        assert_eq!(pace.expects(usize::MAX), Some(Duration::from_micros(1)));
        pace.learn(0, Duration::MAX);
        assert_eq!(pace.expects(0), Some(Duration::from_micros(u32::MAX.into())));
    }
}
