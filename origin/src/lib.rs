//! The origin: the top of the ladder, where every candidate is scored at full precision.
//!
//! ```text
//! front ─ call ─▶ service ─ rows ─▶ batch: queue, policy ═ job ═▶ engine: thread "origin-device", executor on burn
//!                    └◀────────────── scores ────────────────────────────┘
//! ```
//!
//! [`start`] reads the bundles, puts the models on a [`device`] and opens the listeners; `main` only reads arguments.
//! The [`executor`] runs the graph that the lower tiers run too, and knows no requests; the service knows requests and
//! no device; between them [`batch`] puts requests together for the one thread of the [`engine`]. Encoding, top-k and every
//! word on the wire come from `shared_model`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod batch;
pub mod device;
pub mod engine;
pub mod executor;
#[cfg(test)]
mod fixture;
pub mod metrics;
pub mod model;
mod service;
mod start;

pub use start::{Running, Settings, SettingsError, StartError, start};
