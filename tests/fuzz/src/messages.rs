//! The CBOR messages between tiers and between host and guest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_model::ladder::{Call, Outcome, Step};
use shared_model::wire::{Escalation, Reply, from_cbor};

fuzz_target!(|bytes: &[u8]| {
    let _ = from_cbor::<Call>(bytes);
    let _ = from_cbor::<Step>(bytes);
    let _ = from_cbor::<Outcome>(bytes);
    let _ = from_cbor::<Reply>(bytes);
    let _ = from_cbor::<Escalation>(bytes);
});
