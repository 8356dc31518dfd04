//! The tier behind the front: guest, then the tier above, then guest again; and what is answered when they fail.
//!
//! ```text
//! rank ─┬─ guest ─┬─ Answer | Refused | Whole
//!       │         ├─ Escalate ── upstream ─┬─ guest.resume ── Answer | Refused | Whole | Escalate, once more
//!       │         │                        └─ gone: the guest's own answer, if it came with one (level 1)
//!       │         └─ failed ─┐
//!       └─ over the limits ──┴── upstream ─┬─ Answer | Refused
//!                                          └─ gone: without a model (level 3 or 4)
//! ```
//!
//! Each step may use a share of the time that is left, so that there is always some for the answer. All steps of a
//! request are those of one generation of its model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use front::generations::{Generation, Generations, Operations};
use front::{Call, Failure, Health, Popular, Ranker, RequestId, Serving, step_until};
use shared_model::ladder::{self, Outcome, Step};
use shared_model::wire::{Answer, Escalation, RankRequest, Reason, Reply, Stamp, Timing, Whole, Why};

use crate::bundle::{Guests, Model};
use crate::cache::Source;
use crate::guest::{Done, PoolError};
use crate::metrics::ServiceMetrics;
use crate::upstream::Upstream;

#[cfg(test)]
mod tests;

/// What a guest may ask of the tier above for one request: the candidates in doubt, then all of them.
const MOST_ESCALATIONS: usize = 2;
/// When a client may try again after the workers' queue was full: it empties within a few calls.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A POP or a region: its models, and the tier above if there is one.
pub(crate) struct Service {
    models: Arc<Generations<Guests>>,
    upstream: Option<Upstream>,
    metrics: ServiceMetrics,
}

impl Service {
    pub(crate) fn new(models: Arc<Generations<Guests>>, upstream: Option<Upstream>, metrics: ServiceMetrics) -> Self {
        Self { models, upstream, metrics }
    }
}

impl Ranker for Service {
    async fn rank(&self, call: Call) -> Result<Answer, Failure> {
        let below = call.escalation.map(|escalation| escalation.stamp);
        let Some(generation) = self.models.take(&call.request.model, call.wanted()) else {
            return Err(Failure::UnknownModel(call.request.model));
        };
        let mut way =
            Way { service: self, generation, id: call.request_id, deadline: call.deadline, timing: Timing::default() };
        let part = call.escalation.and_then(|escalation| escalation.part);
        let mut answer = way.go(ladder::Call { request: call.request, below, part }).await?;
        answer.timing = way.timing;
        self.metrics.answered(&answer);
        Ok(answer)
    }

    fn popular(&self, model: Option<&str>, geo: Option<&str>, k: usize) -> Result<Popular, Failure> {
        let unknown = || Failure::UnknownModel(model.unwrap_or_default().to_owned());
        let generation = self.models.named(model).ok_or_else(unknown)?;
        Ok(Popular::of(&generation.edition, geo, k))
    }

    fn health(&self) -> Health {
        let current = self.models.current();
        let without = current.iter().map(|generation| &generation.model).filter(|model| model.pool.live() == 0);
        let missing: Vec<_> = without.map(|model| format!("a worker for model `{}`", model.served.model())).collect();
        if missing.is_empty() { Health::Ready } else { Health::Missing(missing) }
    }

    fn models(&self) -> Vec<Serving> {
        self.models.current().iter().map(|generation| generation.model.served.serving()).collect()
    }

    fn operations(&self) -> Option<&dyn Operations> {
        Some(&*self.models)
    }
}

impl Source for Service {
    fn stamp(&self, model: &str) -> Option<Stamp> {
        self.models.take(model, None).map(|generation| generation.stamp())
    }
}

/// One request on its way.
struct Way<'a> {
    service: &'a Service,
    /// Kept to the end, whatever takes its place meanwhile.
    generation: Arc<Generation<Model>>,
    id: RequestId,
    deadline: Instant,
    timing: Timing,
}

impl Way<'_> {
    fn model(&self) -> &Model {
        &self.generation.model
    }

    async fn go(&mut self, call: ladder::Call) -> Result<Answer, Failure> {
        let is_part = call.part.is_some();
        if ladder::over_limit(&call.request, self.model().served.limits) {
            if is_part {
                return Err(Failure::Whole(Whole::NoPolicy));
            }
            // The guest would say the same, but only after it has read the whole request.
            return self.without_guest(call.request, Why::OverLimit, Reason::UpstreamGone).await;
        }
        let ranked = self.ranked(&call).await;
        let request = call.request;
        match ranked {
            Ok(step) => self.settled(step, &request).await,
            Err(PoolError::Full) => Err(Failure::Overloaded { retry_after: RETRY_AFTER }),
            Err(PoolError::NoGuest | PoolError::Late | PoolError::Fault(_)) if is_part => {
                Err(Failure::Whole(Whole::NoPolicy))
            }
            Err(PoolError::NoGuest | PoolError::Late | PoolError::Fault(_)) => {
                self.without_guest(request, Why::WorkerFailed, Reason::WorkerFailed).await
            }
        }
    }

    /// Does what the guest says until it has an answer.
    async fn settled(&mut self, step: Step, request: &RankRequest) -> Result<Answer, Failure> {
        let mut step = step;
        let mut spare = None;
        for _ in 0..=MOST_ESCALATIONS {
            let (held, message, ready) = match step {
                Step::Answer(answer) => return Ok(*answer),
                Step::Refused(refusal) => return Err(Failure::Refused(refusal)),
                Step::Whole(why) => return Err(Failure::Whole(why)),
                Step::Escalate { held, message, ready } => (held, message, ready),
            };
            let is_part = message.part.is_some();
            let outcome = self.ask(*message).await;
            // Should the guest fail now, this stands without it.
            spare = match (&outcome, ready) {
                (Outcome::Gone, Some(ready)) => return Ok(*ready),
                (Outcome::Gone, None) => None,
                (Outcome::Reply(Reply::Refused(_)), _) => passed_down(&outcome),
                // Scores of this tier's own are better than a ranking that no model made, and than one of some candidates.
                (Outcome::Reply(Reply::Answer(above)), Some(ready)) if above.degradation >= 2 || is_part => {
                    Some(Ok(*ready))
                }
                (Outcome::Reply(Reply::Answer(_)), _) => passed_down(&outcome),
                (Outcome::Reply(Reply::Whole(_)), ready) => ready.map(|ready| Ok(*ready)),
            };
            match self.resumed(held, outcome).await {
                Ok(next) => step = next,
                Err(_) => break,
            }
        }
        spare.unwrap_or_else(|| Ok(self.model().served.without_model(request, Reason::WorkerFailed)))
    }

    /// The request goes up as it came; if nobody is there, it is answered without a model for the reason `alone`.
    async fn without_guest(&mut self, request: RankRequest, why: Why, alone: Reason) -> Result<Answer, Failure> {
        let (stamp, from) = (self.model().served.stamp(), self.model().served.tier);
        let message = Escalation { request: request.clone(), stamp, from, why, remaining_us: 0, part: None };
        let outcome = self.ask(message).await;
        passed_down(&outcome).unwrap_or_else(|| Ok(self.model().served.without_model(&request, alone)))
    }

    async fn ranked(&mut self, call: &ladder::Call) -> Result<Step, PoolError> {
        let done = self.model().pool.rank(call, self.step_until()).await;
        self.timed(done)
    }

    async fn resumed(&mut self, held: Vec<u8>, outcome: Outcome) -> Result<Step, PoolError> {
        let done = self.model().pool.resume(&held, &outcome, self.step_until()).await;
        self.timed(done)
    }

    async fn ask(&mut self, message: Escalation) -> Outcome {
        self.service.metrics.escalated(message.why);
        let Some(upstream) = &self.service.upstream else { return Outcome::Gone };
        let asked = Instant::now();
        let outcome = upstream.ask(message, &self.id, self.step_until()).await;
        self.timing.upstream += micros(asked.elapsed());
        outcome
    }

    fn timed(&mut self, done: Result<Done, PoolError>) -> Result<Step, PoolError> {
        let done = done?;
        self.timing.queue += micros(done.queued);
        self.timing.score += micros(done.ran);
        Ok(done.step)
    }

    fn step_until(&self) -> Instant {
        step_until(Instant::now(), self.deadline)
    }
}

/// A reply from above to a whole request, as this tier's own.
fn passed_down(outcome: &Outcome) -> Option<Result<Answer, Failure>> {
    match outcome {
        Outcome::Reply(Reply::Answer(answer)) => Some(Ok((**answer).clone())),
        Outcome::Reply(Reply::Refused(refusal)) => Some(Err(Failure::Refused(refusal.clone()))),
        Outcome::Reply(Reply::Whole(_)) | Outcome::Gone => None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
