//! The origin's [`Ranker`]: checks, takes room, encodes, has the device score, and answers.
//!
//! The answer is the reference itself, so nothing is claimed of it. When there are no scores in time, a tier below that
//! asked is told so, for its own scores are better than none; a client gets what the bundle says without a model (level 3
//! or 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use front::generations::{Generations, Operations};
use front::{Call, Failure, Health, Popular, Ranker, Serving, step_until};
use shared_model::explain::Basis;
use shared_model::gate::Scores;
use shared_model::ladder::{Fallback, Prepared, Ranking, TierLimits, over_limit, prepare, without_model};
use shared_model::topk;
use shared_model::wire::{Answer, RankRequest, Ranked, Reason, Refusal, Tier, Timing, Whole};

use crate::batch::{Batcher, Full, ScoreError, Scored};
use crate::device::{Missing, Precision};
use crate::engine;
use crate::executor::{Batch, RunError};
use crate::model::{Executors, Model, VARIANT};

/// The models in service, and the queue before the device.
pub(crate) struct Service {
    models: Arc<Generations<Executors>>,
    batcher: Arc<Batcher>,
    limits: TierLimits,
    /// Why the device is no faster one.
    missing: Option<Missing>,
}

impl Service {
    pub(crate) fn new(
        models: Arc<Generations<Executors>>,
        batcher: Arc<Batcher>,
        limits: TierLimits,
        missing: Option<Missing>,
    ) -> Self {
        Self { models, batcher, limits, missing }
    }

    /// Before anything is encoded, which for too many candidates takes too long.
    fn check(&self, request: &RankRequest) -> Result<(), Failure> {
        let over = |field, limit: u32| Err(Failure::OverLimit { field, limit: limit as usize });
        let TierLimits { max_candidates, max_k, .. } = self.limits;
        if !over_limit(request, self.limits) {
            Ok(())
        } else if over_limit(request, TierLimits { max_candidates: u32::MAX, ..self.limits }) {
            over("k", max_k)
        } else {
            over("candidates", max_candidates)
        }
    }
}

impl Ranker for Service {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        let request = &call.request;
        let unknown = || Failure::UnknownModel(request.model.clone());
        // Kept to the end, whatever takes its place meanwhile.
        let generation = self.models.take(&request.model, call.wanted()).ok_or_else(unknown)?;
        let model = &generation.model;
        if call.escalation.is_some_and(|below| below.part.is_some() && below.stamp != model.edition.stamp()) {
            return Err(Failure::Whole(Whole::OtherBundle));
        }
        self.check(request)?;
        // Before anything is done for it: what has no room is refused at the door.
        let place = self.batcher.admit(request.candidates.len());
        let place = place.map_err(|Full { retry_after }| Failure::Overloaded { retry_after })?;
        let started = Instant::now();
        let prepared = prepare(model.edition.schema(), model.edition.catalog(), request).map_err(Failure::Refused)?;
        if prepared.is_empty() {
            return Ok(model.answer(Vec::new(), Vec::new(), Timing::default()));
        }
        let rows = model.rows(&prepared);
        // What is wrong with one request must not fail those that it shares a batch with.
        let unfit = |error: RunError| Failure::Refused(Refusal { field: String::new(), message: error.to_string() });
        model.fit.check(&rows).map_err(unfit)?;
        let encoded = started.elapsed();
        // A client is answered without scores when there are none in time, and that takes some; a tier below has its own.
        let until = call.escalation.map_or_else(|| step_until(Instant::now(), call.deadline), |_| call.deadline);
        let scored = model.lane.score(place, rows, until).await;
        let why = match scored {
            Ok(Scored { scores, precision, queued, ran }) => match topk::first_nan(&scores) {
                None => {
                    let ranking = Ranking { link: model.link, by: Tier::Origin };
                    let ranked = prepared.ranked(&scores, request, ranking);
                    let explanation = request.explain.then(|| model.explain(request, &prepared, &scores));
                    let timing = Timing { queue: micros(queued), score: micros(encoded + ran), ..Timing::default() };
                    let answer = model.answer(ranked, prepared.defaulted(), timing);
                    return Ok(named(Answer { explanation, ..answer }, precision));
                }
                Some(_) => "the model gave a score that is not a number".to_owned(),
            },
            // No failure of this tier's: to the one below it is as if there were no room.
            Err(ScoreError::TooLate) if call.escalation.is_some() => {
                return Err(Failure::Overloaded { retry_after: self.retry_after() });
            }
            Err(error @ (ScoreError::TooLate | ScoreError::Failed(_) | ScoreError::Stopped)) => error.to_string(),
        };
        tracing::warn!(request_id = call.request_id.as_str(), model = %request.model, %why, "no scores");
        if call.escalation.is_some() {
            return Err(Failure::Unavailable { what: format!("the origin has no scores: {why}") });
        }
        Ok(model.answer_without_scores(request))
    }

    fn popular(&self, model: Option<&str>, geo: Option<&str>, k: usize) -> Result<Popular, Failure> {
        let unknown = || Failure::UnknownModel(model.unwrap_or_default().to_owned());
        let generation = self.models.named(model).ok_or_else(unknown)?;
        Ok(Popular::of(&generation.edition, geo, k))
    }

    fn health(&self) -> Health {
        match self.batcher.health() {
            engine::Health::Ready => Health::Ready,
            engine::Health::Failing(reason) => Health::Missing(vec![format!("the device: {reason}")]),
            engine::Health::Stopped => Health::Missing(vec!["the device: its thread has ended".to_owned()]),
        }
    }

    fn retry_after(&self) -> Duration {
        self.batcher.backlog()
    }

    fn models(&self) -> Vec<Serving> {
        self.models.current().iter().map(|generation| generation.model.serving(self.missing.as_ref())).collect()
    }

    fn operations(&self) -> Option<&dyn Operations> {
        Some(&*self.models)
    }
}

impl Model {
    /// What one request puts into a batch.
    fn rows(&self, prepared: &Prepared) -> Batch {
        let inputs = self.binding.inputs(prepared).into_iter().map(|block| block.data.clone()).collect();
        Batch { requests: 1, owner: vec![0; prepared.len()], inputs }
    }

    fn explain(&self, request: &RankRequest, prepared: &Prepared, scores: &[f32]) -> String {
        let (tier, variant, link) = (Tier::Origin, VARIANT, self.link);
        let (stamp, schema, catalog) = (self.edition.stamp(), self.edition.schema(), &**self.edition.catalog());
        let scores = Scores { values: scores, noise: &vec![1.0; scores.len()] };
        let basis = Basis { tier, variant, stamp, schema, catalog, request, prepared, scores, link, policy: None };
        basis.explain().to_json()
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
        let static_list = &self.edition.manifest().static_list;
        let Fallback { level, ranked } = without_model(self.edition.catalog(), static_list, request, Tier::Origin);
        Answer {
            variant: None,
            degradation: level,
            reason: Reason::WorkerFailed,
            ..self.answer(ranked, Vec::new(), Timing::default())
        }
    }
}

/// The answer, which is the reference in full precision alone.
fn named(answer: Answer, precision: Precision) -> Answer {
    let reason = if precision == Precision::F32 { Reason::Reference } else { Reason::Rounded };
    Answer { variant: Some(precision.as_str().to_owned()), reason, ..answer }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
