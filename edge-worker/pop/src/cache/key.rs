//! What an answer is kept under.

use sha2::{Digest as _, Sha256};
use shared_model::wire::{RankRequest, Stamp, to_cbor};

/// SHA-256 of all that an answer depends on: two requests with one key cannot be told apart by their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of a decoded request, how long it waits aside, answered from `stamp`.
    ///
    /// The request is borrowed for writing only to leave its timeout out for the while.
    pub(super) fn of(request: &mut RankRequest, stamp: Stamp) -> Self {
        let timeout = request.timeout_ms.take();
        // The parts before the request have a fixed length: nothing of one part can pass for another's.
        let hash = Sha256::new()
            .chain_update(stamp.bundle.0)
            .chain_update(stamp.catalog.to_le_bytes())
            .chain_update(to_cbor(request));
        request.timeout_ms = timeout;
        Self(hash.finalize().into())
    }

    /// One of so many parts, at most 256: a hash falls into each as often.
    pub(super) fn part(&self, parts: usize) -> usize {
        usize::from(self.0[0]) % parts
    }
}

#[cfg(test)]
mod tests {
    use shared_model::wire::{Candidate, Digest, Raw, TierChoice};

    use super::*;
    use crate::sample;

    const STAMP: Stamp = Stamp { bundle: Digest([1; 32]), catalog: 3 };

    fn key(change: impl FnOnce(&mut RankRequest)) -> Key {
        let mut request = sample::request(1.0);
        change(&mut request);
        Key::of(&mut request, STAMP)
    }

    #[test]
    fn how_long_a_client_waits_does_not_matter_and_is_kept() {
        let mut request = RankRequest { timeout_ms: Some(50), ..sample::request(1.0) };
        assert_eq!(Key::of(&mut request, STAMP), key(|_| {}));
        assert_eq!(request.timeout_ms, Some(50));
    }

    #[test]
    fn whatever_an_answer_depends_on_makes_another_key() {
        let more = Candidate { id: "m10".to_owned(), features: None };
        let keys = [
            key(|_| {}),
            key(|r| r.model = "other".to_owned()),
            key(|r| r.k = 3),
            key(|r| r.user.0[0].1 = Raw::Float(0.5)),
            key(|r| r.context.0.push(("geo".to_owned(), Raw::Text("DE".to_owned())))),
            key(|r| r.candidates.push(more)),
            key(|r| r.candidates.swap(0, 1)),
            key(|r| r.exclude.push("m1".to_owned())),
            key(|r| r.tier = TierChoice::Edge),
            key(|r| r.explain = true),
            Key::of(&mut sample::request(1.0), Stamp { catalog: 4, ..STAMP }),
            Key::of(&mut sample::request(1.0), Stamp { bundle: Digest([2; 32]), ..STAMP }),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{i}");
        }
    }
}
