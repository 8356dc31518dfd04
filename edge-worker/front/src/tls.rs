//! TLS 1.3 as every tier speaks it, to its clients and to the other tiers.
//!
//! ```text
//! Pem (a file, bounded) ── Identity ─┬─ Server ─┬─ Rotation (looks at the files, keeps what is good) ── rustls
//!                          roots  ───┴─ Client ─┘
//! ```
//!
//! A [`Server`] or a [`Client`] is sound when it is made: its files have been read and belong together. A [`Rotation`]
//! makes it again when its files change. What a handshake fails for is told by [`Fault`], in words and in a closed set
//! of labels.

mod fault;
mod metrics;
mod pem;
mod rotation;
mod side;
mod validity;

pub use fault::{By, Fault, Reason};
pub use metrics::TlsMetrics;
pub use pem::{Pem, Stamp, TlsError};
pub use rotation::{Material, Rotation};
pub use side::{Client, Identity, Server};
pub use validity::{Standing, Validity};
