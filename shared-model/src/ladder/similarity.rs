//! Level 2: how alike a candidate is to what the user has had, by the model's own embedding of items.
//!
//! The table is the one that the model looks items up in by their ids. It is of use where the schema has a list of the
//! user's that is of the same ids: then a history is a mean of rows, and a candidate is as good as the cosine between
//! its row and that mean. What the model would have made of the user is not looked at; nothing of this is a score.

use super::Prepared;
use crate::encode::{Block, Data};
use crate::graph::{Graph, Op, Scope, Source, ValueId};
use crate::plan::Plan;
use crate::schema::{Coding, Feature, Index, Schema};

/// Where a schema and a graph have a history, items, and a table for both.
#[derive(Clone, Debug)]
pub(super) struct Similarity {
    /// The history's input, among those of request scope.
    history: usize,
    /// The item id's input, among those of item scope.
    item: usize,
    /// The lowest index that is an item's: those below are unknown, or fill a history up.
    first: i32,
    /// The tensor's name.
    table: String,
}

impl Similarity {
    /// `None` where the schema has no history of catalog items, or the model no table of them.
    pub(super) fn find(schema: &Schema, graph: &Graph) -> Option<Self> {
        let catalog = |index: &Index| match index {
            Index::Vocabulary(v) => schema.vocabularies().get(*v).filter(|v| v.is_catalog()),
            Index::Hash(_) | Index::Identity | Index::Hour | Index::Weekday => None,
        };
        let whole = |scope: Scope| schema.features().iter().filter(move |f| f.scope == scope && f.column.is_none());
        let place = |feature: &Feature| schema.inputs_of(feature.scope).position(|(input, _)| input == feature.input);
        for item in whole(Scope::Item).filter(|feature| feature.field == "id") {
            let Coding::Categorical(index) = &item.coding else { continue };
            let Some(items) = catalog(index) else { continue };
            let Some(table) = table_of(graph, &schema.inputs()[item.input].name) else { continue };
            for history in whole(Scope::Request) {
                let Coding::List { index, .. } = &history.coding else { continue };
                if catalog(index).is_some_and(|had| had.first == items.first) {
                    let first = i32::try_from(items.first.max(1)).ok()?;
                    return Some(Self { history: place(history)?, item: place(item)?, first, table });
                }
            }
        }
        None
    }

    /// How alike each candidate is to the history; `None` without a history. An unknown candidate is like nothing.
    pub(super) fn of(&self, plan: &Plan, prepared: &Prepared) -> Option<Vec<f32>> {
        let table = plan.table(&self.table)?;
        let (history, items) = (indices(prepared.request_block(self.history)), indices(prepared.item_block(self.item)));
        let rows = table.shape()[0];
        let row = |index: i32| usize::try_from(index).ok().filter(|at| index >= self.first && *at < rows);
        let width = table.shape()[1];
        let (mut one, mut mean) = (vec![0.0; width], vec![0.0; width]);
        let had: Vec<usize> = history.iter().filter_map(|index| row(*index)).collect();
        for at in &had {
            table.copy_row(*at, &mut one);
            mean.iter_mut().zip(&one).for_each(|(sum, x)| *sum += x);
        }
        // Only the direction counts: the sum has that of the mean.
        let like = |at: usize, one: &mut Vec<f32>| {
            table.copy_row(at, one);
            cosine(&mean, one)
        };
        (!had.is_empty())
            .then(|| items.iter().map(|index| row(*index).map_or(f32::NEG_INFINITY, |at| like(at, &mut one))).collect())
    }
}

/// The table that an input is looked up in, in whatever shape it arrives there.
fn table_of(graph: &Graph, input: &str) -> Option<String> {
    let comes_from_input = |mut id: ValueId| loop {
        match graph.value(id).source {
            Source::Input => return graph.value(id).name == input,
            Source::Constant => return false,
            Source::Node(node) => match &graph.nodes()[node] {
                node if matches!(node.op, Op::Reshape { .. }) => id = node.inputs[0],
                _ => return false,
            },
        }
    };
    let mut looked_up = graph.nodes().iter().filter(|node| node.op == Op::Embedding);
    let node = looked_up.find(|node| comes_from_input(node.inputs[1]))?;
    Some(graph.value(node.inputs[0]).name.clone())
}

fn indices(block: &Block) -> &[i32] {
    match &block.data {
        Data::I32(indices) => indices,
        Data::F32(_) => &[],
    }
}

/// 0 for a row of zeros, which has no direction. Sums in f64, in ascending order: the same on every machine.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 && lengths.is_finite() { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_is_of_directions_and_never_no_number() {
        assert_eq!(cosine(&[2.0, 0.0], &[9.0, 0.0]), 1.0);
        assert_eq!(cosine(&[2.0, 0.0], &[0.0, 3.0]), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
        assert_eq!(cosine(&[f32::MAX; 4], &[f32::MAX; 4]), 1.0);
        assert_eq!(cosine(&[f32::INFINITY; 1], &[1.0]), 0.0);
    }
}
