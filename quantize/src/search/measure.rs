//! What one tensor in 4 bits is seen to do, beside what was expected of it.
//!
//! That slopes are independent of inputs, and errors small, is not so; how far off it is differs by tensor, and much less
//! by the bits of one tensor. So each is tried once, with all others in 8 bits, and what is expected of all of its forms is
//! multiplied by what it was off by.

use rayon::prelude::*;
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};

use super::{Fewest, Search, Spent};
use crate::progress::Progress;
use crate::score::{Scorer, ScorerError};
use crate::sense::Sample;

/// No tensor is believed to be off by more.
const MOST: f64 = 32.0;

impl Search<'_> {
    pub(super) fn measure(
        &mut self,
        samples: &[Sample],
        schema: &Schema,
        progress: &Progress,
    ) -> Result<(), ScorerError> {
        let bar = progress.steps(self.linears.len() + self.tables.len(), "trying 4 bits");
        let (four, eight) = (self.uniform(Fewest::Four as u8), self.uniform(Fewest::Eight as u8));
        let mut tried = self.spent(VariantName::W8, &eight);
        let samples: Vec<&Sample> = samples.iter().collect();
        let usual = scores(&tried, &samples, schema)?;
        let mut harm = |search: &Self, name: &str, form: &Spent| -> Result<f64, ScorerError> {
            tried.tensors.extend(search.tensors(name, form));
            let scores = scores(&tried, &samples, schema)?;
            tried.tensors.extend(search.tensors(name, &eight));
            bar.inc(1);
            Ok(samples.iter().zip(usual.iter().zip(&scores)).map(|(s, (a, b))| moved(&s.weights, a, b)).sum())
        };
        let names: Vec<String> = self.linears.keys().chain(self.tables.keys()).cloned().collect();
        for name in names {
            let seen = harm(self, &name, &four)?;
            let expected = match (self.linears.get(&name), self.tables.get(&name)) {
                (Some(linear), _) => linear.damage(0),
                (_, Some(table)) => (0..table.rows()).map(|row| table.damage(row, 0)).sum(),
                _ => 0.0,
            };
            let off = if expected > 0.0 && seen > 0.0 { (seen / expected).clamp(1.0 / MOST, MOST) } else { 1.0 };
            self.linears.get_mut(&name).into_iter().for_each(|linear| linear.scale(off));
            self.tables.get_mut(&name).into_iter().for_each(|table| table.scale(off));
            self.harm.insert(name, seen);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

pub(super) fn scores(variant: &Variant, samples: &[&Sample], schema: &Schema) -> Result<Vec<Vec<f32>>, ScorerError> {
    let scorer = Scorer::new(variant, schema)?;
    // These requests have been scored before: every id has its row.
    let score = |arena: &mut _, sample: &&Sample| scorer.score(arena, &sample.prepared).unwrap_or_default();
    Ok(samples.par_iter().map_init(|| scorer.arena(), |arena, sample| score(arena, sample)).collect())
}

/// The weighted squares of how far scores have moved, but for what all have moved by.
pub(super) fn moved(weights: &[f64], from: &[f32], to: &[f32]) -> f64 {
    let by = || from.iter().zip(to).map(|(a, b)| f64::from(*b) - f64::from(*a)).zip(weights);
    let mean = by().map(|(d, w)| w * d).sum::<f64>() / weights.iter().sum::<f64>();
    by().map(|(d, w)| w * (d - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_all_alike_counts_nothing() {
        let weights = [1.0, 0.5, 0.25];
        assert!(moved(&weights, &[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0]) < 1e-12);
        let one = moved(&weights, &[1.0, 2.0, 3.0], &[1.5, 2.0, 3.0]);
        let twice = moved(&weights, &[1.0, 2.0, 3.0], &[2.0, 2.0, 3.0]);
        assert!(one > 0.0 && (twice / one - 4.0).abs() < 1e-6);
    }
}
