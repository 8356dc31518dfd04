//! The bare ABI that `pop` hosts: numbers and addresses, no imports.
//!
//! ```text
//! rung_abi()                     version of this contract
//! rung_input(len)  -> address    room for one input; valid until the next call that takes it; 0: too long
//! rung_load(part, len) -> status         takes the input as a part: 0 schema, 1 variant, 2 catalog
//! rung_start(tier, item_bytes) -> status makes a worker of the parts; tier: 0 edge, 1 region; then the items' memory
//! rung_begin(tier, len) -> status        takes the input as `[Terms, TierLimits]`: from here on it ranks
//! rung_rank(len)   -> reply      takes the input as a `Call`
//! rung_resume(len) -> reply      takes the input as `[held, Outcome]`
//! rung_error()     -> reply      the text of the last failure; after a trap, that of the panic
//! rung_allocations() -> count    how often the heap was asked for memory so far
//! ```
//!
//! A status is 0 when all is well. A reply is `address << 32 | length`, valid until the next call; 0 is a failure. The
//! worker owns every buffer, so a host that forgets one leaks nothing and there is nothing to free.
//!
//! What takes long is done when `rung_start` returns, so a snapshot is taken there; its host goes on with `rung_begin`.

#![expect(unsafe_code, reason = "`no_mangle` is an unsafe attribute; there is no unsafe block")]

use std::alloc::System;
use std::cell::RefCell;

use shared_model::ladder::ABI_VERSION;

use crate::region::Region;
use crate::worker::{Part, Worker, WorkerError};

#[global_allocator]
static MEMORY: Region<System> = Region::new(System);

/// A module has one worker. It has no threads either, so this is a plain static.
struct State {
    worker: Worker,
    input: Vec<u8>,
    reply: Vec<u8>,
}

thread_local! {
    static STATE: RefCell<State> =
        const { RefCell::new(State { worker: Worker::new(), input: Vec::new(), reply: Vec::new() }) };
    /// Apart from the state, which is still borrowed when a panic is told.
    static ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

#[unsafe(no_mangle)]
extern "C" fn rung_abi() -> u32 {
    std::panic::set_hook(Box::new(|panic| tell(panic.to_string())));
    ABI_VERSION
}

#[unsafe(no_mangle)]
extern "C" fn rung_input(len: u32) -> u32 {
    STATE.with_borrow_mut(|state| {
        let len = len as usize;
        state.input.clear();
        // Not a byte more than asked: a part may be most of the memory.
        match state.input.try_reserve_exact(len) {
            Ok(()) => {
                state.input.resize(len, 0);
                state.input.as_ptr() as u32
            }
            Err(error) => {
                tell(format!("no room for {len} bytes: {error}"));
                0
            }
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn rung_load(part: u32, len: u32) -> u32 {
    STATE.with_borrow_mut(|state| {
        let mut bytes = std::mem::take(&mut state.input);
        bytes.truncate(len as usize);
        status(Part::of(part).and_then(|part| state.worker.load(part, bytes)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn rung_start(tier: u32, item_table_bytes: u32) -> u32 {
    STATE.with_borrow_mut(|state| status(state.worker.start(tier, item_table_bytes)))
}

#[unsafe(no_mangle)]
extern "C" fn rung_begin(tier: u32, len: u32) -> u32 {
    STATE.with_borrow_mut(|State { worker, input, .. }| {
        status(worker.begin(tier, &input[..input.len().min(len as usize)]))
    })
}

#[unsafe(no_mangle)]
extern "C" fn rung_rank(len: u32) -> u64 {
    answer(len, Worker::rank)
}

#[unsafe(no_mangle)]
extern "C" fn rung_resume(len: u32) -> u64 {
    answer(len, Worker::resume)
}

#[unsafe(no_mangle)]
extern "C" fn rung_error() -> u64 {
    ERROR.with_borrow(|text| reply(text.as_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn rung_allocations() -> u64 {
    MEMORY.asked()
}

fn answer(len: u32, verb: impl FnOnce(&mut Worker, &[u8]) -> Result<Vec<u8>, WorkerError>) -> u64 {
    STATE.with_borrow_mut(|State { worker, input, reply: last }| {
        let input = &input[..input.len().min(len as usize)];
        let reply = match MEMORY.call(|| verb(worker, input)) {
            Ok(bytes) => {
                // The step is the call's; what the host reads outlives it.
                last.clear();
                last.extend_from_slice(&bytes);
                reply(last)
            }
            Err(error) => {
                tell(error.to_string());
                0
            }
        };
        MEMORY.settle();
        reply
    })
}

fn status(result: Result<(), WorkerError>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            tell(error.to_string());
            1
        }
    }
}

fn reply(bytes: &[u8]) -> u64 {
    (bytes.as_ptr() as u64) << 32 | bytes.len() as u64
}

fn tell(text: String) {
    ERROR.with(|error| {
        if let Ok(mut error) = error.try_borrow_mut() {
            *error = text;
        }
    });
}
