//! The sections of a page.

mod ladder;
mod quality;
mod size;
mod summary;

pub(super) use ladder::ladder;
pub(super) use quality::{changed, cohorts, coverage, deviation, quality};
pub(super) use size::{front, tensors, work};
pub(super) use summary::summary;
