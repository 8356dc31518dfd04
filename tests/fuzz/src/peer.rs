//! What another runtime's quantizer answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quantize::peer::protocol::{greeting, scores};

fuzz_target!(|bytes: &[u8]| {
    let mut from = bytes;
    if let Ok(greeting) = greeting(&mut from) {
        assert_eq!(greeting.forms.len(), 2);
    }
    let n = from.first_chunk().map_or(0, |count| u32::from_le_bytes(*count).min(4096)) as usize;
    if let Ok(scores) = scores(&mut from, n) {
        assert!(scores.len() == n && scores.iter().all(|score| score.is_finite()));
    }
});
