//! The arithmetic of a plan. The plain loops of `reference` *define* the result of each op, summing order included; what
//! runs is faster and gives the same bits, on every machine and in every WASM engine, as the tests beside it show.
//!
//! f32: one accumulator an output, ascending index, no fused multiply-add, vectors only across outputs or rows.
//! Integers: exact. Slices in, slices out; no knowledge of graphs, rows or memory.

mod across;
pub(crate) mod elements;
mod lanes;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod moves;
pub(crate) mod reduce;
#[cfg(test)]
pub(crate) mod reference;
pub(crate) mod row;
mod turns;
