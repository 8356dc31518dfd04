//! What a schema learns from the model that it feeds: how large an index that is given as such may be.

use super::feature::{Coding, Index};
use super::{Schema, assemble};
use crate::graph::Graph;

impl Schema {
    /// The schema for this model: an index taken as it is given is below the rows of each table that the model looks
    /// it up in, so that one beyond is refused where it is read and named by its field.
    #[must_use]
    pub fn bounded_by(mut self, graph: &Graph) -> Self {
        let lookups = graph.lookups().found;
        for feature in &mut self.features {
            let (Coding::Categorical(Index::Identity(below)) | Coding::List { index: Index::Identity(below), .. }) =
                &mut feature.coding
            else {
                continue;
            };
            let input = &self.inputs[feature.input].name;
            let of_feature = lookups.iter().filter(|lookup| {
                graph.value(lookup.input).name == *input && feature.column.is_none_or(|c| c == lookup.element)
            });
            let rows = of_feature.filter_map(|lookup| u32::try_from(lookup.rows).ok()).min();
            *below = (*below).into_iter().chain(rows).min();
        }
        for (i, input) in self.inputs.iter_mut().enumerate() {
            let features = self.fed_by[i].iter().map(|&feature| &self.features[feature]);
            input.cardinality = assemble::cardinality(&self.vocabularies, features, None);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, item_from_json};
    use crate::graph::{Binary, Builder, DType, Link, Op, Scope, Type};
    use crate::schema::feature::Index;

    #[test]
    fn an_index_given_as_such_ends_with_its_table() {
        let text = r#"{"schema_version": 1, "model": "m", "feature": [
          {"name": "shop", "kind": "categorical", "scope": "item"},
          {"name": "shelf", "kind": "categorical", "scope": "item", "transform": {"identity": 3}},
          {"name": "lane", "kind": "categorical", "scope": "item", "transform": {"identity": 9}},
          {"name": "free", "kind": "categorical", "scope": "item"}]}"#;
        let schema = Schema::from_json(text.as_bytes()).unwrap();
        let mut builder = Builder::new();
        let table = builder.constant("table", DType::F32, &[5, 1]).unwrap();
        let mut sums = Vec::new();
        for name in ["shop", "shelf", "lane"] {
            let ty = Type { dtype: DType::I32, shape: vec![], scope: Scope::Item };
            let id = builder.input(name, ty).unwrap();
            sums.push(builder.push("row", Op::Embedding, &[table, id]).unwrap());
        }
        let sum = sums.into_iter().reduce(|a, b| builder.push("s", Op::Binary(Binary::Add), &[a, b]).unwrap()).unwrap();
        let score = builder.push("score", Op::Reshape { shape: vec![] }, &[sum]).unwrap();
        let bounded = schema.clone().bounded_by(&builder.finish(score, Link::Identity).unwrap());

        let below: Vec<_> = bounded.features().iter().map(|f| f.coding.clone()).collect();
        let identity = |below| Coding::Categorical(Index::Identity(below));
        assert_eq!(below, [identity(Some(5)), identity(Some(3)), identity(Some(5)), identity(None)]);
        let cardinalities: Vec<_> = bounded.inputs().iter().map(|i| i.cardinality).collect();
        assert_eq!(cardinalities, [Some(5), Some(3), Some(5), None]);
        assert_eq!(bounded.cardinality(0, 100), Some(5));

        let item = |shop: u32| item_from_json(&format!(r#"{{"id":"i{shop}","shop":{shop}}}"#)).unwrap();
        let catalog = |shops: [u32; 2]| Catalog::build(&schema, shops.map(item)).unwrap();
        assert_eq!(catalog([0, 4]).check(&bounded), Ok(()));
        let fault = catalog([4, 5]).check(&bounded).unwrap_err().to_string();
        assert_eq!(fault, "item 2 (`i5`): `shop` is 5, but the model's table has 5 rows");
    }
}
