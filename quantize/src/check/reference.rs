//! The model as tract runs it, from the ONNX bytes: an implementation that shares nothing with the plan.

use std::collections::HashMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shared_model::encode::{Block, Data};
use thiserror::Error;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{bail, ensure, format_err};

use crate::import::{Elem, Imported, ModelInput};

/// tract cannot run the model.
#[derive(Debug, Error)]
#[error("tract, which every import is compared with, cannot run the model: {0}")]
pub struct ReferenceError(String);

/// The model, ready for any number of candidates.
pub struct Reference {
    model: InferenceModel,
    inputs: Vec<ModelInput>,
    /// By number of candidates: tract plans for fixed shapes.
    plans: HashMap<usize, Arc<TypedRunnableModel>>,
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl Reference {
    /// Reads the ONNX file that `imported` came from, whose tensors are not looked at.
    ///
    /// # Errors
    /// tract does not know an operator, or fails.
    pub fn new(file: &mut dyn Read, imported: &Imported) -> Result<Self, ReferenceError> {
        guarded(|| {
            // Shapes noted by the exporter are hints that can be stale; tract takes them for facts.
            let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
            let mut model = onnx.model_for_read(file)?;
            let sources: HashMap<String, OutletId> =
                model.input_outlets()?.iter().map(|o| (model.node(o.node).name.clone(), *o)).collect();
            let used = imported
                .inputs
                .iter()
                .map(|i| sources.get(&i.name).copied().ok_or_else(|| format_err!("input `{}` is not found", i.name)));
            let used = used.collect::<TractResult<Vec<_>>>()?;
            model.set_input_outlets(&used)?;
            model.select_outputs_by_name([&imported.score_name, &imported.output_name])?;
            Ok(Self { model, inputs: imported.inputs.clone(), plans: HashMap::new() })
        })
    }

    /// The score before the link and the output of `n` candidates; `blocks` as a plan takes them.
    ///
    /// # Errors
    /// tract fails.
    pub fn run(&mut self, blocks: &[&Block], n: usize) -> Result<(Vec<f32>, Vec<f32>), ReferenceError> {
        guarded(|| {
            let plan = match self.plans.get(&n) {
                Some(plan) => Arc::clone(plan),
                None => {
                    let plan = plan(&self.model, &self.inputs, n)?;
                    self.plans.insert(n, Arc::clone(&plan));
                    plan
                }
            };
            let feeds = self.inputs.iter().zip(blocks).map(|(input, block)| Ok(tensor(input, block, n)?.into()));
            let outputs = plan.run(feeds.collect::<TractResult<TVec<TValue>>>()?)?;
            let floats = |i: usize| -> TractResult<Vec<f32>> {
                let view = outputs[i].try_as_plain_ram()?;
                let values = view.as_slice::<f32>()?;
                ensure!(values.len() == n, "it gives {} values for {n} candidates", values.len());
                Ok(values.to_vec())
            };
            Ok((floats(0)?, floats(1)?))
        })
    }
}

fn plan(model: &InferenceModel, inputs: &[ModelInput], n: usize) -> TractResult<Arc<TypedRunnableModel>> {
    let mut model = model.clone();
    for (i, input) in inputs.iter().enumerate() {
        let elem = match input.elem {
            Elem::F32 => f32::datum_type(),
            Elem::I32 => i32::datum_type(),
            Elem::I64 => i64::datum_type(),
        };
        model.set_input_fact(i, InferenceFact::dt_shape(elem, shape(input, n)))?;
    }
    model.into_optimized()?.into_runnable()
}

fn shape(input: &ModelInput, n: usize) -> TVec<usize> {
    std::iter::once(n).chain(input.row.iter().copied()).collect()
}

/// The rows of an input; a request's one row for every candidate.
fn tensor(input: &ModelInput, block: &Block, n: usize) -> TractResult<Tensor> {
    let shape = shape(input, n);
    let copies = if block.rows() == n { 1 } else { n };
    match (&block.data, input.elem) {
        (Data::F32(v), Elem::F32) => Tensor::from_shape(&shape, &v.repeat(copies)),
        (Data::I32(v), Elem::I32) => Tensor::from_shape(&shape, &v.repeat(copies)),
        (Data::I32(v), Elem::I64) => {
            Tensor::from_shape(&shape, &v.repeat(copies).iter().map(|&x| i64::from(x)).collect::<Vec<_>>())
        }
        (Data::F32(_), _) | (Data::I32(_), Elem::F32) => bail!("input `{}` is fed another element type", input.name),
    }
}

/// Runs a part of tract: its errors, and its panics on models it does not expect, become ours.
fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, ReferenceError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| ReferenceError(format!("{e:#}"))),
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(ReferenceError(format!("it panicked: {}", text.unwrap_or("no reason given"))))
        }
    }
}
