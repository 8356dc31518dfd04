//! Content codings: gzip of bodies in both directions, by what the heads of request and answer say.
//!
//! A body that is sent packed is held to the same bound as one that is not, and so is the memory that unpacking it
//! takes: what it unpacks to is never larger than what could have been sent.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;

use crate::admit::Room;
use crate::problem::Problem;

/// Shorter bodies are sent as they are: a packet holds them anyway.
const MIN_BYTES: u64 = 1024;
/// How much is unpacked before others are let go on.
const STRIDE_BYTES: usize = 64 << 10;

/// How a request's body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
}

impl Packing {
    /// What the head of a request says of its body; one coding at most.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut given = headers.get_all(CONTENT_ENCODING).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self::Identity),
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(Self::Identity),
            (Some(coding), None) if is_gzip(coding.as_bytes()) => Ok(Self::Gzip),
            (Some(_), _) => Err(Problem::Encoding),
        }
    }
}

fn is_gzip(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip")
}

/// Unpacks a body to `limit` bytes at most, in memory that it reserves as it goes.
pub(crate) async fn unpack(packed: &[u8], limit: usize, room: &mut Room) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    let mut rest = MultiGzDecoder::new(packed);
    loop {
        let before = unpacked.len();
        // One more than the limit shows that there is more.
        let stride = STRIDE_BYTES.min(limit + 1 - before);
        room.grow_to(packed.len() + before + stride)?;
        let read = rest.by_ref().take(stride as u64).read_to_end(&mut unpacked);
        read.map_err(|e| Problem::Malformed { reason: format!("the body is not gzip: {e}") })?;
        if unpacked.len() > limit {
            return Err(Problem::BodyTooLong { limit });
        }
        if unpacked.len() == before {
            return Ok(unpacked.into());
        }
        tokio::task::yield_now().await;
    }
}

/// Packs an answer if it is long enough and the client takes it so.
pub(crate) async fn pack(response: Response<Full<Bytes>>, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    let whole = body.size_hint().exact().unwrap_or(0);
    if whole < MIN_BYTES || head.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(head, body);
    }
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    if !takes_gzip(asked) {
        return Response::from_parts(head, body);
    }
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let Ok(body) = body.collect().await;
    Response::from_parts(head, Full::new(gzip(&body.to_bytes())))
}

fn gzip(whole: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(whole).and_then(|()| packed.finish()).expect("a vector takes all that is written to it").into()
}

/// Whether `accept-encoding` asks for gzip, and for nothing unpacked more than for that (RFC 9110 §12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for value in asked.get_all(ACCEPT_ENCODING) {
        for member in value.as_bytes().split(|b| *b == b',') {
            let mut parts = member.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let weight = weight(parts.next());
            if is_gzip(coding) {
                gzip = Some(weight);
            } else if coding == b"*" {
                any = Some(weight);
            } else if coding.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            }
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// A weight in thousandths: 1 unless it is given, 0 when it is none.
fn weight(parameter: Option<&[u8]>) -> u32 {
    let Some(parameter) = parameter else { return 1000 };
    let given =
        std::str::from_utf8(parameter).ok().and_then(|text| text.strip_prefix("q=").or(text.strip_prefix("Q=")));
    let weight = given.and_then(|given| given.parse::<f32>().ok()).filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(0, |weight| (weight * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::admit::Door;

    fn packed(whole: &[u8]) -> Vec<u8> {
        gzip(whole).to_vec()
    }

    async fn unpacked(packed: &[u8], limit: usize) -> Result<Bytes, Problem> {
        let mut room = Door::new(&Limits::default(), 4 << 20).room_for_body(packed.len())?;
        unpack(packed, limit, &mut room).await
    }

    fn asking(codings: &str) -> HeaderMap {
        [(ACCEPT_ENCODING, codings.parse().expect("a header value"))].into_iter().collect()
    }

    #[tokio::test]
    async fn what_is_packed_is_unpacked_to_the_same() {
        for whole in [&b""[..], b"{}", &[b'x'; 200_000]] {
            assert_eq!(unpacked(&packed(whole), 1 << 20).await.expect("gzip"), whole);
        }
        let two = [packed(b"one "), packed(b"two")].concat();
        assert_eq!(unpacked(&two, 100).await.expect("gzip may have members"), "one two");
    }

    #[tokio::test]
    async fn a_body_that_unpacks_to_more_than_the_limit_is_refused_before_it_does() {
        let bomb = packed(&vec![0; 3 << 20]);
        assert!(bomb.len() < 64 << 10, "{}", bomb.len());
        assert!(matches!(unpacked(&bomb, 1 << 20).await, Err(Problem::BodyTooLong { limit: 0x10_0000 })));
        assert!(unpacked(&packed(&[1; 1000]), 1000).await.is_ok());
        assert!(unpacked(&packed(&[1; 1001]), 1000).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_unpacks_to_more_than_there_is_room_for_is_refused() {
        let limits = Limits { max_in_flight: 1, max_body_bytes: 128 << 10, ..Limits::default() };
        let door = Door::new(&limits, 0);
        let mut room = door.room_for_body(1).expect("room");
        let refused = unpack(&packed(&[0; 1 << 20]), 1 << 20, &mut room).await;
        assert!(matches!(refused, Err(Problem::Overloaded { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_small_door_has_room_for_what_is_short() {
        let limits = Limits { max_in_flight: 2, max_body_bytes: 1024, ..Limits::default() };
        let mut room = Door::new(&limits, 0).room_for_body(1).expect("room");
        assert_eq!(unpack(&packed(b"{}"), 1024, &mut room).await.expect("gzip"), "{}");
    }

    #[tokio::test]
    async fn what_is_not_gzip_is_named() {
        let mut cut = packed(b"a whole body");
        cut.truncate(cut.len() - 3);
        for hostile in [&b""[..], b"{}", &cut] {
            let refused = unpacked(hostile, 1000).await;
            assert!(matches!(&refused, Err(Problem::Malformed { reason }) if reason.contains("gzip")), "{refused:?}");
        }
    }

    #[test]
    fn gzip_is_used_where_it_is_asked_for() {
        for codings in ["gzip", "br, gzip;q=0.5", "x-gzip", "*", "identity;q=0.5, *", "GZIP;q=1", "deflate;q=1,gzip"] {
            assert!(takes_gzip(&asking(codings)), "{codings}");
        }
        for codings in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0.1, identity;q=0.2", "gzip;q=x", "gzip;level=1"] {
            assert!(!takes_gzip(&asking(codings)), "{codings}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_long_answer_is_packed_and_a_short_one_is_not() {
        let long = vec![b'x'; 5000];
        let response = pack(Response::new(Full::new(Bytes::from(long.clone()))), &asking("gzip")).await;
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.headers()["vary"], "accept-encoding");
        let body = response.into_body().collect().await.expect("in memory").to_bytes();
        assert_eq!(unpacked(&body, 5000).await.expect("gzip"), long);
        let short = pack(Response::new(Full::new(Bytes::from("short"))), &asking("gzip")).await;
        assert!(short.headers().is_empty());
    }

    #[tokio::test]
    async fn a_long_answer_that_is_not_packed_says_that_another_might_be() {
        let response = pack(Response::new(Full::new(Bytes::from(vec![b'x'; 5000]))), &asking("br")).await;
        assert_eq!(response.headers().get("content-encoding"), None);
        assert_eq!(response.headers()["vary"], "accept-encoding");
    }
}
