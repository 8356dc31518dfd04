//! The arithmetic of a plan. What is here *defines* the result of each op, summing order included: any faster kernel
//! must give the same bits, on every machine and in every WASM engine.
//!
//! f32: one accumulator an output, ascending index, no fused multiply-add, vectors only across outputs. Integers: exact.
//! Slices in, slices out; no knowledge of graphs, rows or memory.

mod across;
mod lanes;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod moves;
pub(crate) mod reduce;
#[cfg(test)]
mod reference;
pub(crate) mod row;
