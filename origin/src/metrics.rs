//! What the origin counts beside its front.

use std::time::Duration;

use front::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;

use crate::device::Device;

/// The bounds of batches, in candidates.
const CANDIDATES: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
/// The bounds of the time on the device, in seconds.
const SECONDS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Why a job was dropped before it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Nobody waits for it.
    Abandoned,
    /// Its deadline has passed.
    Overdue,
    /// Its batch does not fit the model.
    Unfit,
}

impl Dropped {
    fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Overdue => "overdue",
            Self::Unfit => "unfit",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// The origin's metrics; a clone counts into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    batch_size: Histogram,
    batch_duration: Histogram,
    queue_depth: Gauge,
    scores: Counter,
    failed_batches: Counter,
    dropped_jobs: Family<Why, Counter>,
}

impl Metrics {
    /// Puts the metrics into the registry of the origin's front; `device` is named by one of them.
    pub fn register(registry: &mut Registry, device: &Device) -> Self {
        let metrics = Self {
            batch_size: Histogram::new(CANDIDATES),
            batch_duration: Histogram::new(SECONDS),
            queue_depth: Gauge::default(),
            scores: Counter::default(),
            failed_batches: Counter::default(),
            dropped_jobs: Family::default(),
        };
        registry.register("batch_size", "Candidates of a batch", metrics.batch_size.clone());
        registry.register("batch_duration_seconds", "A batch's time on the device", metrics.batch_duration.clone());
        registry.register("queue_depth", "Jobs waiting for the device", metrics.queue_depth.clone());
        registry.register("scores", "Candidates scored", metrics.scores.clone());
        registry.register("failed_batches", "Batches that the device failed", metrics.failed_batches.clone());
        registry.register("dropped_jobs", "Jobs dropped before they ran", metrics.dropped_jobs.clone());
        registry.register("device", "What the model runs on", Info::new(vec![("kind", device.kind().as_str())]));
        metrics
    }

    pub(crate) fn queued(&self) {
        self.queue_depth.inc();
    }

    pub(crate) fn unqueued(&self) {
        self.queue_depth.dec();
    }

    pub(crate) fn dropped(&self, why: Dropped) {
        self.dropped_jobs.get_or_create(&Why { reason: why.as_str() }).inc();
    }

    pub(crate) fn ran(&self, candidates: usize, took: Duration, scored: bool) {
        // A histogram is of f64, which holds every number of candidates there may be.
        let size = u32::try_from(candidates).unwrap_or(u32::MAX);
        self.batch_size.observe(size.into());
        self.batch_duration.observe(took.as_secs_f64());
        if scored {
            self.scores.inc_by(size.into());
        } else {
            self.failed_batches.inc();
        }
    }
}
