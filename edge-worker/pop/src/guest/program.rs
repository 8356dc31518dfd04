//! A module, compiled once, and the clock by which its calls are stopped.

use std::thread;
use std::time::Duration;

use shared_model::bundle::Mark;
use shared_model::ladder::Payload;
use wasmtime::{Config, Engine, ExternType, InstancePre, Linker, Module, OptLevel, Store};

use super::GuestFault;
use super::ceiling::Ceiling;

/// The grain of the time that a guest is given. A finer one wakes the process more often for nothing.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// What one guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    /// The longest that one `rank` or `resume` may run.
    pub call: Duration,
    /// The longest that loading a bundle may run.
    pub load: Duration,
}

/// A compiled worker; a clone is another handle to it.
#[derive(Clone)]
pub(crate) struct Program {
    pre: InstancePre<Ceiling>,
    limits: GuestLimits,
    /// Whether its instances begin with a bundle in their memory.
    loaded: bool,
    /// What tells a snapshot of it.
    mark: Mark,
}

impl Program {
    /// Compiles a module, which takes a second or so, and starts its clock.
    ///
    /// # Errors
    /// It is not a WASM module, or wants imports, or more memory than it may have.
    pub(crate) fn compile(wasm: &[u8], limits: GuestLimits) -> Result<Self, GuestFault> {
        let engine = Engine::new(&config(limits)).map_err(foreign)?;
        let program = Self::compile_for(&engine, wasm, limits)?;
        tick(&engine).map_err(|error| GuestFault::Foreign(format!("its clock cannot be started: {error}")))?;
        Ok(program)
    }

    /// Whether a module is a snapshot of this worker with that payload, and not of another version of either.
    pub(crate) fn is_in(&self, wasm: &[u8], payload: Payload<'_>) -> bool {
        wasm.ends_with(&self.mark.section(payload))
    }

    /// Compiles a snapshot of a worker that has loaded a bundle, with the limits and the clock of this one.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub(crate) fn compile_loaded(&self, wasm: &[u8]) -> Result<Self, GuestFault> {
        let program = Self::compile_for(self.pre.module().engine(), wasm, self.limits)?;
        Ok(Self { loaded: true, ..program })
    }

    fn compile_for(engine: &Engine, wasm: &[u8], limits: GuestLimits) -> Result<Self, GuestFault> {
        let module = Module::from_binary(engine, wasm).map_err(foreign)?;
        if let Some(import) = module.imports().next() {
            return Err(GuestFault::Foreign(format!("it imports `{}` of `{}`", import.name(), import.module())));
        }
        if let Some(ExternType::Memory(memory)) = module.get_export("memory") {
            let bytes = memory.minimum().saturating_mul(memory.page_size());
            if bytes > limits.memory_bytes as u64 {
                return Err(GuestFault::OutOfMemory { call: "start", ceiling: limits.memory_bytes });
            }
        }
        let pre = Linker::new(engine).instantiate_pre(&module).map_err(foreign)?;
        Ok(Self { pre, limits, loaded: false, mark: Mark::of(wasm) })
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    pub(super) fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// An instance in a store of its own, which traps when its time is over.
    pub(super) fn instantiate(&self) -> wasmtime::Result<(Store<Ceiling>, wasmtime::Instance)> {
        let mut store = Store::new(self.pre.module().engine(), Ceiling::new(self.limits.memory_bytes));
        store.limiter(|ceiling| ceiling);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(ticks(self.limits.load));
        let instance = self.pre.instantiate(&mut store)?;
        Ok((store, instance))
    }
}

/// Ticks that give a call at least `time`: the one under way may be almost over.
pub(super) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2) + 1
}

fn foreign(error: wasmtime::Error) -> GuestFault {
    GuestFault::Foreign(format!("{error:#}"))
}

fn config(limits: GuestLimits) -> Config {
    let mut config = Config::new();
    // What an instance has at its start is mapped, not copied, however large: it is never more than its ceiling.
    config.memory_guaranteed_dense_image_size(limits.memory_bytes as u64);
    config.cranelift_opt_level(OptLevel::Speed).epoch_interruption(true);
    // A worker is one 32-bit memory with SIMD; what it does not need is not offered.
    config.wasm_memory64(false).wasm_multi_memory(false).wasm_tail_call(false);
    config
}

/// Counts the engine's epochs for as long as anyone has the engine.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new().name("guest-clock".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(())
}
