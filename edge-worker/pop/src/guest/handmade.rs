//! Workers written by hand, in form but for what a test wants of them.

use std::time::Duration;

use shared_model::bundle::Manifest;
use shared_model::ladder::{ABI_VERSION, Call, Step, Terms, TierLimits};
use shared_model::wire::{Digest, Refusal, Tier, to_cbor};

use super::{GuestFault, GuestLimits, Load, Program};
use crate::sample;

pub(crate) const LIMITS: GuestLimits =
    GuestLimits { memory_bytes: 1 << 20, call: Duration::from_millis(20), load: Duration::from_millis(200) };

/// The text of its last error.
pub(crate) const ERROR: &str = "the text of its panic";

/// A worker whose `rung_rank` is `rank` and whose `rung_resume` is `resume`, of the parameter `$len`. It puts inputs at
/// 256 and can `(call $good)` to return `step`.
pub(crate) fn worker(step: &Step, rank: &str, resume: &str) -> String {
    let step = to_cbor(step);
    let bytes: String = step.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
            (memory (export "memory") 1)
            (data (i32.const 32768) "{bytes}")
            (data (i32.const 60000) "{ERROR}")
            (func (export "rung_abi") (result i32) (i32.const {ABI_VERSION}))
            (func (export "rung_input") (param i32) (result i32) (i32.const 256))
            (func (export "rung_load") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_start") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_begin") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_error") (result i64) (i64.const {error}))
            (func $good (result i64) (i64.const {good}))
            (func (export "rung_resume") (param $len i32) (result i64) {resume})
            (func (export "rung_rank") (param $len i32) (result i64) {rank}))"#,
        error = reply(60_000, ERROR.len()),
        good = reply(32_768, step.len()),
    )
}

/// What a worker returns for a reply of `len` bytes at `address`.
pub(crate) fn reply(address: usize, len: usize) -> i64 {
    (address << 32 | len) as i64
}

/// A step that only a worker made by hand takes.
pub(crate) fn refused() -> Step {
    Step::Refused(Refusal { field: "k".to_owned(), message: "from a worker made by hand".to_owned() })
}

pub(crate) fn program(text: &str) -> Result<Program, GuestFault> {
    Program::compile(&wat::parse_str(text).expect("a module"), LIMITS)
}

pub(crate) fn load() -> Load {
    let limits = TierLimits { max_candidates: 10, max_k: 10, item_table_bytes: 1 << 20 };
    let part = || vec![1, 2, 3];
    Load {
        tier: Tier::Edge,
        limits,
        terms: Terms::new(&Manifest::new("by hand", "1", 1, b""), Digest([0; 32])),
        schema: part(),
        variant: part().into(),
        catalog: part(),
    }
}

pub(crate) fn call() -> Call {
    Call { request: sample::request(1.0), below: None, part: None }
}

/// A call that [`moody`] workers fail.
pub(crate) fn failing() -> Call {
    let mut call = call();
    call.request.exclude.push("an id that makes the message longer than any other".to_owned());
    call
}

/// Returns `step` from every call, but does `bad` on those of [`failing`].
pub(crate) fn moody(step: &Step, bad: &str) -> String {
    let len = to_cbor(&failing()).len();
    worker(step, &format!("(if (i32.eq (local.get $len) (i32.const {len})) (then {bad})) (call $good)"), "(call $good)")
}
