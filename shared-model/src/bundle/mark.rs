//! What a pre-initialized worker was made of: a section at its end says so.
//!
//! Guests of one model must all be of one worker, or the answer would depend on which of them gives it; and a bundle whose
//! files were put together from two must not answer with what is in neither. So a host runs a pre-initialized worker only
//! if it was made of the worker that the host has, and of the bundle's other files.

use sha2::{Digest as _, Sha256};

use crate::ladder::Payload;

/// The name of the section, which holds a SHA-256.
const NAME: &[u8] = b"rung.made-of";

/// Marks what is made of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    worker: [u8; 32],
}

impl Mark {
    /// That of the worker in these bytes.
    #[must_use]
    pub fn of(worker: &[u8]) -> Self {
        Self { worker: Sha256::digest(worker).into() }
    }

    /// The custom section at the end of the worker once it has loaded the payload.
    #[must_use]
    pub fn section(&self, payload: Payload<'_>) -> Vec<u8> {
        let Payload { schema, variant, catalog } = payload;
        let parts = [schema, variant, catalog].map(|part| <[u8; 32]>::from(Sha256::digest(part)));
        let digest = Sha256::digest([&self.worker[..], parts.as_flattened()].concat());
        // Lengths below 128 are one byte in LEB128, and a custom section has the number 0.
        let contents = 1 + NAME.len() + digest.len();
        [&[0, contents as u8, NAME.len() as u8], NAME, &digest[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_a_worker_and_all_that_it_has_loaded() {
        let payload = Payload { schema: b"s", variant: b"v", catalog: b"c" };
        let section = Mark::of(b"worker").section(payload);
        assert_eq!((section.len(), &section[..3], &section[3..15]), (47, &[0, 45, 12][..], NAME));
        let others = [
            Mark::of(b"another").section(payload),
            Mark::of(b"worker").section(Payload { schema: b"t", ..payload }),
            Mark::of(b"worker").section(Payload { variant: b"w", ..payload }),
            Mark::of(b"worker").section(Payload { catalog: b"d", ..payload }),
        ];
        assert!(others.iter().all(|other| *other != section));
    }
}
