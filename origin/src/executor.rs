//! Runs a graph at full precision on a device, for the candidates of several requests at once.
//!
//! Constants are uploaded once. A run computes request-scope values once, with one row a request, and then the others with
//! one row a candidate, in parts if there are too many of them; where the two meet, a candidate takes its request's row.
//! The program is the same on every device: burn's dispatch is asked at run time. Sums have the device's order, so scores
//! agree with the reference within 1e-5 and not in bits. No thread and no clock here; a failure of the device inside an op
//! panics, which [`crate::engine`] contains.
//!
//! A GPU compiles and tunes its kernels by shape, so there the rows are filled up to one of a few numbers, all of which
//! [`Executor::samples`] has: once those have run, no request waits for a compiler.

mod batch;
mod elementwise;
mod fit;
mod ids;
mod load;
mod op;
#[cfg(test)]
mod parity;
mod product;
#[cfg(test)]
mod tests;
#[cfg(feature = "cuda")]
mod tuned;
mod value;

pub use batch::Batch;
pub use fit::Fit;
pub use load::LoadError;

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Backend, Dispatch, DispatchDevice, read_sync};
use thiserror::Error;

use shared_model::encode::Data;
use shared_model::graph::{DType, Graph, Node, Scope, Type, ValueId};

use crate::device::{Device, Kind, Precision};
use op::{Ready, apply, batched};
use value::{Int, Value, indices};

/// The numbers of rows that a GPU is given, so that it has kernels for each.
const BUCKETS: [usize; 7] = [1, 8, 32, 128, 512, 1024, 4096];

/// Why a batch cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// Another number of blocks than the graph has inputs.
    #[error("{got} blocks for a model with {expected} inputs")]
    Inputs {
        /// Of the graph.
        expected: usize,
        /// In the batch.
        got: usize,
    },
    /// A block does not hold its input's rows.
    #[error("the block of input `{name}` has {got}, expected {expected}")]
    Block {
        /// The input.
        name: String,
        /// What it must have.
        expected: String,
        /// What it has.
        got: String,
    },
    /// A candidate belongs to no request of the batch.
    #[error("candidate {candidate} belongs to request {owner} of {requests}")]
    Owner {
        /// Its index.
        candidate: usize,
        /// Its request.
        owner: u32,
        /// How many there are.
        requests: usize,
    },
    /// An id has no row in its table.
    #[error("index {index} into table `{table}` of {rows} rows")]
    Index {
        /// The table.
        table: String,
        /// The id.
        index: i32,
        /// The table's rows.
        rows: usize,
    },
    /// The device did not give the scores back.
    #[error("the device failed: {0}")]
    Device(String),
}

impl RunError {
    /// Whether the device is at fault; the others are found before it has anything to do.
    #[must_use]
    pub fn is_the_devices(&self) -> bool {
        matches!(self, Self::Device(_))
    }
}

/// A graph on a device, ready to run.
#[derive(Debug)]
pub struct Executor {
    graph: Graph,
    device: DispatchDevice,
    kind: Kind,
    precision: Precision,
    fit: Fit,
    /// By value: those that do not depend on the request.
    constants: Vec<Option<Value>>,
    /// Those of request scope, in order.
    request_steps: Vec<Step>,
    /// Those of a candidate, in order.
    candidate_steps: Vec<Step>,
    /// The most candidates on the device at once.
    most: usize,
    /// The most requests of a batch, whose rows are on the device together.
    pub(crate) most_requests: usize,
}

#[derive(Debug)]
struct Step {
    node: usize,
    ready: Ready,
    /// Operands that no later step reads.
    done: Vec<ValueId>,
}

impl Step {
    fn on(&self, device: &DispatchDevice) -> Result<Self, RunError> {
        Ok(Self { node: self.node, ready: self.ready.clone().on(device)?, done: self.done.clone() })
    }
}

impl Executor {
    /// The score of every candidate before the graph's link, in the order of the batch.
    ///
    /// # Errors
    /// The batch does not fit the graph, or the device failed.
    pub fn run(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        self.fit.check(&batch)?;
        let Batch { requests, owner, mut inputs } = batch;
        let mut shared = Run::new(self, Rows { requests: self.filled(requests), candidates: 0 });
        self.upload(&mut shared, &mut inputs, |scope| (scope == Scope::Request).then_some(0..requests));
        for step in &self.request_steps {
            shared.step(step);
        }
        let candidates = owner.len();
        let mut scores = Vec::with_capacity(candidates);
        for start in (0..candidates).step_by(self.most) {
            let part = start..candidates.min(start + self.most);
            let rows = Rows { candidates: self.filled(part.len()), ..shared.rows };
            let mut run = Run { rows, ..shared.clone() };
            run.owner = self.owner(&owner[part.clone()], requests);
            self.upload(&mut run, &mut inputs, |scope| scope.per_candidate().then(|| part.clone()));
            for step in &self.candidate_steps {
                run.step(step);
            }
            scores.extend(run.scores()?.into_iter().take(part.len()));
        }
        Ok(scores)
    }

    /// The same on another device, which takes the constants from this one.
    ///
    /// # Errors
    /// This device did not give them.
    pub fn on(&self, device: &Device) -> Result<Self, RunError> {
        let to = device.handle().as_dispatch();
        let constants = self.constants.iter().map(|value| value.clone().map(|v| v.on(to)).transpose());
        let steps = |steps: &[Step]| steps.iter().map(|step| step.on(to)).collect::<Result<_, _>>();
        let fitting = BUCKETS.into_iter().filter(|&rows| rows <= self.most).max().unwrap_or(1);
        Ok(Self {
            graph: self.graph.clone(),
            device: to.clone(),
            kind: device.kind(),
            precision: device.precision(),
            fit: self.fit.clone(),
            constants: constants.collect::<Result<_, _>>()?,
            request_steps: steps(&self.request_steps)?,
            candidate_steps: steps(&self.candidate_steps)?,
            most: if device.kind() == Kind::Cpu { self.most } else { fitting },
            most_requests: self.most_requests,
        })
    }

    /// What it runs on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of the device's memory that this program holds, where that can be told.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        Dispatch::memory_pool_usage(&self.device).map(|usage| usage.bytes_reserved)
    }

    /// How it multiplies matrices.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Batches of zeros that have all shapes which this device will ever see; the first is of one candidate.
    pub fn samples(&self) -> impl Iterator<Item = Batch> {
        let most = if self.fills() { self.most } else { 1 };
        let requests_at_most = self.filled(self.most_requests);
        let sizes = BUCKETS.into_iter().filter(move |&candidates| candidates <= most);
        sizes.flat_map(move |candidates| {
            let of = BUCKETS.into_iter().filter(move |&requests| requests <= candidates.min(requests_at_most));
            of.map(move |requests| self.zeros(requests, candidates))
        })
    }

    fn zeros(&self, requests: usize, candidates: usize) -> Batch {
        let zeros = |ty: &Type| {
            let length = if ty.scope == Scope::Request { requests } else { candidates } * ty.len();
            match ty.dtype {
                DType::F32 => Data::F32(vec![0.0; length]),
                DType::I32 | DType::Bool => Data::I32(vec![0; length]),
            }
        };
        let inputs = self.graph.inputs().map(|(_, v)| zeros(&v.ty)).collect();
        Batch { requests, owner: vec![0; candidates], inputs }
    }

    /// Whether rows are filled up.
    fn fills(&self) -> bool {
        self.kind != Kind::Cpu
    }

    /// The number of rows that so many are filled up to.
    fn filled(&self, rows: usize) -> usize {
        let bucket = || BUCKETS.into_iter().find(|&bucket| bucket >= rows);
        if self.fills() { bucket().unwrap_or(rows) } else { rows }
    }

    /// Puts rows of the inputs on the device: of each scope those that `rows` names.
    fn upload(&self, run: &mut Run<'_>, inputs: &mut [Data], rows: impl Fn(Scope) -> Option<Range<usize>>) {
        for ((id, input), data) in self.graph.inputs().zip(inputs) {
            let Some(range) = rows(input.ty.scope) else { continue };
            let rows = self.filled(range.len());
            let dims = batched(rows, &input.ty.shape);
            let width = input.ty.len();
            let elements = range.start * width..range.end * width;
            run.values[id.index()] = Some(match batch::rows(data, elements, rows * width) {
                Data::F32(data) => Value::upload_f32(data, dims, &self.device),
                Data::I32(data) => Value::upload_i32(data, dims, &self.device),
            });
        }
    }

    /// The owners on the device; none for one request, whose row is every candidate's by broadcasting.
    fn owner(&self, owner: &[u32], requests: usize) -> Option<Int> {
        let rows = self.filled(owner.len());
        let owners = owner.iter().map(|&o| i32::try_from(o).unwrap_or(i32::MAX)).chain(std::iter::repeat(0));
        (requests > 1).then(|| indices(owners.take(rows).collect(), vec![rows], &self.device))
    }
}

/// How many rows the values on the device have.
#[derive(Clone, Copy, Debug)]
struct Rows {
    requests: usize,
    candidates: usize,
}

impl Rows {
    fn of(self, scope: Scope) -> usize {
        match scope {
            Scope::Const => 1,
            Scope::Request => self.requests,
            Scope::Item | Scope::Pair => self.candidates,
        }
    }
}

/// One batch on its way through the steps, or the part of it that fits the device.
#[derive(Clone)]
struct Run<'a> {
    executor: &'a Executor,
    rows: Rows,
    owner: Option<Int>,
    /// By value, with the rows of its scope; gone once no step reads it, so that the backend may reuse its storage.
    values: Vec<Option<Value>>,
    /// By value of request scope: its rows repeated for the candidates.
    gathered: Vec<Option<Value>>,
}

impl<'a> Run<'a> {
    fn new(executor: &'a Executor, rows: Rows) -> Self {
        let none = vec![None; executor.graph.values().len()];
        Self { executor, rows, owner: None, values: none.clone(), gathered: none }
    }

    fn scores(mut self) -> Result<Vec<f32>, RunError> {
        let dims = vec![self.rows.candidates];
        let score = self.operand(self.executor.graph.score(), Scope::Pair, true).reshape(dims);
        let data = read_sync(Dispatch::float_into_data(score.f32())).map_err(|e| RunError::Device(e.to_string()))?;
        data.try_into_vec().map_err(|e| RunError::Device(e.to_string()))
    }

    fn step(&mut self, step: &Step) {
        let graph = &self.executor.graph;
        let Node { op, inputs, output } = &graph.nodes()[step.node];
        let out = &graph.value(*output).ty;
        let types: Vec<&Type> = inputs.iter().map(|id| &graph.value(*id).ty).collect();
        let mut operands = Vec::with_capacity(inputs.len());
        for (i, id) in inputs.iter().enumerate() {
            let last = step.done.contains(id) && !inputs[i + 1..].contains(id);
            operands.push(self.operand(*id, out.scope, last));
        }
        let result = apply(op, &step.ready, operands, &types, out, self.rows.of(out.scope), self.executor.precision);
        self.values[output.index()] = Some(result);
        for id in &step.done {
            self.values[id.index()] = None;
            self.gathered[id.index()] = None;
        }
    }

    /// A value as an op of `scope` reads it: with the rows of that scope, or one row that broadcasts.
    fn operand(&mut self, id: ValueId, scope: Scope, last: bool) -> Value {
        let graph = &self.executor.graph;
        if let Some(constant) = &self.executor.constants[id.index()] {
            return constant.clone();
        }
        let slot = match &self.owner {
            Some(owner) if graph.value(id).ty.scope == Scope::Request && scope.per_candidate() => {
                let gathered = &mut self.gathered[id.index()];
                if gathered.is_none() {
                    *gathered = self.values[id.index()].clone().map(|v| v.select(0, owner.clone()));
                }
                gathered
            }
            _ => &mut self.values[id.index()],
        };
        // Taken where this is the last use, so that the op owns its operand and may write its result there.
        let value = if last { slot.take() } else { slot.clone() };
        value.expect("operands come before users, and a value is kept until its last use")
    }
}
