//! The worker, pre-initialized: it loads a tier's variant, the schema and the catalog here, and its memory as it is then
//! becomes that of a new module. An instance of that one has nothing left to do but to be told which bundle it is of.
//!
//! What the module is run with is the same engine that `pop` runs it with. It imports nothing, so the same worker and the
//! same files give the same bytes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shared_model::bundle::Mark;
use shared_model::ladder::Payload;
use shared_model::limits::MAX_WASM_BYTES;
use shared_model::wire::Tier;
use thiserror::Error;
use walrus::ModuleConfig;
use wasmtime::{Module, Val};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, ValType, Wizer};

use crate::guest::{self, Guest};

/// The largest table of what is computed of the items ahead; a tier makes a larger one when it begins, if it may.
pub(crate) const ITEM_TABLE_BYTES: u32 = 16 << 20;

/// Why there is no snapshot.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The module is not a worker, or one of another version.
    #[error("is not a worker that can be pre-initialized: {0:#}; build it with scripts/build-worker.sh")]
    Foreign(wasmtime::Error),
    /// It stopped itself.
    #[error("the worker failed in {call}: {error:#}")]
    Failed {
        /// The export called.
        call: &'static str,
        /// What happened.
        error: wasmtime::Error,
    },
    /// It says that it cannot do as told.
    #[error("the worker declined: {0}")]
    Declined(String),
    /// It would be longer than any worker may be.
    #[error(
        "with what it is loaded with the worker has {bytes} bytes or more, and at most {MAX_WASM_BYTES} are allowed"
    )]
    TooLarge {
        /// The bytes.
        bytes: u64,
    },
    /// No worker runs there.
    #[error("no worker runs at the origin")]
    Origin,
}

/// A worker that has loaded nothing.
pub struct Worker<'a> {
    mark: Mark,
    context: ModuleContext<'a>,
    module: Module,
}

impl<'a> Worker<'a> {
    /// Compiles a module, which takes a second or so.
    ///
    /// # Errors
    /// It is not a WASM module, or does what a snapshot does not hold.
    pub fn compile(wasm: &'a [u8]) -> Result<Self, SnapshotError> {
        let (context, instrumented) = Wizer::new().instrument(wasm).map_err(SnapshotError::Foreign)?;
        Ok(Self { mark: Mark::of(wasm), context, module: guest::compile(&instrumented)? })
    }

    /// The module of a worker of `tier` that has loaded the payload, marked as made of both.
    ///
    /// # Errors
    /// It is not a worker, or declines the payload, or would be too large with it.
    pub fn snapshot(&self, tier: Tier, payload: Payload<'_>) -> Result<Vec<u8>, SnapshotError> {
        let parts = [payload.schema, payload.variant, payload.catalog];
        fits(parts.iter().map(|part| part.len() as u64).sum())?;
        let mut guest = Guest::start(&self.module)?;
        guest.load(tier, payload, ITEM_TABLE_BYTES)?;
        let wasm = at_once(Wizer::new().snapshot(&self.context, &mut guest)).map_err(SnapshotError::Foreign)?;
        let mut wasm = without_loading(&wasm)?;
        wasm.extend(self.mark.section(payload));
        fits(wasm.len() as u64)?;
        Ok(wasm)
    }
}

/// A worker's module without the calls that load, and without all that only they reach: nearly half of the code.
///
/// # Errors
/// It is not a worker.
pub fn without_loading(wasm: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let foreign = |error: String| SnapshotError::Foreign(wasmtime::Error::msg(error));
    let parsed = ModuleConfig::new().generate_producers_section(false).parse(wasm);
    let mut module = parsed.map_err(|error| foreign(format!("{error:#}")))?;
    for call in ["rung_load", "rung_start"] {
        module.exports.remove(call).map_err(|error| foreign(format!("{error:#}")))?;
    }
    walrus::passes::gc::run(&mut module);
    Ok(module.emit_wasm())
}

fn fits(bytes: u64) -> Result<(), SnapshotError> {
    if bytes > MAX_WASM_BYTES { Err(SnapshotError::TooLarge { bytes }) } else { Ok(()) }
}

/// The names are those that the instrumented module exports for this.
impl InstanceState for Guest {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name).expect("an exported global");
        match global.get(&mut self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(value) => SnapshotVal::V128(value.as_u128()),
            _ => unreachable!("a module with mutable references is refused when it is instrumented"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name).expect("an exported memory");
        contents(memory.data(&self.store));
    }
}

/// What a future gives that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("reading a memory waits for nothing"),
    }
}
