//! The ladder of a toy model: what each tier does with a request and with what the tier above says.
#![cfg(feature = "toml")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod doubt;
mod noise;
mod toy;
mod whole;
