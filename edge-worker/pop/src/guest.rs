//! The guest and what hosts it: the WASM worker as bytes, run side by side.
//!
//! ```text
//! Program (compiled once) ── Instance (memory, exports) ── Pool (slots, who waits) ── async side
//! ```
//!
//! An instance begins with its bundle in its memory, copied on write, if the program is a snapshot of a worker that has
//! loaded it; else it is handed the bundle's bytes.
//!
//! A guest is not trusted: it gets no imports, a bounded memory and a bounded time, and every address and message it
//! returns is checked. What it does wrong is a [`GuestFault`] of one call; the instance is thrown away.

mod ceiling;
mod instance;
mod pool;
mod program;

#[cfg(test)]
mod faulty;
#[cfg(test)]
pub(crate) mod handmade;
#[cfg(test)]
mod worker_file;

pub(crate) use instance::Instance;
pub(crate) use pool::{Done, Pool, PoolError, PoolSize};
pub use program::GuestLimits;
pub(crate) use program::Program;

use std::sync::Arc;
use std::time::Duration;

use shared_model::ladder::{Payload, Terms, TierLimits};
use shared_model::wire::Tier;
use thiserror::Error;

/// What a guest works with: what it is loaded with of one verified bundle, and the tier it works for.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tier: Tier,
    pub(crate) limits: TierLimits,
    pub(crate) terms: Terms,
    pub(crate) schema: Vec<u8>,
    /// Shared by all revisions of a bundle's catalog.
    pub(crate) variant: Arc<[u8]>,
    pub(crate) catalog: Vec<u8>,
}

impl Load {
    /// What is in a snapshot, and handed to every other guest.
    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload { schema: &self.schema, variant: &self.variant, catalog: &self.catalog }
    }
}

/// What a guest did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GuestFault {
    /// The module is not a worker, or one of another version.
    #[error("it is not a worker that this host can run: {0}; build it with scripts/build-worker.sh")]
    Foreign(String),
    /// It stopped itself.
    #[error("it trapped in {call}: {reason}")]
    Trap {
        /// The export called.
        call: &'static str,
        /// The trap, and the text of the panic if there was one.
        reason: String,
    },
    /// It ran too long.
    #[error("it was still in {call} after {limit:?} and was stopped")]
    OutOfTime {
        /// The export called.
        call: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// It wanted more memory than it may have.
    #[error("it wanted more than its {} MiB of memory in {call}; raise `worker.memory_mib`", ceiling >> 20)]
    OutOfMemory {
        /// The export called.
        call: &'static str,
        /// Bytes it may have.
        ceiling: usize,
    },
    /// What it returned cannot be.
    #[error("it returned nonsense from {call}: {what}")]
    Nonsense {
        /// The export called.
        call: &'static str,
        /// Why.
        what: String,
    },
    /// The host failed it.
    #[error("the host panicked while it worked: {0}")]
    Host(String),
    /// It says that it cannot do as told. It is still sound.
    #[error("{0}")]
    Declined(String),
}

impl GuestFault {
    /// The fault's name in metrics.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Foreign(_) => "foreign",
            Self::Trap { .. } => "trap",
            Self::OutOfTime { .. } => "time",
            Self::OutOfMemory { .. } => "memory",
            Self::Nonsense { .. } => "nonsense",
            Self::Host(_) => "host",
            Self::Declined(_) => "declined",
        }
    }

    /// Whether the instance can go on after it.
    pub(crate) fn is_sound(&self) -> bool {
        matches!(self, Self::Declined(_))
    }
}
