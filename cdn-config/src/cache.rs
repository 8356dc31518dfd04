//! `[cache]`: the answers that an edge or a region keeps for the next who ask the same.

use std::time::Duration;

use crate::limits::{CACHE_CLIENT_TTL_MS, CACHE_MAX_MIB, CACHE_STALE_MS, CACHE_TTL_MS};
use crate::section::Section;

/// How much is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    max_mib: usize,
    ttl: Duration,
    stale: Duration,
    client_ttl: Duration,
}

impl Cache {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let cache = Self {
            max_mib: section.number(&CACHE_MAX_MIB),
            ttl: section.millis(&CACHE_TTL_MS),
            stale: section.millis(&CACHE_STALE_MS),
            client_ttl: section.millis(&CACHE_CLIENT_TTL_MS),
        };
        section.finish();
        cache
    }

    /// The most memory for answers, in MiB; at 0 every answer is computed.
    pub fn max_mib(&self) -> usize {
        self.max_mib
    }

    /// How long an answer is fresh.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How long after that it is still given, while a new one is computed.
    pub fn stale(&self) -> Duration {
        self.stale
    }

    /// How long a client may keep an answer.
    pub fn client_ttl(&self) -> Duration {
        self.client_ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{EDGE, ORIGIN, accepted, refused};

    fn cache_of(text: &str) -> Cache {
        match accepted(text).role() {
            Role::Edge(pop) | Role::Region(pop) => pop.cache().clone(),
            Role::Origin(_) => panic!("not a pop"),
        }
    }

    #[test]
    fn answers_are_kept_for_a_second_unless_told() {
        let cache = cache_of(EDGE);
        assert_eq!((cache.max_mib(), cache.ttl()), (64, Duration::from_secs(1)));
        assert_eq!((cache.stale(), cache.client_ttl()), (Duration::from_secs(5), Duration::from_secs(10)));
    }

    #[test]
    fn a_cache_takes_what_it_is_given_and_can_be_switched_off() {
        let cache = cache_of(&format!("{EDGE}[cache]\nmax_mib = 0\nttl_ms = 2\nstale_ms = 0\nclient_ttl_ms = 0"));
        assert_eq!((cache.max_mib(), cache.ttl()), (0, Duration::from_millis(2)));
        assert_eq!((cache.stale(), cache.client_ttl()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn rejects_a_cache_of_no_time_and_one_at_the_origin() {
        assert_eq!(
            refused(&format!("{EDGE}[cache]\nttl_ms = 0")),
            ["rung.toml:14: cache.ttl_ms: is `0`, expected a whole number from 1 to 60000"]
        );
        assert_eq!(
            refused(&format!("{ORIGIN}[cache]\n")),
            ["rung.toml:10: cache: not a section of tier `origin`, expected only at `edge` and `region`"]
        );
    }
}
