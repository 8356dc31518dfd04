//! Turns an ONNX model, a feature schema and example requests into a bundle.
//!
//! One module a verb; [`build::run`] is the table of contents. Only this crate reads ONNX.

pub mod build;
pub mod check;
pub mod cli;
pub mod delta;
pub mod eval;
pub mod evaluate;
pub mod explain;
mod failure;
pub mod findings;
pub mod fit;
pub mod gate;
pub mod golden;
mod gram;
mod guest;
pub mod import;
pub mod inspect;
mod page;
pub mod parity;
pub mod peer;
pub mod progress;
pub mod ranker;
pub mod replay;
mod report;
pub mod round;
pub mod schema_check;
pub mod schema_init;
pub mod score;
pub mod search;
mod sense;
pub mod simulate;
pub mod snapshot;
pub mod source;
pub mod split;
mod tape;
pub mod worker;
pub mod write;

pub use failure::Failure;
pub use progress::Progress;
