//! The generations of one model: the current one, and those kept for tiers below that have not swapped yet. Pure: `now`
//! is an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared_model::wire::Stamp;

use super::Generation;

/// How many are kept at most: each holds a model in memory.
const KEPT: usize = 2;

#[derive(Debug)]
pub(super) struct Held<M> {
    current: Arc<Generation<M>>,
    /// The latest first.
    kept: Vec<(Arc<Generation<M>>, Instant)>,
}

impl<M> Held<M> {
    pub(super) fn new(generation: Generation<M>) -> Self {
        Self { current: Arc::new(generation), kept: Vec::new() }
    }

    /// The one that the tier below scored with, if it is there; else the current one.
    pub(super) fn pick(&self, below: Option<Stamp>) -> Arc<Generation<M>> {
        let same = |stamp| self.kept.iter().map(|(kept, _)| kept).find(|kept| kept.stamp() == stamp);
        let kept = below.filter(|stamp| *stamp != self.current.stamp()).and_then(same);
        kept.unwrap_or(&self.current).clone()
    }

    /// Puts another in the place of the current one, which is kept for the `grace`. What is kept no longer is returned,
    /// to be dropped without a lock.
    #[must_use]
    pub(super) fn swap(&mut self, next: Generation<M>, now: Instant, grace: Duration) -> Vec<Arc<Generation<M>>> {
        let last = std::mem::replace(&mut self.current, Arc::new(next));
        self.kept.insert(0, (last, now + grace));
        self.expire(now)
    }

    /// Gives up what has been kept long enough.
    #[must_use]
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Arc<Generation<M>>> {
        let current = self.current.stamp();
        let (mut kept, mut gone): (Vec<_>, Vec<_>) =
            self.kept.drain(..).partition(|(kept, until)| now < *until && kept.stamp() != current);
        gone.extend(kept.split_off(kept.len().min(KEPT)));
        self.kept = kept;
        gone.into_iter().map(|(generation, _)| generation).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn generation(version: &str) -> Generation<()> {
        Generation { edition: sample::edition(version, 1), model: () }
    }

    fn stamp(version: &str) -> Stamp {
        generation(version).stamp()
    }

    fn picked(held: &Held<()>, below: Option<&str>) -> String {
        held.pick(below.map(stamp)).edition.manifest().version.clone()
    }

    #[test]
    fn answers_an_escalation_with_what_the_tier_below_has() {
        let now = Instant::now();
        let mut held = Held::new(generation("1"));
        assert!(held.swap(generation("2"), now, GRACE).is_empty());
        assert_eq!(picked(&held, None), "2");
        assert_eq!((picked(&held, Some("1")), picked(&held, Some("2"))), ("1".to_owned(), "2".to_owned()));
        assert_eq!(picked(&held, Some("3")), "2", "that of a tier ahead of this one is not here yet");
    }

    #[test]
    fn keeps_a_generation_for_a_while_and_no_more_than_a_few() {
        let now = Instant::now();
        let mut held = Held::new(generation("1"));
        assert!(held.swap(generation("2"), now, GRACE).is_empty());
        assert!(held.expire(now + GRACE - Duration::from_millis(1)).is_empty());
        assert_eq!(held.expire(now + GRACE).len(), 1);
        assert_eq!(picked(&held, Some("1")), "2");
        for next in ["3", "4"] {
            assert!(held.swap(generation(next), now, GRACE).is_empty());
        }
        let gone = held.swap(generation("5"), now, GRACE);
        assert_eq!(gone.len(), 1);
        assert_eq!((gone[0].stamp(), picked(&held, Some("2"))), (stamp("2"), "5".to_owned()), "the oldest");
    }

    #[test]
    fn a_request_keeps_what_it_has_taken() {
        let mut held = Held::new(generation("1"));
        let (taken, now) = (held.pick(None), Instant::now());
        drop(held.swap(generation("2"), now, GRACE));
        drop(held.expire(now + GRACE));
        assert_eq!((taken.stamp(), Arc::strong_count(&taken)), (stamp("1"), 1));
    }

    #[test]
    fn without_a_grace_nothing_is_kept() {
        let now = Instant::now();
        let mut held = Held::new(generation("1"));
        assert_eq!(held.swap(generation("2"), now, Duration::ZERO).len(), 1);
        assert_eq!(picked(&held, Some("1")), "2");
    }

    #[test]
    fn one_that_comes_back_is_not_kept_twice() {
        let now = Instant::now();
        let mut held = Held::new(generation("1"));
        assert!(held.swap(generation("2"), now, GRACE).is_empty());
        assert_eq!(held.swap(generation("1"), now, GRACE).len(), 1);
        assert_eq!(picked(&held, Some("2")), "2");
    }
}
