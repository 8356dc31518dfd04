//! The platforms that a tier can be put on, one file each; see [`crate::render`].

pub(crate) mod self_hosted;
