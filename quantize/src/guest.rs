//! An instance of the worker in this process: what a snapshot is taken of, and what is measured as it ranks. The worker is
//! our own, but its file may be any.

use shared_model::ladder::{ABI_VERSION, Call, Payload, Step, Terms, TierLimits};
use shared_model::wire::{Tier, from_cbor, to_cbor};
use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, OptLevel, Store, WasmParams, WasmResults};

use crate::snapshot::SnapshotError;

/// The longest text of an error that is read.
const MAX_ERROR_BYTES: usize = 4096;

/// Compiles a worker's module, which takes a second or so.
///
/// # Errors
/// It is not a WASM module.
pub(crate) fn compile(wasm: &[u8]) -> Result<Module, SnapshotError> {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    let engine = Engine::new(&config).map_err(SnapshotError::Foreign)?;
    Module::from_binary(&engine, wasm).map_err(SnapshotError::Foreign)
}

/// One instance.
pub(crate) struct Guest {
    pub(crate) store: Store<()>,
    pub(crate) instance: Instance,
    memory: Memory,
}

impl Guest {
    pub(crate) fn start(module: &Module) -> Result<Self, SnapshotError> {
        let mut store = Store::new(module.engine(), ());
        let instance = Linker::new(module.engine()).instantiate(&mut store, module).map_err(SnapshotError::Foreign)?;
        let Some(memory) = instance.get_memory(&mut store, "memory") else {
            return Err(SnapshotError::Foreign(wasmtime::Error::msg("it exports no `memory`")));
        };
        let mut guest = Self { store, instance, memory };
        match guest.call::<(), u32>("rung_abi", ())? {
            ABI_VERSION => Ok(guest),
            version => {
                let text = format!("it speaks ABI {version}, and ABI {ABI_VERSION} is wanted");
                Err(SnapshotError::Foreign(wasmtime::Error::msg(text)))
            }
        }
    }

    /// Hands it all that it is made of, and has it do what takes long.
    pub(crate) fn load(
        &mut self,
        tier: Tier,
        payload: Payload<'_>,
        item_table_bytes: u32,
    ) -> Result<(), SnapshotError> {
        let tier = number(tier)?;
        for (number, part) in (0_u32..).zip([payload.schema, payload.variant, payload.catalog]) {
            let len = self.write(part)?;
            self.succeeds("rung_load", (number, len))?;
        }
        self.succeeds("rung_start", (tier, item_table_bytes))
    }

    /// From here on it ranks.
    pub(crate) fn begin(&mut self, tier: Tier, terms: &Terms, limits: TierLimits) -> Result<(), SnapshotError> {
        let len = self.write(&to_cbor(&(terms, limits)))?;
        self.succeeds("rung_begin", (number(tier)?, len))
    }

    /// What it does with a request.
    pub(crate) fn rank(&mut self, call: &Call) -> Result<Step, SnapshotError> {
        let len = self.write(&to_cbor(call))?;
        let reply: u64 = self.call("rung_rank", len)?;
        if reply == 0 {
            return Err(self.declined());
        }
        let step = self.bytes(reply, usize::MAX).and_then(|bytes| from_cbor(bytes).ok());
        step.ok_or_else(|| SnapshotError::Foreign(wasmtime::Error::msg("it ranks in another form")))
    }

    /// The bytes of its memory, which never gets smaller.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }

    /// Copies an input to where it says.
    fn write(&mut self, input: &[u8]) -> Result<u32, SnapshotError> {
        let len = u32::try_from(input.len()).map_err(|_| SnapshotError::TooLarge { bytes: input.len() as u64 })?;
        let address: u32 = self.call("rung_input", len)?;
        if address == 0 {
            return Err(self.declined());
        }
        let written = self.memory.write(&mut self.store, address as usize, input);
        written.map_err(|error| SnapshotError::Failed { call: "rung_input", error: error.into() })?;
        Ok(len)
    }

    fn succeeds(&mut self, call: &'static str, params: impl WasmParams) -> Result<(), SnapshotError> {
        match self.call::<_, u32>(call, params)? {
            0 => Ok(()),
            _ => Err(self.declined()),
        }
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, call: &'static str, params: P) -> Result<R, SnapshotError> {
        let export = self.instance.get_typed_func::<P, R>(&mut self.store, call).map_err(SnapshotError::Foreign)?;
        export.call(&mut self.store, params).map_err(|error| SnapshotError::Failed { call, error })
    }

    /// What it says went wrong.
    fn declined(&mut self) -> SnapshotError {
        let reply = self.call::<(), u64>("rung_error", ()).ok();
        let text = reply.and_then(|reply| self.bytes(reply, MAX_ERROR_BYTES));
        SnapshotError::Declined(
            text.map_or_else(|| "it does not say why".to_owned(), |text| String::from_utf8_lossy(text).into_owned()),
        )
    }

    /// What a reply points at, of at most `max` bytes.
    fn bytes(&self, reply: u64, max: usize) -> Option<&[u8]> {
        let (address, len) = ((reply >> 32) as usize, (reply & 0xffff_ffff) as usize);
        self.memory.data(&self.store).get(address..address.saturating_add(len.min(max)))
    }
}

/// What a tier is called in the worker's ABI.
fn number(tier: Tier) -> Result<u32, SnapshotError> {
    match tier {
        Tier::Edge => Ok(0),
        Tier::Region => Ok(1),
        Tier::Origin => Err(SnapshotError::Origin),
    }
}
