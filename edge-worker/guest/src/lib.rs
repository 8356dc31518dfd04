//! The worker that ranks at the edge: [`shared_model::ladder`] behind a boundary that moves bytes.
//!
//! ```text
//! host ── parts of a bundle ──> Worker::load, Worker::start
//!      ── Call, CBOR ─────────> Worker::rank ───> Step, CBOR
//!      ── (held, Outcome) ────> Worker::resume ─> Step, CBOR
//! ```
//!
//! [`Worker`] is plain, safe code and is tested natively. The ABI of a host is a thin module over it, one a feature:
//! `pop` is the bare one (`abi`). A worker imports nothing: no clock, no randomness, no I/O. It trusts its host for the
//! bytes of a bundle to be verified, and for nothing else.
//!
//! The feature `web` has a worker of its own, [`web::JsonWorker`]: a JavaScript host has nothing that verifies, or that
//! reads requests, so it does both.

#[cfg(all(feature = "pop", target_arch = "wasm32"))]
mod abi;
#[cfg(any(test, all(feature = "pop", target_arch = "wasm32")))]
mod region;
#[cfg(feature = "web")]
pub mod web;
mod worker;

pub use worker::{MAX_MESSAGE_BYTES, Part, Worker, WorkerError};
