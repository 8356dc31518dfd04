//! Bodies that are too much: a gigabyte declared, sent, or packed; JSON of a hundred thousand levels.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rung_tests::client::Protocol;
use rung_tests::processes::Processes;
use rung_tests::stack::Which;
use serde_json::Value;

use super::raw::{ask, flood};
use super::{forgetful, others_are_served};

const GIGABYTE: u64 = 1 << 30;
/// What may be on its way before the refusal is read: buffers of two systems, and what is thrown away for a while so
/// that the refusal gets there.
const ON_ITS_WAY: u64 = 64 << 20;
/// What refusing may cost in memory; a body may have 1 MiB.
const MEMORY: u64 = 32 << 20;
const LEVELS: usize = 100_000;

const TIERS: [Which; 2] = [Which::Edge, Which::Origin];
const HEAD: &str = "POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

async fn tiers() -> Processes {
    let tiers = forgetful().spawn_only(&TIERS).await.unwrap();
    for which in TIERS {
        others_are_served(&tiers, which).await;
        tiers.forget_peak(which).unwrap();
    }
    tiers
}

/// That a tier has had no more memory than a refusal may cost since its peak was forgotten, and serves.
async fn unimpressed(tiers: &Processes, which: Which, before: u64) {
    others_are_served(tiers, which).await;
    let peak = tiers.peak(which).unwrap();
    assert!(peak < before + MEMORY, "{which:?}: {} KiB more", (peak - before) >> 10);
}

fn refused_as_too_long(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("urn:rung:problem:body-too-long"), "{answer}");
}

#[tokio::test]
async fn a_gigabyte_declared_is_413_before_it_is_sent() {
    let tiers = tiers().await;
    for which in TIERS {
        let before = tiers.forget_peak(which).unwrap();
        // Nothing is sent after the head, so the answer is not one to a body.
        for rest in ["", "expect: 100-continue\r\n"] {
            let head = format!("{HEAD}connection: close\r\ncontent-length: {GIGABYTE}\r\n{rest}\r\n");
            refused_as_too_long(&ask(tiers.plain(which), head.as_bytes()).await);
        }
        let client = tiers.client(Protocol::Http2).unwrap();
        let (response, sent) = client.flood(&tiers.url(which, "/v1/rank"), GIGABYTE, true).await.unwrap();
        assert_eq!(response.status, 413, "{:?}", response.body);
        assert!(sent < ON_ITS_WAY, "{sent} bytes were taken");
        unimpressed(&tiers, which, before).await;
    }
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn a_gigabyte_sent_is_413_and_neither_read_to_its_end_nor_kept() {
    let tiers = tiers().await;
    let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for which in TIERS {
        let before = tiers.forget_peak(which).unwrap();
        let start = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
        let ended = flood(tiers.plain(which), start.as_bytes(), piece.as_bytes(), GIGABYTE).await;
        refused_as_too_long(&ended.told);
        assert!(ended.sent < ON_ITS_WAY, "{} bytes were taken", ended.sent);
        let client = tiers.client(Protocol::Http2).unwrap();
        let (response, sent) = client.flood(&tiers.url(which, "/v1/rank"), GIGABYTE, false).await.unwrap();
        assert_eq!(response.status, 413, "{:?}", response.body);
        assert!(sent < ON_ITS_WAY, "{sent} bytes were taken");
        unimpressed(&tiers, which, before).await;
    }
    tiers.stop().await.unwrap();
}

/// Blanks, packed.
fn packed(bytes: u64) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..bytes >> 20 {
        gzip.write_all(&[b' '; 1 << 20]).unwrap();
    }
    gzip.finish().unwrap()
}

#[tokio::test]
async fn a_body_that_unpacks_to_far_more_is_413_and_not_unpacked() {
    let tiers = tiers().await;
    // As much as fits into the longest body that is taken.
    let bomb = packed(GIGABYTE / 2);
    assert!(bomb.len() < 1 << 20);
    for which in TIERS {
        let before = tiers.forget_peak(which).unwrap();
        let head =
            format!("{HEAD}connection: close\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
        refused_as_too_long(&ask(tiers.plain(which), &[head.as_bytes(), &bomb].concat()).await);
        unimpressed(&tiers, which, before).await;
    }
    tiers.stop().await.unwrap();
}

/// Bodies that nest at every place where something may be, and what is said of each.
fn deep() -> [(String, &'static str); 6] {
    let arrays = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let objects = format!("{}1{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    let with = |rest: &str| format!("{{\"model\":\"movies\",{rest}}}");
    [
        ("[".repeat(LEVELS), "expected an object: a request at line 1"),
        (arrays.clone(), "expected an object: a request at line 1"),
        (with(&format!("\"candidates\":{arrays}")), "`candidates[0]`: invalid type"),
        (
            with(&format!("\"candidates\":[{{\"id\":\"n\",\"year\":{arrays}}}]")),
            "`candidates[0].year[0]`: invalid type",
        ),
        (with(&format!("\"candidates\":[\"m1\"],\"user\":{{\"id\":{objects}}}")), "is nested deeper than 32 levels"),
        (with(&format!("\"candidates\":[\"m1\"],\"nobody knows\":{objects}")), "`nobody knows`: is nested deeper than"),
    ]
}

#[tokio::test]
async fn json_of_a_hundred_thousand_levels_is_422() {
    let tiers = tiers().await;
    for which in TIERS {
        let before = tiers.forget_peak(which).unwrap();
        for (body, says) in deep() {
            assert!(body.len() < 1 << 20, "another limit would be met");
            let response = tiers.rank_at(which, body).await.unwrap();
            let problem: Value = response.json().unwrap();
            assert_eq!(response.status, 422, "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(says), "{says}: {problem}");
        }
        unimpressed(&tiers, which, before).await;
    }
    tiers.stop().await.unwrap();
}
