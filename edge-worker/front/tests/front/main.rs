//! The front over real sockets, with a small tier behind it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod cached;
mod coding;
mod cors;
mod drain;
mod escalate;
mod http3;
mod limits;
mod openapi;
mod order;
mod popular;
mod problems;
mod protocols;
mod quic;
mod rig;
mod rotation;
mod start;
mod tiers;
mod trace;
