//! What the front counts. The tier behind registers its own metrics in the same [`Registry`] before it serves.

use std::time::{Duration, Instant};

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;
use shared_model::wire::Tier;

/// The bounds of the request durations, in seconds: fine where the tiers' targets are.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0];

/// The registry of a tier: every name in it starts with the tier's.
#[must_use]
pub fn registry(tier: Tier) -> Registry {
    Registry::with_prefix(tier.as_str())
}

/// Why something was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedFor {
    /// Too many connections.
    Connections,
    /// Too many requests worked on.
    InFlight,
    /// Too much memory in bodies.
    Bodies,
    /// The tier behind has no room.
    Tier,
}

impl RefusedFor {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::InFlight => "in_flight",
            Self::Bodies => "bodies",
            Self::Tier => "tier",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// The front's own metrics; a clone counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Code, Counter>,
    duration: Histogram,
    in_flight: Gauge,
    connections: Gauge,
    refused: Family<Why, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Histogram::new(SECONDS),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            refused: Family::default(),
        };
        // prometheus-client itself adds `_total` to a counter's name and a full stop to its help.
        registry.register("requests", "Requests answered, by status code", metrics.requests.clone());
        registry.register(
            "request_duration_seconds",
            "From a request's head to its answer, in seconds",
            metrics.duration.clone(),
        );
        registry.register("in_flight_requests", "Requests not yet answered", metrics.in_flight.clone());
        registry.register("open_connections", "Connections of clients", metrics.connections.clone());
        registry.register("refused", "Connections and requests refused at the door", metrics.refused.clone());
        metrics
    }

    /// A request has arrived.
    pub(crate) fn arrived(&self, at: Instant) -> InFlight {
        InFlight { arrived: at, _counted: Counted::in_gauge(&self.in_flight), metrics: self.clone() }
    }

    /// A connection is open as long as the value lives.
    pub(crate) fn connected(&self) -> Counted {
        Counted::in_gauge(&self.connections)
    }

    pub(crate) fn refused(&self, reason: RefusedFor) {
        self.refused.get_or_create(&Why { reason: reason.as_str() }).inc();
    }

    /// How many requests are not yet answered.
    pub(crate) fn in_flight(&self) -> usize {
        usize::try_from(self.in_flight.get()).unwrap_or(0)
    }
}

/// Counted in a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn in_gauge(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request on its way to an answer; dropped without one, its client has left.
#[derive(Debug)]
pub(crate) struct InFlight {
    arrived: Instant,
    _counted: Counted,
    metrics: Metrics,
}

impl InFlight {
    /// The answer is made. Returns the time it took.
    pub(crate) fn answered(self, code: StatusCode) -> Duration {
        let took = self.arrived.elapsed();
        self.metrics.requests.get_or_create(&Code { code: code.as_u16() }).inc();
        self.metrics.duration.observe(took.as_secs_f64());
        took
    }
}
