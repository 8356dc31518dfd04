//! When to ask an upstream at all: a circuit breaker (DESIGN §10) as a pure function of (state, event, now).
//!
//! Closed, it lets everything pass and counts failures in a row. Open, it lets nothing pass until its time is over.
//! Half-open, it lets a few probes pass and closes once enough of them have come back. It has no clock and no lock.

use std::time::{Duration, Instant};

/// The numbers of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures_to_open: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// Probes under way at a time while it is half-open.
    pub probes: u32,
    /// Probes that must come back to close it.
    pub successes_to_close: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures_to_open: 5, open_for: Duration::from_secs(30), probes: 3, successes_to_close: 3 }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: u32, successes: u32 },
}

/// The right to ask once; what becomes of it is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Normal,
    Probe,
}

/// What became of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Success,
    Failure,
    /// Says nothing about the upstream: nobody waited for it, or it was asked for too much.
    Nothing,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self::Closed { failures: 0 }
    }

    /// Asks to pass.
    pub(crate) fn ask(self, settings: &BreakerSettings, now: Instant) -> (Self, Option<Pass>) {
        match self {
            Self::Closed { .. } => (self, Some(Pass::Normal)),
            Self::Open { until } if now < until => (self, None),
            Self::Open { .. } => (Self::HalfOpen { probing: 1, successes: 0 }, Some(Pass::Probe)),
            Self::HalfOpen { probing, successes } if probing < settings.probes => {
                (Self::HalfOpen { probing: probing + 1, successes }, Some(Pass::Probe))
            }
            Self::HalfOpen { .. } => (self, None),
        }
    }

    /// Tells what became of a pass.
    pub(crate) fn tell(self, pass: Pass, told: Told, settings: &BreakerSettings, now: Instant) -> Self {
        let open = Self::Open { until: now + settings.open_for };
        match (self, pass, told) {
            (Self::Closed { .. }, _, Told::Success) => Self::Closed { failures: 0 },
            (Self::Closed { failures }, _, Told::Failure) if failures + 1 >= settings.failures_to_open => open,
            (Self::Closed { failures }, _, Told::Failure) => Self::Closed { failures: failures + 1 },
            (Self::HalfOpen { .. }, Pass::Probe, Told::Failure) => open,
            (Self::HalfOpen { successes, .. }, Pass::Probe, Told::Success)
                if successes + 1 >= settings.successes_to_close =>
            {
                Self::new()
            }
            (Self::HalfOpen { probing, successes }, Pass::Probe, Told::Success) => {
                Self::HalfOpen { probing: probing.saturating_sub(1), successes: successes + 1 }
            }
            (Self::HalfOpen { probing, successes }, Pass::Probe, Told::Nothing) => {
                Self::HalfOpen { probing: probing.saturating_sub(1), successes }
            }
            // Asked before it opened, told after: that was another state of the upstream.
            (Self::HalfOpen { .. }, Pass::Normal, _) | (Self::Open { .. }, _, _) => self,
            (Self::Closed { .. }, _, Told::Nothing) => self,
        }
    }

    /// For the metric: 0 closed, 1 half-open, 2 open.
    pub(crate) fn level(self) -> i64 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { failures_to_open: 3, open_for: Duration::from_secs(30), probes: 2, successes_to_close: 3 };

    struct Scene {
        breaker: Breaker,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { breaker: Breaker::new(), now: Instant::now() }
        }

        fn ask(&mut self) -> Option<Pass> {
            let (breaker, pass) = self.breaker.ask(&SETTINGS, self.now);
            self.breaker = breaker;
            pass
        }

        fn tell(&mut self, pass: Pass, told: Told) {
            self.breaker = self.breaker.tell(pass, told, &SETTINGS, self.now);
        }

        fn opened() -> Self {
            let mut scene = Self::new();
            (0..3).for_each(|_| scene.tell(Pass::Normal, Told::Failure));
            assert!(matches!(scene.breaker, Breaker::Open { .. }));
            scene
        }

        fn half_opened() -> (Self, Pass) {
            let mut scene = Self::opened();
            scene.now += SETTINGS.open_for;
            let probe = scene.ask().expect("a probe");
            (scene, probe)
        }
    }

    #[test]
    fn opens_after_failures_in_a_row() {
        let mut scene = Scene::opened();
        assert_eq!(scene.ask(), None);
        scene.now += SETTINGS.open_for - Duration::from_nanos(1);
        assert_eq!(scene.ask(), None);
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let mut scene = Scene::new();
        for told in [Told::Failure, Told::Failure, Told::Success, Told::Failure, Told::Failure] {
            scene.tell(Pass::Normal, told);
        }
        assert_eq!(scene.breaker, Breaker::Closed { failures: 2 });
    }

    #[test]
    fn what_nobody_waited_for_is_neither_success_nor_failure() {
        let mut scene = Scene::new();
        for told in [Told::Failure, Told::Nothing, Told::Failure] {
            scene.tell(Pass::Normal, told);
        }
        assert_eq!(scene.breaker, Breaker::Closed { failures: 2 });
    }

    #[test]
    fn half_open_it_lets_only_a_few_probes_pass() {
        let (mut scene, first) = Scene::half_opened();
        assert_eq!((first, scene.ask()), (Pass::Probe, Some(Pass::Probe)));
        assert_eq!(scene.ask(), None);
        scene.tell(first, Told::Nothing);
        assert_eq!(scene.ask(), Some(Pass::Probe), "an abandoned probe gives its place back");
    }

    #[test]
    fn closes_after_enough_probes() {
        let (mut scene, mut probe) = Scene::half_opened();
        for _ in 0..2 {
            scene.tell(probe, Told::Success);
            probe = scene.ask().expect("another probe");
        }
        scene.tell(probe, Told::Success);
        assert_eq!(scene.breaker, Breaker::Closed { failures: 0 });
    }

    #[test]
    fn a_failed_probe_opens_it_again_for_the_whole_time() {
        let (mut scene, probe) = Scene::half_opened();
        scene.tell(probe, Told::Failure);
        assert_eq!(scene.breaker, Breaker::Open { until: scene.now + SETTINGS.open_for });
    }

    #[test]
    fn what_was_asked_before_it_opened_says_nothing_afterwards() {
        let mut scene = Scene::opened();
        let before = scene.breaker;
        scene.now += Duration::from_secs(1);
        scene.tell(Pass::Normal, Told::Failure);
        scene.tell(Pass::Normal, Told::Success);
        assert_eq!(scene.breaker, before);
        let (mut scene, _probe) = Scene::half_opened();
        let before = scene.breaker;
        scene.tell(Pass::Normal, Told::Failure);
        assert_eq!(scene.breaker, before);
    }
}
