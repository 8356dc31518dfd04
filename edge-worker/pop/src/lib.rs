//! A POP or a region: hosts the WASM worker, asks the tier above, and always answers.
//!
//! ```text
//! front ─ cache ─ Service ─┬─ generations ─ guest: Pool ─ Instance (wasmtime)     edge-worker, as bytes
//!                          └─ upstream: Breaker ─ Link ─ HTTP/2     region or origin
//! ```
//!
//! [`start`] builds it from a `rung.toml` or from [`Settings`]; [`Running`] ends it. What a request means and when an
//! answer is sure is the guest's business; this crate moves bytes, keeps time and survives. [`hosting`] is a guest alone.

mod budget;
mod bundle;
mod cache;
mod guest;
pub mod hosting;
mod metrics;
mod service;
mod settings;
mod start;
mod upstream;

#[cfg(test)]
mod sample;

pub use bundle::LoadFault;
pub use cache::CacheSettings;
pub use guest::GuestFault;
pub use settings::{Settings, SettingsError, UpstreamError, WorkerSettings};
pub use start::{Running, StartError, start};
pub use upstream::{BreakerSettings, Security, UpstreamSettings};
