//! The demo's bundle: built by the `quantize` program, reused while nothing it is made of has changed.

use std::path::{Path, PathBuf};

use super::Options;
use crate::client::Error;
use crate::recipe::Recipe;
use crate::stack;

/// The bundle's folder, built if need be.
pub(super) fn build(options: &Options, work: &Path) -> Result<PathBuf, Error> {
    let inputs = vec![
        ("--model", options.dir.join(format!("{}.onnx", options.model))),
        ("--schema", options.features()),
        ("--catalog", options.dir.join("catalog.jsonl")),
        ("--calibration", options.requests_file("calibration")),
        ("--gate", options.requests_file("gate")),
        ("--worker", stack::worker()),
    ];
    let settings = vec![
        ("--version", "1".to_owned()),
        ("--serial", "1".to_owned()),
        ("--k", "10".to_owned()),
        ("--alpha", options.alpha.to_string()),
        ("--edge-share", options.edge_share().to_string()),
    ];
    Recipe { inputs, settings }.bundle(work)
}
