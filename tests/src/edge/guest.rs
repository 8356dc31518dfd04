//! The guest in wasmtime, under the engine that `pop` runs it with.

use std::path::Path;
use std::time::Duration;

use pop::hosting::{Guest, GuestLimits, Worker};
use shared_model::ladder::{Step, TierLimits};
use shared_model::wire::{Reason, Tier, from_cbor};

use super::model::{Bytes, LIMITS};
use super::turns::{Subject, calls};
use crate::client::Error;

/// As much as anything here needs.
pub(super) const BOUNDS: GuestLimits =
    GuestLimits { memory_bytes: 2 << 30, call: Duration::from_secs(60), load: Duration::from_secs(300) };

/// A guest that is asked the same calls again and again.
pub(super) struct Timed {
    guest: Guest,
    calls: Vec<Vec<u8>>,
    next: usize,
}

/// Compiles the worker in `file`.
pub(super) fn compile(file: &Path) -> Result<Worker, Error> {
    let wasm = std::fs::read(file).map_err(|e| format!("{}: {e}: run scripts/build-worker.sh", file.display()))?;
    Ok(Worker::compile(&wasm, BOUNDS)?)
}

/// A guest that is loaded with a bundle.
pub(super) fn started(worker: &Worker, tier: Tier, bytes: &Bytes) -> Result<Guest, Error> {
    limited(worker, tier, LIMITS, bytes)
}

fn limited(worker: &Worker, tier: Tier, limits: TierLimits, bytes: &Bytes) -> Result<Guest, Error> {
    Ok(worker.start(tier, limits, &bytes.terms()?, Some(bytes.parts().payload()))?)
}

impl Timed {
    /// Starts a guest, which must answer every call itself.
    pub(super) fn start(worker: &Worker, tier: Tier, bytes: &Bytes, calls: Vec<Vec<u8>>) -> Result<Self, Error> {
        Self::of(started(worker, tier, bytes)?, calls)
    }

    /// The same without a table of what is computed of items ahead.
    pub(super) fn without_table(
        worker: &Worker,
        tier: Tier,
        bytes: &Bytes,
        calls: Vec<Vec<u8>>,
    ) -> Result<Self, Error> {
        Self::of(limited(worker, tier, TierLimits { item_table_bytes: 0, ..LIMITS }, bytes)?, calls)
    }

    fn of(mut guest: Guest, calls: Vec<Vec<u8>>) -> Result<Self, Error> {
        for call in &calls {
            answered(guest.rank(call)?)?;
        }
        Ok(Self { guest, calls, next: 0 })
    }

    /// Its scores of the candidates of its first call, best first, by id.
    pub(super) fn first(&mut self) -> Result<Vec<(String, f32)>, Error> {
        answered(self.guest.rank(&self.calls[0])?)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.guest.memory_bytes()
    }
}

impl Subject for Timed {
    fn turn(&mut self, time: Duration) -> Result<Vec<f64>, Error> {
        let Self { guest, calls: asked, next } = self;
        calls(time, next, |i| {
            std::hint::black_box(guest.rank(&asked[i % asked.len()])?);
            Ok(())
        })
    }
}

/// What a step ranks; an error unless the guest scored and answered.
pub(super) fn answered(step: &[u8]) -> Result<Vec<(String, f32)>, Error> {
    match from_cbor(step)? {
        Step::Answer(answer) if matches!(answer.reason, Reason::Asked | Reason::Trivial) => {
            let ranked = answer.ranked.into_iter();
            Ok(ranked.map(|entry| (entry.id, entry.score.unwrap_or(f32::NAN))).collect())
        }
        other => Err(format!("the guest does not answer itself: {other:?}").into()),
    }
}
