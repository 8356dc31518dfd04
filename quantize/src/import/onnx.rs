//! Reads ONNX protobuf into plain types, bounded and checked; what the operators mean is not known here.
//!
//! The protobuf bindings are onnx-ir's. Its own intermediate form is not used: it renames every node and value, which
//! an error has to name and tract has to be asked for, and it fuses and rewrites operators.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::rc::Rc;

use onnx_ir::{AttributeProto, Message, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use shared_model::limits;

use super::ImportError;
use super::array::{Array, Data, Int, bounded_len};

/// ONNX's own names of element types, as numbered by `TensorProto.DataType`.
pub(crate) mod elem {
    pub(crate) const FLOAT: i64 = 1;
    pub(crate) const INT32: i64 = 6;
    pub(crate) const INT64: i64 = 7;
    pub(crate) const BOOL: i64 = 9;

    /// The name of an element type, for people.
    pub(crate) fn name(elem: i64) -> String {
        match elem {
            1 => "float".into(),
            2 => "uint8".into(),
            3 => "int8".into(),
            6 => "int32".into(),
            7 => "int64".into(),
            8 => "string".into(),
            9 => "bool".into(),
            10 => "float16".into(),
            11 => "double".into(),
            16 => "bfloat16".into(),
            other => format!("element type {other}"),
        }
    }
}

/// A model as written in its file.
#[derive(Debug)]
pub(crate) struct Model {
    /// The version of the default operator set.
    pub(crate) opset: i64,
    /// The versions of the others.
    pub(crate) domains: BTreeMap<String, i64>,
    /// Inputs that are not initializers.
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<String>,
    pub(crate) initializers: Vec<Rc<Array>>,
    /// Operands before users, as ONNX demands; checked when lowered.
    pub(crate) nodes: Vec<Node>,
}

/// An input of the model.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) elem: i64,
    /// `None` is a dimension without a number.
    pub(crate) shape: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) domain: String,
    /// Empty for an operand left out.
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

#[derive(Debug)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Tensor(Rc<Array>),
    /// Subgraphs, sparse tensors and the like: no supported operator has them.
    Other,
}

/// Parses a model, which is never in memory as a whole beside what is made of it.
pub(crate) fn read(bytes: &mut dyn Read) -> Result<Model, ImportError> {
    let mut bytes = bytes.take(limits::MAX_TENSORS_BYTES + 1);
    let parsed = ModelProto::parse_from_reader(&mut bytes);
    if bytes.limit() == 0 {
        return Err(ImportError::NotOnnx(format!("more than {} bytes", limits::MAX_TENSORS_BYTES)));
    }
    let mut proto = parsed.map_err(|e| ImportError::NotOnnx(e.to_string()))?;
    let mut graph = proto.graph.take().ok_or_else(|| ImportError::NotOnnx("it has no graph".into()))?;
    for (what, got) in [("nodes", graph.node.len()), ("initializers", graph.initializer.len())] {
        if got > limits::MAX_NODES {
            return Err(ImportError::NotOnnx(format!("{got} {what}, at most {} are allowed", limits::MAX_NODES)));
        }
    }
    let mut domains: BTreeMap<String, i64> = proto.opset_import.iter().map(|o| (o.domain.clone(), o.version)).collect();
    let opset = domains.remove("").or_else(|| domains.remove("ai.onnx")).unwrap_or(0);
    if opset < OLDEST_OPSET {
        return Err(ImportError::NotOnnx(format!(
            "its operator set is version {opset}, at least {OLDEST_OPSET} is needed: export the model again"
        )));
    }
    let stored = std::mem::take(&mut graph.initializer).into_iter();
    let initializers = stored.map(|t| array(&t).map(Rc::new)).collect::<Result<Vec<_>, _>>()?;
    let given: HashSet<&str> = initializers.iter().map(|a| a.name.as_str()).collect();
    let inputs =
        graph.input.iter().filter(|i| !given.contains(i.name.as_str())).map(input).collect::<Result<Vec<_>, _>>()?;
    let nodes = graph.node.iter().enumerate().map(|(i, n)| node(i, n)).collect::<Result<Vec<_>, _>>()?;
    let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
    Ok(Model { opset, domains, inputs, outputs, initializers, nodes })
}

/// Before it, attributes and broadcasting meant other things.
const OLDEST_OPSET: i64 = 7;

fn input(info: &ValueInfoProto) -> Result<Input, ImportError> {
    let refuse = |what: &str| ImportError::Input { name: info.name.clone(), what: what.to_owned() };
    let ty: &TypeProto = info.type_.as_ref().ok_or_else(|| refuse("it has no type"))?;
    if !ty.has_tensor_type() {
        return Err(refuse("it is not a tensor"));
    }
    let tensor = ty.tensor_type();
    let shape = tensor.shape.as_ref().ok_or_else(|| refuse("its shape is not declared"))?;
    if shape.dim.len() > limits::MAX_RANK {
        return Err(refuse("it has too many dimensions"));
    }
    let dims = shape.dim.iter().map(|d| if d.has_dim_value() { usize::try_from(d.dim_value()).ok() } else { None });
    Ok(Input { name: info.name.clone(), elem: i64::from(tensor.elem_type), shape: dims.collect() })
}

fn node(index: usize, proto: &NodeProto) -> Result<Node, ImportError> {
    let name = if proto.name.is_empty() {
        proto.output.first().cloned().unwrap_or_else(|| format!("node {index}"))
    } else {
        proto.name.clone()
    };
    let attributes =
        proto.attribute.iter().map(|a| Ok((a.name.clone(), attribute(a)?))).collect::<Result<_, ImportError>>()?;
    let domain = if proto.domain == "ai.onnx" { String::new() } else { proto.domain.clone() };
    Ok(Node {
        name,
        op: proto.op_type.clone(),
        domain,
        inputs: proto.input.clone(),
        outputs: proto.output.clone(),
        attributes,
    })
}

fn attribute(proto: &AttributeProto) -> Result<Attribute, ImportError> {
    Ok(match proto.type_.value() {
        1 => Attribute::Float(proto.f),
        2 => Attribute::Int(proto.i),
        3 => Attribute::Text(String::from_utf8_lossy(&proto.s).into_owned()),
        4 => Attribute::Tensor(Rc::new(array(&proto.t)?)),
        6 => Attribute::Floats(proto.floats.clone()),
        7 => Attribute::Ints(proto.ints.clone()),
        _ => Attribute::Other,
    })
}

fn array(proto: &TensorProto) -> Result<Array, ImportError> {
    let refuse = |what: String| ImportError::Tensor { name: proto.name.clone(), what };
    if proto.data_location.value() != 0 {
        return Err(refuse("its data is in another file: export the model as one file".into()));
    }
    if proto.dims.len() > limits::MAX_RANK {
        return Err(refuse(format!("{} dimensions, at most {} are allowed", proto.dims.len(), limits::MAX_RANK)));
    }
    let shape = proto.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| refuse(format!("impossible shape {:?}", proto.dims)))?;
    let len = bounded_len(&shape).map_err(refuse)?;
    let data = match i64::from(proto.data_type) {
        elem::FLOAT => Data::F32(elements(proto, &proto.float_data, f32::from_le_bytes)),
        elem::INT64 => Data::Int(known(&elements(proto, &proto.int64_data, i64::from_le_bytes))),
        elem::INT32 => Data::Int(known(&elements(proto, &proto.int32_data, i32::from_le_bytes))),
        elem::BOOL if proto.raw_data.is_empty() => Data::Bool(proto.int32_data.iter().map(|&b| b != 0).collect()),
        elem::BOOL => Data::Bool(proto.raw_data.iter().map(|&b| b != 0).collect()),
        other => {
            let what =
                format!("{} is not supported: export the model in float32 with int64 indices", elem::name(other));
            return Err(refuse(what));
        }
    };
    let array = Array { name: proto.name.clone(), shape, data };
    if array.len() != len {
        return Err(refuse(format!("shape {:?} but {} elements: the file is damaged", array.shape, array.len())));
    }
    Ok(array)
}

fn elements<T: Copy, const W: usize>(proto: &TensorProto, typed: &[T], from: impl Fn([u8; W]) -> T) -> Vec<T> {
    if proto.raw_data.is_empty() {
        return typed.to_vec();
    }
    let (words, rest) = proto.raw_data.as_chunks::<W>();
    if rest.is_empty() { words.iter().map(|w| from(*w)).collect() } else { Vec::new() }
}

fn known<T: Copy + Into<i64>>(values: &[T]) -> Vec<Int> {
    values.iter().map(|&v| Int::Known(v.into())).collect()
}
