//! That every id of a batch has a row in its table: an id without one is refused on the host, as the reference refuses
//! it, and the device need not look.
//!
//! Which elements of the inputs are ids is for [`Graph::lookups`] to say. Ids that are computed are not among them:
//! [`super::op`] keeps those within the table.

use std::collections::BTreeMap;

use shared_model::encode::Data;
use shared_model::graph::{Graph, Lookup, Lookups, ValueId};

use super::RunError;

/// Elements of the inputs that index a table.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    lookups: Lookups,
    /// The place of each input, and the elements of its row.
    inputs: BTreeMap<ValueId, (usize, usize)>,
    /// The names of the tables.
    tables: BTreeMap<ValueId, String>,
}

impl Ids {
    pub(super) fn of(graph: &Graph) -> Self {
        let lookups = graph.lookups();
        let inputs = graph.inputs().enumerate().map(|(place, (id, value))| (id, (place, value.ty.len()))).collect();
        let tables = lookups.found.iter().map(|l| (l.table, graph.value(l.table).name.clone())).collect();
        Self { lookups, inputs, tables }
    }

    /// Whether every id of an embedding is checked by [`Ids::check`].
    pub(super) fn bounds(&self, node: usize) -> bool {
        self.lookups.covers(node)
    }

    /// Refuses an id without a row. The blocks have been checked to be those of the graph's inputs.
    pub(super) fn check(&self, inputs: &[Data]) -> Result<(), RunError> {
        for &Lookup { input, element, table, rows } in &self.lookups.found {
            let (place, width) = self.inputs[&input];
            let Data::I32(data) = &inputs[place] else { continue };
            let outside = |id: &&i32| usize::try_from(**id).map_or(true, |id| id >= rows);
            if let Some(&index) = data.iter().skip(element).step_by(width).find(outside) {
                return Err(RunError::Index { table: self.tables[&table].clone(), index, rows });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shared_model::graph::{Binary, Builder, DType, Link, Op, Reduce, Scope, Type};

    use super::*;

    #[test]
    fn refuses_an_id_without_a_row_where_it_is_used_and_nowhere_else() {
        let mut b = Builder::new();
        let weight = b.input("weight", Type { dtype: DType::F32, shape: vec![], scope: Scope::Item }).unwrap();
        let ids = b.input("ids", Type { dtype: DType::I32, shape: vec![2, 3], scope: Scope::Item }).unwrap();
        let table = b.constant("table", DType::F32, &[7, 1]).unwrap();
        let one = b.push("one", Op::Select { axis: 1, indices: vec![1] }, &[ids]).unwrap();
        let rows = b.push("rows", Op::Embedding, &[table, one]).unwrap();
        let axes = (0..b.ty(rows).shape.len()).collect();
        let sum = b.push("sum", Op::Reduce { kind: Reduce::Sum, axes, keep: false }, &[rows]).unwrap();
        let score = b.push("score", Op::Binary(Binary::Mul), &[sum, weight]).unwrap();
        let ids = Ids::of(&b.finish(score, Link::Identity).unwrap());
        let check = |data: Vec<i32>| ids.check(&[Data::F32(vec![1.0; data.len() / 6]), Data::I32(data)]);
        assert_eq!(check(vec![9, 6, -1, 9, 0, 9]), Ok(()), "columns 0 and 2 index nothing");
        for (bad, data) in
            [(7, vec![0, 0, 0, 0, 7, 0]), (-1, vec![0; 6].into_iter().chain([0, -1, 0, 0, 0, 0]).collect())]
        {
            assert_eq!(check(data), Err(RunError::Index { table: "table".into(), index: bad, rows: 7 }));
        }
    }
}
