//! Tests on guests that fail: each fails one call, cleanly, and is replaced while others go on.

use std::time::{Duration, Instant};

use shared_model::ladder::{ABI_VERSION, Step};
use shared_model::wire::to_cbor;

use super::handmade::{ERROR, LIMITS, call, failing, load, program, refused, reply};
use super::{GuestFault, Instance, Pool, PoolError, PoolSize, Program, handmade};
use crate::metrics::GuestMetrics;

/// A worker whose `rung_rank` is `rank`.
fn worker(rank: &str) -> String {
    handmade::worker(&refused(), rank, "(call $good)")
}

fn moody(bad: &str) -> String {
    handmade::moody(&refused(), bad)
}

/// What one call of such a worker comes to.
fn ranked(body: &str) -> Result<Step, GuestFault> {
    let program = program(&worker(body))?;
    Instance::start(&program, &load())?.rank(&to_cbor(&call()))
}

fn fault(body: &str) -> GuestFault {
    ranked(body).expect_err("it answers")
}

#[test]
fn a_worker_made_by_hand_is_a_worker() {
    assert_eq!(ranked("(call $good)"), Ok(refused()));
}

#[test]
fn a_trap_tells_the_panic() {
    let fault = fault("unreachable");
    assert_eq!(fault.cause(), "trap");
    let text = fault.to_string();
    assert!(text.contains("rung_rank") && text.contains("unreachable") && text.ends_with(ERROR), "{text}");
}

#[test]
fn an_endless_loop_is_stopped_in_time() {
    let begun = Instant::now();
    let fault = fault("(loop br 0) unreachable");
    assert_eq!(fault, GuestFault::OutOfTime { call: "rung_rank", limit: LIMITS.call });
    assert!(begun.elapsed() >= LIMITS.call, "not before its time");
}

#[test]
fn an_endless_recursion_is_a_trap() {
    let fault = fault("(call $deeper) (i64.const 0)) (func $deeper (call $deeper)");
    assert!(matches!(&fault, GuestFault::Trap { reason, .. } if reason.contains("stack exhausted")), "{fault}");
}

#[test]
fn endless_growth_meets_the_ceiling() {
    let fault = fault("(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable");
    assert_eq!(fault, GuestFault::OutOfMemory { call: "rung_rank", ceiling: LIMITS.memory_bytes });
}

#[test]
fn a_reply_outside_of_its_memory_is_nonsense() {
    for (address, len) in [(65_536, 1), (65_535, 2), (0xffff_ffff, 16)] {
        let fault = fault(&format!("(i64.const {})", reply(address, len)));
        assert_eq!(fault.cause(), "nonsense", "{fault}");
    }
}

#[test]
fn a_reply_longer_than_any_is_nonsense() {
    let fault = fault(&format!("(i64.const {})", reply(0, 0xffff_ffff)));
    assert!(matches!(&fault, GuestFault::Nonsense { what, .. } if what.contains("at most")), "{fault}");
}

#[test]
fn a_reply_that_is_no_step_is_nonsense() {
    let fault = fault(&format!("(i64.const {})", reply(60_000, ERROR.len())));
    assert!(matches!(&fault, GuestFault::Nonsense { what, .. } if what.contains("not a valid message")), "{fault}");
}

#[test]
fn an_input_outside_of_its_memory_is_nonsense() {
    let text = worker("(call $good)").replace("(i32.const 256)", "(i32.const 0xffffff0)");
    let fault = Instance::start(&program(&text).expect("a worker"), &load()).err().expect("a fault");
    assert!(matches!(fault, GuestFault::Nonsense { call: "rung_input", .. }), "{fault}");
}

#[test]
fn what_it_declines_leaves_it_sound() {
    let fault = fault("(i64.const 0)");
    assert_eq!(fault, GuestFault::Declined(ERROR.to_owned()));
    assert!(fault.is_sound());
}

#[test]
fn rejects_a_module_that_wants_imports() {
    let text = worker("(call $good)").replacen("(module", r#"(module (import "env" "clock" (func))"#, 1);
    let fault = program(&text).err().expect("a fault");
    assert!(fault.to_string().contains("it imports `clock` of `env`"), "{fault}");
}

#[test]
fn rejects_a_module_that_lacks_an_export() {
    let text = worker("(call $good)").replace("rung_resume", "rung_other");
    let fault = Instance::start(&program(&text).expect("a module"), &load()).err().expect("a fault");
    assert!(matches!(&fault, GuestFault::Foreign(text) if text.contains("rung_resume")), "{fault}");
}

#[test]
fn rejects_another_version_of_the_abi() {
    let speaks = |version: u32| format!(r#""rung_abi") (result i32) (i32.const {version})"#);
    let text = worker("(call $good)").replace(&speaks(ABI_VERSION), &speaks(ABI_VERSION + 1));
    let fault = Instance::start(&program(&text).expect("a module"), &load()).err().expect("a fault");
    assert!(fault.to_string().contains(&format!("speaks ABI {}", ABI_VERSION + 1)), "{fault}");
}

#[test]
fn rejects_bytes_that_are_no_module() {
    assert!(matches!(Program::compile(b"not wasm", LIMITS), Err(GuestFault::Foreign(_))));
}

fn pool(text: &str, size: PoolSize) -> Pool {
    Pool::start(&program(text).expect("a worker"), load(), size, GuestMetrics::unregistered()).expect("a pool")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_fails_is_replaced_and_others_go_on() {
    for bad in ["unreachable", "(loop br 0)", "(drop (memory.grow (i32.const 1000))) unreachable"] {
        let pool = pool(&moody(bad), PoolSize { instances: 2, queue: 64 });
        let (bad_call, good_call) = (failing(), call());
        let (failed, good) = tokio::join!(pool.rank(&bad_call, soon()), pool.rank(&good_call, soon()));
        assert!(matches!(failed, Err(PoolError::Fault(_))), "{bad}");
        assert_eq!(good.expect("the other").step, refused(), "{bad}");
        // More than there are guests: each of them has failed and has been replaced.
        for _ in 0..4 {
            assert!(
                matches!(pool.rank(&failing(), soon()).await, Err(PoolError::Fault(_) | PoolError::NoGuest)),
                "{bad}"
            );
        }
        while pool.live() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(pool.rank(&call(), soon()).await.expect("replaced").step, refused(), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_queue_is_refused_at_the_door() {
    let pool = pool(&moody("(loop br 0)"), PoolSize { instances: 1, queue: 1 });
    let call = failing();
    let calls = (0..8).map(|_| pool.rank(&call, soon()));
    let full = futures_all(calls).await.into_iter().filter(|r| matches!(r, Err(PoolError::Full))).count();
    assert!((6..8).contains(&full), "one runs, one waits: {full} were refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_no_longer_than_it_says() {
    let pool = pool(&moody("(loop br 0)"), PoolSize { instances: 1, queue: 8 });
    let begun = Instant::now();
    let call = failing();
    let late = pool.rank(&call, begun + Duration::from_millis(5)).await;
    assert!(matches!(late, Err(PoolError::Late)));
    assert!(begun.elapsed() < LIMITS.call, "it did not wait for the guest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_declined_stops_the_start() {
    let text = worker("(call $good)").replace(
        r#""rung_start") (param i32 i32) (result i32) (i32.const 0)"#,
        r#""rung_start") (param i32 i32) (result i32) (i32.const 1)"#,
    );
    let size = PoolSize { instances: 2, queue: 1 };
    let declined = Pool::start(&program(&text).expect("a worker"), load(), size, GuestMetrics::unregistered());
    assert_eq!(declined.err(), Some(GuestFault::Declined(ERROR.to_owned())));
}

async fn futures_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    // Polled together, as by a server; tokio has no such function of its own.
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in &mut futures {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}
