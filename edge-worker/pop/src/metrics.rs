//! What a POP counts, in the front's registry, whose prefix is the tier. Every label has a closed set of values.

use std::time::Duration;

use front::Found;
use front::metrics::Registry;
use front::tls::TlsMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use shared_model::wire::{Answer, Why};

use crate::guest::GuestFault;

/// The bounds of durations in this process, in seconds.
const INSIDE: [f64; 12] = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0];
/// The bounds of durations over the network, in seconds.
const OVER_NETWORK: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 2.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    tier: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Escalated {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    level: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fallback {
    reason: &'static str,
}

/// Answers and escalations; a clone counts into the same ones, as with all of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceMetrics {
    answers: Family<Answered, Counter>,
    escalations: Family<Escalated, Counter>,
    degraded: Family<Level, Counter>,
}

impl ServiceMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("answers", "Answers, by the tier that gave them and by what right", metrics.answers.clone());
        registry.register("escalations", "Requests that this tier did not answer itself", metrics.escalations.clone());
        registry.register("degraded_answers", "Answers above degradation level 0", metrics.degraded.clone());
        metrics
    }

    pub(crate) fn answered(&self, answer: &Answer) {
        let label = Answered { tier: answer.tier.as_str(), reason: answer.reason.as_str() };
        self.answers.get_or_create(&label).inc();
        if answer.degradation > 0 {
            // Levels above those of DESIGN §10 would be another tier's invention.
            self.degraded.get_or_create(&Level { level: answer.degradation.min(4) }).inc();
        }
    }

    pub(crate) fn escalated(&self, why: Why) {
        self.escalations.get_or_create(&Escalated { reason: why.as_str() }).inc();
    }
}

/// The guests.
#[derive(Clone, Debug)]
pub(crate) struct GuestMetrics {
    faults: Family<Cause, Counter>,
    declined: Counter,
    late: Counter,
    instances: Gauge,
    queued: Histogram,
    ran: Histogram,
}

impl GuestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        registry.register("guest_traps", "Calls that a guest failed, by cause", metrics.faults.clone());
        registry.register("guest_declined", "Calls that a guest declined and is sound after", metrics.declined.clone());
        registry.register("guest_late", "Calls that no guest was done with in time", metrics.late.clone());
        registry.register("guest_instances", "Guests that can take a call", metrics.instances.clone());
        registry.register("queue_seconds", "Waiting for a guest, in seconds", metrics.queued.clone());
        registry.register("score_seconds", "In a guest, in seconds", metrics.ran.clone());
        metrics
    }

    pub(crate) fn unregistered() -> Self {
        let (queued, ran) = (Histogram::new(INSIDE), Histogram::new(INSIDE));
        let (faults, declined, late) = (Family::default(), Counter::default(), Counter::default());
        Self { faults, declined, late, instances: Gauge::default(), queued, ran }
    }

    pub(crate) fn failed(&self, fault: &GuestFault) {
        if fault.is_sound() {
            self.declined.inc();
        } else {
            self.faults.get_or_create(&Cause { cause: fault.cause() }).inc();
        }
    }

    /// Nobody waits for the call any longer; `queued` if no guest has taken it.
    pub(crate) fn late(&self, queued: Option<Duration>) {
        self.late.inc();
        if let Some(queued) = queued {
            self.queued.observe(queued.as_secs_f64());
        }
    }

    pub(crate) fn instances(&self, change: i64) {
        self.instances.inc_by(change);
    }

    pub(crate) fn ran(&self, queued: Duration, ran: Duration) {
        self.queued.observe(queued.as_secs_f64());
        self.ran.observe(ran.as_secs_f64());
    }
}

/// The tier above.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamMetrics {
    replies: Family<Outcome, Counter>,
    took: Histogram,
    breaker: Gauge,
    connected: Gauge,
    http3: Gauge,
    in_use: Family<Protocol, Gauge>,
    sent: Family<Protocol, Counter>,
    fallbacks: Family<Fallback, Counter>,
    pub(crate) tls: TlsMetrics,
}

impl UpstreamMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { tls: TlsMetrics::register(registry, "upstream"), ..Self::unregistered() };
        registry.register("upstream_replies", "What became of escalations", metrics.replies.clone());
        registry.register("upstream_seconds", "Waiting for the tier above, in seconds", metrics.took.clone());
        let states = "The breaker to the tier above: 0 closed, 1 half-open, 2 open";
        registry.register("upstream_breaker_state", states, metrics.breaker.clone());
        registry.register("upstream_connected", "Whether HTTP/2 gets to the tier above", metrics.connected.clone());
        registry.register("upstream_protocol", "1: escalations go by this protocol now", metrics.in_use.clone());
        registry.register("upstream_requests", "Requests sent up, by protocol", metrics.sent.clone());
        let fallbacks = "Requests that HTTP/3 lost and HTTP/2 took over, by why";
        registry.register("upstream_fallbacks", fallbacks, metrics.fallbacks.clone());
        metrics.show_protocol();
        metrics
    }

    pub(crate) fn unregistered() -> Self {
        let took = Histogram::new(OVER_NETWORK);
        Self {
            replies: Family::default(),
            took,
            breaker: Gauge::default(),
            connected: Gauge::default(),
            http3: Gauge::default(),
            in_use: Family::default(),
            sent: Family::default(),
            fallbacks: Family::default(),
            tls: TlsMetrics::default(),
        }
    }

    pub(crate) fn asked(&self, outcome: &'static str, took: Duration) {
        self.replies.get_or_create(&Outcome { outcome }).inc();
        self.took.observe(took.as_secs_f64());
    }

    /// The breaker let nobody wait.
    pub(crate) fn unasked(&self) {
        self.replies.get_or_create(&Outcome { outcome: "refused_by_breaker" }).inc();
    }

    pub(crate) fn breaker(&self, level: i64) {
        self.breaker.set(level);
    }

    /// HTTP/2 gets there, or no longer.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
        self.show_protocol();
    }

    /// HTTP/3 gets there, or no longer.
    pub(crate) fn http3(&self, up: bool) {
        self.http3.set(up.into());
        self.show_protocol();
    }

    fn show_protocol(&self) {
        let (http2, http3) = (self.connected.get() > 0, self.http3.get() > 0);
        self.in_use.get_or_create(&Protocol { protocol: "http3" }).set(http3.into());
        self.in_use.get_or_create(&Protocol { protocol: "http2" }).set((http2 && !http3).into());
    }

    pub(crate) fn sent(&self, protocol: &'static str) {
        self.sent.get_or_create(&Protocol { protocol }).inc();
    }

    pub(crate) fn fell_back(&self, reason: &'static str) {
        self.fallbacks.get_or_create(&Fallback { reason }).inc();
    }
}

/// The answers that are kept.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    lookups: Family<Outcome, Counter>,
    bytes: Gauge,
}

impl CacheMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        registry.register(
            "cache_lookups",
            "Clients' requests, by what the cache had for them",
            metrics.lookups.clone(),
        );
        registry.register("cache_bytes", "Bytes of the answers that are kept", metrics.bytes.clone());
        metrics
    }

    pub(crate) fn unregistered() -> Self {
        Self { lookups: Family::default(), bytes: Gauge::default() }
    }

    pub(crate) fn looked_up(&self, found: Found) {
        let outcome = match found {
            Found::Fresh { .. } => "hit",
            Found::Stale { .. } => "stale",
            Found::Collapsed => "coalesced",
            Found::Missed => "miss",
        };
        self.lookups.get_or_create(&Outcome { outcome }).inc();
    }

    /// A part of the answers had so many bytes, and now has others.
    pub(crate) fn holds(&self, before: usize, now: usize) {
        let bytes = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.bytes.inc_by(bytes(now) - bytes(before));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use shared_model::wire::Tier;

    use super::*;

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).expect("text");
        text
    }

    #[test]
    fn what_is_declined_is_no_trap() {
        let mut registry = front::metrics::registry(Tier::Edge);
        let metrics = GuestMetrics::register(&mut registry);
        metrics.failed(&GuestFault::Declined("on purpose".to_owned()));
        metrics.failed(&GuestFault::Host("on purpose".to_owned()));
        let text = shown(&registry);
        assert!(text.contains("edge_guest_declined_total 1"), "{text}");
        assert!(text.contains("edge_guest_traps_total{cause=\"host\"} 1") && !text.contains("\"declined\""), "{text}");
    }

    #[test]
    fn what_is_late_has_waited_once() {
        let mut registry = front::metrics::registry(Tier::Edge);
        let metrics = GuestMetrics::register(&mut registry);
        metrics.late(Some(Duration::from_secs(1)));
        // This one has been taken by a guest, which tells how long it waited when it is done.
        metrics.late(None);
        metrics.ran(Duration::ZERO, Duration::from_secs(2));
        let text = shown(&registry);
        assert!(text.contains("edge_guest_late_total 2"), "{text}");
        assert!(text.contains("edge_queue_seconds_count 2") && text.contains("edge_score_seconds_count 1"), "{text}");
    }

    #[test]
    fn what_the_breaker_refuses_has_not_waited() {
        let mut registry = front::metrics::registry(Tier::Edge);
        UpstreamMetrics::register(&mut registry).unasked();
        let text = shown(&registry);
        assert!(text.contains("edge_upstream_replies_total{outcome=\"refused_by_breaker\"} 1"), "{text}");
        assert!(text.contains("edge_upstream_seconds_count 0"), "{text}");
    }
}
