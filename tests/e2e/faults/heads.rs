//! Heads that are too much: thousands of fields, a field of a megabyte, and fields without end.

use std::error::Error;
use std::iter::successors;

use h3::error::{ConnectionError, StreamError};
use http::Request;
use http_body_util::Full;
use rung_tests::client::Protocol;
use rung_tests::processes::Processes;
use rung_tests::stack::Which;

use super::raw::{HTTP2, ask, flood};
use super::{forgetful, others_are_served};

/// What may be on its way before the end is noticed: buffers of two systems.
const ON_ITS_WAY: u64 = 32 << 20;
const WITHOUT_END: u64 = 1 << 30;
/// What refusing may cost in memory.
const MEMORY: u64 = 32 << 20;
const TIERS: [Which; 2] = [Which::Edge, Which::Origin];
const HEAD: &str = "POST /v1/rank HTTP/1.1\r\nhost: x\r\n";

async fn tiers() -> Processes {
    forgetful().spawn_only(&TIERS).await.unwrap()
}

/// Whether the protocol ended the request, or our library did not send it; time that is over says nothing.
fn is_a_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut causes = successors(Some(error), |&error| error.source());
    causes.any(|cause| match (cause.downcast_ref::<hyper::Error>(), cause.downcast_ref::<StreamError>()) {
        (Some(second), _) => !second.is_timeout(),
        (None, Some(StreamError::ConnectionError { 0: third, .. })) => {
            !matches!(third, ConnectionError::Timeout { .. })
        }
        (None, third) => third.is_some(),
    })
}

#[tokio::test]
async fn thousands_of_header_fields_are_431() {
    let tiers = tiers().await;
    let fields: String = (0..5000).map(|i| format!("x-{i}: y\r\n")).collect();
    for which in TIERS {
        let told = ask(tiers.plain(which), format!("{HEAD}{fields}\r\n").as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
        // Few enough for the protocol, and still too many.
        for (protocol, fields) in [(Protocol::Http1, 90), (Protocol::Http2, 1000), (Protocol::Http3, 1000)] {
            let mut request = Request::post(tiers.url(which, "/v1/rank")).header("content-type", "application/json");
            for i in 0..fields {
                request = request.header(format!("x-{i}"), "y".repeat(200));
            }
            let response = tiers.client(protocol).unwrap().request(request.body(Full::from("{}")).unwrap()).await;
            // HTTP/2 and 3 tell a client beforehand how much it may send, which may refuse by itself.
            match response {
                Ok(response) => assert_eq!(response.status, 431, "{protocol:?}: {:?}", response.body),
                Err(error) => {
                    assert!(protocol != Protocol::Http1 && is_a_refusal(&*error), "{protocol:?}: {error:?}");
                }
            }
        }
        others_are_served(&tiers, which).await;
    }
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn a_header_field_of_a_megabyte_is_431() {
    let tiers = tiers().await;
    for which in TIERS {
        let head = format!("{HEAD}x-long: {}\r\n\r\n", "x".repeat(1 << 20));
        // What is sent after the refusal may reset the connection before the refusal is read, so it is read meanwhile.
        let told = flood(tiers.plain(which), &head.as_bytes()[..64 << 10], &head.as_bytes()[64 << 10..], 1).await.told;
        assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
        others_are_served(&tiers, which).await;
    }
    tiers.stop().await.unwrap();
}

/// That a head without end is cut off early, whatever it is made of, and costs nothing.
async fn cut_off(tiers: &Processes, start: &[u8], piece: &[u8]) {
    for which in TIERS {
        others_are_served(tiers, which).await;
        let before = tiers.forget_peak(which).unwrap();
        let ended = flood(tiers.plain(which), start, piece, WITHOUT_END).await;
        assert!(ended.sent < ON_ITS_WAY, "{} bytes were taken", ended.sent);
        others_are_served(tiers, which).await;
        let peak = tiers.peak(which).unwrap();
        assert!(peak < before + MEMORY, "{which:?}: {} KiB more", (peak - before) >> 10);
    }
}

#[tokio::test]
async fn header_fields_without_end_are_cut_off() {
    let tiers = tiers().await;
    cut_off(&tiers, HEAD.as_bytes(), b"x-more: and more\r\n").await;
    cut_off(&tiers, b"POST /v1/rank", b"/and/more").await;
    tiers.stop().await.unwrap();
}

/// A frame of HTTP/2 on stream 1, without flags: nothing says that it is the last.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
}

#[tokio::test]
async fn continuations_without_end_are_cut_off() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    let tiers = tiers().await;
    let start = [HTTP2, &frame(HEADERS, b"\x83\x86\x84")].concat();
    // A field that is not to be indexed: `x: y`.
    let fields = b"\0\x01x\x01y".repeat(3000);
    for piece in [frame(CONTINUATION, &fields), frame(CONTINUATION, b"")] {
        cut_off(&tiers, &start, &piece).await;
    }
    tiers.stop().await.unwrap();
}
