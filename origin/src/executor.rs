//! Runs a graph at full precision on a device, for the candidates of several requests at once.
//!
//! Constants are uploaded once. A run computes request-scope values with one row a request and the others with one row
//! a candidate; where the two meet, a candidate takes its request's row. The program is the same on every device: burn's
//! dispatch is asked at run time. Sums have the device's order, so scores agree with the reference within 1e-5 and not in
//! bits. No thread and no clock here; a failure of the device inside an op panics, which [`crate::engine`] contains.

mod elementwise;
mod ids;
mod load;
mod op;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod tests;
mod value;

pub use load::LoadError;

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Dispatch, DispatchDevice, read_sync};
use thiserror::Error;

use shared_model::encode::Data;
use shared_model::graph::{DType, Graph, Node, Scope, Type, Value as GraphValue, ValueId};

use ids::Ids;
use op::{Ready, apply, batched};
use value::{Int, Value, indices};

/// The rows to score.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// How many requests there are.
    pub requests: usize,
    /// For each candidate, the index of its request.
    pub owner: Vec<u32>,
    /// In the order of the graph's inputs: a row a request for one of request scope, else a row a candidate.
    pub inputs: Vec<Data>,
}

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

/// A graph on a device, ready to run.
#[derive(Debug)]
pub struct Executor {
    graph: Graph,
    device: DispatchDevice,
    ids: Ids,
    /// By value: those that do not depend on the request.
    constants: Vec<Option<Value>>,
    /// Those that do, in order.
    steps: Vec<Step>,
    /// The most candidates on the device at once.
    most: usize,
}

#[derive(Debug)]
struct Step {
    node: usize,
    ready: Ready,
    /// Operands that no later step reads.
    done: Vec<ValueId>,
}

impl Executor {
    /// The score of every candidate before the graph's link, in the order of the batch.
    ///
    /// # Errors
    /// The batch does not fit the graph, or the device failed.
    pub fn run(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        let rows = Rows { requests: batch.requests, candidates: batch.owner.len() };
        self.check(&batch, rows)?;
        let mut scores = Vec::with_capacity(rows.candidates);
        for part in self.parts(batch) {
            scores.extend(self.run_part(part)?);
        }
        Ok(scores)
    }

    /// The batch cut into parts that fit the device; each has all the requests.
    fn parts(&self, batch: Batch) -> Vec<Batch> {
        let candidates = batch.owner.len();
        if (1..=self.most).contains(&candidates) {
            return vec![batch];
        }
        let part = |start: usize| {
            let range = start..candidates.min(start + self.most);
            let rows = |((_, v), data): ((ValueId, &GraphValue), &Data)| {
                if v.ty.scope.per_candidate() { rows_of(data, v.ty.len(), &range) } else { data.clone() }
            };
            Batch {
                requests: batch.requests,
                owner: batch.owner[range.clone()].to_vec(),
                inputs: self.graph.inputs().zip(&batch.inputs).map(rows).collect(),
            }
        };
        (0..candidates).step_by(self.most).map(part).collect()
    }

    fn run_part(&self, batch: Batch) -> Result<Vec<f32>, RunError> {
        let rows = Rows { requests: batch.requests, candidates: batch.owner.len() };
        let mut run = Run {
            executor: self,
            rows,
            owner: self.owner(&batch, rows),
            values: vec![None; self.graph.values().len()],
            gathered: vec![None; self.graph.values().len()],
        };
        for ((id, input), data) in self.graph.inputs().zip(batch.inputs) {
            let dims = batched(rows.of(input.ty.scope), &input.ty.shape);
            run.values[id.index()] = Some(self.upload(data, dims));
        }
        for step in &self.steps {
            run.step(step);
        }
        let score = run.operand(self.graph.score(), Scope::Pair, true).reshape(vec![rows.candidates]);
        let data = read_sync(Dispatch::float_into_data(score.f32())).map_err(|e| RunError::Device(e.to_string()))?;
        data.try_into_vec().map_err(|e| RunError::Device(e.to_string()))
    }

    /// The graph it runs.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// One candidate of one request, with zeros for features.
    #[must_use]
    pub fn zeros(&self) -> Batch {
        let zeros = |ty: &Type| match ty.dtype {
            DType::F32 => Data::F32(vec![0.0; ty.len()]),
            DType::I32 | DType::Bool => Data::I32(vec![0; ty.len()]),
        };
        Batch { requests: 1, owner: vec![0], inputs: self.graph.inputs().map(|(_, v)| zeros(&v.ty)).collect() }
    }

    fn check(&self, batch: &Batch, rows: Rows) -> Result<(), RunError> {
        let expected = self.graph.inputs().count();
        if batch.inputs.len() != expected {
            return Err(RunError::Inputs { expected, got: batch.inputs.len() });
        }
        for ((_, input), block) in self.graph.inputs().zip(&batch.inputs) {
            let (got, length) = (block.dtype(), block.len());
            let expected = rows.of(input.ty.scope) * input.ty.len();
            if (got, length) != (input.ty.dtype, expected) {
                return Err(RunError::Block {
                    name: input.name.clone(),
                    expected: format!("{expected} elements of {:?}", input.ty.dtype),
                    got: format!("{length} of {got:?}"),
                });
            }
        }
        let outside = |owner: &u32| usize::try_from(*owner).is_ok_and(|o| o >= rows.requests);
        match batch.owner.iter().position(outside) {
            Some(candidate) => {
                Err(RunError::Owner { candidate, owner: batch.owner[candidate], requests: rows.requests })
            }
            None => self.ids.check(&self.graph, &batch.inputs),
        }
    }

    /// The owners on the device; none for one request, whose row is every candidate's by broadcasting.
    fn owner(&self, batch: &Batch, rows: Rows) -> Option<Int> {
        let owner = || batch.owner.iter().map(|&o| i32::try_from(o).unwrap_or(i32::MAX)).collect();
        (rows.requests > 1).then(|| indices(owner(), vec![rows.candidates], &self.device))
    }

    fn upload(&self, data: Data, dims: Vec<usize>) -> Value {
        match data {
            Data::F32(data) => Value::upload_f32(data, dims, &self.device),
            Data::I32(data) => Value::upload_i32(data, dims, &self.device),
        }
    }
}

fn rows_of(data: &Data, width: usize, rows: &Range<usize>) -> Data {
    let elements = rows.start * width..rows.end * width;
    match data {
        Data::F32(v) => Data::F32(v[elements].to_vec()),
        Data::I32(v) => Data::I32(v[elements].to_vec()),
    }
}

/// How many rows a batch has.
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

/// One batch on its way through the steps.
struct Run<'a> {
    executor: &'a Executor,
    rows: Rows,
    owner: Option<Int>,
    /// By value, with the rows of its scope; gone once no step reads it, so that the backend may reuse its storage.
    values: Vec<Option<Value>>,
    /// By value of request scope: its rows repeated for the candidates.
    gathered: Vec<Option<Value>>,
}

impl Run<'_> {
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
        let result = apply(op, &step.ready, operands, &types, out, self.rows.of(out.scope));
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
