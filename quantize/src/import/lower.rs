//! Walks the nodes of a model and lowers each; keeps what every ONNX value is in the graph under construction.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, ValueId};
use shared_model::schema::InputSpec;
use shared_model::tensor::Tensor;

use super::array::{Array, Data, Int};
use super::call::{Call, Refusal, Row, Value, cannot, mixes};
use super::onnx::{Input, Model, Node, elem};
use super::{Elem, ImportError, Imported, ModelInput, fold, ops};

/// Elements that folding may compute beyond as many as the model stores.
const FOLDED_ELEMENTS: usize = 64 << 20;

/// Why a node that computes one constant too many is refused.
pub(super) const TOO_MUCH_FOLDED: &str =
    "the constants that the model computes come to too many elements: fold them first, for example with onnxsim";

/// Lowers a whole model.
pub(super) fn lower(model: &Model, specs: &[InputSpec]) -> Result<Imported, ImportError> {
    let mut lowering = Lowering::new(model);
    let inputs = lowering.declare_inputs(specs)?;
    for array in &model.initializers {
        lowering.values.insert(&array.name, Value::Const(Rc::clone(array)));
    }
    for node in &model.nodes {
        lowering.lower_node(node)?;
    }
    lowering.finish(inputs)
}

/// The graph under construction.
pub(super) struct Lowering<'m> {
    model: &'m Model,
    pub(super) builder: Builder,
    tensors: BTreeMap<String, (Tensor, ValueId)>,
    values: HashMap<&'m str, Value>,
    /// How often each ONNX value is used.
    uses: HashMap<&'m str, usize>,
    /// The exclusive upper bound of the indices of an input, where it is known.
    pub(super) cardinality: HashMap<ValueId, (&'m str, usize)>,
    /// Linears without a bias whose result is used once: operand and weight.
    pub(super) open_linears: HashMap<ValueId, (ValueId, ValueId)>,
    /// The elements that folding may still compute.
    pub(super) foldable: usize,
}

impl<'m> Lowering<'m> {
    fn new(model: &'m Model) -> Self {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for name in model.nodes.iter().flat_map(|n| &n.inputs).chain(&model.outputs) {
            *uses.entry(name).or_default() += 1;
        }
        Self {
            model,
            builder: Builder::new(),
            tensors: BTreeMap::new(),
            values: HashMap::new(),
            uses,
            cardinality: HashMap::new(),
            open_linears: HashMap::new(),
            foldable: model.initializers.iter().map(|a| a.len()).fold(FOLDED_ELEMENTS, usize::saturating_add),
        }
    }

    /// Declares what the schema feeds, and checks it against what the model takes.
    fn declare_inputs(&mut self, specs: &[InputSpec]) -> Result<Vec<ModelInput>, ImportError> {
        let model = self.model;
        let mut fed = Vec::new();
        for spec in specs {
            let Some(input) = model.inputs.iter().find(|i| i.name == spec.name) else {
                let known: Vec<&str> = model.inputs.iter().map(|i| i.name.as_str()).collect();
                let what =
                    format!("features.toml feeds it, but the model has no such input (it has: {})", known.join(", "));
                return Err(ImportError::Input { name: spec.name.clone(), what });
            };
            fed.push(self.declare_input(input, spec)?);
        }
        let unfed = |i: &&Input| !self.values.contains_key(i.name.as_str()) && self.uses.contains_key(i.name.as_str());
        if let Some(input) = model.inputs.iter().find(unfed) {
            let what = "the model needs it, but no feature of features.toml names it as its `input`".to_owned();
            return Err(ImportError::Input { name: input.name.clone(), what });
        }
        Ok(fed)
    }

    fn declare_input(&mut self, input: &'m Input, spec: &InputSpec) -> Result<ModelInput, ImportError> {
        let refuse = |what: String| ImportError::Input { name: input.name.clone(), what };
        let elem = match (input.elem, spec.dtype) {
            (elem::FLOAT, DType::F32) => Elem::F32,
            (elem::INT64, DType::I32) => Elem::I64,
            (elem::INT32, DType::I32) => Elem::I32,
            (other, dtype) => {
                let fed = if dtype == DType::F32 { "floats" } else { "integers" };
                return Err(refuse(format!("the model takes {}, features.toml feeds {fed}", elem::name(other))));
            }
        };
        let Some((&first, rest)) = input.shape.split_first() else {
            return Err(refuse("the model takes a scalar; its first dimension must be that of the candidates".into()));
        };
        if let Some(n) = first {
            let what = format!("its first dimension is fixed at {n}: export the model with a dynamic batch dimension");
            return Err(refuse(what));
        }
        let Some(row) = rest.iter().copied().collect::<Option<Vec<usize>>>() else {
            let what = "a dimension other than the first has no fixed length: export the model with only the batch dimension dynamic";
            return Err(refuse(what.into()));
        };
        if row.iter().product::<usize>() != spec.width() {
            let what = format!("the model takes {row:?} a candidate, features.toml feeds {} values", spec.width());
            return Err(refuse(what));
        }
        let ty = Type { dtype: spec.dtype, shape: spec.shape.clone(), scope: spec.scope };
        let mut id = self.builder.input(&spec.name, ty)?;
        if row != spec.shape {
            id = self.builder.push(&spec.name, Op::Reshape { shape: row.clone() }, &[id])?;
        }
        self.values.insert(&input.name, Value::Row(Row { id, batch: 0 }));
        self.cardinality.extend(spec.cardinality.map(|n| (id, (input.name.as_str(), n))));
        Ok(ModelInput { name: spec.name.clone(), row, elem })
    }

    fn lower_node(&mut self, node: &'m Node) -> Result<(), ImportError> {
        let opset = if node.domain.is_empty() {
            self.model.opset
        } else {
            self.model.domains.get(&node.domain).copied().unwrap_or(0)
        };
        let outputs = self.call(node, opset).and_then(|call| self.results(&call)).map_err(|refusal| match refusal {
            Refusal::Mixes(how) => ImportError::Mixes { node: node.name.clone(), op: node.op.clone(), how },
            Refusal::Cannot(what) => ImportError::Unsupported {
                node: node.name.clone(),
                op: node.op.clone(),
                domain: if node.domain.is_empty() { "ai.onnx".into() } else { node.domain.clone() },
                opset,
                what,
            },
        })?;
        self.values.extend(node.outputs.iter().map(String::as_str).zip(outputs));
        Ok(())
    }

    fn call(&self, node: &'m Node, opset: i64) -> Result<Call<'m>, Refusal> {
        let operand = |name: &String| match (name.as_str(), self.values.get(name.as_str())) {
            ("", _) => Ok(None),
            (_, Some(value)) => Ok(Some(value.clone())),
            (name, None) => {
                cannot(format!("its operand `{name}` is not computed before it, or is not a supported result"))
            }
        };
        Ok(Call { node, operands: node.inputs.iter().map(operand).collect::<Result<_, _>>()?, opset })
    }

    fn results(&mut self, call: &Call) -> Result<Vec<Value>, Refusal> {
        if let Some(name) = call.node.outputs.iter().find(|o| self.values.contains_key(o.as_str())) {
            return cannot(format!("its result `{name}` is defined twice: the model is damaged"));
        }
        if !call.node.domain.is_empty() {
            return cannot(
                "only operators of the default domain are supported: export the model with standard operators",
            );
        }
        match fold::fold(self, call)? {
            Some(folded) => Ok(folded),
            None => ops::lower(self, call),
        }
    }

    /// Makes the graph that ranks by the model's output, without the monotone op it ends in.
    fn finish(mut self, inputs: Vec<ModelInput>) -> Result<Imported, ImportError> {
        let [output] = &self.model.outputs[..] else {
            let names = self.model.outputs.join(", ");
            let what = format!("the model has {} outputs: export it with the one to rank by", self.model.outputs.len());
            return Err(ImportError::Output { name: names, what });
        };
        let (score_name, link) = self.before_link(output);
        let refuse = |what: String| ImportError::Output { name: output.clone(), what };
        let row = match self.values.get(score_name) {
            Some(Value::Row(row)) => *row,
            Some(Value::Const(_)) => return Err(refuse("it does not depend on the inputs".into())),
            None => return Err(refuse("no node computes it".into())),
        };
        let mut score = row.id;
        if !self.builder.ty(score).shape.is_empty() && self.builder.ty(score).len() == 1 {
            score = self.builder.push(score_name, Op::Reshape { shape: Vec::new() }, &[score])?;
        }
        let graph = self.builder.finish(score, link).map_err(|e| refuse(e.to_string()))?;
        let live: Vec<&str> = graph.constants().map(|(_, v)| v.name.as_str()).collect();
        self.tensors.retain(|name, _| live.contains(&name.as_str()));
        let tensors = self.tensors.into_iter().map(|(name, (tensor, _))| (name, tensor)).collect();
        let (score_name, output_name) = (score_name.to_owned(), output.clone());
        Ok(Imported { graph, tensors, score_name, output_name, inputs })
    }

    /// The value under the output's last strictly monotone op, and that op; reshapes in between do not matter.
    fn before_link(&self, output: &'m str) -> (&'m str, Link) {
        let mut at = output;
        loop {
            let Some(node) = self.model.nodes.iter().find(|n| n.outputs.first().is_some_and(|o| o == at)) else {
                return (output, Link::Identity);
            };
            let Some(operand) = node.inputs.first() else { return (output, Link::Identity) };
            match node.op.as_str() {
                "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Identity" => at = operand,
                "Sigmoid" => return (operand, Link::Sigmoid),
                "Tanh" => return (operand, Link::Tanh),
                "Exp" => return (operand, Link::Exp),
                _ => return (output, Link::Identity),
            }
        }
    }

    /// Counts elements that folding computed; refused when all of them are too many.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), Refusal> {
        let Some(left) = self.foldable.checked_sub(elements) else { return cannot(TOO_MUCH_FOLDED) };
        self.foldable = left;
        Ok(())
    }

    /// How often the node's first result is used.
    pub(super) fn uses(&self, call: &Call) -> usize {
        self.uses.get(call.name()).copied().unwrap_or(0)
    }

    /// The dimensions of one row of a value.
    pub(super) fn shape(&self, row: Row) -> &[usize] {
        &self.builder.ty(row.id).shape
    }

    pub(super) fn dtype(&self, row: Row) -> DType {
        self.builder.ty(row.id).dtype
    }

    /// The number of dimensions it has in ONNX.
    pub(super) fn rank(&self, row: Row) -> usize {
        self.shape(row).len() + 1
    }

    /// The dimensions it has in ONNX.
    pub(super) fn onnx_shape(&self, row: Row) -> Vec<Int> {
        let known = |&d: &usize| Int::Known(i64::try_from(d).unwrap_or(i64::MAX));
        let mut dims: Vec<Int> = self.shape(row).iter().map(known).collect();
        dims.insert(row.batch, Int::Rows);
        dims
    }

    /// The axis of one row that an axis in ONNX is; refused when it is the candidates'.
    pub(super) fn row_axis(&self, row: Row, axis: i64) -> Result<usize, Refusal> {
        let axis = super::call::axis(axis, self.rank(row))?;
        if axis == row.batch {
            return mixes(format!("it works along axis {axis}, where the candidates lie"));
        }
        Ok(axis - usize::from(axis > row.batch))
    }

    /// Adds a node.
    pub(super) fn push(&mut self, name: &str, op: Op, operands: &[ValueId]) -> Result<ValueId, Refusal> {
        Ok(self.builder.push(name, op, operands)?)
    }

    /// Adds a node whose result has the candidates on the same axis as `like`.
    pub(super) fn push_like(&mut self, name: &str, op: Op, operands: &[ValueId], like: Row) -> Result<Row, Refusal> {
        Ok(Row { id: self.push(name, op, operands)?, batch: like.batch })
    }

    /// Another shape of one row; `batch` is where the candidates lie then.
    pub(super) fn reshape(&mut self, name: &str, row: Row, shape: Vec<usize>, batch: usize) -> Result<Row, Refusal> {
        let id = if self.shape(row) == shape { row.id } else { self.push(name, Op::Reshape { shape }, &[row.id])? };
        Ok(Row { id, batch })
    }

    /// The constant of the graph that holds `array`; one of the same name and content is shared.
    pub(super) fn constant(&mut self, array: &Array) -> Result<ValueId, Refusal> {
        self.constant_in(array, &array.shape)
    }

    /// The same in another shape of as many elements.
    pub(super) fn constant_in(&mut self, array: &Array, shape: &[usize]) -> Result<ValueId, Refusal> {
        let (tensor, dtype) = tensor(array, shape)?;
        let mut name = array.name.clone();
        let mut form = 1;
        while let Some((known, id)) = self.tensors.get(&name) {
            if *known == tensor && self.builder.ty(*id).dtype == dtype {
                return Ok(*id);
            }
            form += 1;
            name = format!("{}.{form}", array.name);
        }
        let id = self.builder.constant(&name, dtype, shape)?;
        debug_assert_eq!(self.builder.ty(id).scope, Scope::Const);
        self.tensors.insert(name, (tensor, id));
        Ok(id)
    }

    /// A constant f32 that the model does not name.
    pub(super) fn number(&mut self, value: f32) -> Result<ValueId, Refusal> {
        self.constant(&Array::scalar(&format!("number.{value}"), Data::F32(vec![value])))
    }
}

fn tensor(array: &Array, shape: &[usize]) -> Result<(Tensor, DType), Refusal> {
    debug_assert_eq!(shape.iter().product::<usize>(), array.len());
    let shape = shape.to_vec();
    Ok(match &array.data {
        Data::F32(v) => {
            if v.iter().any(|x| x.is_nan()) {
                return cannot(format!("constant `{}` holds a value that is not a number", array.name));
            }
            (Tensor::F32 { shape, data: v.clone() }, DType::F32)
        }
        Data::Bool(v) => (Tensor::I32 { shape, data: v.iter().map(|&b| i32::from(b)).collect() }, DType::Bool),
        Data::Int(v) => {
            let narrow = |i: &Int| match i {
                Int::Known(n) => i32::try_from(*n)
                    .map_err(|_| Refusal::Cannot(format!("constant `{}` holds {n}, which 32 bits cannot", array.name))),
                Int::Rows => mixes("it computes with the number of candidates"),
            };
            (Tensor::I32 { shape, data: v.iter().map(narrow).collect::<Result<_, _>>()? }, DType::I32)
        }
    })
}
