//! One guest: a store, its memory and its exports, typed. The other side of `edge-worker`'s `abi`.

use std::time::Duration;

use shared_model::ladder::{ABI_VERSION, Payload, Step, Terms, TierLimits};
use shared_model::wire::{Tier, from_cbor, to_cbor};
use wasmtime::{Memory, Store, Trap, TypedFunc, WasmParams, WasmResults};

use super::ceiling::Ceiling;
use super::program::{Program, ticks};
use super::{GuestFault, GuestLimits, Load};

/// The longest reply that is read. An answer holds at most k ids and scores.
const MAX_REPLY_BYTES: usize = 128 << 20;
/// The longest error text that is read.
const MAX_ERROR_BYTES: usize = 4096;

/// A guest that has begun and can rank.
pub(crate) struct Instance {
    store: Store<Ceiling>,
    instance: wasmtime::Instance,
    memory: Memory,
    limits: GuestLimits,
    input: TypedFunc<u32, u32>,
    rank: TypedFunc<u32, u64>,
    resume: TypedFunc<u32, u64>,
    error: TypedFunc<(), u64>,
}

impl Instance {
    /// Instantiates the program, hands it what it does not have of a bundle, and begins.
    ///
    /// # Errors
    /// The program is not a worker, or declines the bundle, or fails.
    pub(crate) fn start(program: &Program, load: &Load) -> Result<Self, GuestFault> {
        let payload = if program.is_loaded() { None } else { Some(load.payload()) };
        Self::start_of(program, load.tier, load.limits, &load.terms, payload)
    }

    /// As [`Self::start`]; without a payload, of a program that has it.
    pub(crate) fn start_of(
        program: &Program,
        tier: Tier,
        limits: TierLimits,
        terms: &Terms,
        payload: Option<Payload<'_>>,
    ) -> Result<Self, GuestFault> {
        let tier = match tier {
            Tier::Edge => 0,
            Tier::Region => 1,
            Tier::Origin => return Err(GuestFault::Foreign("no worker runs at the origin".to_owned())),
        };
        let mut guest = Self::new(program)?;
        if let Some(payload) = payload {
            guest.load(tier, limits.item_table_bytes, payload)?;
        }
        guest.begin(tier, terms, limits)?;
        Ok(guest)
    }

    fn new(program: &Program) -> Result<Self, GuestFault> {
        let limits = *program.limits();
        let (mut store, instance) = program.instantiate().map_err(|error| match error.downcast_ref::<Trap>() {
            Some(trap) => GuestFault::Trap { call: "start", reason: trap.to_string() },
            None => GuestFault::Foreign(format!("{error:#}")),
        })?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| GuestFault::Foreign("it exports no `memory`".to_owned()))?;
        let mut guest = Self {
            memory,
            limits,
            input: export(&mut store, &instance, "rung_input")?,
            rank: export(&mut store, &instance, "rung_rank")?,
            resume: export(&mut store, &instance, "rung_resume")?,
            error: export(&mut store, &instance, "rung_error")?,
            store,
            instance,
        };
        let version = guest.call_named("rung_abi", (), limits.load)?;
        if version == ABI_VERSION {
            Ok(guest)
        } else {
            Err(GuestFault::Foreign(format!("it speaks ABI {version}, this host speaks {ABI_VERSION}")))
        }
    }

    /// All that takes long.
    fn load(&mut self, tier: u32, item_table_bytes: u32, payload: Payload<'_>) -> Result<(), GuestFault> {
        let time = self.limits.load;
        for (number, bytes) in (0_u32..).zip([payload.schema, payload.variant, payload.catalog]) {
            let len = self.write(bytes, time)?;
            let status = self.call_named("rung_load", (number, len), time)?;
            self.succeeded(status)?;
        }
        let status = self.call_named("rung_start", (tier, item_table_bytes), time)?;
        self.succeeded(status)
    }

    fn begin(&mut self, tier: u32, terms: &Terms, limits: TierLimits) -> Result<(), GuestFault> {
        let time = self.limits.load;
        let len = self.write(&to_cbor(&(terms, limits)), time)?;
        let status = self.call_named("rung_begin", (tier, len), time)?;
        self.succeeded(status)
    }

    /// Calls an export that is called once.
    fn call_named<P: WasmParams>(&mut self, name: &'static str, params: P, time: Duration) -> Result<u32, GuestFault> {
        let export = export(&mut self.store, &self.instance, name)?;
        self.call(name, &export, params, time)
    }

    /// Ranks: takes a [`Call`](shared_model::ladder::Call) as CBOR.
    ///
    /// # Errors
    /// What the guest did wrong; see [`GuestFault::is_sound`].
    pub(crate) fn rank(&mut self, call: &[u8]) -> Result<Step, GuestFault> {
        step("rung_rank", self.rank_bytes(call)?)
    }

    /// From a [`Call`](shared_model::ladder::Call) to a [`Step`], both as CBOR; the step lies in the guest's memory.
    ///
    /// # Errors
    /// What the guest did wrong; see [`GuestFault::is_sound`].
    pub(crate) fn rank_bytes(&mut self, call: &[u8]) -> Result<&[u8], GuestFault> {
        let rank = self.rank.clone();
        self.reply("rung_rank", &rank, call)
    }

    /// Goes on after an escalation: takes what was held and an [`Outcome`](shared_model::ladder::Outcome), a pair, as CBOR.
    ///
    /// # Errors
    /// What the guest did wrong; see [`GuestFault::is_sound`].
    pub(crate) fn resume(&mut self, message: &[u8]) -> Result<Step, GuestFault> {
        step("rung_resume", self.resume_bytes(message)?)
    }

    /// From what was held and an [`Outcome`](shared_model::ladder::Outcome), a pair, to a [`Step`], both as CBOR; the step lies in the guest's memory.
    ///
    /// # Errors
    /// What the guest did wrong; see [`GuestFault::is_sound`].
    pub(crate) fn resume_bytes(&mut self, message: &[u8]) -> Result<&[u8], GuestFault> {
        let resume = self.resume.clone();
        self.reply("rung_resume", &resume, message)
    }

    /// The bytes of its memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// How often it has asked its heap for memory.
    ///
    /// # Errors
    /// It does not count, or fails.
    pub(crate) fn allocations(&mut self) -> Result<u64, GuestFault> {
        let export = export(&mut self.store, &self.instance, "rung_allocations")?;
        self.call("rung_allocations", &export, (), self.limits.call)
    }

    fn reply(&mut self, name: &'static str, verb: &TypedFunc<u32, u64>, message: &[u8]) -> Result<&[u8], GuestFault> {
        let len = self.write(message, self.limits.call)?;
        let reply = self.call(name, verb, len, self.limits.call)?;
        if reply == 0 {
            return Err(self.declined());
        }
        self.bytes(name, reply, MAX_REPLY_BYTES)
    }

    /// Copies an input into the guest, where the guest says.
    fn write(&mut self, bytes: &[u8], time: Duration) -> Result<u32, GuestFault> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| GuestFault::Declined(format!("{} bytes are more than a worker can address", bytes.len())))?;
        let input = self.input.clone();
        let address = self.call("rung_input", &input, len, time)?;
        if address == 0 {
            return Err(if self.store.data_mut().take_reached() {
                GuestFault::OutOfMemory { call: "rung_input", ceiling: self.limits.memory_bytes }
            } else {
                self.declined()
            });
        }
        self.memory.write(&mut self.store, address as usize, bytes).map_err(|_| GuestFault::Nonsense {
            call: "rung_input",
            what: format!("{len} bytes at {address} are not all within its memory"),
        })?;
        Ok(len)
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &'static str,
        export: &TypedFunc<P, R>,
        params: P,
        time: Duration,
    ) -> Result<R, GuestFault> {
        self.store.set_epoch_deadline(ticks(time));
        self.store.data_mut().take_reached();
        export.call(&mut self.store, params).map_err(|error| self.fault(name, &error, time))
    }

    fn fault(&mut self, call: &'static str, error: &wasmtime::Error, limit: Duration) -> GuestFault {
        let reached = self.store.data_mut().take_reached();
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => GuestFault::OutOfTime { call, limit },
            _ if reached => GuestFault::OutOfMemory { call, ceiling: self.store.data().bytes() },
            Some(trap) => {
                let reason = match self.error_text() {
                    Some(panic) if !panic.is_empty() => format!("{trap}: {panic}"),
                    _ => trap.to_string(),
                };
                GuestFault::Trap { call, reason }
            }
            None => GuestFault::Trap { call, reason: format!("{error:#}") },
        }
    }

    fn succeeded(&mut self, status: u32) -> Result<(), GuestFault> {
        if status == 0 { Ok(()) } else { Err(self.declined()) }
    }

    fn declined(&mut self) -> GuestFault {
        GuestFault::Declined(self.error_text().unwrap_or_else(|| "it does not say why".to_owned()))
    }

    /// The guest's last error. Called after a trap too, so whatever goes wrong here is no news.
    fn error_text(&mut self) -> Option<String> {
        self.store.set_epoch_deadline(ticks(self.limits.call));
        let error = self.error.clone();
        let reply = error.call(&mut self.store, ()).ok()?;
        let bytes = self.bytes("rung_error", reply, MAX_ERROR_BYTES).ok()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The bytes that a reply points at.
    fn bytes(&self, call: &'static str, reply: u64, max: usize) -> Result<&[u8], GuestFault> {
        let (address, len) = ((reply >> 32) as usize, (reply & 0xffff_ffff) as usize);
        let nonsense = |what: String| GuestFault::Nonsense { call, what };
        if len > max {
            return Err(nonsense(format!("a reply of {len} bytes, at most {max} are allowed")));
        }
        self.memory
            .data(&self.store)
            .get(address..address.saturating_add(len))
            .ok_or_else(|| nonsense(format!("{len} bytes at {address} are not all within its memory")))
    }
}

fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<Ceiling>,
    instance: &wasmtime::Instance,
    name: &str,
) -> Result<TypedFunc<P, R>, GuestFault> {
    instance.get_typed_func(store, name).map_err(|error| GuestFault::Foreign(format!("{error:#}")))
}

fn step(call: &'static str, reply: &[u8]) -> Result<Step, GuestFault> {
    from_cbor(reply).map_err(|error| GuestFault::Nonsense { call, what: error.to_string() })
}
