//! The origin's [`Ranker`]: checks, encodes, has the device score, and answers.
//!
//! The answer is the reference itself, so nothing is claimed of it. When there are no scores in time, a tier below that
//! asked is told so, for its own scores are better than none; a client gets the candidates by popularity (level 3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use front::generations::{Generations, Operations};
use front::{Call, Failure, Health, Ranker, Serving};
use shared_model::ladder::{Prepared, Ranking, TierLimits, by_popularity, over_limit, prepare};
use shared_model::topk;
use shared_model::wire::{Answer, RankRequest, Ranked, Reason, Refusal, Tier, Timing, Whole};

use crate::engine::{self, ScoreError, Scored};
use crate::executor::Batch;
use crate::model::{Engines, Model, VARIANT};

/// When there may be room in the queue again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The only scorer of a model's engine.
const SCORER: usize = 0;

/// The models in service.
pub(crate) struct Service {
    models: Arc<Generations<Engines>>,
    limits: TierLimits,
    /// What they are computed on.
    runs_on: &'static str,
}

impl Service {
    pub(crate) fn new(models: Arc<Generations<Engines>>, limits: TierLimits, runs_on: &'static str) -> Self {
        Self { models, limits, runs_on }
    }

    /// Before anything is encoded, which for too many candidates takes too long.
    fn check(&self, request: &RankRequest) -> Result<(), Failure> {
        let over = |field, limit: u32| Err(Failure::OverLimit { field, limit: limit as usize });
        let TierLimits { max_candidates, max_k } = self.limits;
        if !over_limit(request, self.limits) {
            Ok(())
        } else if over_limit(request, TierLimits { max_candidates: u32::MAX, max_k }) {
            over("k", max_k)
        } else {
            over("candidates", max_candidates)
        }
    }
}

impl Ranker for Service {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        let request = &call.request;
        let below = call.escalation.map(|escalation| escalation.stamp);
        let unknown = || Failure::UnknownModel(request.model.clone());
        // Kept to the end, whatever takes its place meanwhile.
        let generation = self.models.take(&request.model, below).ok_or_else(unknown)?;
        let model = &generation.model;
        if call.escalation.is_some_and(|below| below.part.is_some() && below.stamp != model.edition.stamp()) {
            return Err(Failure::Whole(Whole::OtherBundle));
        }
        self.check(request)?;
        let started = Instant::now();
        let prepared = prepare(model.edition.schema(), model.edition.catalog(), request).map_err(Failure::Refused)?;
        if prepared.is_empty() {
            return Ok(model.answer(Vec::new(), Vec::new(), Timing::default()));
        }
        let encoded = started.elapsed();
        let scored = model.engine.score(SCORER, model.batch(&prepared), call.deadline).await;
        let why = match scored {
            Ok(Scored { scores, queued, ran }) => match topk::first_nan(&scores) {
                None => {
                    let ranking = Ranking { link: model.link, by: Tier::Origin };
                    let ranked = prepared.ranked(&scores, request, ranking);
                    let timing = Timing { queue: micros(queued), score: micros(encoded + ran), ..Timing::default() };
                    return Ok(model.answer(ranked, prepared.defaulted(), timing));
                }
                Some(_) => "the model gave a score that is not a number".to_owned(),
            },
            Err(ScoreError::Unfit(message)) => {
                return Err(Failure::Refused(Refusal { field: String::new(), message }));
            }
            Err(ScoreError::Full) => return Err(Failure::Overloaded { retry_after: RETRY_AFTER }),
            Err(error @ (ScoreError::Overdue | ScoreError::Failed(_) | ScoreError::Stopped)) => error.to_string(),
        };
        tracing::warn!(request_id = call.request_id.as_str(), model = %request.model, %why, "no scores");
        if call.escalation.is_some() {
            return Err(Failure::Unavailable { what: format!("the origin has no scores: {why}") });
        }
        Ok(model.answer_without_scores(request))
    }

    fn health(&self) -> Health {
        let missing = |model: &Model| {
            let reason = match model.engine.health() {
                engine::Health::Ready => return None,
                engine::Health::Failing(reason) => reason,
                engine::Health::Stopped => "its thread has ended".to_owned(),
            };
            Some(format!("the device, for model `{}`: {reason}", model.edition.manifest().model))
        };
        let current = self.models.current();
        let missing: Vec<_> = current.iter().filter_map(|generation| missing(&generation.model)).collect();
        if missing.is_empty() { Health::Ready } else { Health::Missing(missing) }
    }

    fn models(&self) -> Vec<Serving> {
        self.models.current().iter().map(|generation| generation.model.serving(self.runs_on)).collect()
    }

    fn operations(&self) -> Option<&dyn Operations> {
        Some(&*self.models)
    }
}

impl Model {
    /// The batch of one request.
    fn batch(&self, prepared: &Prepared) -> Batch {
        let inputs = self.binding.inputs(prepared).into_iter().map(|block| block.data.clone()).collect();
        Batch { requests: 1, owner: vec![0; prepared.len()], inputs }
    }

    fn answer(&self, ranked: Vec<Ranked>, warnings: Vec<String>, timing: Timing) -> Answer {
        let manifest = self.edition.manifest();
        Answer {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            tier: Tier::Origin,
            variant: Some(VARIANT.as_str().to_owned()),
            degradation: 0,
            reason: Reason::Reference,
            ranked,
            agreement: None,
            timing,
            warnings,
            stamp: Some(self.edition.stamp()),
            explanation: None,
        }
    }

    fn answer_without_scores(&self, request: &RankRequest) -> Answer {
        let ranked = by_popularity(self.edition.catalog(), request, Tier::Origin);
        Answer {
            variant: None,
            degradation: 3,
            reason: Reason::WorkerFailed,
            ..self.answer(ranked, Vec::new(), Timing::default())
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
