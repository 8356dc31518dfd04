//! `[batching]`: how an origin puts requests together for its device, and how many may wait for it.

use std::time::Duration;

use crate::keys::Key;
use crate::limits::{BATCH_CANDIDATES, BATCH_REQUESTS, MAX_DELAY_US, MAX_WAITING_CANDIDATES};
use crate::section::Section;
use crate::{FaultKind, Limits};

/// `[batching]`, key by key.
pub(crate) const KEYS: &[Key] = &[
    Key::number(
        &MAX_DELAY_US,
        "how long a request waits for others to share its batch; never more than a quarter of its timeout; the clock ticks in milliseconds, so up to one longer",
    )
    .clients("answers may come a little earlier or later"),
    Key::number(&BATCH_CANDIDATES, "most candidates in a batch; a request with more has one of its own"),
    Key::number(&BATCH_REQUESTS, "most requests in a batch; 1: none are put together"),
    Key::number(
        &MAX_WAITING_CANDIDATES,
        "most candidates waiting for the device; more: 429 with `Retry-After`. At least `limits.max_candidates`",
    )
    .clients("429 comes at another load"),
];

/// The size and the delay of batches, and the room before the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    max_delay: Duration,
    max_candidates: usize,
    max_requests: usize,
    max_waiting_candidates: usize,
}

impl Batching {
    pub(crate) fn read(mut section: Section<'_>, limits: &Limits) -> Self {
        let batching = Self {
            max_delay: section.micros(&MAX_DELAY_US),
            max_candidates: section.number(&BATCH_CANDIDATES),
            max_requests: section.number(&BATCH_REQUESTS),
            max_waiting_candidates: section.number(&MAX_WAITING_CANDIDATES),
        };
        // A request that never finds room while another one waits would be refused for as long as there is load.
        if batching.max_waiting_candidates < limits.max_candidates() {
            let kind = FaultKind::Value {
                found: batching.max_waiting_candidates.to_string(),
                expected: format!("at least `limits.max_candidates`, {}", limits.max_candidates()).into(),
            };
            section.fault(MAX_WAITING_CANDIDATES.key, kind);
        }
        section.finish();
        batching
    }

    /// How long a request may be kept waiting for others to share its batch.
    pub fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// The most candidates in a batch; a request with more has one of its own.
    pub fn max_candidates(&self) -> usize {
        self.max_candidates
    }

    /// The most requests in a batch; with 1, no two share one.
    pub fn max_requests(&self) -> usize {
        self.max_requests
    }

    /// The most candidates that wait for the device; above, 429 with `Retry-After`.
    pub fn max_waiting_candidates(&self) -> usize {
        self.max_waiting_candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{ORIGIN, accepted, refused};

    fn batching_of(text: &str) -> Batching {
        match accepted(text).role() {
            Role::Origin(origin) => origin.batching().clone(),
            Role::Edge(_) | Role::Region(_) => panic!("not an origin"),
        }
    }

    fn with(keys: &str) -> String {
        format!("{ORIGIN}[batching]\n{keys}")
    }

    #[test]
    fn an_empty_section_is_the_same_as_none() {
        assert_eq!(batching_of(&with("")), batching_of(ORIGIN));
    }

    #[test]
    fn takes_the_bounds_it_is_given() {
        let keys = "max_delay_us = 0\nmax_candidates = 20\nmax_requests = 1\nmax_waiting_candidates = 12_000";
        let batching = batching_of(&with(keys));
        assert_eq!(batching.max_delay(), Duration::ZERO);
        assert_eq!((batching.max_candidates(), batching.max_requests()), (20, 1));
        assert_eq!(batching.max_waiting_candidates(), 12_000);
        assert_eq!(batching_of(&with("max_delay_us = 250")).max_delay(), Duration::from_micros(250));
    }

    #[test]
    fn rejects_batches_of_no_requests_and_a_delay_without_end() {
        assert_eq!(
            refused(&with("max_requests = 0\nmax_delay_us = 1_000_000")),
            [
                "rung.toml:11: batching.max_requests: is `0`, expected a whole number from 1 to 4096",
                "rung.toml:12: batching.max_delay_us: is `1000000`, expected a whole number from 0 to 100000",
            ]
        );
    }

    #[test]
    fn rejects_less_room_than_one_request_may_take() {
        assert_eq!(
            refused(&with("max_waiting_candidates = 9_999")),
            [
                "rung.toml:11: batching.max_waiting_candidates: is `9999`, expected at least `limits.max_candidates`, 10000"
            ]
        );
        let text = format!("{}\n[limits]\nmax_candidates = 9_999", with("max_waiting_candidates = 9_999"));
        assert_eq!(batching_of(&text).max_waiting_candidates(), 9_999);
    }
}
