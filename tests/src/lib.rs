//! What tests and the demo share: certificates, a client, a stack of tiers, and the judge of what they answer.

pub mod batching;
pub mod certs;
pub mod client;
pub mod demo;
pub mod edge;
pub mod edition;
pub mod gpu;
pub mod judge;
pub mod predictor;
pub mod processes;
pub mod proxy;
pub mod recipe;
pub mod replay;
pub mod rows;
pub mod stack;
