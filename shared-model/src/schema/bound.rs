//! What a schema learns from the model that it feeds: how large an index that is given as such may be.

use super::feature::{Coding, Index};
use super::{Schema, SchemaFaults, assemble};
use crate::encode;
use crate::graph::Graph;

impl Schema {
    /// The schema for this model: an index taken as it is given is below the rows of each table that the model looks
    /// it up in, so that one beyond is refused where it is read and named by its field.
    ///
    /// # Errors
    /// The default or the padding of a feature has no row there: every feature where it is so.
    pub fn bounded_by(mut self, graph: &Graph) -> Result<Self, SchemaFaults> {
        let lookups = graph.lookups().found;
        let mut faults = SchemaFaults::default();
        for feature in &mut self.features {
            let (padding, below) = match &mut feature.coding {
                Coding::Categorical(Index::Identity(below)) => (None, below),
                Coding::List { index: Index::Identity(below), padding, .. } => (Some(*padding), below),
                _ => continue,
            };
            let input = &self.inputs[feature.input].name;
            let of_feature = lookups.iter().filter(|lookup| {
                graph.value(lookup.input).name == *input && feature.column.is_none_or(|c| c == lookup.element)
            });
            let rows = of_feature.filter_map(|lookup| u32::try_from(lookup.rows).ok()).min();
            *below = (*below).into_iter().chain(rows).min();
            let (Some(rows), name) = (rows, feature.name.as_str()) else { continue };
            if let Some(padding) = padding.filter(|padding| padding.unsigned_abs() >= rows) {
                let message = format!("its padding is {padding}, but the model's table has {rows} rows");
                faults.add(None, Some(name), message);
            }
            if let Err(message) = encode::check_default(feature, &self.vocabularies) {
                faults.add(None, Some(name), format!("the model's table has {rows} rows: {message}"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for (i, input) in self.inputs.iter_mut().enumerate() {
            let features = self.fed_by[i].iter().map(|&feature| &self.features[feature]);
            input.cardinality = assemble::cardinality(&self.vocabularies, features, None);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, item_from_json};
    use crate::graph::{Binary, Builder, DType, Link, Op, Reduce, Scope, Type};
    use crate::schema::feature::Index;

    /// A model that looks each of these inputs up in one table of five rows.
    fn model(inputs: &[(&str, &[usize])]) -> Graph {
        let mut builder = Builder::new();
        let table = builder.constant("table", DType::F32, &[5, 1]).unwrap();
        let mut sums = Vec::new();
        for (name, shape) in inputs {
            let ty = Type { dtype: DType::I32, shape: shape.to_vec(), scope: Scope::Item };
            let id = builder.input(name, ty).unwrap();
            let rows = builder.push("rows", Op::Embedding, &[table, id]).unwrap();
            let axes = (0..=shape.len()).collect();
            sums.push(builder.push("sum", Op::Reduce { kind: Reduce::Sum, axes, keep: false }, &[rows]).unwrap());
        }
        let score =
            sums.into_iter().reduce(|a, b| builder.push("s", Op::Binary(Binary::Add), &[a, b]).unwrap()).unwrap();
        builder.finish(score, Link::Identity).unwrap()
    }

    fn schema(features: &str) -> Schema {
        Schema::from_json(format!(r#"{{"schema_version": 1, "model": "m", "feature": [{features}]}}"#).as_bytes())
            .unwrap()
    }

    #[test]
    fn an_index_given_as_such_ends_with_its_table() {
        let schema = schema(
            r#"{"name": "shop", "kind": "categorical", "scope": "item"},
          {"name": "shelf", "kind": "categorical", "scope": "item", "transform": {"identity": 3}},
          {"name": "lane", "kind": "categorical", "scope": "item", "transform": {"identity": 9}},
          {"name": "free", "kind": "categorical", "scope": "item"}"#,
        );
        let model = model(&[("shop", &[]), ("shelf", &[]), ("lane", &[])]);
        let bounded = schema.clone().bounded_by(&model).unwrap();

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

    #[test]
    fn refuses_a_default_and_a_padding_without_a_row() {
        let schema = |default: u32, padding: u32| {
            schema(&format!(
                r#"{{"name": "shop", "kind": "categorical", "scope": "item", "default": {default}}},
          {{"name": "seen", "kind": "list", "scope": "item", "transform": {{"identity": 4}}, "max_length": 3,
           "padding": {padding}}}"#
            ))
        };
        let model = model(&[("shop", &[]), ("seen", &[3])]);
        schema(4, 4).bounded_by(&model).unwrap();
        let faults = schema(5, 5).bounded_by(&model).unwrap_err().to_string();
        let want = [
            "features.toml: feature `shop`: the model's table has 5 rows: its default cannot be encoded: 5 is not an \
             index: it must be 0 or more and below 5",
            "features.toml: feature `seen`: its padding is 5, but the model's table has 5 rows",
        ];
        assert_eq!(faults.lines().collect::<Vec<_>>(), want);
    }
}
