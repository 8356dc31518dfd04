//! The origin's [`Ranker`]: checks, encodes, has the device score, and answers.
//!
//! The answer is the reference itself, so nothing is claimed of it. When there are no scores in time, a tier below that
//! asked is told so, for its own scores are better than none; a client gets the candidates by popularity (level 3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thiserror::Error;

use front::{Call, Failure, Health, Popular, Ranker, Serving};
use shared_model::ladder::{Prepared, Ranking, TierLimits, by_popularity, over_limit, prepare};
use shared_model::topk;
use shared_model::wire::{Answer, RankRequest, Ranked, Reason, Refusal, Tier, Timing, Whole};

use crate::engine::{self, Engine, ScoreError, Scored};
use crate::executor::Batch;
use crate::model::{Model, VARIANT};

/// When there may be room in the queue again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The models in service, and the engine that scores for them.
#[derive(Debug)]
pub struct Service {
    /// In the order of the engine's scorers.
    models: Vec<Model>,
    by_name: BTreeMap<String, usize>,
    engine: Engine,
    limits: TierLimits,
    /// What the engine computes on.
    runs_on: &'static str,
}

/// Two bundles hold a model of one name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the model `{0}` is in two bundles: name each model in one")]
pub struct TwiceError(pub String);

impl Service {
    /// A service; `models` are in the order of the engine's scorers.
    ///
    /// # Errors
    /// Two models have one name.
    pub fn new(
        models: Vec<Model>,
        engine: Engine,
        limits: TierLimits,
        runs_on: &'static str,
    ) -> Result<Self, TwiceError> {
        let by_name = by_name(&models)?;
        Ok(Self { models, by_name, engine, limits, runs_on })
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
        let unknown = || Failure::UnknownModel(request.model.clone());
        let index = *self.by_name.get(&request.model).ok_or_else(unknown)?;
        let model = &self.models[index];
        if call.escalation.is_some_and(|below| below.part.is_some() && below.stamp != model.stamp) {
            return Err(Failure::Whole(Whole::OtherBundle));
        }
        self.check(request)?;
        let started = Instant::now();
        let prepared = prepare(&model.schema, &model.catalog, request).map_err(Failure::Refused)?;
        if prepared.is_empty() {
            return Ok(model.answer(Vec::new(), Vec::new(), Timing::default()));
        }
        let encoded = started.elapsed();
        let scored = self.engine.score(index, model.batch(&prepared), call.deadline).await;
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
        tracing::warn!(request_id = call.request_id.as_str(), model = %model.name, %why, "no scores");
        if call.escalation.is_some() {
            return Err(Failure::Unavailable { what: format!("the origin has no scores: {why}") });
        }
        Ok(model.answer_without_scores(request))
    }

    fn popular(&self, model: Option<&str>, geo: Option<&str>, k: usize) -> Result<Popular, Failure> {
        let index = match model {
            Some(name) => self.by_name.get(name).copied(),
            None => Some(0),
        };
        let found = index.and_then(|index| self.models.get(index));
        let Some(model) = found else { return Err(Failure::UnknownModel(model.unwrap_or_default().to_owned())) };
        let geo = geo.and_then(|geo| model.catalog.geo(geo));
        Ok(Popular {
            model: model.name.clone(),
            version: model.version.clone(),
            geo: geo.map(|geo| geo.name().to_owned()),
            items: model.catalog.most_popular(geo, k),
            stamp: model.stamp,
        })
    }

    fn health(&self) -> Health {
        match self.engine.health() {
            engine::Health::Ready => Health::Ready,
            engine::Health::Failing(reason) => Health::Missing(vec![format!("the device: {reason}")]),
            engine::Health::Stopped => Health::Missing(vec!["the device: its thread has ended".to_owned()]),
        }
    }

    fn models(&self) -> Vec<Serving> {
        self.models.iter().map(|model| model.serving(self.runs_on)).collect()
    }
}

impl Model {
    /// The batch of one request.
    fn batch(&self, prepared: &Prepared) -> Batch {
        let inputs = self.binding.inputs(prepared).into_iter().map(|block| block.data.clone()).collect();
        Batch { requests: 1, owner: vec![0; prepared.len()], inputs }
    }

    fn answer(&self, ranked: Vec<Ranked>, warnings: Vec<String>, timing: Timing) -> Answer {
        Answer {
            model: self.name.clone(),
            version: self.version.clone(),
            tier: Tier::Origin,
            variant: Some(VARIANT.as_str().to_owned()),
            degradation: 0,
            reason: Reason::Reference,
            ranked,
            agreement: None,
            timing,
            warnings,
            stamp: Some(self.stamp),
            explanation: None,
        }
    }

    fn answer_without_scores(&self, request: &RankRequest) -> Answer {
        let ranked = by_popularity(&self.catalog, request, Tier::Origin);
        Answer {
            variant: None,
            degradation: 3,
            reason: Reason::WorkerFailed,
            ..self.answer(ranked, Vec::new(), Timing::default())
        }
    }
}

fn by_name(models: &[Model]) -> Result<BTreeMap<String, usize>, TwiceError> {
    let mut by_name = BTreeMap::new();
    for (index, model) in models.iter().enumerate() {
        if by_name.insert(model.name.clone(), index).is_some() {
            return Err(TwiceError(model.name.clone()));
        }
    }
    Ok(by_name)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
