//! A model in ONNX: what is imported is a graph that can be written, read again and run.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quantize::build::full_precision;
use quantize::import::{declared_inputs, import};
use shared_model::plan::Plan;
use shared_model::schema::Schema;
use shared_model::variant::Variant;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_toml(include_str!("../../fixtures/demo/features.toml")).expect("the demo's schema"));

fuzz_target!(|bytes: &[u8]| {
    let _ = declared_inputs(bytes);
    let Ok(imported) = import(bytes, SCHEMA.inputs()) else { return };
    if let Ok(variant) = full_precision(imported) {
        let file = variant.to_bytes().expect("its tensors fit its graph");
        let read = Variant::from_bytes(&file).expect("a tier reads what `quantize` writes");
        Plan::new(&read.graph, &read.tensors).expect("a tier runs what `quantize` writes");
    }
});
