//! The second half of the ladder: what a tier makes of the reply from above, or of its absence.

use std::collections::HashSet;

use minicbor::{Decode, Encode};

use super::fallback::lacks_the_store;
use super::{Fallback, Ladder, NoScores, Outcome, Prepared, Step, over_limit, prepare, without_model};
use crate::gate::{self, Class};
use crate::wire::{Agreement, Answer, Part, RankRequest, Ranked, Reason, Refusal, Reply, TierChoice, Whole, Why};

/// What is kept while the tier above is asked.
#[derive(Debug, Encode, Decode)]
pub(super) struct Held {
    /// The request as it came to this tier.
    #[n(0)]
    request: RankRequest,
    /// This tier's own ranking, if it scored.
    #[n(1)]
    pub(super) own: Option<Own>,
    /// Set when candidates in doubt were sent up.
    #[n(2)]
    sent: Option<Sent>,
    /// Set when what came to this tier was itself the candidates in doubt.
    #[n(3)]
    part: Option<Part>,
}

/// A tier's own ranking.
#[derive(Clone, Debug, Default, Encode, Decode)]
pub(super) struct Own {
    #[n(0)]
    pub(super) ranked: Vec<Ranked>,
    /// What it was made of, if the request asks.
    #[n(1)]
    pub(super) explanation: Option<String>,
}

/// Candidates in doubt, sent up.
#[derive(Debug, Encode, Decode)]
struct Sent {
    /// How many the tier above is to name.
    #[n(0)]
    k: u32,
    /// The ids it may name; the others of the tier's own ranking are certain.
    #[n(1)]
    ids: Vec<String>,
    /// The request that they are of.
    #[n(2)]
    of: Part,
}

impl Held {
    pub(super) fn whole(request: RankRequest, own: Option<Own>) -> Self {
        Self { request, own, sent: None, part: None }
    }

    pub(super) fn in_doubt(request: RankRequest, own: Own, doubt: &RankRequest, of: Part, part: Option<Part>) -> Self {
        let ids = doubt.candidates.iter().map(|c| c.id.clone()).collect();
        let sent = Sent { k: doubt.k, ids, of };
        Self { request, own: Some(own), sent: Some(sent), part }
    }
}

impl Ladder {
    /// Goes on with an escalation once its outcome is known.
    ///
    /// `held` comes from [`Step::Escalate`] of the same bundle, perhaps of another instance; what is not is refused. It
    /// escalates at most once more: after candidates in doubt, the whole request.
    pub fn resume(&mut self, held: &[u8], outcome: Outcome) -> Step {
        let held: Held = match crate::wire::from_cbor(held) {
            Ok(held) => held,
            Err(error) => {
                return Step::Refused(Refusal { field: String::new(), message: format!("held state: {error}") });
            }
        };
        match outcome {
            // Scores of this tier's own are better than a ranking that no model made.
            Outcome::Reply(Reply::Answer(above)) if above.degradation >= 2 => match self.alone(held) {
                Step::Answer(own) if own.degradation < 2 => Step::Answer(own),
                _ => Step::Answer(above),
            },
            Outcome::Reply(Reply::Answer(answer)) => self.merged(held, answer),
            Outcome::Reply(Reply::Refused(refusal)) => Step::Refused(refusal),
            Outcome::Reply(Reply::Whole(why)) => self.send_whole(held, why),
            Outcome::Gone => self.alone(held),
        }
    }

    /// The certain candidates and those that the tier above chose of the others, by their scores.
    fn merged(&mut self, held: Held, above: Box<Answer>) -> Step {
        let (Some(sent), Some(own)) = (&held.sent, &held.own) else { return Step::Answer(above) };
        let named: HashSet<&str> = above.ranked.iter().map(|entry| entry.id.as_str()).collect();
        let may: HashSet<&str> = sent.ids.iter().map(String::as_str).collect();
        let fits = named.len() == above.ranked.len()
            && named.len() == sent.k as usize
            && named.is_subset(&may)
            && above.stamp == Some(self.stamp);
        if !fits {
            // Not an answer to what was asked; taken as no answer.
            return self.alone(held);
        }
        let agreement = if above.degradation == 0 { self.claim_of(sent.of, &above) } else { None };
        let reason = if above.degradation == 0 { Reason::Merged } else { above.reason };
        let Answer { tier, variant, degradation, ranked, warnings, .. } = *above;
        // A noisy candidate may be in doubt and a less noisy one below it certain.
        let mut merged = own.clone();
        merged.ranked.retain(|entry| !may.contains(entry.id.as_str()));
        for chosen in ranked {
            let at = merged.ranked.iter().position(|entry| entry.score < chosen.score);
            merged.ranked.insert(at.unwrap_or(merged.ranked.len()), chosen);
        }
        let blank = self.blank(reason, degradation, merged, agreement, warnings);
        Step::Answer(Box::new(Answer { tier, variant, ..blank }))
    }

    /// The tier above claims for its part what it is certified for; that the origin ranked the others makes its own
    /// class, where a certified policy leads there.
    fn claim_of(&self, of: Part, above: &Answer) -> Option<Agreement> {
        match (&above.agreement, above.reason) {
            (Some(agreement), _) => Some(agreement.clone()),
            (None, Reason::Reference) => {
                let policy = gate::policy(&self.policies, of.k, of.n as usize)?;
                // Candidates in doubt come to the origin through the region. Where it sends up none, nobody has looked at
                // such answers, though an edge without a region may ask for one.
                policy.region.doubt?;
                Some(self.agreement((policy.alpha, policy.delta), of.k, Class::MergedOrigin, None))
            }
            (None, _) => None,
        }
    }

    /// The tier above cannot do with candidates alone.
    fn send_whole(&mut self, held: Held, why: Whole) -> Step {
        match held {
            Held { sent: Some(_), part: None, request, own } => {
                let mut whole = request.clone();
                // Nothing is certified of what one tier is unsure of and the next then decides on alone.
                if whole.tier == TierChoice::Auto {
                    whole.tier = TierChoice::Origin;
                }
                let message = self.message(whole, None, Why::Unsure);
                self.escalate(Held::whole(request, own), message)
            }
            Held { sent: Some(_), part: Some(_), .. } => Step::Whole(why),
            held @ Held { sent: None, .. } => self.alone(held),
        }
    }

    /// The best this tier can say without the one above: level 1, or a lower one when it cannot score.
    fn alone(&mut self, held: Held) -> Step {
        let Held { request, own, .. } = held;
        if let Some(own) = own {
            return self.answer(Reason::UpstreamGone, 1, own, None, Vec::new());
        }
        if over_limit(&request, self.limits) {
            return self.popular(Reason::UpstreamGone, &request);
        }
        let prepared = match prepare(&self.loaded.schema, &self.loaded.catalog, &request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Step::Refused(refusal),
        };
        if lacks_the_store(&self.loaded.schema, &request) {
            return self.alike(&request, &prepared);
        }
        let scores = match self.score(&prepared) {
            Ok(scores) => scores,
            Err(NoScores::Refused(refusal)) => return Step::Refused(refusal),
            Err(NoScores::Failed) => return self.popular(Reason::WorkerFailed, &request),
        };
        let own = self.own(&request, &prepared, &scores);
        self.answer(Reason::UpstreamGone, 1, own, None, prepared.defaulted())
    }

    /// Level 2, or below it for a user without a history.
    fn alike(&self, request: &RankRequest, prepared: &Prepared) -> Step {
        let alike = self.loaded.similarity.as_ref().and_then(|similarity| similarity.of(&self.loaded.plan, prepared));
        let Some(alike) = alike else { return self.popular(Reason::UpstreamGone, request) };
        let ranked = prepared.unscored(&alike, request, self.loaded.tier);
        self.without_model(Reason::UpstreamGone, 2, ranked)
    }

    fn popular(&self, reason: Reason, request: &RankRequest) -> Step {
        let Fallback { level, ranked } =
            without_model(&self.loaded.catalog, &self.static_list, request, self.loaded.tier);
        self.without_model(reason, level, ranked)
    }

    fn without_model(&self, reason: Reason, level: u8, ranked: Vec<Ranked>) -> Step {
        let own = Own { ranked, explanation: None };
        Step::Answer(Box::new(Answer { variant: None, ..self.blank(reason, level, own, None, Vec::new()) }))
    }
}
