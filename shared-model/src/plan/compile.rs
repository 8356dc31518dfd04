//! From a graph and its tensors to a plan: which kernel each node is, and where each value lies.

mod chain;
mod places;

use std::collections::BTreeMap;

use super::broadcast::{Access, map};
use super::step::{Kernel, Step};
use super::{InputPlace, Plan, PlanError, Sections, Values};
use crate::graph::{DType, Graph, Node, Op, Scope, Type, Unary, ValueId};
use crate::kernel::linear::{Activation, Linear};
use crate::kernel::moves::Gather;
use crate::kernel::reduce::Targets;
use crate::shape::{broadcast, strides};
use crate::tensor::Tensor;
use chain::{Chain, Chains, Ending};
use places::{Places, operands};

/// Entries of all steps' tables: 256 MiB.
const MAX_TABLES: usize = 1 << 26;

pub(super) fn plan(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<Plan, PlanError> {
    check_tensors(graph, tensors)?;
    let chains = Chains::of(graph);
    let places = Places::of(graph, &chains)?;
    let mut sections = Sections::default();
    let mut tables = 0;
    for (n, node) in graph.nodes().iter().enumerate() {
        if chains.absorbed(n).is_some() {
            continue;
        }
        let chain = chains.at(n);
        let Some(kernel) = kernel(graph, node, chain, tensors)? else { continue };
        tables += kernel.table_len();
        if tables > MAX_TABLES {
            return Err(PlanError::TooLarge { what: "the tables of its steps", numbers: tables });
        }
        let joined = chain.iter().flat_map(|chain| chain.joins.iter().map(|(_, v)| v));
        let first = chain.and_then(|chain| chain.first);
        let of_node = first.as_ref().map_or(operands(node), std::slice::from_ref);
        let inputs = of_node.iter().chain(joined).map(|&v| places.of_value(v)).collect();
        let step = Step { kernel, inputs, output: places.of_value(node.output) };
        match graph.value(node.output).ty.scope {
            Scope::Const => sections.constant.push(step),
            Scope::Request => sections.request.push(step),
            Scope::Item => sections.item.push(step),
            Scope::Pair => sections.pair.push(step),
        }
    }
    let inputs = graph
        .inputs()
        .map(|(id, v)| InputPlace { name: v.name.clone(), dtype: v.ty.dtype, place: places.of_value(id) })
        .collect();
    let constants =
        graph.constants().filter_map(|(id, v)| Some((places.find(id)?, values(tensors.get(&v.name)?)?))).collect();
    Ok(Plan {
        inputs,
        constants,
        sections,
        exports: places.exports(),
        score: places.of_value(graph.score()),
        block: places.arena().block,
        floats: places.arena().floats,
        ints: places.arena().ints,
        link: graph.link(),
    })
}

/// Every constant has a tensor of its type, used as its form allows.
fn check_tensors(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<(), PlanError> {
    for (id, value) in graph.constants() {
        let name = &value.name;
        let tensor = tensors.get(name).ok_or_else(|| PlanError::Missing(name.clone()))?;
        let wanted = if value.ty.dtype == DType::Bool { DType::I32 } else { value.ty.dtype };
        if tensor.shape() != value.ty.shape || tensor.dtype() != wanted || !is_whole(tensor) {
            return Err(PlanError::Type {
                name: name.clone(),
                got: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
                want: format!("{wanted:?} {:?}", value.ty.shape),
            });
        }
        let (form, allowed): (_, fn(&Op, usize) -> bool) = match tensor {
            Tensor::F32 { .. } | Tensor::I32 { .. } => continue,
            Tensor::Linear8 { .. } | Tensor::Linear4 { .. } => ("linear weight", |op, i| *op == Op::Linear && i == 1),
            Tensor::Table8 { .. } | Tensor::Table4 { .. } | Tensor::TableMixed { .. } => {
                ("table", |op, i| *op == Op::Embedding && i == 0)
            }
        };
        for node in graph.nodes() {
            if node.inputs.iter().enumerate().any(|(i, &v)| v == id && !allowed(&node.op, i)) {
                return Err(PlanError::Role { name: name.clone(), form, op: node.op.name() });
            }
        }
    }
    Ok(())
}

/// Whether a tensor's parts have the lengths its shape says; files are checked on reading, tensors made in memory here.
fn is_whole(tensor: &Tensor) -> bool {
    let elements = || tensor.shape().iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    match tensor {
        Tensor::F32 { data, .. } => elements() == Some(data.len()),
        Tensor::I32 { data, .. } => elements() == Some(data.len()),
        Tensor::Linear8 { outputs, q, scale, offset, .. } => {
            elements() == Some(q.len()) && scale.len() == *outputs && offset.len() == *outputs
        }
        Tensor::Linear4 { outputs, inputs, q, scale, min } => {
            let groups = outputs * inputs.div_ceil(crate::tensor::GROUP);
            q.len() == outputs * inputs.div_ceil(2) && scale.len() == groups && min.len() == groups
        }
        Tensor::Table8 { rows, q, scale, min, .. } => {
            elements() == Some(q.len()) && scale.len() == *rows && min.len() == *rows
        }
        Tensor::Table4 { rows, width, q, scale, min } => {
            q.len() == rows * width.div_ceil(2) && scale.len() == *rows && min.len() == *rows
        }
        Tensor::TableMixed { bits, q, scale, min } => {
            q.len() == bits.bytes() && scale.len() == bits.rows() && min.len() == bits.rows()
        }
    }
}

fn values(tensor: &Tensor) -> Option<Values> {
    match tensor {
        Tensor::F32 { data, .. } => Some(Values::F32(data.clone())),
        Tensor::I32 { data, .. } => Some(Values::I32(data.clone())),
        _ => None,
    }
}

/// The kernel of a node; `None` for one whose result its operand's memory holds already.
fn kernel(
    graph: &Graph,
    node: &Node,
    chain: Option<&Chain>,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Option<Kernel>, PlanError> {
    let ty = |i: usize| &graph.value(node.inputs[i]).ty;
    let out = &graph.value(node.output).ty;
    let access = |i: usize| Access::broadcast(&ty(i).shape, &out.shape);
    let floats = out.dtype == DType::F32;
    let gather = |map| {
        let gather = Gather::new(map);
        if floats { Kernel::Gather(gather) } else { Kernel::GatherI32(gather) }
    };
    let joins = chain.iter().flat_map(|chain| chain.joins.iter().map(|&(join, _)| join)).collect();
    let activation = chain.map_or(Ok(Activation::None), |chain| activation(graph, chain.ending, tensors))?;
    if chain.is_some_and(|chain| chain.first.is_some()) {
        let width = out.shape.last().copied().unwrap_or(1);
        return Ok(Some(Kernel::Joined { width, joins, activation }));
    }
    Ok(Some(match &node.op {
        Op::Unary(Unary::Not) => Kernel::Not,
        Op::Unary(f) => Kernel::Unary(*f),
        Op::Clip { min, max } => {
            Kernel::Clip { min: min.unwrap_or(f32::NEG_INFINITY), max: max.unwrap_or(f32::INFINITY) }
        }
        Op::Binary(f) if floats => Kernel::Binary(*f, [access(0), access(1)]),
        Op::Binary(f) => Kernel::BinaryI32(*f, [access(0), access(1)]),
        Op::Compare(f) if ty(0).dtype == DType::F32 => Kernel::Compare(*f, [access(0), access(1)]),
        Op::Compare(f) => Kernel::CompareI32(*f, [access(0), access(1)]),
        Op::Logic(f) => Kernel::Logic(*f, [access(0), access(1)]),
        Op::Where if floats => Kernel::Where([access(0), access(1), access(2)]),
        Op::Where => Kernel::WhereI32([access(0), access(1), access(2)]),
        Op::Cast { to } => cast(ty(0).dtype, *to),
        Op::Reshape { .. } => return Ok(None),
        Op::Select { axis, indices } => gather(select(ty(0), *axis, indices)),
        Op::Transpose { perm } => {
            let from = strides(&ty(0).shape);
            gather(map(&out.shape, &perm.iter().map(|&p| from[p]).collect::<Vec<_>>()))
        }
        Op::Expand { .. } => {
            let access = access(0);
            gather((0..out.len()).map(|i| u32::try_from(access.at(i)).expect("MAX_ROW_ELEMENTS fits u32")).collect())
        }
        Op::Concat { axis } => {
            let outer = out.shape[..*axis].iter().product();
            if floats { Kernel::Concat { outer } } else { Kernel::ConcatI32 { outer } }
        }
        Op::Linear => Kernel::Linear(Box::new(linear(graph, node, tensors)?.then(activation)), joins),
        Op::MatMul => matmul(ty(0), ty(1), out),
        Op::Embedding => {
            let name = graph.value(node.inputs[0]).name.clone();
            let table = tensors.get(&name).ok_or_else(|| PlanError::Missing(name.clone()))?.clone();
            let [rows, width] = ty(0).shape[..] else { unreachable!("inference wants a table of two dimensions") };
            Kernel::Embedding { table: Box::new(table), name, rows, width }
        }
        Op::Softmax { axis } => {
            let shape = &out.shape;
            Kernel::Softmax { len: shape[*axis], stride: shape[axis + 1..].iter().product() }
        }
        Op::Reduce { kind, axes, .. } => {
            let shape = &ty(0).shape;
            let count = axes.iter().map(|&a| shape[a]).product();
            match (floats, &axes[..]) {
                (false, _) => Kernel::ReduceI32 { kind: *kind, map: reduce_targets(shape, axes) },
                (true, &[first, ..]) if axes.iter().copied().eq(first..first + axes.len()) => {
                    let inner = shape[first + axes.len()..].iter().product();
                    Kernel::Reduce { kind: *kind, targets: Targets::Axis { len: count, inner }, count }
                }
                (true, _) => Kernel::Reduce { kind: *kind, targets: Targets::Map(reduce_targets(shape, axes)), count },
            }
        }
        Op::LayerNorm { epsilon } => {
            let vector = |i: usize| node.inputs.get(i).map(|&v| vector(graph, v, tensors)).transpose();
            let scale = vector(1)?.unwrap_or_default();
            Kernel::LayerNorm { epsilon: *epsilon, scale, bias: vector(2)? }
        }
    }))
}

fn cast(from: DType, to: DType) -> Kernel {
    match (from, to) {
        (DType::F32, DType::F32) => Kernel::Copy,
        (DType::F32, DType::I32) => Kernel::Truncate,
        (DType::F32, DType::Bool) => Kernel::NonZero,
        (DType::I32 | DType::Bool, DType::F32) => Kernel::Widen,
        (DType::I32, DType::Bool) => Kernel::NonZeroI32,
        (DType::I32 | DType::Bool, DType::I32) | (DType::Bool, DType::Bool) => Kernel::CopyI32,
    }
}

fn select(x: &Type, axis: usize, indices: &[usize]) -> Vec<u32> {
    let inner: usize = x.shape[axis + 1..].iter().product();
    let outer: usize = x.shape[..axis].iter().product();
    let len = x.shape[axis];
    let index = |o: usize, i: usize, j: usize| u32::try_from((o * len + i) * inner + j);
    (0..outer)
        .flat_map(|o| indices.iter().flat_map(move |&i| (0..inner).map(move |j| index(o, i, j))))
        .map(|i| i.expect("MAX_ROW_ELEMENTS fits u32"))
        .collect()
}

/// For each element of `shape`, the element of the result it folds into.
fn reduce_targets(shape: &[usize], axes: &[usize]) -> Vec<u32> {
    let kept: Vec<usize> = shape.iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n }).collect();
    map(shape, &broadcast(&kept, shape))
}

fn activation(graph: &Graph, ending: Ending, tensors: &BTreeMap<String, Tensor>) -> Result<Activation, PlanError> {
    Ok(match ending {
        Ending::None => Activation::None,
        Ending::Relu => Activation::Relu,
        Ending::Leaky(slope) => Activation::Leaky(slope),
        Ending::PRelu(slope) => Activation::Leaky(vector(graph, slope, tensors)?[0]),
        Ending::Gelu => Activation::Gelu,
    })
}

fn linear(graph: &Graph, node: &Node, tensors: &BTreeMap<String, Tensor>) -> Result<Linear, PlanError> {
    let name = &graph.value(node.inputs[1]).name;
    let tensor = tensors.get(name).ok_or_else(|| PlanError::Missing(name.clone()))?;
    let bias = node.inputs.get(2).map(|&b| vector(graph, b, tensors)).transpose()?;
    Ok(match tensor {
        Tensor::F32 { shape, data } => Linear::f32(shape[1], shape[0], data, bias.as_deref()),
        Tensor::Linear8 { inputs, q, scale, offset, activations, .. } => {
            Linear::int8(*inputs, q, scale, offset, *activations, bias.as_deref())
        }
        Tensor::Linear4 { inputs, outputs, q, scale, min } => {
            Linear::int4(*inputs, *outputs, q, scale, min, bias.as_deref())
        }
        Tensor::I32 { .. } | Tensor::Table8 { .. } | Tensor::Table4 { .. } | Tensor::TableMixed { .. } => {
            unreachable!("`check_tensors` refuses other forms")
        }
    })
}

/// A constant vector; it is never quantized.
fn vector(graph: &Graph, id: ValueId, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>, PlanError> {
    let name = &graph.value(id).name;
    match tensors.get(name) {
        Some(Tensor::F32 { data, .. }) => Ok(data.clone()),
        _ => Err(PlanError::Missing(name.clone())),
    }
}

fn matmul(a: &Type, b: &Type, out: &Type) -> Kernel {
    let split = |ty: &Type| {
        let (batch, matrix) = ty.shape.split_at(ty.shape.len() - 2);
        (batch.to_vec(), [matrix[0], matrix[1]])
    };
    let ((batch_a, [m, k]), (batch_b, [_, n]), (batch, _)) = (split(a), split(b), split(out));
    let (to_a, to_b) = (Access::broadcast(&batch_a, &batch), Access::broadcast(&batch_b, &batch));
    let pairs = (0..batch.iter().product()).map(|i| [to_a.at(i), to_b.at(i)]).collect();
    Kernel::MatMul { k, n, pairs, a: m * k, b: k * n }
}
