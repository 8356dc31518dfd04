//! The headers by which a request is known: whatever they hold, an id and a trace come of them that survive the way up.
#![no_main]

use front::{REQUEST_ID, RequestId, TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for (name, value) in [REQUEST_ID, TRACEPARENT, TRACESTATE].into_iter().zip(bytes.split(|b| *b == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let known = RequestId::of(&headers);
    let mut upwards = HeaderMap::new();
    known.pass_on(&mut upwards);
    let above = RequestId::of(&upwards);
    assert_eq!((above.as_str(), above.trace().id()), (known.as_str(), known.trace().id()));
});
