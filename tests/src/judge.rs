//! Judges an answer against the reference: the scalar f32 plan of the same bundle, run here, over no network.

use std::path::Path;

use shared_model::bundle::Edition;
use shared_model::ladder::{Binding, prepare};
use shared_model::plan::{Arena, Plan};
use shared_model::topk;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::RankRequest;

use crate::client::Error;
use crate::edition;

/// Sums at the origin have another order: candidates this near the boundary are not told apart.
const TIE: f32 = 2e-5;

/// The reference of one bundle.
#[derive(Debug)]
pub struct Judge {
    edition: Edition,
    binding: Binding,
    plan: Plan,
    arena: Arena,
}

/// What the reference says of one request.
#[derive(Debug)]
pub struct Reference {
    ids: Vec<String>,
    scores: Vec<f32>,
    top: Vec<usize>,
}

impl Judge {
    /// The judge of a bundle.
    ///
    /// # Errors
    /// It is not a bundle.
    pub fn new(bundle: &Path) -> Result<Self, Error> {
        let (edition, weights) = edition::read(bundle, VariantName::F32)?;
        let variant = Variant::from_bytes(&weights)?;
        let binding = Binding::new(&variant.graph, edition.schema())?;
        let plan = Plan::new(&variant.graph, &variant.tensors)?;
        let arena = plan.arena();
        Ok(Self { edition, binding, plan, arena })
    }

    /// The reference for one request.
    ///
    /// # Errors
    /// The request cannot be scored.
    pub fn reference(&mut self, request: &RankRequest) -> Result<Reference, Error> {
        let prepared = prepare(self.edition.schema(), self.edition.catalog(), request)
            .map_err(|r| format!("{}: {}", r.field, r.message))?;
        let mut scores = vec![0.0; prepared.len()];
        self.plan.run(&mut self.arena, &self.binding.inputs(&prepared), &mut scores)?;
        let kept = request.candidates.iter().filter(|c| !request.exclude.contains(&c.id));
        let ids = kept.map(|c| c.id.clone()).collect();
        Ok(Reference { ids, top: topk::top(&scores, request.k as usize), scores })
    }
}

impl Reference {
    /// The reference's ids, best first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.top.iter().map(|&i| self.ids[i].as_str())
    }

    /// Whether an answer has the reference's top-k set, ties at the boundary aside.
    #[must_use]
    pub fn agrees(&self, answer: &[&str]) -> bool {
        let k = self.top.len();
        let boundary = topk::top(&self.scores, k + 1);
        let boundary = match (boundary.get(k.wrapping_sub(1)), boundary.get(k)) {
            (Some(&a), Some(&b)) => (self.scores[a] + self.scores[b]) / 2.0,
            _ => f32::NEG_INFINITY,
        };
        let near =
            |id: &str| self.ids.iter().position(|i| i == id).is_some_and(|i| (self.scores[i] - boundary).abs() < TIE);
        answer.len() == k
            && answer.iter().all(|id| self.ids().any(|r| r == *id) || near(id))
            && self.ids().all(|r| answer.contains(&r) || near(r))
    }
}

/// The rank-based quality of one ranking: whether the relevant item is in it, and its discounted gain.
#[must_use]
pub fn hit_and_gain(ranked: &[&str], relevant: &[String]) -> (f64, f64) {
    let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let gain: f64 = ranked
        .iter()
        .enumerate()
        .filter(|(_, id)| relevant.iter().any(|r| r == *id))
        .map(|(rank, _)| discount(rank))
        .sum();
    let ideal: f64 = (0..relevant.len().min(ranked.len())).map(discount).sum();
    (f64::from(u8::from(gain > 0.0)), if ideal > 0.0 { gain / ideal } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(scores: &[f32], k: usize) -> Reference {
        let ids = (0..scores.len()).map(|i| format!("i{i}")).collect();
        Reference { ids, scores: scores.to_vec(), top: topk::top(scores, k) }
    }

    #[test]
    fn agreement_is_of_sets() {
        let reference = reference(&[0.1, 0.9, 0.5], 2);
        assert!(reference.agrees(&["i2", "i1"]));
        assert!(!reference.agrees(&["i1", "i0"]));
        assert!(!reference.agrees(&["i1"]));
    }

    #[test]
    fn ties_at_the_boundary_are_not_told_apart() {
        let reference = reference(&[0.9, 0.500_001, 0.5], 2);
        assert!(reference.agrees(&["i0", "i2"]));
        assert!(!reference.agrees(&["i1", "i2"]), "i0 is no tie");
    }

    #[test]
    fn a_hit_gains_by_its_rank() {
        assert_eq!(hit_and_gain(&["a", "b"], &["a".into()]), (1.0, 1.0));
        let (hit, gain) = hit_and_gain(&["a", "b"], &["b".into()]);
        assert!(hit == 1.0 && (gain - 0.630_93).abs() < 1e-4);
        assert_eq!(hit_and_gain(&["a", "b"], &["c".into()]), (0.0, 0.0));
    }
}
