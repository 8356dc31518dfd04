//! A worker written by hand, in form but for what a test wants of it.

use shared_model::ladder::{ABI_VERSION, Step};
use shared_model::wire::to_cbor;

/// The pages of its memory when it starts.
const PAGES: usize = 20;

/// A worker that has `pages` of memory once it has ranked, and returns `step`. What it is loaded with stays in its memory.
pub(crate) fn worker(pages: usize, step: &Step) -> Vec<u8> {
    let step = to_cbor(step);
    let bytes: String = step.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let reply = 32_768_u64 << 32 | step.len() as u64;
    let text = format!(
        r#"(module
            (memory (export "memory") {PAGES})
            (data (i32.const 32768) "{bytes}")
            (func (export "rung_abi") (result i32) (i32.const {ABI_VERSION}))
            (func (export "rung_input") (param i32) (result i32) (i32.const 65536))
            (func (export "rung_load") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_start") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_begin") (param i32 i32) (result i32) (i32.const 0))
            (func (export "rung_error") (result i64) (i64.const 0))
            (func (export "rung_rank") (param i32) (result i64)
                (drop (memory.grow (i32.const {more}))) (i64.const {reply})))"#,
        more = pages - PAGES,
    );
    wat::parse_str(text).unwrap()
}
