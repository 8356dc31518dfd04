//! What is running, and what became of the tries to run something else.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use shared_model::bundle::Edition;

use crate::metrics::Registry;

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A bundle took the place of another.
    Bundle,
    /// An older bundle did, as somebody asked.
    Rollback,
    /// The catalog has another revision.
    Catalog,
    /// What was found is not served.
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Bundle, Self::Rollback, Self::Catalog, Self::Refused];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Rollback => "rollback",
            Self::Catalog => "catalog",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Swap {
    outcome: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct SwapMetrics {
    serial: Family<Model, Gauge>,
    revision: Family<Model, Gauge>,
    swaps: Family<Swap, Counter>,
}

impl SwapMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { serial: Family::default(), revision: Family::default(), swaps: Family::default() };
        registry.register("bundle_serial", "The serial of the running bundle", metrics.serial.clone());
        registry.register("catalog_revision", "The revision of the running catalog", metrics.revision.clone());
        let help = "What took the place of a running bundle or catalog, and what was refused";
        registry.register("swaps", help, metrics.swaps.clone());
        // From the start, so that the first refusal is seen as a change.
        for outcome in Outcome::ALL {
            let _ = metrics.swaps.get_or_create(&Swap { outcome: outcome.as_str() });
        }
        metrics
    }

    pub(super) fn runs(&self, edition: &Edition) {
        let manifest = edition.manifest();
        let label = Model { model: manifest.model.clone() };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.serial.get_or_create(&label).set(number(manifest.serial));
        self.revision.get_or_create(&label).set(number(edition.stamp().catalog));
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.swaps.get_or_create(&Swap { outcome: outcome.as_str() }).inc();
    }
}
