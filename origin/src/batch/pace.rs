//! How fast the device has been of late with one model: pure, `now` is an argument.
//!
//! Two questions are asked of it. What a batch takes *at the least* decides that an entry cannot be in time any more, so
//! it must not be more than the truth: the fastest of the recent batches bounds it, and one stall changes nothing. What
//! a candidate takes *as a rule* only says when to come back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many batches are remembered.
const WINDOW: usize = 16;
/// How long a batch says what the next one takes at the least. Without an end, a device that was slow once would be
/// given nothing more to do, and never be seen to be fast again.
const FRESH: Duration = Duration::from_secs(1);

/// The recent batches of a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    ran: VecDeque<Ran>,
}

#[derive(Clone, Copy, Debug)]
struct Ran {
    ended: Instant,
    candidates: usize,
    took: Duration,
}

impl Pace {
    pub(super) fn note(&mut self, ended: Instant, candidates: usize, took: Duration) {
        if self.ran.len() == WINDOW {
            self.ran.pop_front();
        }
        self.ran.push_back(Ran { ended, candidates: candidates.max(1), took });
    }

    /// What no batch of so many candidates is faster than: zero when nothing is known.
    ///
    /// The time of a batch neither falls with its size nor grows faster than in proportion to it.
    pub(super) fn least(&self, candidates: usize, now: Instant) -> Duration {
        let fresh = self.ran.iter().filter(|ran| now.saturating_duration_since(ran.ended) < FRESH);
        let bound = |ran: &Ran| {
            if ran.candidates <= candidates { ran.took } else { portion(ran.took, candidates, ran.candidates) }
        };
        fresh.map(bound).min().unwrap_or(Duration::ZERO)
    }

    /// What so many candidates take in batches of the usual size: zero when nothing is known.
    pub(super) fn usual(&self, candidates: usize) -> Duration {
        let of: usize = self.ran.iter().map(|ran| ran.candidates).sum();
        portion(self.ran.iter().map(|ran| ran.took).sum(), candidates, of)
    }
}

/// `of` candidates took so long; so many take this.
fn portion(took: Duration, candidates: usize, of: usize) -> Duration {
    // Nanoseconds below 2^64 and counts below 2^32 fit together.
    let nanos = took.as_nanos() * candidates as u128 / of.max(1) as u128;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_known_is_no_bound() {
        let pace = Pace::default();
        assert_eq!((pace.least(100, Instant::now()), pace.usual(100)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn the_least_is_of_the_fastest_batch() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.note(now, 100, 10 * MS);
        pace.note(now, 100, 5000 * MS);
        assert_eq!(pace.least(100, now), 10 * MS, "one stall changes nothing");
        assert_eq!(pace.least(1000, now), 10 * MS, "more candidates take at least as long");
        assert_eq!(pace.least(10, now), MS, "a tenth takes at least a tenth");
        pace.note(now, 10, 2 * MS);
        assert_eq!((pace.least(10, now), pace.least(1000, now)), (MS, 2 * MS));
    }

    #[test]
    fn what_is_old_is_no_bound_any_more() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.note(start, 100, 80 * MS);
        assert_eq!(pace.least(100, start + FRESH - MS), 80 * MS);
        assert_eq!(pace.least(100, start + FRESH), Duration::ZERO);
        assert_eq!(pace.usual(50), 40 * MS, "it still tells when to come back");
    }

    #[test]
    fn only_the_last_batches_count() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.note(now, 10, MS);
        (0..WINDOW).for_each(|_| pace.note(now, 10, 7 * MS));
        assert_eq!((pace.least(10, now), pace.usual(20)), (7 * MS, 14 * MS));
    }
}
