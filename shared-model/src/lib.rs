//! The meaning of a ranking model, a request and an answer.
//!
//! Everything that two rooms must agree on lives here: how raw features become model inputs ([`schema`], [`encode`],
//! [`catalog`]), what the model computes ([`graph`], [`plan`]), when an answer is sure ([`gate`], [`ladder`]), and the
//! forms that cross a boundary ([`wire`], [`bundle`], [`variant`]).
//!
//! No I/O, no clock, no threads: time and bytes are arguments. The same code runs in the WASM guest, at the origin and
//! in `quantize`, which is why they agree.

pub mod bundle;
pub mod catalog;
pub mod encode;
pub mod explain;
pub mod gate;
pub mod graph;
mod kernel;
pub mod ladder;
pub mod limits;
pub mod plan;
pub mod schema;
pub mod shape;
pub mod tensor;
pub mod topk;
pub mod variant;
pub mod wire;
