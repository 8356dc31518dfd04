//! What a variant's scores are off by, by the bits of candidates' rows: what the gate counts their distances in.
//!
//! Of calibration requests only the candidates near the boundary are looked at. What all of them are off by together
//! changes no order, and is left out.

use shared_model::catalog::Catalog;
use shared_model::graph::{Graph, Scope};
use shared_model::ladder::ItemBits;
use shared_model::tensor::Tensor;
use shared_model::topk::top;
use shared_model::variant::{RowNoise, Variant};

use super::front::{Jury, scores};
use crate::score::ScorerError;

/// The best candidates that are looked at, in answers.
const NEAR: usize = 3;
/// Of fewer candidates nothing is known: they count as the noisiest.
const FEWEST: usize = 100;
/// Noise that differs by less is alike.
const LEAST: f64 = 1.2;
/// The bits that rows may have.
const BITS: [u8; 3] = [4, 8, 16];

impl Jury<'_> {
    /// `None` where no table of items has rows of different bits, or their bits make no difference.
    ///
    /// # Errors
    /// The variant cannot be run.
    pub(crate) fn noise(&self, variant: &Variant, catalog: &Catalog) -> Result<Option<RowNoise>, ScorerError> {
        let Some((input, table)) = items(variant) else { return Ok(None) };
        let Some(items) = ItemBits::find(variant, self.schema, &input, &table) else { return Ok(None) };
        let own = scores(variant, self.lines, self.schema)?;
        let mut squares = [(0.0, 0_usize); BITS.len()];
        for ((own, full), line) in own.iter().zip(&self.scores).zip(self.lines) {
            let bits: Vec<_> = items.of(catalog, &line.prepared).collect();
            let near = top(own, NEAR * self.k);
            let errors: Vec<f64> = near.iter().map(|i| f64::from(own[*i]) - f64::from(full[*i])).collect();
            let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
            for (i, error) in near.iter().zip(errors) {
                let Some(class) = BITS.iter().position(|b| bits[*i] == Some(*b)) else { continue };
                squares[class].0 += (error - mean).powi(2);
                squares[class].1 += 1;
            }
        }
        Ok(relative(squares).map(|by_bits| RowNoise { input, table, by_bits }))
    }
}

/// From sums of squares and their counts to what each class may be off by, over the quietest.
fn relative(squares: [(f64, usize); 3]) -> Option<[f32; 3]> {
    let deviation = |(sum, n): (f64, usize)| (n >= FEWEST).then(|| (sum / n as f64).sqrt()).filter(|d| *d > 0.0);
    let known: Vec<f64> = squares.into_iter().filter_map(deviation).collect();
    let (least, most) = known.iter().fold((f64::INFINITY, 0.0), |(l, m), d| (d.min(l), d.max(m)));
    (most >= LEAST * least).then(|| squares.map(|s| (deviation(s).unwrap_or(most) / least) as f32))
}

/// The largest table with rows of different bits that items are looked up in, and the input of their indices.
fn items(variant: &Variant) -> Option<(String, String)> {
    let graph = &variant.graph;
    let name = |graph: &Graph, id| graph.value(id).name.clone();
    let found = graph.lookups().found.into_iter().filter(|lookup| {
        let ty = &graph.value(lookup.input).ty;
        let mixed =
            variant.tensors.get(&name(graph, lookup.table)).is_some_and(|t| matches!(t, Tensor::TableMixed { .. }));
        ty.scope == Scope::Item && ty.len() == 1 && mixed
    });
    let largest = found.max_by_key(|lookup| lookup.rows)?;
    Some((name(graph, largest.input), name(graph, largest.table)))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use shared_model::catalog::item_from_json;
    use shared_model::graph::{Builder, DType, Link, Op, Type};
    use shared_model::ladder::prepare;
    use shared_model::schema::Schema;
    use shared_model::tensor::RowBits;
    use shared_model::variant::VariantName;
    use shared_model::wire::json::{JsonLimits, decode_line};

    use super::*;
    use crate::score::Line;

    const ITEMS: usize = 60;

    /// Scores an item by its row of a table of one column.
    fn model(name: VariantName, table: Tensor) -> Variant {
        let mut b = Builder::new();
        let shelf = b.input("shelf", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
        let items = b.constant("items", DType::F32, &[ITEMS, 1]).unwrap();
        let row = b.push("row", Op::Embedding, &[items, shelf]).unwrap();
        let score = b.push("score", Op::Reshape { shape: vec![] }, &[row]).unwrap();
        let graph = b.finish(score, Link::Identity).unwrap();
        Variant { name, graph, tensors: [("items".to_owned(), table)].into(), noise: None }
    }

    fn score(i: usize) -> f32 {
        3.0 - 0.2 * i as f32
    }

    #[test]
    fn rows_of_four_bits_that_are_off_by_more_are_noisier() {
        let schema = r#"{"schema_version":1,"model":"m","feature":[{"name":"shelf","kind":"categorical","scope":"item","field":"shelf"}]}"#;
        let schema = Schema::from_json(schema.as_bytes()).unwrap();
        let items = (0..ITEMS).map(|i| item_from_json(&format!(r#"{{"id":"i{i}","shelf":{i}}}"#)).unwrap());
        let catalog = Catalog::build(&schema, items).unwrap();
        let candidates: Vec<String> = (0..ITEMS).map(|i| format!("i{i}")).collect();
        let request = serde_json::json!({"k": 10, "candidates": candidates}).to_string();
        let line = |number| {
            let request = decode_line(request.as_bytes(), "m", &JsonLimits::default()).unwrap().request;
            let prepared = prepare(&schema, &catalog, &request).unwrap();
            Line { number, request, prepared, relevant: Vec::new() }
        };
        let lines: Vec<Line> = (1..=20).map(line).collect();
        let full = Tensor::F32 { shape: vec![ITEMS, 1], data: (0..ITEMS).map(score).collect() };
        let jury = Jury::new(&model(VariantName::F32, full), &lines, &schema, 10).unwrap();
        // All are off by 5, which changes no order; every second has 4 bits and is off by 0.4 more or less, the others by 0.1.
        let quantized = |four: f32| {
            let bits: Vec<u8> = (0..ITEMS).map(|i| if i.is_multiple_of(2) { 4 } else { 8 }).collect();
            let off = |i: usize| {
                let by = if i.is_multiple_of(2) { four } else { 0.1 };
                if i % 4 < 2 { by } else { -by }
            };
            let min = (0..ITEMS).map(|i| f16::from_f32(score(i) + 5.0 + off(i))).collect();
            let (bits, scale) = (RowBits::new(1, &bits).unwrap(), vec![f16::ONE; ITEMS]);
            model(VariantName::W4, Tensor::TableMixed { bits, q: vec![0; ITEMS], scale, min })
        };
        let noise = jury.noise(&quantized(0.4), &catalog).unwrap().unwrap();
        assert_eq!((noise.input.as_str(), noise.table.as_str()), ("shelf", "items"));
        let [four, eight, sixteen] = noise.by_bits;
        assert!((four - 4.0).abs() < 0.2 && eight == 1.0 && sixteen == four, "{noise:?}");
        assert_eq!(jury.noise(&quantized(0.1), &catalog).unwrap(), None, "its bits make no difference");
    }

    #[test]
    fn noise_is_over_the_quietest() {
        assert_eq!(relative([(400.0, 100), (100.0, 100), (25.0, 100)]), Some([4.0, 2.0, 1.0]));
    }

    #[test]
    fn what_is_hardly_known_counts_as_the_noisiest() {
        assert_eq!(relative([(900.0, 100), (100.0, 100), (1.0, 9)]), Some([3.0, 1.0, 3.0]));
    }

    #[test]
    fn what_makes_no_difference_is_nothing() {
        assert_eq!(relative([(110.0, 100), (100.0, 100), (0.0, 0)]), None);
        assert_eq!(relative([(110.0, 100), (0.0, 0), (0.0, 0)]), None);
        assert_eq!(relative([(0.0, 0); 3]), None);
    }
}
