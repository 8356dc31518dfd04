//! A request's place in a trace, as W3C Trace Context has it: taken from the client, or begun here, and passed upwards.
//!
//! Nothing is recorded of a span but its name in the logs: the same trace id on every tier finds all that was done for
//! one request, in whatever trace its client drew.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What other tracers want carried along with it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest that is carried along, as the specification asks for at least.
const MAX_STATE_BYTES: usize = 512;
/// Version, trace, span and flags, with a hyphen between them.
const PARENT_BYTES: usize = 55;
/// The only flag of version 00: somebody records this trace.
const SAMPLED: u8 = 1;

/// Where a tier's work on a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    trace: [u8; 16],
    /// This tier's own span: what the tier above will call its parent.
    span: [u8; 8],
    flags: u8,
    state: Option<HeaderValue>,
}

impl Trace {
    /// A trace that begins here. Nobody records it, as far as is known.
    #[must_use]
    pub fn begin() -> Self {
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&fresh());
        trace[8..].copy_from_slice(&fresh());
        Self { trace, span: fresh(), flags: 0, state: None }
    }

    /// A span of its own in the client's trace, if there is one and it is sound; else a trace that begins here.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(&TRACEPARENT).iter();
        match (given.next().and_then(|parent| parse(parent.as_bytes())), given.next()) {
            (Some((trace, flags)), None) => Self { trace, span: fresh(), flags, state: state(headers) },
            (Some(_) | None, _) => Self::begin(),
        }
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.trace)
    }

    /// This tier's span: 16 hexadecimal digits.
    #[must_use]
    pub fn span(&self) -> String {
        hex(&self.span)
    }

    /// Names this tier as the parent of what a message with these headers begets.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let parent = HeaderValue::try_from(self.to_string()).expect("hexadecimal digits are a header value");
        headers.insert(TRACEPARENT, parent);
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// As in [`TRACEPARENT`].
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.id(), self.span(), self.flags)
    }
}

/// The trace and the flags of a parent. Of a later version only what this one knows is read.
fn parse(parent: &[u8]) -> Option<([u8; 16], u8)> {
    let (known, later) = parent.split_at_checked(PARENT_BYTES)?;
    let [version, trace, span, flags] = known.split(|b| *b == b'-').collect::<Vec<_>>().try_into().ok()?;
    let [version] = bytes::<1>(version)?;
    let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
    let ends = later.is_empty() || (version > 0 && later[0] == b'-');
    (version != 0xff && ends && trace != [0; 16] && span != [0; 8]).then_some((trace, flags & SAMPLED))
}

/// Bytes from lower-case hexadecimal digits: capitals are not allowed.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut all = [0; N];
    for (byte, pair) in all.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(all)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written to it");
        text
    })
}

/// One line of visible text of a bounded length, or nothing.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(&TRACESTATE).iter();
    let only = given.next().filter(|state| given.next().is_none() && (1..=MAX_STATE_BYTES).contains(&state.len()))?;
    only.as_bytes().iter().all(|b| matches!(b, b' '..=b'~')).then(|| only.clone())
}

/// Eight bytes, never all zero, that nobody else is likely to draw: a count, hashed with a key of this process.
fn fresh() -> [u8; 8] {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let drawn = KEY.hash_one((NEXT.fetch_add(1, Ordering::Relaxed), std::process::id()));
    drawn.max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(parents: &[&str]) -> Trace {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().expect("a header value"));
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        Trace::of(&headers)
    }

    #[test]
    fn a_client_is_given_a_span_of_its_own_trace() {
        let trace = of(&[PARENT]);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(trace.span(), "00f067aa0ba902b7");
        let mut passed_on = HeaderMap::new();
        trace.write_to(&mut passed_on);
        assert_eq!(passed_on[TRACEPARENT], format!("00-{}-{}-01", trace.id(), trace.span()));
        assert_eq!(passed_on[TRACESTATE], "vendor=1");
        assert_eq!(Trace::of(&passed_on).id(), trace.id());
    }

    #[test]
    fn flags_that_version_00_does_not_know_are_not_passed_on() {
        assert!(of(&[&PARENT.replace("-01", "-ff")]).to_string().ends_with("-01"));
        assert!(of(&[&PARENT.replace("-01", "-02")]).to_string().ends_with("-00"));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1);
        assert_eq!(of(&[&format!("{later}-what-the-future-will-be-like")]).id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(of(&[&later]).id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_not_sound_begins_a_trace_without_the_clients_state() {
        let hostile = [
            String::new(),
            PARENT.to_uppercase(),
            PARENT.replacen("00", "ff", 1),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace('4', "g"),
            PARENT.replace("-01", "-0"),
            format!("{PARENT}-more"),
            format!("{}.", PARENT.replacen("00", "cc", 1)),
            PARENT[..54].to_owned() + "é",
            PARENT.replace("36-", "-36"),
        ];
        for parent in &hostile {
            let trace = of(&[parent]);
            assert!(trace.id() != "4bf92f3577b34da6a3ce929d0e0e4736" && trace.state.is_none(), "{parent}");
        }
        assert_ne!(of(&[PARENT, PARENT]).id(), "4bf92f3577b34da6a3ce929d0e0e4736", "two parents are none");
    }

    #[test]
    fn traces_that_begin_here_differ_and_are_sound() {
        let (one, other) = (Trace::begin(), Trace::begin());
        assert_ne!(one.id(), other.id());
        assert!(parse(one.to_string().as_bytes()).is_some());
    }

    #[test]
    fn a_state_too_long_or_not_visible_is_left_behind() {
        for (state, kept) in [("a=1", true), (&*"x".repeat(512), true), (&*"x".repeat(513), false), ("a=é", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, PARENT.parse().expect("a header value"));
            headers.insert(TRACESTATE, HeaderValue::from_bytes(state.as_bytes()).expect("a header value"));
            assert_eq!(Trace::of(&headers).state.is_some(), kept, "{state}");
        }
    }
}
