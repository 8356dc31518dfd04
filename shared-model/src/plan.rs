//! A graph made ready to run: steps in order, and a place in a static arena for every value.
//!
//! Steps fall into sections by scope. Constant steps run once, when an [`Arena`] is made; request steps once a call; item
//! and pair steps over blocks of candidates, so that the arena's size does not depend on N. What pair steps read of items
//! can be computed ahead for a whole catalog ([`ItemTable`]): then item steps need not run. A row's result does not depend
//! on the rows beside it, so neither blocks nor tables can be seen in the bits.

mod broadcast;
mod compile;
mod items;
mod layout;
mod memory;
mod step;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::encode::{Block, Data};
use crate::graph::{DType, Graph, Link};
use crate::tensor::Tensor;
use memory::{Memory, Place};
use step::Step;

pub use items::{ItemTable, Items};

/// A model that can score. Immutable: one plan serves any number of arenas.
#[derive(Clone, Debug)]
pub struct Plan {
    inputs: Vec<InputPlace>,
    constants: Vec<(Place, Values)>,
    sections: Sections,
    /// What pair steps read of items, and the score if it is an item's.
    exports: Vec<Export>,
    score: Place,
    block: usize,
    floats: usize,
    ints: usize,
    link: Link,
}

/// The memory one call runs in; reused from call to call.
#[derive(Clone, Debug)]
pub struct Arena {
    memory: Memory,
    scratch: step::Scratch,
}

/// Why a graph and its tensors cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A constant has no tensor.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// A tensor does not have the graph's type.
    #[error("tensor `{name}` is {got}, the graph wants {want}")]
    Type {
        /// Its name.
        name: String,
        /// The tensor's.
        got: String,
        /// The graph's.
        want: String,
    },
    /// A quantized tensor has a use its form does not allow.
    #[error("tensor `{name}` is quantized as a {form} and used as an operand of `{op}`")]
    Role {
        /// Its name.
        name: String,
        /// The form.
        form: &'static str,
        /// The op.
        op: &'static str,
    },
    /// The constant part of the graph cannot be computed.
    #[error("the constant part of the graph: {0}")]
    Constant(RunError),
    /// It would not fit memory.
    #[error("{what} need {numbers} numbers, more than a plan may hold")]
    TooLarge {
        /// What would not.
        what: &'static str,
        /// How many, so far.
        numbers: usize,
    },
}

/// Why a call gives no scores.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The inputs are not those of the graph.
    #[error("input `{name}`: {what}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
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
}

#[derive(Clone, Debug)]
struct InputPlace {
    name: String,
    dtype: DType,
    place: Place,
}

/// A value of item scope that is read beyond its section.
#[derive(Clone, Copy, Debug)]
struct Export {
    floats: bool,
    place: Place,
}

#[derive(Clone, Debug)]
enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// Steps by when they run.
#[derive(Clone, Debug, Default)]
struct Sections {
    constant: Vec<Step>,
    request: Vec<Step>,
    item: Vec<Step>,
    pair: Vec<Step>,
}

impl Plan {
    /// Compiles a graph with its tensors.
    ///
    /// # Errors
    /// Names the tensor that is missing or does not fit.
    pub fn new(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<Self, PlanError> {
        let plan = compile::plan(graph, tensors)?;
        plan.filled_arena().map_err(PlanError::Constant)?;
        Ok(plan)
    }

    /// Memory for one call at a time.
    ///
    /// # Panics
    /// Never: [`Plan::new`] has computed the constants once.
    #[must_use]
    pub fn arena(&self) -> Arena {
        self.filled_arena().expect("`Plan::new` has computed the constants")
    }

    fn filled_arena(&self) -> Result<Arena, RunError> {
        let mut memory = Memory::new(self.floats, self.ints);
        let mut scratch = step::Scratch::default();
        for (place, values) in &self.constants {
            match values {
                Values::F32(v) => memory.floats_mut(*place, 1).copy_from_slice(v),
                Values::I32(v) => memory.ints_mut(*place, 1).copy_from_slice(v),
            }
        }
        for step in &self.sections.constant {
            step.run(&mut memory, &mut scratch, 1)?;
        }
        Ok(Arena { memory, scratch })
    }

    /// Scores `scores.len()` candidates, before the link.
    ///
    /// `inputs` are in the order of [`Graph::inputs`]: one row for those of request scope, one a candidate for those of
    /// item scope.
    ///
    /// # Errors
    /// An input of another type or length; an id without a row.
    pub fn run(&self, arena: &mut Arena, inputs: &[&Block], scores: &mut [f32]) -> Result<(), RunError> {
        self.run_with(arena, inputs, None, scores)
    }

    /// As [`Self::run`], with a table of items: blocks of candidates that are all in it are not computed from `inputs`,
    /// and if all candidates are, the inputs of item scope are not looked at.
    ///
    /// # Errors
    /// An input of another type or length; an id without a row.
    ///
    /// # Panics
    /// A row is not in the table, or the table is another plan's.
    pub fn run_with(
        &self,
        arena: &mut Arena,
        inputs: &[&Block],
        items: Option<Items<'_>>,
        scores: &mut [f32],
    ) -> Result<(), RunError> {
        let all_in_table = items.is_some_and(|items| items.rows.iter().all(Option::is_some));
        self.check(inputs, scores.len(), |place| !place.per_candidate || !all_in_table)?;
        let Arena { memory, scratch } = arena;
        for (input, block) in self.inputs.iter().zip(inputs).filter(|(i, _)| !i.place.per_candidate) {
            memory.load(input.place, &block.data, 0, 1);
        }
        for step in &self.sections.request {
            step.run(memory, scratch, 1)?;
        }
        for (b, scores) in scores.chunks_mut(self.block).enumerate() {
            let rows = scores.len();
            let first = b * self.block;
            if !items.is_some_and(|items| items.load(&self.exports, memory, first, rows)) {
                self.run_items(memory, scratch, inputs, first, rows)?;
            }
            for step in &self.sections.pair {
                step.run(memory, scratch, rows)?;
            }
            scores.copy_from_slice(memory.floats(self.score, rows));
        }
        Ok(())
    }

    /// The item section, for rows of the inputs from `first` on.
    fn run_items(
        &self,
        memory: &mut Memory,
        scratch: &mut step::Scratch,
        inputs: &[&Block],
        first: usize,
        rows: usize,
    ) -> Result<(), RunError> {
        for (input, block) in self.inputs.iter().zip(inputs).filter(|(i, _)| i.place.per_candidate) {
            memory.load(input.place, &block.data, first, rows);
        }
        self.sections.item.iter().try_for_each(|step| step.run(memory, scratch, rows))
    }

    /// What follows the score.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link
    }

    /// A table that the plan looks rows up in, by its tensor's name.
    pub(crate) fn table(&self, name: &str) -> Option<&Tensor> {
        let Sections { constant, request, item, pair } = &self.sections;
        constant.iter().chain(request).chain(item).chain(pair).find_map(|step| match &step.kernel {
            step::Kernel::Embedding { table, name: of, .. } if of == name => Some(&**table),
            _ => None,
        })
    }

    /// The bytes of one arena.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        4 * (self.floats + self.ints)
    }

    /// Whether the inputs are those of the plan, as far as they are `read`.
    fn check(&self, inputs: &[&Block], n: usize, read: impl Fn(Place) -> bool) -> Result<(), RunError> {
        let fault = |name: &str, what: String| Err(RunError::Input { name: name.to_owned(), what });
        if inputs.len() != self.inputs.len() {
            return fault("", format!("{} given, the model has {}", inputs.len(), self.inputs.len()));
        }
        for (input, block) in self.inputs.iter().zip(inputs).filter(|(i, _)| read(i.place)) {
            let rows = if input.place.per_candidate { n } else { 1 };
            let (dtype, len) = match &block.data {
                Data::F32(v) => (DType::F32, v.len()),
                Data::I32(v) => (DType::I32, v.len()),
            };
            if dtype != input.dtype {
                return fault(&input.name, format!("is {dtype:?}, the model wants {:?}", input.dtype));
            }
            if len != rows * input.place.len {
                return fault(&input.name, format!("has {len} elements, {rows} rows want {}", rows * input.place.len));
            }
        }
        Ok(())
    }
}
