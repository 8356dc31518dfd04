//! Every number of a `rung.toml` with its default and its bounds, and `[limits]`, which most of them are of.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::keys::Key;
use crate::section::Section;
use crate::{FaultKind, Tier};

/// The longest document that is read.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

pub(crate) const MAX_BODY_BYTES: Bound = Bound::new("max_body_bytes", 1 << 20, 1 << 10..=64 << 20);
pub(crate) const MAX_JSON_DEPTH: Bound = Bound::new("max_json_depth", 32, 4..=128);
pub(crate) const MAX_CANDIDATES: Bound = Bound::new("max_candidates", 1_000, 1..=100_000);
/// The origin is the last to be asked, so it takes what the tiers below it pass on whole.
pub(crate) const MAX_CANDIDATES_ORIGIN: Bound = Bound::new("max_candidates", 10_000, 1..=100_000);
pub(crate) const MAX_K: Bound = Bound::new("max_k", 100, 1..=10_000);
pub(crate) const MAX_CONNECTIONS: Bound = Bound::new("max_connections", 10_000, 1..=1_000_000);
pub(crate) const HEADER_TIMEOUT_MS: Bound = Bound::new("header_timeout_ms", 5_000, 1..=60_000);
pub(crate) const IDLE_TIMEOUT_MS: Bound = Bound::new("idle_timeout_ms", 60_000, 1..=3_600_000);
pub(crate) const BODY_TIMEOUT_MS: Bound = Bound::new("body_timeout_ms", 5_000, 1..=60_000);
pub(crate) const MAX_IN_FLIGHT: Bound = Bound::new("max_in_flight", 256, 1..=65_536);
pub(crate) const DEFAULT_TIMEOUT_MS: Bound = Bound::new("default_timeout_ms", 100, 1..=60_000);
pub(crate) const MAX_TIMEOUT_MS: Bound = Bound::new("max_timeout_ms", 10_000, 1..=60_000);

/// `model.poll_ms`.
pub(crate) const POLL_MS: Bound = Bound::new("poll_ms", 250, 10..=3_600_000);

/// `upstream.connect_timeout_ms`.
pub(crate) const CONNECT_TIMEOUT_MS: Bound = Bound::new("connect_timeout_ms", 500, 1..=60_000);

/// `worker.instances`, whose default is the machine's parallelism.
pub(crate) const INSTANCES: RangeInclusive<usize> = 1..=1_024;
/// `worker.memory_mib`; a 32-bit guest cannot have more than the last.
pub(crate) const MEMORY_MIB: Bound = Bound::new("memory_mib", 128, 1..=4_096);
/// `worker.item_table_mib`; at 0 there is no table.
pub(crate) const ITEM_TABLE_MIB: Bound = Bound::new("item_table_mib", 64, 0..=2_048);
/// `worker.max_rank_ms`.
pub(crate) const MAX_RANK_MS: Bound = Bound::new("max_rank_ms", 50, 1..=10_000);

/// `cache.max_mib`; at 0 there is no cache.
pub(crate) const CACHE_MAX_MIB: Bound = Bound::new("max_mib", 64, 0..=65_536);
/// `cache.ttl_ms`.
pub(crate) const CACHE_TTL_MS: Bound = Bound::new("ttl_ms", 1_000, 1..=60_000);
/// `cache.stale_ms`.
pub(crate) const CACHE_STALE_MS: Bound = Bound::new("stale_ms", 5_000, 0..=60_000);
/// `cache.client_ttl_ms`.
pub(crate) const CACHE_CLIENT_TTL_MS: Bound = Bound::new("client_ttl_ms", 10_000, 0..=3_600_000);

/// `clients.cors_max_age_ms`; no browser remembers longer than a day.
pub(crate) const CORS_MAX_AGE_MS: Bound = Bound::new("cors_max_age_ms", 600_000, 0..=86_400_000);
/// The most of `clients.cors_origins`.
pub(crate) const MAX_CORS_ORIGINS: usize = 100;
/// `batching.max_delay_us`.
pub(crate) const MAX_DELAY_US: Bound = Bound::new("max_delay_us", 500, 0..=100_000);
/// `batching.max_candidates`.
pub(crate) const BATCH_CANDIDATES: Bound = Bound::new("max_candidates", 4_096, 1..=100_000);
/// `batching.max_requests`.
pub(crate) const BATCH_REQUESTS: Bound = Bound::new("max_requests", 64, 1..=4_096);
/// `batching.max_waiting_candidates`.
pub(crate) const MAX_WAITING_CANDIDATES: Bound = Bound::new("max_waiting_candidates", 50_000, 1..=10_000_000);
/// `[limits]`, key by key.
pub(crate) const KEYS: &[Key] = &[
    Key::number(&MAX_BODY_BYTES, "longest body; longer: 413").clients("bodies of another length are refused"),
    Key::number(&MAX_JSON_DEPTH, "deepest JSON; deeper: 422").clients("JSON of another depth is refused"),
    Key::number(&MAX_CANDIDATES, "most candidates scored here; more: up whole, 422 at the origin")
        .at_origin(&MAX_CANDIDATES_ORIGIN)
        .clients("another number of candidates goes up whole, or is refused at the origin"),
    Key::number(&MAX_K, "largest k; larger: up whole, 422 at the origin")
        .clients("another k goes up whole, or is refused at the origin"),
    Key::number(
        &MAX_CONNECTIONS,
        "most connections of clients open at a time; the tiers below have as many of their own",
    )
    .clients("another number of connections is closed at once"),
    Key::number(&HEADER_TIMEOUT_MS, "for a request's head").clients("connections are closed after another time"),
    Key::number(
        &IDLE_TIMEOUT_MS,
        "for a client's connection without a request; on HTTP/1.1 `header_timeout_ms` counts as well",
    )
    .clients("silent connections are closed after another time"),
    Key::number(&BODY_TIMEOUT_MS, "for a request's body; slower: 408. Over HTTP/2 and 3 also for an answer to leave")
        .clients("a body may take another time"),
    Key::number(&MAX_IN_FLIGHT, "most requests worked on at a time; more: 429 with `Retry-After`")
        .clients("429 comes at another load"),
    Key::number(&DEFAULT_TIMEOUT_MS, "of a request that names none; at most `max_timeout_ms`")
        .clients("a request without `timeout_ms` waits for another time"),
    Key::number(&MAX_TIMEOUT_MS, "longest that a request can name")
        .clients("a long `timeout_ms` is cut at another length"),
];

/// A number that may be left out: its key, its default, and the range it has to be in.
pub(crate) struct Bound {
    pub(crate) key: &'static str,
    pub(crate) default: usize,
    pub(crate) range: RangeInclusive<usize>,
}

impl Bound {
    const fn new(key: &'static str, default: usize, range: RangeInclusive<usize>) -> Self {
        Self { key, default, range }
    }

    pub(crate) fn expected(&self) -> String {
        number_within(&self.range)
    }
}

/// A range, in words.
pub(crate) fn number_within(range: &RangeInclusive<usize>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// `[limits]`: what a tier takes from its clients, and for how long it works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    max_body_bytes: usize,
    max_json_depth: usize,
    max_candidates: usize,
    max_k: usize,
    max_connections: usize,
    header_timeout: Duration,
    idle_timeout: Duration,
    body_timeout: Duration,
    max_in_flight: usize,
    default_timeout: Duration,
    max_timeout: Duration,
}

impl Limits {
    pub(crate) fn read(root: &mut Section<'_>, tier: Option<Tier>) -> Self {
        let mut section = root.defaulted("limits");
        let max_candidates = match tier {
            Some(Tier::Origin) => &MAX_CANDIDATES_ORIGIN,
            Some(Tier::Edge | Tier::Region) | None => &MAX_CANDIDATES,
        };
        let limits = Self {
            max_body_bytes: section.number(&MAX_BODY_BYTES),
            max_json_depth: section.number(&MAX_JSON_DEPTH),
            max_candidates: section.number(max_candidates),
            max_k: section.number(&MAX_K),
            max_connections: section.number(&MAX_CONNECTIONS),
            header_timeout: section.millis(&HEADER_TIMEOUT_MS),
            idle_timeout: section.millis(&IDLE_TIMEOUT_MS),
            body_timeout: section.millis(&BODY_TIMEOUT_MS),
            max_in_flight: section.number(&MAX_IN_FLIGHT),
            default_timeout: section.millis(&DEFAULT_TIMEOUT_MS),
            max_timeout: section.millis(&MAX_TIMEOUT_MS),
        };
        if limits.default_timeout > limits.max_timeout {
            let kind = FaultKind::Value {
                found: limits.default_timeout.as_millis().to_string(),
                expected: format!("at most `max_timeout_ms`, {}", limits.max_timeout.as_millis()).into(),
            };
            section.fault(DEFAULT_TIMEOUT_MS.key, kind);
        }
        section.finish();
        limits
    }

    /// The longest request body; a longer one is answered with 413.
    pub fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }

    /// How deep JSON may nest; a deeper body is answered with 422.
    pub fn max_json_depth(&self) -> usize {
        self.max_json_depth
    }

    /// The most candidates scored for one request; one with more goes up whole, and is answered with 422 at the origin.
    pub fn max_candidates(&self) -> usize {
        self.max_candidates
    }

    /// The largest k; a request with a larger one goes up whole, and is answered with 422 at the origin.
    pub fn max_k(&self) -> usize {
        self.max_k
    }

    /// The most connections open at a time.
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// How long a client may take over the head of a request.
    pub fn header_timeout(&self) -> Duration {
        self.header_timeout
    }

    /// How long a client's connection may go without a request.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// How long a client may take over the body of a request; a slower one is answered with 408.
    pub fn body_timeout(&self) -> Duration {
        self.body_timeout
    }

    /// The most requests worked on at a time; above, 429 with `Retry-After`.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// The timeout of a request that names none. Never above [`Self::max_timeout`].
    pub fn default_timeout(&self) -> Duration {
        self.default_timeout
    }

    /// The longest timeout that a request can name.
    pub fn max_timeout(&self) -> Duration {
        self.max_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, ORIGIN, accepted, refused};

    fn with_limits(keys: &str) -> String {
        format!("{EDGE}[limits]\n{keys}")
    }

    #[test]
    fn an_empty_section_is_the_same_as_none() {
        assert_eq!(accepted(&with_limits("")).meaning(), accepted(EDGE).meaning());
    }

    #[test]
    fn an_origin_takes_more_candidates_than_a_pop() {
        assert_eq!(accepted(EDGE).limits().max_candidates(), 1_000);
        assert_eq!(accepted(ORIGIN).limits().max_candidates(), 10_000);
    }

    #[test]
    fn takes_the_limits_it_is_given() {
        let config = accepted(&with_limits(
            "max_body_bytes = 2048\nmax_json_depth = 8\nmax_candidates = 20\nmax_k = 3\nmax_connections = 4\n\
             header_timeout_ms = 5\nidle_timeout_ms = 55\nbody_timeout_ms = 6\nmax_in_flight = 7\ndefault_timeout_ms = 8\nmax_timeout_ms = 9",
        ));
        let limits = config.limits();
        assert_eq!((limits.max_body_bytes(), limits.max_json_depth()), (2048, 8));
        assert_eq!((limits.max_candidates(), limits.max_k()), (20, 3));
        assert_eq!((limits.max_connections(), limits.max_in_flight()), (4, 7));
        assert_eq!(limits.header_timeout(), Duration::from_millis(5));
        assert_eq!(limits.idle_timeout(), Duration::from_millis(55));
        assert_eq!(limits.body_timeout(), Duration::from_millis(6));
        assert_eq!(limits.default_timeout(), Duration::from_millis(8));
        assert_eq!(limits.max_timeout(), Duration::from_millis(9));
    }

    #[test]
    fn rejects_a_number_out_of_its_range() {
        for number in ["0", "-1", "10_001", "99999999999999999999999"] {
            let shown = number.replace('_', "");
            assert_eq!(
                refused(&with_limits(&format!("max_k = {number}"))),
                [format!("rung.toml:14: limits.max_k: is `{shown}`, expected a whole number from 1 to 10000")]
            );
        }
    }

    #[test]
    fn rejects_a_fraction_and_a_number_in_quotes() {
        assert_eq!(
            refused(&with_limits("max_k = 1.5\nmax_in_flight = \"9\"")),
            [
                "rung.toml:14: limits.max_k: is of type float, expected a whole number from 1 to 10000",
                "rung.toml:15: limits.max_in_flight: is of type string, expected a whole number from 1 to 65536",
            ]
        );
    }

    #[test]
    fn rejects_a_default_timeout_above_the_maximum() {
        assert_eq!(
            refused(&with_limits("max_timeout_ms = 50")),
            ["rung.toml:13: limits.default_timeout_ms: is `100`, expected at most `max_timeout_ms`, 50"]
        );
    }

    #[test]
    fn rejects_a_slip_of_the_pen() {
        assert_eq!(
            refused(&with_limits("max_candidate = 5")),
            ["rung.toml:14: limits.max_candidate: unknown key, did you mean `max_candidates`?"]
        );
    }
}
