//! What a guest may take of the host's memory.

use wasmtime::ResourceLimiter;

/// More than the indirect calls of a worker need.
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// The bound on the memory of one instance. Remembers whether it was reached.
#[derive(Debug)]
pub(crate) struct Ceiling {
    bytes: usize,
    reached: bool,
}

impl Ceiling {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, reached: false }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more was refused since this was asked last.
    pub(crate) fn take_reached(&mut self) -> bool {
        std::mem::take(&mut self.reached)
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, _now: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within = desired <= self.bytes;
        self.reached |= !within;
        Ok(within)
    }

    fn table_growing(&mut self, _now: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}
