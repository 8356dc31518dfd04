//! Where a client is, as a CDN tells it in a header.

use http::{HeaderMap, HeaderName};
use shared_model::limits::MAX_GEO_BYTES;
use shared_model::wire::{Raw, Record};

/// The field of the context that says it.
const FIELD: &str = "geo";

/// Says where the client is, unless the request does. From then on it is a field like any other: to the schema, to the
/// tiers above, and to the cache.
pub(crate) fn fill(context: &mut Record, headers: &HeaderMap, header: &HeaderName) {
    if *context.field(FIELD) != Raw::Null {
        return;
    }
    if let Some(geo) = headers.get(header).and_then(|value| read(value.as_bytes())) {
        context.0.retain(|(name, _)| name != FIELD);
        context.0.push((FIELD.to_owned(), Raw::Text(geo)));
    }
}

/// One short word, in capitals, as countries are written.
fn read(value: &[u8]) -> Option<String> {
    let sane = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let word = value.trim_ascii();
    let text = std::str::from_utf8(word).ok().filter(|_| word.iter().all(sane))?;
    (1..=MAX_GEO_BYTES).contains(&text.len()).then(|| text.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("cf-ipcountry");

    fn filled(given: Option<Raw>, header: &[u8]) -> Record {
        let mut context = Record(given.into_iter().map(|raw| (FIELD.to_owned(), raw)).collect());
        let value = http::HeaderValue::from_bytes(header).expect("a header value");
        fill(&mut context, &[(HEADER, value)].into_iter().collect(), &HEADER);
        context
    }

    fn text(geo: &str) -> Raw {
        Raw::Text(geo.to_owned())
    }

    #[test]
    fn the_header_speaks_for_a_request_that_does_not() {
        assert_eq!(*filled(None, b" de ").field(FIELD), text("DE"));
        let told = filled(Some(Raw::Null), b"us-ca");
        assert_eq!((told.field(FIELD), told.0.len()), (&text("US-CA"), 1));
    }

    #[test]
    fn the_request_is_believed_first() {
        assert_eq!(*filled(Some(text("fr")), b"DE").field(FIELD), text("fr"));
    }

    #[test]
    fn what_is_no_word_says_nothing() {
        for hostile in [&b""[..], b"D E", b"\xff", &[b'X'; MAX_GEO_BYTES + 1], b"DE,FR"] {
            assert_eq!(*filled(None, hostile).field(FIELD), Raw::Null);
        }
    }
}
