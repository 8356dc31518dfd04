//! A client's body: decoding refuses or understands, and what it understands survives the way to another tier.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_model::wire::json::{JsonLimits, decode, decode_line};
use shared_model::wire::{RankRequest, from_cbor, to_cbor};

fuzz_target!(|body: &[u8]| {
    let limits = JsonLimits::default();
    if let Ok(decoded) = decode(body, &limits) {
        let again: RankRequest = from_cbor(&to_cbor(&decoded.request)).expect("a tier reads what a tier writes");
        assert_eq!(again, decoded.request);
    }
    let _ = decode_line(body, "movies", &limits);
});
