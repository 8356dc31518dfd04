//! The ladder's messages as bytes, for a host that has nothing else: a guest's.
//!
//! They are read and written in this crate alone, for each crate that calls a generic function compiles its own.

use minicbor::bytes::ByteVec;

use super::{Ladder, Outcome, Terms, TierLimits};
use crate::wire::{CborError, from_cbor, to_cbor};

/// The version of the contract between a worker and its host (`edge-worker/guest/src/abi.rs`); a host refuses another.
pub const ABI_VERSION: u32 = 3;

impl Terms {
    /// What a worker begins with, from a pair of terms and the tier's limits as CBOR.
    ///
    /// # Errors
    /// It is not that pair.
    pub fn with_limits(message: &[u8]) -> Result<(Self, TierLimits), CborError> {
        from_cbor(message)
    }
}

impl Ladder {
    /// [`Self::rank`] from a [`Call`](super::Call) to a [`Step`](super::Step), both as CBOR.
    ///
    /// # Errors
    /// It is not a call.
    pub fn rank_cbor(&mut self, call: &[u8]) -> Result<Vec<u8>, CborError> {
        Ok(to_cbor(&self.rank(&from_cbor(call)?)))
    }

    /// [`Self::resume`] from `[held, Outcome]` to a [`Step`](super::Step), both as CBOR.
    ///
    /// # Errors
    /// It is not that pair.
    pub fn resume_cbor(&mut self, message: &[u8]) -> Result<Vec<u8>, CborError> {
        let (held, outcome): (ByteVec, Outcome) = from_cbor(message)?;
        Ok(to_cbor(&self.resume(&held, outcome)))
    }
}
