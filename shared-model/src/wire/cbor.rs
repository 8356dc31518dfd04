//! CBOR for the messages between tiers and between host and guest.

use minicbor::{Decode, Encode};
use thiserror::Error;

/// The bytes are not the message expected.
#[derive(Debug, Error)]
#[error("not a valid message: {0}")]
pub struct CborError(String);

/// Encodes a message.
///
/// # Panics
/// Never: memory takes every byte.
pub fn to_cbor<T: Encode<()>>(message: &T) -> Vec<u8> {
    minicbor::to_vec(message).expect("writing to memory cannot fail")
}

/// Decodes a message; trailing bytes are refused.
///
/// # Errors
/// The bytes are not one message of this type.
pub fn from_cbor<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, CborError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().map_err(|e| CborError(e.to_string()))?;
    if decoder.position() == bytes.len() {
        Ok(message)
    } else {
        Err(CborError(format!("{} bytes after its end", bytes.len() - decoder.position())))
    }
}
