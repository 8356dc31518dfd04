//! Why an answer is what it is: what the features were encoded to, what the candidates that matter scored, and the
//! policy that the margin was held against.
//!
//! A tier adds it to its answer when the request asks; `quantize explain` shows it for every variant. It reads what a
//! ranking was made of and changes nothing of it. Its size is bounded, whatever the request holds.

mod feature;

pub use feature::{FeatureExplained, Number, ValueSource};

use serde::Serialize;

use crate::catalog::Catalog;
use crate::encode::Encoder;
use crate::gate::{self, Policy, Scores};
use crate::graph::Link;
use crate::ladder::Prepared;
use crate::schema::Schema;
use crate::topk;
use crate::variant::VariantName;
use crate::wire::{Digest, RankRequest, Stamp, Tier};
use feature::Budget;

/// The best candidates that are shown.
const TOP: usize = 5;
/// The candidates shown on either side of the boundary.
const AROUND: usize = 3;

/// What a tier's ranking was made of.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Who scored.
    pub tier: Tier,
    /// With what.
    pub variant: VariantName,
    /// From which bundle.
    pub stamp: Stamp,
    /// Its schema.
    pub schema: &'a Schema,
    /// Its catalog.
    pub catalog: &'a Catalog,
    /// What was asked.
    pub request: &'a RankRequest,
    /// That, encoded.
    pub prepared: &'a Prepared,
    /// The scores before the link.
    pub scores: Scores<'a>,
    /// From those to the scores shown.
    pub link: Link,
    /// What the tier goes by, for this k and number of candidates.
    pub policy: Option<&'a Policy>,
}

/// An explanation, as clients read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Who scored.
    pub tier: Tier,
    /// With what.
    pub variant: VariantName,
    /// The digest of the bundle.
    #[serde(serialize_with = "as_text")]
    pub bundle: Digest,
    /// The revision of its catalog.
    pub catalog_revision: u64,
    /// The size of the answer asked for.
    pub k: u32,
    /// The candidates that were ranked.
    pub candidates: usize,
    /// Twice the distance to the boundary, over its noise, of the candidate that is nearest so; null when nothing is left
    /// out.
    pub margin: Option<f32>,
    /// Half way between the scores before the link at rank k and k + 1.
    pub boundary: Option<f32>,
    /// What the tier goes by for this k and number of candidates; null when there is nothing.
    pub policy: Option<Policy>,
    /// The features of the request.
    pub request: Vec<FeatureExplained>,
    /// The best candidates and those around the boundary, best first.
    pub ranked: Vec<CandidateExplained>,
    /// How many features more there are than are shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub features_left_out: usize,
}

/// A candidate of an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateExplained {
    /// Its id.
    pub id: String,
    /// From 1; at most k is in the answer.
    pub rank: usize,
    /// Where it stands in the request, from 0.
    pub position: usize,
    /// The model's output for it.
    pub score: f32,
    /// What it was ranked by.
    pub score_before_link: f32,
    /// What that may be off by, over what those of the quietest candidates may.
    pub noise: f32,
    /// Its features.
    pub features: Vec<FeatureExplained>,
}

impl Basis<'_> {
    /// Explains the ranking.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let Self { tier, variant, stamp, request, scores, .. } = *self;
        let k = request.k as usize;
        let order = topk::top(scores.values, TOP.max(k.saturating_add(AROUND)));
        let boundary = gate::boundary(scores.values, &order, k);
        let mut budget = Budget::default();
        let encoder = Encoder::new(self.schema, self.catalog);
        let of_request = budget.request(self.schema, encoder, request);
        let shown = order.iter().enumerate().filter(|(i, _)| *i < TOP || i + AROUND >= k);
        let ranked = shown.map(|(i, &candidate)| self.candidate(i + 1, candidate, encoder, &mut budget)).collect();
        Explanation {
            tier,
            variant,
            bundle: stamp.bundle,
            catalog_revision: stamp.catalog,
            k: request.k,
            candidates: scores.values.len(),
            margin: boundary.map(|b| scores.margin(b)),
            boundary: boundary.map(|b| b.middle),
            policy: self.policy.cloned(),
            request: of_request,
            ranked,
            features_left_out: budget.left_out(),
        }
    }

    /// The candidate with this index among those ranked.
    fn candidate(&self, rank: usize, index: usize, encoder: Encoder<'_>, budget: &mut Budget) -> CandidateExplained {
        let position = self.prepared.position(index);
        let candidate = &self.request.candidates[position];
        CandidateExplained {
            id: candidate.id.clone(),
            rank,
            position,
            score: self.link.apply(self.scores.values[index]),
            score_before_link: self.scores.values[index],
            noise: self.scores.noise[index],
            features: budget.candidate(self.schema, self.catalog, encoder, candidate),
        }
    }
}

impl Explanation {
    /// The text of the JSON object.
    ///
    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an explanation is plain data")
    }
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests;
