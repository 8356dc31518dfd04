//! What a POP counts, in the front's registry, whose prefix is the tier. Every label has a closed set of values.

use std::time::Duration;

use front::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use shared_model::wire::{Answer, Reason, Why};

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
        let label = Answered { tier: answer.tier.as_str(), reason: reason(answer.reason) };
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

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Sure => "sure",
        Reason::Trivial => "trivial",
        Reason::Asked => "asked",
        Reason::Reference => "reference",
        Reason::UpstreamGone => "upstream_gone",
        Reason::WorkerFailed => "worker_failed",
        Reason::Merged => "merged",
    }
}

/// The guests.
#[derive(Clone, Debug)]
pub(crate) struct GuestMetrics {
    faults: Family<Cause, Counter>,
    declined: Counter,
    instances: Gauge,
    queued: Histogram,
    ran: Histogram,
}

impl GuestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        registry.register("guest_traps", "Calls that a guest failed, by cause", metrics.faults.clone());
        registry.register("guest_declined", "Calls that a guest declined and is sound after", metrics.declined.clone());
        registry.register("guest_instances", "Guests that can take a call", metrics.instances.clone());
        registry.register("queue_seconds", "Waiting for a guest, in seconds", metrics.queued.clone());
        registry.register("score_seconds", "In a guest, in seconds", metrics.ran.clone());
        metrics
    }

    pub(crate) fn unregistered() -> Self {
        let (queued, ran) = (Histogram::new(INSIDE), Histogram::new(INSIDE));
        let (faults, declined, instances) = (Family::default(), Counter::default(), Gauge::default());
        Self { faults, declined, instances, queued, ran }
    }

    pub(crate) fn failed(&self, fault: &GuestFault) {
        if fault.is_sound() {
            self.declined.inc();
        } else {
            self.faults.get_or_create(&Cause { cause: fault.cause() }).inc();
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
}

impl UpstreamMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        registry.register("upstream_replies", "What became of escalations", metrics.replies.clone());
        registry.register("upstream_seconds", "Waiting for the tier above, in seconds", metrics.took.clone());
        let states = "The breaker to the tier above: 0 closed, 1 half-open, 2 open";
        registry.register("upstream_breaker_state", states, metrics.breaker.clone());
        registry.register("upstream_connected", "Whether the tier above is connected", metrics.connected.clone());
        metrics
    }

    pub(crate) fn unregistered() -> Self {
        let took = Histogram::new(OVER_NETWORK);
        Self { replies: Family::default(), took, breaker: Gauge::default(), connected: Gauge::default() }
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

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
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
    fn what_the_breaker_refuses_has_not_waited() {
        let mut registry = front::metrics::registry(Tier::Edge);
        UpstreamMetrics::register(&mut registry).unasked();
        let text = shown(&registry);
        assert!(text.contains("edge_upstream_replies_total{outcome=\"refused_by_breaker\"} 1"), "{text}");
        assert!(text.contains("edge_upstream_seconds_count 0"), "{text}");
    }
}
