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

/// The bounds of batches, in requests.
const REQUESTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The bounds of batches, in candidates.
const CANDIDATES: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
/// The bounds of the time before the device and on it, in seconds.
const SECONDS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Why a request was dropped before the device had anything to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Nobody waits for it.
    Abandoned,
    /// It cannot be in time any more.
    Late,
}

impl Dropped {
    fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Late => "late",
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
    batch_requests: Histogram,
    batch_delay: Histogram,
    batch_duration: Histogram,
    queue_candidates: Gauge,
    scores: Counter,
    failed_batches: Counter,
    dropped: Family<Why, Counter>,
    device_lost: Gauge,
    device_losses: Counter,
    device_memory: Gauge,
}

impl Metrics {
    /// Puts the metrics into the registry of the origin's front; `device` is named by one of them.
    pub fn register(registry: &mut Registry, device: &Device) -> Self {
        let metrics = Self {
            batch_size: Histogram::new(CANDIDATES),
            batch_requests: Histogram::new(REQUESTS),
            batch_delay: Histogram::new(SECONDS),
            batch_duration: Histogram::new(SECONDS),
            queue_candidates: Gauge::default(),
            scores: Counter::default(),
            failed_batches: Counter::default(),
            dropped: Family::default(),
            device_lost: Gauge::default(),
            device_losses: Counter::default(),
            device_memory: Gauge::default(),
        };
        registry.register("batch_size", "Candidates of a batch", metrics.batch_size.clone());
        registry.register("batch_requests", "Requests of a batch", metrics.batch_requests.clone());
        registry.register(
            "batch_delay_seconds",
            "A request's wait for its batch to begin",
            metrics.batch_delay.clone(),
        );
        registry.register("batch_duration_seconds", "A batch's time on the device", metrics.batch_duration.clone());
        registry.register("queue_candidates", "Candidates waiting for the device", metrics.queue_candidates.clone());
        registry.register("scores", "Candidates scored", metrics.scores.clone());
        registry.register("failed_batches", "Batches that came back without scores", metrics.failed_batches.clone());
        registry.register("dropped", "Requests dropped before the device had them", metrics.dropped.clone());
        registry.register(
            "device_lost",
            "Models that are scored on the CPU because their device is lost",
            metrics.device_lost.clone(),
        );
        registry.register("device_losses", "Losses of a device", metrics.device_losses.clone());
        registry.register(
            "device_memory_bytes",
            "Memory of the device that this origin holds; 0 where that is not told",
            metrics.device_memory.clone(),
        );
        let labels = vec![("kind", device.kind().to_string()), ("precision", device.precision().as_str().to_owned())];
        registry.register("device", "What the models are meant to run on", Info::new(labels));
        metrics
    }

    /// These candidates have a place before the device now.
    pub(crate) fn waiting(&self, candidates: usize) {
        self.queue_candidates.inc_by(i64::try_from(candidates).unwrap_or(i64::MAX));
    }

    /// These have none any more.
    pub(crate) fn waiting_no_more(&self, candidates: usize) {
        self.queue_candidates.dec_by(i64::try_from(candidates).unwrap_or(i64::MAX));
    }

    pub(crate) fn dropped(&self, why: Dropped) {
        self.dropped.get_or_create(&Why { reason: why.as_str() }).inc();
    }

    /// A model has lost its device.
    pub(crate) fn lost(&self) {
        self.device_lost.inc();
        self.device_losses.inc();
    }

    /// A model that had lost its device has it again, or is gone.
    pub(crate) fn found(&self) {
        self.device_lost.dec();
    }

    /// The device's memory is so much.
    pub(crate) fn memory(&self, bytes: u64) {
        self.device_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The device begins a batch.
    pub(crate) fn began(&self, requests: usize, candidates: usize) {
        self.batch_requests.observe(count(requests).into());
        self.batch_size.observe(count(candidates).into());
    }

    /// A request of a batch that begins has waited so long.
    pub(crate) fn delayed(&self, waited: Duration) {
        self.batch_delay.observe(waited.as_secs_f64());
    }

    /// The device is done with a batch.
    pub(crate) fn ran(&self, candidates: usize, took: Duration, scored: bool) {
        self.batch_duration.observe(took.as_secs_f64());
        if scored {
            self.scores.inc_by(count(candidates).into());
        } else {
            self.failed_batches.inc();
        }
    }
}

/// A histogram is of f64, which holds every count there may be.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
