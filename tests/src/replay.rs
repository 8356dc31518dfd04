//! Holds what the tiers serve against the ladder replayed on the scores, as `quantize` certified it.

use std::path::Path;

use quantize::eval::Opened;
use quantize::replay::follow;
use quantize::score::{Scored, Scorer};
use serde_json::Value;
use shared_model::gate::{Class, margin};
use shared_model::ladder::{Prepared, prepare};
use shared_model::plan::Arena;
use shared_model::wire::{RankRequest, Tier};

use crate::client::Error;

/// Sums at the origin have another order: below this gap its set may be another.
const TIE: f32 = 2e-5;

/// The ladder of a bundle, replayed.
pub struct Replayer<'a> {
    opened: &'a Opened,
    scorers: Vec<(Scorer, Arena)>,
}

impl<'a> Replayer<'a> {
    /// The ladder of an opened bundle, whose variants lie in `folder`.
    ///
    /// # Errors
    /// A variant cannot be read.
    pub fn new(opened: &'a Opened, folder: &Path) -> Result<Self, Error> {
        let scorers = opened.scorers(folder)?.into_iter().map(|scorer| {
            let arena = scorer.arena();
            (scorer, arena)
        });
        Ok(Self { opened, scorers: scorers.collect() })
    }

    /// What the scores of each tier may be off by, over the quietest candidate's.
    ///
    /// # Errors
    /// The request cannot be prepared.
    pub fn noise(&self, request: &RankRequest) -> Result<Vec<Vec<f32>>, Error> {
        Ok(self.noise_of(&self.prepared(request)?))
    }

    fn noise_of(&self, prepared: &Prepared) -> Vec<Vec<f32>> {
        self.scorers.iter().map(|(scorer, _)| scorer.noise(&self.opened.catalog, prepared)).collect()
    }

    fn prepared(&self, request: &RankRequest) -> Result<Prepared, Error> {
        prepare(&self.opened.schema, &self.opened.catalog, request)
            .map_err(|r| format!("{}: {}", r.field, r.message).into())
    }

    /// Whether a served answer has the replay's tier, class and set; `None` where tiers were gone or late, and at ties.
    ///
    /// # Errors
    /// The request cannot be scored.
    pub fn agrees(&mut self, request: &RankRequest, answer: &Value) -> Result<Option<bool>, Error> {
        let prepared = self.prepared(request)?;
        let scores = self.scorers.iter_mut().map(|(scorer, arena)| scorer.score(arena, &prepared));
        let scores = scores.collect::<Result<Vec<_>, _>>()?;
        let gap = scores.last().and_then(|reference| margin(reference, request.k as usize));
        if answer["degradation"] != 0 || gap.is_some_and(|gap| gap <= TIE) {
            return Ok(None);
        }
        let scored = Scored { scores, noise: self.noise_of(&prepared), ..Scored::default() };
        let path = follow(&self.opened.bundle.manifest.policies, &scored, request.k, Tier::Edge);
        let mut ids: Vec<&str> =
            path.set.iter().map(|i| request.candidates[prepared.position(*i)].id.as_str()).collect();
        let ranked = answer["ranked"].as_array().into_iter().flatten();
        let mut served: Vec<&str> = ranked.filter_map(|entry| entry["id"].as_str()).collect();
        ids.sort_unstable();
        served.sort_unstable();
        let class = answer["agreement"]["class"].as_str();
        Ok(Some(answer["tier"] == path.tier.as_str() && class == path.class.map(Class::as_str) && served == ids))
    }
}
