//! The module, compiled once, and the clock by which its calls are stopped.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, InstancePre, Linker, Module, OptLevel, Store};

use super::GuestFault;
use super::ceiling::Ceiling;

/// The grain of the time that a guest is given.
pub(super) const TICK: Duration = Duration::from_millis(1);

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
}

impl Program {
    /// Compiles a module, which takes a second or so, and starts its clock.
    ///
    /// # Errors
    /// It is not a WASM module, or wants imports.
    pub(crate) fn compile(wasm: &[u8], limits: GuestLimits) -> Result<Self, GuestFault> {
        let foreign = |error: wasmtime::Error| GuestFault::Foreign(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(foreign)?;
        let module = Module::from_binary(&engine, wasm).map_err(foreign)?;
        if let Some(import) = module.imports().next() {
            return Err(GuestFault::Foreign(format!("it imports `{}` of `{}`", import.name(), import.module())));
        }
        let pre = Linker::new(&engine).instantiate_pre(&module).map_err(foreign)?;
        tick(&engine).map_err(|error| GuestFault::Foreign(format!("its clock cannot be started: {error}")))?;
        Ok(Self { pre, limits })
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

fn config() -> Config {
    let mut config = Config::new();
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
