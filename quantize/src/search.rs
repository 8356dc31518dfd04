//! Decides the bits of every weight: as many bytes as are allowed, spent where they save the most error.
//!
//! Every weight that may be quantized is rounded in each of its forms once, together with what is known of the scores'
//! dependence on it (`Sense`); that gives each form an expected damage. A linear has one number of bits, a row of a table
//! its own: of a catalog, a few items are near a boundary time and again, and most never. What is expected is set right by
//! what one tensor in 4 bits is seen to do. From the fewest bits allowed, the steps that save the most damage a byte are
//! taken until the bytes are spent. Last, layers that are hardly felt take their inputs in 7 bits (`narrow`).

mod forms;
mod front;
mod measure;
mod narrow;
mod noise;

pub use front::{Found, Goal, Jury, Tried, Wanted};
pub(crate) use narrow::{SHARE, SHARE_IF_FAST, narrow};

use std::collections::{BTreeMap, BTreeSet};

use shared_model::graph::{Graph, Node, Op, Scope, ValueId};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};

use crate::progress::Progress;
use crate::score::ScorerError;
use crate::sense::Sense;
use forms::{LinearForms, TableForms};

/// Tensors of no more elements stay in full precision: they cost little.
const SMALL: usize = 128;

/// What a constant is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Linear,
    Table,
}

/// The fewest bits that a weight may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fewest {
    /// As in the edge's variant.
    Four,
    /// As in the region's.
    Eight,
}

/// A full-precision variant, and all the forms that its weights may have.
#[derive(Debug)]
pub struct Search<'a> {
    full: &'a Variant,
    linears: BTreeMap<String, LinearForms>,
    tables: BTreeMap<String, TableForms<'a>>,
    /// The bias of a linear's weight, where it has one of its own.
    biases: BTreeMap<String, String>,
    /// The linears that run once a candidate: none of them is kept in full precision, for that is slow.
    each_candidate: BTreeSet<String>,
    /// What each tensor in 4 bits alone does to the scores.
    harm: BTreeMap<String, f64>,
}

/// What is spent on what.
#[derive(Clone, Debug)]
struct Spent {
    /// The form of each linear.
    linears: BTreeMap<String, u8>,
    /// The form of each row of each table.
    tables: BTreeMap<String, Vec<u8>>,
}

/// One more form up for a linear or a row of a table. A large table has millions: no more than is needed.
#[derive(Clone, Copy)]
struct Step {
    gain: f32,
    bytes: u32,
    /// Among the linears, then the tables.
    tensor: u32,
    /// 0 of a linear.
    row: u32,
    /// The form after it.
    to: u8,
}

impl<'a> Search<'a> {
    /// Rounds every weight in each of its forms.
    ///
    /// # Errors
    /// A variant that is tried cannot be run.
    pub(crate) fn new(
        full: &'a Variant,
        sense: &Sense,
        schema: &Schema,
        progress: &Progress,
    ) -> Result<Self, ScorerError> {
        let bar = progress.steps(sense.linears.len() + sense.tables.len(), "rounding");
        let floats = |name: &str| match &full.tensors[name] {
            Tensor::F32 { data, .. } => &data[..],
            _ => unreachable!("only floats have a role"),
        };
        let biases = biases(full);
        let linears = sense.linears.iter().map(|(name, sense)| {
            let forms = LinearForms::of(floats(name), sense, biases.contains_key(name));
            bar.inc(1);
            (name.clone(), forms)
        });
        let linears = linears.collect();
        let tables = sense.tables.iter().map(|(name, sense)| {
            let forms = TableForms::of(floats(name), sense);
            bar.inc(1);
            (name.clone(), forms)
        });
        let tables = tables.collect();
        bar.finish_and_clear();
        let each_candidate = each_candidate(&full.graph);
        let mut search = Self { full, linears, tables, biases, each_candidate, harm: BTreeMap::new() };
        search.measure(&sense.samples, schema, progress)?;
        Ok(search)
    }

    /// What each tensor in 4 bits alone does to the scores near the boundaries, as a share of what all do.
    #[must_use]
    pub fn sensitivity(&self) -> BTreeMap<String, f64> {
        let all: f64 = self.harm.values().sum();
        self.harm.iter().map(|(name, harm)| (name.clone(), harm / all.max(f64::MIN_POSITIVE))).collect()
    }

    /// The variant with the least damage expected that takes at most this share of the full-precision bytes, or as few
    /// as it can.
    #[must_use]
    pub fn variant(&self, name: VariantName, fewest: Fewest, share: f64) -> Variant {
        self.spent(name, &self.spend(fewest, share, false))
    }

    fn spent(&self, name: VariantName, spent: &Spent) -> Variant {
        let chosen = self.linears.keys().chain(self.tables.keys());
        let mut tensors: BTreeMap<String, Tensor> = chosen.flat_map(|name| self.tensors(name, spent)).collect();
        // Only those that are left: a table may be most of a model.
        for (name, tensor) in &self.full.tensors {
            tensors.entry(name.clone()).or_insert_with(|| tensor.clone());
        }
        Variant { name, graph: self.full.graph.clone(), tensors, noise: None }
    }

    /// With all weights in one form.
    fn uniform(&self, form: u8) -> Spent {
        Spent {
            linears: self.linears.keys().map(|name| (name.clone(), form)).collect(),
            tables: self.tables.iter().map(|(name, table)| (name.clone(), vec![form; table.rows()])).collect(),
        }
    }

    /// If it is to be fast, every linear has the 8 bits that kernels are fastest with, if the bytes suffice.
    fn spend(&self, fewest: Fewest, share: f64, fast: bool) -> Spent {
        let first = fewest as u8;
        let mut spent = self.uniform(first);
        let allowed = self.full.tensor_bytes() as f64 * share;
        let mut bytes = self.bytes(&spent);
        let mut steps = self.steps(first);
        let is_linear = |step: &Step| (step.tensor as usize) < self.linears.len();
        if fast {
            steps.retain(|step| !is_linear(step) || usize::from(step.to) != forms::FULL);
        }
        let worth = |step: &Step| match fast && is_linear(step) {
            true => f32::INFINITY,
            false => step.gain / step.bytes as f32,
        };
        steps.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
        let Spent { linears, tables } = &mut spent;
        let mut linears: Vec<&mut u8> = linears.values_mut().collect();
        let mut tables: Vec<&mut Vec<u8>> = tables.values_mut().collect();
        for step in steps {
            let tensor = step.tensor as usize;
            let form = match linears.get_mut(tensor) {
                Some(form) => &mut **form,
                None => &mut tables[tensor - linears.len()][step.row as usize],
            };
            let after = bytes + step.bytes as usize;
            if step.to == *form + 1 && worth(&step) > 0.0 && after as f64 <= allowed {
                (*form, bytes) = (step.to, after);
            }
        }
        spent
    }

    /// Every step up from the fewest bits, in the order of names and rows.
    fn steps(&self, first: u8) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut push = |gain: f64, bytes: usize, [tensor, row]: [usize; 2], to: u8| {
            let [bytes, tensor, row] =
                [bytes, tensor, row].map(|n| u32::try_from(n).expect("tensors are of 4 GiB at most"));
            steps.push(Step { gain: gain as f32, bytes, tensor, row, to });
        };
        for (tensor, (name, linear)) in self.linears.iter().enumerate() {
            let forms = if self.each_candidate.contains(name) { forms::FULL } else { forms::LINEAR.len() };
            for to in first + 1..forms as u8 {
                let [from, at] = [to - 1, to].map(usize::from);
                let bytes = linear.bytes(at).saturating_sub(linear.bytes(from)).max(1);
                push(linear.damage(from) - linear.damage(at), bytes, [tensor, 0], to);
            }
        }
        for (tensor, table) in self.tables.values().enumerate() {
            for row in 0..table.rows() {
                for to in first + 1..forms::TABLE.len() as u8 {
                    let [from, at] = [to - 1, to].map(usize::from);
                    let gain = table.damage(row, from) - table.damage(row, at);
                    push(gain, table.row_bytes(at) - table.row_bytes(from), [self.linears.len() + tensor, row], to);
                }
            }
        }
        steps
    }

    /// One tensor of a variant, and the bias that goes with it.
    fn tensors(&self, name: &str, spent: &Spent) -> Vec<(String, Tensor)> {
        if let Some(table) = self.tables.get(name) {
            return vec![(name.to_owned(), table.tensor(&spent.tables[name]))];
        }
        let (linear, form) = (&self.linears[name], usize::from(spent.linears[name]));
        let weight = linear.tensor(form).unwrap_or_else(|| self.full.tensors[name].clone());
        let bias = self.biases.get(name).and_then(|bias| match &self.full.tensors[bias] {
            Tensor::F32 { shape, data } => {
                let data = linear.bias(form, data);
                Some((bias.clone(), Tensor::F32 { shape: shape.clone(), data }))
            }
            _ => None,
        });
        std::iter::once((name.to_owned(), weight)).chain(bias).collect()
    }

    /// Of all tensors.
    fn bytes(&self, spent: &Spent) -> usize {
        let kept = self
            .full
            .tensors
            .iter()
            .filter(|(name, _)| !self.linears.contains_key(*name) && !self.tables.contains_key(*name));
        let linears: usize =
            spent.linears.iter().map(|(name, form)| self.linears[name].bytes(usize::from(*form))).sum();
        let tables: usize = spent.tables.iter().map(|(name, forms)| self.tables[name].bytes(forms)).sum();
        kept.map(|(_, tensor)| tensor.bytes()).sum::<usize>() + linears + tables
    }
}

/// The constants that are quantized, by name.
pub(crate) fn roles(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Role> {
    let large = |name: &str| matches!(tensors.get(name), Some(Tensor::F32 { data, .. }) if data.len() > SMALL);
    let named = graph.constants().filter(|(_, v)| large(&v.name));
    named.filter_map(|(id, v)| Some((v.name.clone(), role(graph, id)?))).collect()
}

/// The weights of linears of pair scope.
fn each_candidate(graph: &Graph) -> BTreeSet<String> {
    let of_pair = |node: &&Node| node.op == Op::Linear && graph.value(node.output).ty.scope == Scope::Pair;
    graph.nodes().iter().filter(of_pair).map(|node| graph.value(node.inputs[1]).name.clone()).collect()
}

/// For each linear's weight the bias that is always used with it, and with nothing else.
fn biases(full: &Variant) -> BTreeMap<String, String> {
    let graph = &full.graph;
    let pairs: BTreeSet<[ValueId; 2]> = graph
        .nodes()
        .iter()
        .filter(|node| node.op == Op::Linear)
        .filter_map(|node| Some([node.inputs[1], *node.inputs.get(2)?]))
        .collect();
    let is_own = |[weight, bias]: &[ValueId; 2]| {
        let together = |node: &Node| node.op == Op::Linear && node.inputs[1..] == [*weight, *bias];
        let uses = |node: &&Node| node.inputs.contains(weight) || node.inputs.contains(bias);
        graph.nodes().iter().filter(uses).all(together)
    };
    let name = |id: ValueId| graph.value(id).name.clone();
    pairs.into_iter().filter(is_own).map(|[weight, bias]| (name(weight), name(bias))).collect()
}

/// The one role that every use of a constant has.
fn role(graph: &Graph, id: ValueId) -> Option<Role> {
    let uses = graph.nodes().iter().flat_map(|n| n.inputs.iter().enumerate().map(move |(i, v)| (&n.op, i, *v)));
    let mut roles = uses.filter(|(_, _, v)| *v == id).map(|(op, i, _)| match (op, i) {
        (Op::Linear, 1) => Some(Role::Linear),
        (Op::Embedding, 0) => Some(Role::Table),
        _ => None,
    });
    let first = roles.next()??;
    roles.all(|r| r == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests;
