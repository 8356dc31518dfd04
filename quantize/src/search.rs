//! Decides the bits of every weight: as many bytes as are allowed, spent where they save the most error.
//!
//! Every weight that may be quantized is rounded in each of its forms once, together with what is known of the scores'
//! dependence on it ([`Sense`]); that gives each form an expected damage. A linear has one number of bits, a row of a table
//! its own: of a catalog, a few items are near a boundary time and again, and most never. From the fewest bits allowed,
//! the steps that save the most damage a byte are taken until the bytes are spent.

mod forms;

use std::collections::BTreeMap;

use shared_model::graph::{Graph, Op, ValueId};
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};

use crate::progress::Progress;
use crate::sense::Sense;
use forms::{LinearForms, TableForms};

/// Tensors of no more elements stay in full precision: they cost little.
const SMALL: usize = 256;

/// What a constant is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Linear,
    Table,
}

/// The fewest bits that a weight may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    tables: BTreeMap<String, TableForms>,
}

/// What is spent on what.
#[derive(Clone, Debug)]
struct Spent {
    /// The form of each linear.
    linears: BTreeMap<String, usize>,
    /// The form of each row of each table.
    tables: BTreeMap<String, Vec<u8>>,
}

/// One more form up for a linear or a row of a table.
struct Step<'n> {
    gain: f64,
    bytes: usize,
    name: &'n str,
    /// `None` for a linear.
    row: Option<usize>,
    /// The form after it.
    to: u8,
}

impl<'a> Search<'a> {
    /// Rounds every weight in each of its forms.
    #[must_use]
    pub(crate) fn new(full: &'a Variant, sense: &Sense, progress: &Progress) -> Self {
        let bar = progress.steps(sense.linears.len() + sense.tables.len(), "rounding");
        let floats = |name: &str| match &full.tensors[name] {
            Tensor::F32 { data, .. } => &data[..],
            _ => unreachable!("only floats have a role"),
        };
        let linears = sense.linears.iter().map(|(name, sense)| {
            let forms = LinearForms::of(floats(name), sense);
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
        Self { full, linears, tables }
    }

    /// The variant with the least damage expected that takes at most this share of the full-precision bytes, or as few
    /// as it can.
    #[must_use]
    pub fn variant(&self, name: VariantName, fewest: Fewest, share: f64) -> Variant {
        let mut tensors = self.full.tensors.clone();
        for (name, tensor) in self.tensors(&self.spend(fewest, share)) {
            tensors.insert(name, tensor);
        }
        Variant { name, graph: self.full.graph.clone(), tensors }
    }

    fn spend(&self, fewest: Fewest, share: f64) -> Spent {
        let first = fewest as u8;
        let mut spent = Spent {
            linears: self.linears.keys().map(|name| (name.clone(), usize::from(first))).collect(),
            tables: self.tables.iter().map(|(name, table)| (name.clone(), vec![first; table.rows()])).collect(),
        };
        let allowed = self.full.tensor_bytes() as f64 * share;
        let mut bytes = self.bytes(&spent);
        let mut steps = self.steps(first);
        steps.sort_by(|a, b| (b.gain / b.bytes as f64).total_cmp(&(a.gain / a.bytes as f64)));
        for step in steps {
            let now = match step.row {
                None => spent.linears[step.name] as u8,
                Some(row) => spent.tables[step.name][row],
            };
            if step.to != now + 1 || step.gain <= 0.0 || (bytes + step.bytes) as f64 > allowed {
                continue;
            }
            bytes += step.bytes;
            match (step.row, spent.tables.get_mut(step.name)) {
                (Some(row), Some(rows)) => rows[row] = step.to,
                _ => drop(spent.linears.insert(step.name.to_owned(), usize::from(step.to))),
            }
        }
        spent
    }

    /// Every step up from the fewest bits, in the order of names and rows.
    fn steps(&self, first: u8) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for (name, linear) in &self.linears {
            for to in first + 1..forms::LINEAR.len() as u8 {
                let [from, at] = [to - 1, to].map(usize::from);
                let gain = linear.damage(from) - linear.damage(at);
                steps.push(Step {
                    gain,
                    bytes: linear.bytes(at).saturating_sub(linear.bytes(from)).max(1),
                    name,
                    row: None,
                    to,
                });
            }
        }
        for (name, table) in &self.tables {
            for row in 0..table.rows() {
                for to in first + 1..forms::TABLE.len() as u8 {
                    let [from, at] = [to - 1, to].map(usize::from);
                    let gain = table.damage(row, from) - table.damage(row, at);
                    steps.push(Step {
                        gain,
                        bytes: table.row_bytes(at) - table.row_bytes(from),
                        name,
                        row: Some(row),
                        to,
                    });
                }
            }
        }
        steps
    }

    fn tensors<'s>(&'s self, spent: &'s Spent) -> impl Iterator<Item = (String, Tensor)> + 's {
        let linears =
            spent.linears.iter().filter_map(|(name, form)| Some((name.clone(), self.linears[name].tensor(*form)?)));
        linears.chain(spent.tables.iter().map(|(name, forms)| (name.clone(), self.tables[name].tensor(forms))))
    }

    /// Of all tensors.
    fn bytes(&self, spent: &Spent) -> usize {
        let kept = self
            .full
            .tensors
            .iter()
            .filter(|(name, _)| !self.linears.contains_key(*name) && !self.tables.contains_key(*name));
        let linears: usize = spent.linears.iter().map(|(name, form)| self.linears[name].bytes(*form)).sum();
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
