//! The CBOR form of raw values: what is nested or not finite is refused while it is read, so that no message, however
//! deep, makes the reader recurse.

/// A list of scalars.
pub(super) mod flat {
    use minicbor::Decode;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

    use crate::limits;
    use crate::wire::Raw;

    /// [`Raw`] without its list, under the same indices.
    #[derive(Decode)]
    enum Scalar {
        #[n(0)]
        Null,
        #[n(1)]
        Bool(#[n(0)] bool),
        #[n(2)]
        Int(#[n(0)] i64),
        #[n(3)]
        Float(#[cbor(n(0), with = "super::finite")] f64),
        #[n(4)]
        Text(#[n(0)] String),
    }

    pub(in crate::wire) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Vec<Raw>, DecodeError> {
        let at = d.position();
        let mut values = Vec::new();
        for value in d.array_iter_with::<C, Scalar>(ctx)? {
            if values.len() >= limits::MAX_LIST {
                return Err(DecodeError::message("a list is too long").at(at));
            }
            values.push(match value? {
                Scalar::Null => Raw::Null,
                Scalar::Bool(v) => Raw::Bool(v),
                Scalar::Int(v) => Raw::Int(v),
                Scalar::Float(v) => Raw::Float(v),
                Scalar::Text(v) => Raw::Text(v),
            });
        }
        Ok(values)
    }

    pub(in crate::wire) fn encode<C, W: Write>(
        values: &[Raw],
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        values.encode(e, ctx)
    }
}

/// A number that is neither infinite nor NaN.
pub(super) mod finite {
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(in crate::wire) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<f64, DecodeError> {
        let at = d.position();
        let v = d.f64()?;
        if v.is_finite() { Ok(v) } else { Err(DecodeError::message("a number is not finite").at(at)) }
    }

    pub(in crate::wire) fn encode<C, W: Write>(
        v: &f64,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.f64(*v)?.ok()
    }
}
