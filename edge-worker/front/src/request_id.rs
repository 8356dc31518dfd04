//! What a request is known by: its id in answers, logs and problem documents, the same on every tier that it passes, and
//! its place in a trace.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Trace;

/// The header that carries it, in requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that is taken from a client.
const MAX_BYTES: usize = 128;

/// A request's id, up to 128 visible ASCII characters, and the trace that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    id: HeaderValue,
    trace: Trace,
}

impl RequestId {
    /// An id that no other request has: drawn for the process, then counted.
    #[must_use]
    pub fn fresh() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let text = format!("{:016x}{:08x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
        let id = HeaderValue::try_from(text).expect("hexadecimal digits are a header value");
        Self { id, trace: Trace::begin() }
    }

    /// The client's id if it is one, and one id only; else a fresh one. So with the trace.
    ///
    /// An id ends up in logs: what could break a line or a quote there is not taken.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(&REQUEST_ID).iter();
        let id = match (given.next(), given.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => id.clone(),
            (Some(_) | None, _) => Self::fresh().id,
        };
        Self { id, trace: Trace::of(headers) }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.id.to_str().expect("a request id is visible ASCII")
    }

    /// The id as the value of [`REQUEST_ID`].
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// The trace that it is part of.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Writes id and trace into the headers of a message to the tier above.
    pub fn pass_on(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.header());
        self.trace.write_to(headers);
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[&[u8]]) -> RequestId {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(id).expect("a header value"));
        }
        RequestId::of(&headers)
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(RequestId::fresh(), RequestId::fresh());
    }

    #[test]
    fn keeps_a_sane_id() {
        assert_eq!(of(&[b"01J8-abc/7"]).as_str(), "01J8-abc/7");
        let longest = [b'x'; MAX_BYTES];
        assert_eq!(of(&[&longest]).as_str().len(), MAX_BYTES);
    }

    #[test]
    fn replaces_an_id_that_is_empty_long_blank_or_not_ascii() {
        for hostile in [&b""[..], &[b'x'; MAX_BYTES + 1], b"a b", b"a\tb", b"\xff\xfe", b"a\"b", b"a\\nb"] {
            let id = of(&[hostile]);
            assert_ne!(id.as_str().as_bytes(), hostile);
            assert_eq!(id.as_str().len(), 24);
        }
    }

    #[test]
    fn replaces_two_ids_by_one() {
        let id = of(&[b"one", b"two"]);
        assert!(!["one", "two"].contains(&id.as_str()), "{id}");
    }
}
