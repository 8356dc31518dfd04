//! What the steps of a build take beside what they are given, on a model that is nearly all one table: a model of a
//! gigabyte has to be built where there are four.
//!
//! Allocations are counted on the test's own thread, where these steps make what is large.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::io::Write as _;

use allocation_counter::measure;
use onnx_ir::{GraphProto, Message as _, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use quantize::Progress;
use quantize::build::{checked, full_precision};
use quantize::import::import_from;
use quantize::score::Encoding;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::schema::Schema;

const ROWS: usize = 1 << 17;
const WIDTH: usize = 32;
/// The bytes of the table.
const SIZE: u64 = (ROWS * WIDTH * 4) as u64;

const SCHEMA: &str = r#"
schema_version = 1
model = "large"
[vocabulary.items]
source = "catalog"
[[feature]]
name = "user"
kind = "categorical"
scope = "request"
field = "user.id"
input = "user"
transform = { hash = 131072 }
[[feature]]
name = "item"
kind = "categorical"
scope = "item"
field = "id"
input = "item"
transform = { vocabulary = "items" }
"#;

fn tensor(name: &str, dims: [usize; 2]) -> TensorProto {
    let numbers = 0..u32::try_from(dims[0] * dims[1]).unwrap();
    TensorProto {
        name: name.to_owned(),
        dims: dims.map(|d| i64::try_from(d).unwrap()).to_vec(),
        data_type: 1,
        raw_data: numbers.flat_map(|i| ((i % 97) as f32 / 97.0 - 0.5).to_le_bytes()).collect::<Vec<_>>().into(),
        ..TensorProto::default()
    }
}

fn value(name: &str, elem: i32) -> ValueInfoProto {
    let mut ty = TypeProto::default();
    let tensor = ty.mut_tensor_type();
    tensor.elem_type = elem;
    let shape = tensor.shape.mut_or_insert_default();
    shape.dim.push(Default::default());
    shape.dim[0].set_dim_param("N".to_owned());
    ValueInfoProto { name: name.to_owned(), type_: Some(ty).into(), ..ValueInfoProto::default() }
}

fn node(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: inputs.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// The bytes of a model that multiplies a user's row with an item's, and adds up the products.
fn onnx() -> Vec<u8> {
    let axis = TensorProto { name: "last".to_owned(), dims: vec![1], data_type: 7, ..TensorProto::default() };
    let width = TensorProto { name: "row".to_owned(), dims: vec![1], data_type: 7, ..TensorProto::default() };
    let graph = GraphProto {
        name: "large".to_owned(),
        node: vec![
            node("Gather", ["users", "user"], "u"),
            node("Gather", ["items", "item"], "i"),
            node("Mul", ["u", "i"], "products"),
            node("ReduceSum", ["products", "last"], "sum"),
            node("Reshape", ["sum", "row"], "score"),
        ],
        initializer: vec![
            tensor("users", [ROWS, WIDTH]),
            tensor("items", [4, WIDTH]),
            TensorProto { int64_data: vec![1], ..axis },
            TensorProto { int64_data: vec![-1], ..width },
        ],
        input: vec![value("user", 7), value("item", 7)],
        output: vec![value("score", 1)],
        ..GraphProto::default()
    };
    let mut model = ModelProto { ir_version: 8, graph: Some(graph).into(), ..ModelProto::default() };
    model.opset_import.push(Default::default());
    model.opset_import[0].version = 18;
    model.write_to_bytes().unwrap()
}

/// What a step allocates at most at once, in multiples of the table, and what it gives.
fn peak<T>(step: impl FnOnce() -> T) -> (f64, T) {
    let mut result = None;
    let info = measure(|| result = Some(step()));
    (info.bytes_max as f64 / SIZE as f64, result.unwrap())
}

#[test]
fn no_step_of_a_build_has_more_copies_of_the_model_than_it_needs() {
    let schema = Schema::from_toml(SCHEMA).unwrap();
    let items = (0..3).map(|i| item_from_json(&format!(r#"{{"id":"i{i}"}}"#)).unwrap());
    let catalog = Catalog::build(&schema, items).unwrap();
    let mut calibration = tempfile::NamedTempFile::new().unwrap();
    writeln!(calibration, r#"{{"user":{{"id":"u1"}},"candidates":["i0","i2"]}}"#).unwrap();
    let encoding = Encoding { schema: &schema, catalog: &catalog };

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&onnx()).unwrap();

    let import = || import_from(&mut file.reopen().unwrap(), schema.inputs()).unwrap();
    let (imports, imported) = peak(import);
    assert!(imports < 2.2, "an import takes {imports:.2} times the model: the file's form of a tensor beside ours");
    let (splits, _) = peak(|| full_precision(imported).unwrap());
    assert!(splits < 0.1, "splitting takes {splits:.2} times the model: its tables move");

    let (checks, (full, checked)) = peak(|| {
        let (model, calibration) = (file.path(), calibration.path());
        checked(model, import(), schema.inputs(), encoding, calibration, &Progress::hidden()).unwrap()
    });
    assert!(checks < 2.2, "the check takes {checks:.2} times the model: no more than the import that it does again");
    assert_eq!(checked.requests, 1);

    let (writes, bytes) = peak(|| full.to_bytes().unwrap());
    assert!(writes < 2.2, "writing takes {writes:.2} times the model: a tensor's bytes, and those of the file");
    assert!(bytes.len() as u64 > SIZE);
}
