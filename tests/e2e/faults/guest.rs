//! The guest: it never ends, it takes all the memory there is, or its memory is too small for what it is asked.

use std::path::Path;

use rung_tests::processes::Processes;
use rung_tests::stack::{Which, worker};
use serde_json::{Value, json};
use shared_model::ladder::ABI_VERSION;

use super::{answered, back_to_normal, forgetful, place, until};
use crate::requests::{one, with};

/// A worker of the ABI that `edge-worker` documents, which takes any bundle, and does this when it is asked to rank.
fn worker_that(does: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1024)
            (func (export "rung_abi") (result i32) (i32.const {ABI_VERSION}))
            (func (export "rung_input") (param i32) (result i32) (i32.const 256))
            (func (export "rung_load") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_start") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_begin") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_error") (result i64) (i64.const 0))
            (func (export "rung_resume") (param i32) (result i64) {does})
            (func (export "rung_rank") (param i32) (result i64) {does}))"#
    );
    wat::parse_str(text).unwrap()
}

fn own() -> Value {
    with(one(), json!({ "tier": "edge" }))
}

async fn traps(tiers: &Processes, cause: &str) -> f64 {
    tiers.metric(Which::Edge, &format!("edge_guest_traps_total{{cause=\"{cause}\"}}")).await.unwrap_or(0.0)
}

/// An edge whose guest fails whatever it is asked: the region answers, and without it popularity does; with a guest
/// that is sound the edge answers again.
async fn fails(does: &str, cause: &str, limits: &str) {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("worker.wasm");
    std::fs::write(&wasm, worker_that(does)).unwrap();
    let tiers = forgetful().wasm(Which::Edge, &wasm).worker(limits).spawn().await.unwrap();
    for request in [own(), one()] {
        let answer = answered(&tiers, &request).await;
        assert!(answer["tier"] != "edge" && answer["degradation"] == 0, "the tier above answers: {answer}");
    }
    let before = traps(&tiers, cause).await;
    assert!(before >= 1.0, "{before}");
    until(&tiers, Which::Edge, "edge_guest_instances", 1.0).await;
    assert_eq!(tiers.admin(Which::Edge, "/readyz").await.unwrap().status, 200, "a guest that failed is replaced");

    tiers.kill(Which::Region).unwrap();
    for _ in 0..3 {
        until(&tiers, Which::Edge, "edge_guest_instances", 1.0).await;
        let answer = answered(&tiers, &own()).await;
        assert_eq!((place(&answer), &answer["reason"]), (("edge", 3), &json!("worker_failed")), "{answer}");
        assert_eq!(answer["variant"], Value::Null, "no model ranks: {answer}");
    }
    until(&tiers, Which::Edge, "edge_degraded_answers_total{level=\"3\"}", 3.0).await;
    assert!(traps(&tiers, cause).await >= before + 3.0);

    sound_again(&tiers, &wasm).await;
    tiers.stop().await.unwrap();
}

async fn sound_again(tiers: &Processes, wasm: &Path) {
    std::fs::copy(worker(), wasm).unwrap();
    tiers.kill(Which::Edge).unwrap();
    tiers.start_again(Which::Region).await.unwrap();
    tiers.start_again(Which::Edge).await.unwrap();
    assert_eq!(place(&answered(tiers, &own()).await), ("edge", 0));
    back_to_normal(tiers).await;
}

#[tokio::test]
async fn a_guest_that_never_ends_is_stopped_and_the_tier_above_answers() {
    fails("(loop br 0) unreachable", "time", "max_rank_ms = 50\n").await;
}

#[tokio::test]
async fn a_guest_that_takes_all_memory_is_stopped_and_the_tier_above_answers() {
    let grows = "(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 64)) (i32.const 0)))) unreachable";
    fails(grows, "memory", "memory_mib = 80\n").await;
}

/// A request of that many movies which no catalog has.
fn many(candidates: usize) -> Value {
    let candidates = (0..candidates).map(|i| json!({ "id": format!("new{i}"), "year": 1990, "genres": ["Drama"] }));
    with(one(), json!({ "candidates": candidates.collect::<Vec<_>>(), "timeout_ms": 10_000 }))
}

#[tokio::test]
async fn a_request_too_large_for_the_guests_memory_goes_up_and_the_guest_comes_back() {
    let limits = "[limits]\nmax_candidates = 50000\nmax_body_bytes = 16777216\n";
    let tiers = [Which::Edge, Which::Region, Which::Origin]
        .into_iter()
        .fold(forgetful(), |tiers, which| tiers.with(which, limits));
    let tiers = tiers.worker("memory_mib = 8\n").spawn().await.unwrap();
    assert_eq!(place(&answered(&tiers, &own()).await), ("edge", 0), "the memory is enough for a request like most");
    let answer = answered(&tiers, &many(20_000)).await;
    assert!(answer["tier"] != "edge" && answer["degradation"] == 0, "{answer}");
    assert_eq!(traps(&tiers, "memory").await, 1.0);
    until(&tiers, Which::Edge, "edge_guest_instances", 1.0).await;
    assert_eq!(place(&answered(&tiers, &own()).await), ("edge", 0), "another guest has taken its place");
    tiers.kill(Which::Region).unwrap();
    let answer = answered(&tiers, &many(20_000)).await;
    assert_eq!((place(&answer), &answer["reason"]), (("edge", 4), &json!("worker_failed")), "{answer}");
    tiers.stop().await.unwrap();
}
