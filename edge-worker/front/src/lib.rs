//! What a Rung daemon shows to the network, whatever ranks behind it.
//!
//! ```text
//! listen ─ sniff / TLS ─ connection (HTTP/1.1, HTTP/2) ─┬─ router ─┬─ rank     ─┬─ body ─ admit ─ guard ─▶ Ranker
//! quic ─ TLS ─ connection (HTTP/3) ─────────────────────┘          ├─ escalate ─┘
//!                                                                  └─ popular ────── admit ─────────▶ Ranker
//!          every refusal and failure ─▶ problem        every answer ─▶ coding, CORS, request id, metrics, log
//! listen ─ admin: /healthz, /readyz, /metrics, /drain, orders ─▶ generations: the bundles in service
//! ```
//!
//! [`serve()`] starts it, [`Front::run`] or [`Front::drain`] ends it. The tier behind is a [`Ranker`]: it is handed
//! decoded calls and knows nothing of HTTP. The front decides nothing about ranking; it bounds what comes in, and makes
//! sure that every request gets an answer.

mod admin;
mod admit;
mod body;
mod budget;
mod coding;
mod connection;
mod cors;
mod drain;
mod escalate;
pub mod generations;
mod geo;
mod guard;
mod idle;
mod listen;
pub mod logging;
pub mod metrics;
mod openapi;
mod panicked;
mod popular;
mod problem;
mod quic;
mod rank;
mod ranker;
mod request_id;
mod router;
mod serve;
mod settings;
mod signals;
pub mod tls;
mod trace;

pub use budget::step_until;
pub use cors::{Cors, Origins};
pub use drain::Drained;
pub use panicked::panicked;
pub use ranker::{Call, Escalated, Failure, Found, Given, Health, Popular, Ranker, Serving};
pub use request_id::{REQUEST_ID, RequestId};
pub use serve::{Front, StartError, serve};
pub use settings::{Clients, Https, Limits, Settings};
pub use signals::Signals;
pub use trace::{TRACEPARENT, TRACESTATE, Trace};

/// The path where a tier takes the escalations of the tier below, for whoever calls it.
pub const ESCALATE_PATH: &str = "/v1/escalate";
/// The media type of the messages between tiers.
pub const CBOR: &str = "application/cbor";
