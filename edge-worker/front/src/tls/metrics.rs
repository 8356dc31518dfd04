//! What is counted of one side's TLS.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Fault, Validity};
use crate::metrics::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
    found_by: &'static str,
}

/// The certificate in use and the handshakes that failed; a clone counts into the same ones.
#[derive(Clone, Debug, Default)]
pub struct TlsMetrics {
    until: Gauge,
    reloads: Family<Outcome, Counter>,
    failures: Family<Why, Counter>,
}

impl TlsMetrics {
    /// Of the listener or the connection of this name, with which each metric's name begins.
    #[must_use]
    pub fn register(registry: &mut Registry, name: &str) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix(name).sub_registry_with_prefix("tls");
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in use expires, or the first of its chain; 0: there is none",
            metrics.until.clone(),
        );
        registry.register(
            "reloads",
            "Changes of certificate, key or roots, by what became of them",
            metrics.reloads.clone(),
        );
        registry.register(
            "handshake_failures",
            "Handshakes that failed, by why and by who found it",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(super) fn in_use(&self, validity: Validity) {
        let seconds = validity.until().map_or(0, |until| until.as_secs());
        self.until.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    pub(super) fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// A handshake failed.
    pub fn failed(&self, fault: &Fault) {
        let label = Why { reason: fault.reason.as_str(), found_by: fault.by.as_str() };
        self.failures.get_or_create(&label).inc();
    }
}
