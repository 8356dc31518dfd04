//! One `rung.toml` for every tier: what `pop` and `origin` read at start, and what a deploy checks before.
//!
//! [`Config`] is the whole file, typed: a value of it cannot say what a tier could not do. A file that is refused is
//! refused with every [`Fault`] in it at once, each with its line and its key. Reading is pure: only
//! [`Config::from_path`] and [`Config::check_files`] touch the disk, and nothing here opens a socket.
//!
//! ```text
//! text ── toml ──> Section, Entry ── one file a section ──> Config
//!                        └── Findings: faults with their lines, and the files that the document names
//! ```
//!
//! A verb of the `cdn-config` tool is one file beside [`check`].

mod batching;
mod cache;
pub mod check;
mod clients;
mod config;
mod device;
pub mod diff;
pub mod explain;
mod fault;
mod files;
pub mod keys;
mod limits;
mod listen;
mod log;
mod model;
mod nearest;
mod provider;
pub mod render;
mod role;
mod section;
mod setting;
mod tls;
mod upstream;
mod worker;

#[cfg(test)]
mod example;

pub use batching::Batching;
pub use cache::Cache;
pub use clients::Clients;
pub use config::{Config, LoadError};
pub use device::{Device, Precision};
pub use fault::{Fault, FaultKind, Faults};
pub use limits::Limits;
pub use listen::{Https, Listen, Tiers};
pub use log::{Log, LogFormat};
pub use model::Model;
pub use role::{Origin, Pop, Role, Tier};
pub use setting::{Setting, Source, Value};
pub use tls::Tls;
pub use upstream::{Upstream, UpstreamTls};
pub use worker::Worker;
