//! The body of a request: read whole, within bounds of bytes and time.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

use crate::admit::{Door, Room};
use crate::coding::{self, Packing};
use crate::problem::Problem;
use crate::{CBOR, Limits};

/// How many times the limit of a client's body an escalation may have: what the tier below took in JSON has to fit in
/// CBOR. A list of numbers grows most: `1e9,` has 4 bytes, its CBOR 12; the stamp and the like come on top. Only the
/// dotted names of nested objects can grow further: such an escalation is refused, and the tier below answers alone.
const CBOR_TIMES: usize = 4;
/// How much of an unwanted body is still taken, and for how long.
const LINGER_BYTES: usize = 4 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// The media types of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// From clients.
    Json,
    /// From the tier below.
    Cbor,
}

impl Media {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Cbor => CBOR,
        }
    }

    /// The most bytes that a body may have.
    pub(crate) fn max_bytes(self, limits: &Limits) -> usize {
        match self {
            Self::Json => limits.max_body_bytes,
            Self::Cbor => limits.max_body_bytes.saturating_mul(CBOR_TIMES),
        }
    }
}

/// A body that may be read, once.
pub(crate) struct Inbound<B>(Option<B>);

/// A body, and the memory reserved for it.
pub(crate) struct Bounded {
    pub(crate) bytes: Bytes,
    _room: Room,
}

impl<B> Inbound<B>
where
    B: Body<Data = Bytes, Error: Display + Send> + Send + Unpin + 'static,
{
    pub(crate) fn new(body: B) -> Self {
        Self(Some(body))
    }

    /// Reads it whole, if its head is right and the door has room.
    pub(crate) async fn read(
        &mut self,
        head: &Parts,
        media: Media,
        limits: &Limits,
        door: &Door,
    ) -> Result<Bounded, Problem> {
        check_media(&head.headers, media)?;
        let packing = Packing::of(&head.headers)?;
        let limit = media.max_bytes(limits);
        let declared = declared_length(&head.headers);
        if declared.is_some_and(|length| length > limit as u64) {
            return Err(Problem::BodyTooLong { limit });
        }
        // A declared length is only a promise: it is looked at, but what is reserved is what arrives.
        let declared = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut room = door.room_for_body(declared)?;
        let Some(body) = self.0.as_mut() else {
            return Err(Problem::BodyBroken { reason: "it has been read before".to_owned() });
        };
        let bytes = timeout(limits.body_timeout, collect(body, limit, &mut room))
            .await
            .map_err(|_| Problem::BodyTooSlow { limit: limits.body_timeout })??;
        self.0 = None;
        let bytes = match packing {
            Packing::Identity => bytes,
            Packing::Gzip => coding::unpack(&bytes, limit, &mut room).await?,
        };
        Ok(Bounded { bytes, _room: room })
    }

    /// Lets go of what has not been read.
    ///
    /// On HTTP/1.1 a connection closed while the client still sends is reset, and the reset can overtake the answer
    /// that says why. So the rest is taken for a while and thrown away. A client that waits for `100 Continue` has sent
    /// nothing; on HTTP/2 a stream is closed alone.
    pub(crate) fn let_go(&mut self, head: &Parts) {
        let Some(mut body) = self.0.take() else { return };
        if head.version > Version::HTTP_11 || body.is_end_stream() || head.headers.contains_key(EXPECT) {
            return;
        }
        tokio::spawn(timeout(LINGER, async move {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        }));
    }
}

async fn collect<B>(body: &mut B, limit: usize, room: &mut Room) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Problem::BodyBroken { reason: e.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - whole.len() {
            return Err(Problem::BodyTooLong { limit });
        }
        room.grow_to(whole.len() + data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

fn check_media(headers: &HeaderMap, media: Media) -> Result<(), Problem> {
    if headers.get(CONTENT_TYPE).is_some_and(|given| is_media(given.as_bytes(), media)) {
        return Ok(());
    }
    Err(Problem::MediaType { expected: media.name() })
}

/// Whether a `content-type`, its parameters aside, is this media type.
fn is_media(given: &[u8], media: Media) -> bool {
    let essence = given.split(|b| *b == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media.name().as_bytes())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_may_have_parameters_and_any_case() {
        assert!(is_media(b"application/json", Media::Json));
        assert!(is_media(b"Application/JSON ; charset=utf-8", Media::Json));
        assert!(!is_media(b"application/jsonp", Media::Json));
        assert!(!is_media(b"", Media::Json));
        assert!(!is_media(b"application/json", Media::Cbor));
    }
}
