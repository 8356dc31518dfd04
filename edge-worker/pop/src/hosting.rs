//! A guest without a POP around it: the same engine, limits and checks, for whoever measures or compares guests.

use shared_model::ladder::{Payload, Terms, TierLimits};
use shared_model::wire::Tier;

pub use crate::guest::GuestLimits;
use crate::guest::{GuestFault, Instance, Program};

/// A worker, compiled once; a clone is another handle to it.
#[derive(Clone)]
pub struct Worker(Program);

/// One instance of a [`Worker`], loaded with a bundle.
pub struct Guest(Instance);

impl Worker {
    /// Compiles a module, which takes a second or so.
    ///
    /// # Errors
    /// It is not a WASM module, or wants imports.
    pub fn compile(wasm: &[u8], limits: GuestLimits) -> Result<Self, GuestFault> {
        Program::compile(wasm, limits).map(Self)
    }

    /// Instantiates it, hands it a bundle and begins. A snapshot has the payload; it is given none.
    ///
    /// # Errors
    /// It is not a worker, or declines the bundle, or fails.
    pub fn start(
        &self,
        tier: Tier,
        limits: TierLimits,
        terms: &Terms,
        payload: Option<Payload<'_>>,
    ) -> Result<Guest, GuestFault> {
        Instance::start_of(&self.0, tier, limits, terms, payload).map(Guest)
    }
}

impl Guest {
    /// From a [`Call`](shared_model::ladder::Call) to a [`Step`](shared_model::ladder::Step), both as CBOR. The step lies
    /// in the guest's memory and is not looked at.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn rank(&mut self, call: &[u8]) -> Result<&[u8], GuestFault> {
        self.0.rank_bytes(call)
    }

    /// From what an escalation held and an [`Outcome`](shared_model::ladder::Outcome), a pair, to a
    /// [`Step`](shared_model::ladder::Step), as [`Self::rank`].
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn resume(&mut self, held_and_outcome: &[u8]) -> Result<&[u8], GuestFault> {
        self.0.resume_bytes(held_and_outcome)
    }

    /// The bytes of its linear memory, which never shrinks.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// How often it has asked its heap for memory so far: no more once it has answered requests like those to come.
    ///
    /// # Errors
    /// It does not count, or fails.
    pub fn allocations(&mut self) -> Result<u64, GuestFault> {
        self.0.allocations()
    }
}
