//! The front over real sockets, with a small tier behind it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod drain;
mod escalate;
mod limits;
mod order;
mod problems;
mod protocols;
mod rig;
mod start;
