//! Builds small ONNX models as protobuf, and runs them both ways.

use onnx_ir::{
    AttributeProto, AttributeType, GraphProto, Message as _, ModelProto, NodeProto, TensorProto, TypeProto,
    ValueInfoProto,
};
use shared_model::encode::{Block, Data};
use shared_model::graph::{DType, Scope};
use shared_model::plan::Plan;
use shared_model::schema::InputSpec;

use crate::check::{Difference, Reference};
use crate::import::{ImportError, Imported, import};

/// A model under construction: inputs `x` (floats, `[N, 4]`), `h` (indices, `[N, 3]`), `id` (an index, `[N]`).
pub(super) struct Tiny {
    model: ModelProto,
}

pub(super) enum Attr<'a> {
    I(&'a str, i64),
    F(&'a str, f32),
    Is(&'a str, &'a [i64]),
}

impl Tiny {
    pub(super) fn new() -> Self {
        let mut model = ModelProto { ir_version: 8, ..Default::default() };
        model.opset_import.push(Default::default());
        model.opset_import[0].version = 18;
        model.graph = Some(GraphProto { name: "tiny".into(), ..Default::default() }).into();
        let mut tiny = Self { model };
        tiny.input("x", 1, &[4]).input("h", 7, &[3]).input("id", 7, &[]);
        tiny
    }

    pub(super) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.mut_or_insert_default()
    }

    pub(super) fn input(&mut self, name: &str, elem: i32, row: &[i64]) -> &mut Self {
        let info = value_info(name, elem, row);
        self.graph().input.push(info);
        self
    }

    pub(super) fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        let t = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data: data.to_vec(),
            ..Default::default()
        };
        self.graph().initializer.push(t);
        self
    }

    pub(super) fn ints(mut self, name: &str, dims: &[i64], data: &[i64]) -> Self {
        let t = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 7,
            int64_data: data.to_vec(),
            ..Default::default()
        };
        self.graph().initializer.push(t);
        self
    }

    pub(super) fn node(mut self, op: &str, inputs: &[&str], output: &str, attributes: &[Attr]) -> Self {
        let attribute = |a: &Attr| {
            let mut proto = AttributeProto::default();
            match a {
                Attr::I(name, v) => {
                    (proto.name, proto.i, proto.type_) = ((*name).into(), *v, AttributeType::INT.into())
                }
                Attr::F(name, v) => {
                    (proto.name, proto.f, proto.type_) = ((*name).into(), *v, AttributeType::FLOAT.into())
                }
                Attr::Is(name, v) => {
                    (proto.name, proto.ints, proto.type_) = ((*name).into(), v.to_vec(), AttributeType::INTS.into())
                }
            }
            proto
        };
        let node = NodeProto {
            name: format!("{op}_{output}"),
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: output.split(' ').map(Into::into).collect(),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        };
        self.graph().node.push(node);
        self
    }

    /// Sums what is left of `value` to one number a candidate, and makes it the output.
    pub(super) fn summed(self, value: &str) -> Self {
        self.ints("to_row", &[2], &[0, -1])
            .ints("last", &[1], &[1])
            .node("Reshape", &[value, "to_row"], "flat", &[])
            .node("ReduceSum", &["flat", "last"], "score", &[Attr::I("keepdims", 0)])
            .output("score")
    }

    pub(super) fn output(mut self, name: &str) -> Self {
        let info = value_info(name, 1, &[]);
        self.graph().output.push(info);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.model.write_to_bytes().unwrap()
    }

    pub(super) fn import(&self) -> Result<Imported, ImportError> {
        import_bytes(&self.bytes())
    }

    pub(super) fn refusal(&self) -> String {
        self.import().unwrap_err().to_string()
    }

    /// Imports, and compares with tract on five candidates.
    #[track_caller]
    pub(super) fn agrees(&self) -> Imported {
        let imported = self.import().unwrap_or_else(|e| panic!("{e}"));
        let x = (0..20).map(|i| ((i * 37 % 19) as f32 - 9.0) / 5.0).collect();
        let blocks = [
            Block { width: 4, data: Data::F32(x) },
            Block { width: 3, data: Data::I32(vec![1, 4, 0]) },
            Block { width: 1, data: Data::I32(vec![3, 0, 4, 2, 1]) },
        ];
        let blocks: Vec<&Block> = blocks.iter().collect();
        let plan = Plan::new(&imported.graph, &imported.tensors).unwrap();
        let mut scores = [0.0; 5];
        plan.run(&mut plan.arena(), &blocks, &mut scores).unwrap();
        let (expected, outputs) = Reference::new(&mut &self.bytes()[..], &imported).unwrap().run(&blocks, 5).unwrap();
        let difference = Difference::of(imported.graph.link(), &scores, &expected, &outputs, 0.1);
        assert!(difference.is_rounding(), "{difference:?}\n{scores:?}\n{expected:?}");
        assert!(scores.iter().any(|s| *s != scores[0]), "the test tells candidates apart: {scores:?}");
        imported
    }
}

pub(super) fn value_info(name: &str, elem: i32, row: &[i64]) -> ValueInfoProto {
    let mut ty = TypeProto::default();
    let tensor = ty.mut_tensor_type();
    tensor.elem_type = elem;
    let shape = tensor.shape.mut_or_insert_default();
    shape.dim.push(Default::default());
    shape.dim[0].set_dim_param("N".into());
    for &d in row {
        shape.dim.push(Default::default());
        shape.dim.last_mut().unwrap().set_dim_value(d);
    }
    ValueInfoProto { name: name.into(), type_: Some(ty).into(), ..Default::default() }
}

/// Imports a model that takes the inputs of [`Tiny`].
pub(super) fn import_bytes(bytes: &[u8]) -> Result<Imported, ImportError> {
    let spec = |name: &str, dtype, shape: &[usize], scope| InputSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        scope,
        cardinality: None,
    };
    let specs = [
        spec("x", DType::F32, &[4], Scope::Item),
        spec("h", DType::I32, &[3], Scope::Request),
        spec("id", DType::I32, &[], Scope::Item),
    ];
    import(bytes, &specs)
}
