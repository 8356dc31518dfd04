//! The whole of Rung, held as its users hold it: one binary, a module a topic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod bad_input;
mod batching;
mod bundles;
mod clients;
mod faults;
mod ladder;
mod layers;
mod levels;
mod outcomes;
mod parity;
mod preinitialized;
mod requests;
mod swap;
mod transport;
mod web;
