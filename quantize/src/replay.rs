//! Replays the ladder on scored requests: which tier answers by which path, with which set, and what goes up for it.
//!
//! The same decisions as the serving path makes (`shared_model::gate`), without its messages.

use serde::Serialize;
use shared_model::gate::{Class, Policy, Scores, Split, Verdict, decide, policy};
use shared_model::topk::{same_set, top};
use shared_model::wire::Tier;

use crate::gate::interval;
use crate::score::Scored;

/// How one request was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The highest tier that ranked.
    pub tier: Tier,
    /// By which path; `None` where the origin ranked all.
    pub class: Option<Class>,
    /// Positions of the answer, best first.
    pub set: Vec<usize>,
    /// Positions that the edge sent up in its first message.
    pub sent: Option<Vec<usize>>,
    /// Whether it had to send the whole request after the candidates in doubt.
    pub twice: bool,
}

/// The outcome of a replay, for one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// The size of the answer.
    pub k: u32,
    /// The fewest and the most candidates of the policy.
    pub n: [u32; 2],
    /// What the policy claims.
    pub alpha: f64,
    /// Requests with so many candidates.
    pub requests: u64,
    /// By class; the origin's own answers have none.
    pub classes: Vec<Share>,
    /// What goes up from the edge, per request that it does not answer.
    pub upload: Option<Upload>,
}

/// A class of answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Where requests enter.
    pub entry: Tier,
    /// `None`: the origin ranked all.
    pub class: Option<Class>,
    /// Answers.
    pub answered: u64,
    /// Their share of all requests.
    pub share: f64,
    /// Those with another set than the reference.
    pub errors: u64,
    /// Their share of the class, with its exact 95 % interval.
    pub wrong: Option<f64>,
    /// The interval.
    pub interval: Option<[f64; 2]>,
}

/// Means over the requests that the edge sends up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Upload {
    /// Requests.
    pub requests: u64,
    /// Candidates of the request.
    pub candidates: f64,
    /// Candidates that are sent first.
    pub sent: f64,
    /// Bytes of the whole request as a message.
    pub bytes_whole: f64,
    /// Bytes that are sent, in one message or two.
    pub bytes: f64,
}

/// Follows one request through the ladder, from the tier where it enters.
#[must_use]
pub fn follow(policies: &[Policy], request: &Scored, k: u32, entry: Tier) -> Path {
    let [edge, region, reference] = &request.scores[..] else { unreachable!("a request is scored by every variant") };
    let size = k as usize;
    let all: Vec<usize> = (0..request.n()).collect();
    let origin = |sent, twice| Path { tier: Tier::Origin, class: None, set: top(reference, size), sent, twice };
    if size >= request.n() {
        let (tier, class, scores) = match entry {
            Tier::Edge => (entry, Class::Edge, edge),
            Tier::Region | Tier::Origin => (Tier::Region, Class::Region, region),
        };
        return Path { tier, class: Some(class), set: top(scores, size), sent: None, twice: false };
    }
    let Some(policy) = policy(policies, k, request.n()) else {
        return origin((entry == Tier::Edge).then_some(all), false);
    };

    let mut certain = Vec::new();
    let mut doubt = all;
    let mut alone = Class::Region;
    let mut sent = None;
    if entry == Tier::Edge {
        match decide(policy.edge, request.gated(0), size) {
            Verdict::Sure { .. } | Verdict::Trivial => {
                let set = top(edge, size);
                return Path { tier: entry, class: Some(Class::Edge), set, sent, twice: false };
            }
            Verdict::Doubt(split) => (certain, doubt, alone) = (split.certain, split.doubt, Class::MergedRegion),
            Verdict::Whole => {}
        }
        sent = Some(doubt.clone());
    }
    let is_part = alone == Class::MergedRegion;
    let of = |scores: &[f32], part: &[usize]| part.iter().map(|i| scores[*i]).collect::<Vec<f32>>();
    let (scores, noise) = (of(region, &doubt), of(&request.noise[1], &doubt));
    let left = size - certain.len();
    let (tier, class, chosen) = match decide(policy.region, Scores { values: &scores, noise: &noise }, left) {
        Verdict::Sure { .. } | Verdict::Trivial => (Tier::Region, alone, top(&scores, left)),
        Verdict::Doubt(Split { certain: mut chosen, doubt: onward }) => {
            let part: Vec<usize> = onward.iter().map(|i| doubt[*i]).collect();
            let last = top(&of(reference, &part), left - chosen.len());
            chosen.extend(last.into_iter().map(|i| onward[i]));
            (Tier::Origin, Class::MergedOrigin, chosen)
        }
        Verdict::Whole => return origin(sent, is_part),
    };
    let set = certain.into_iter().chain(chosen.into_iter().map(|i| doubt[i])).collect();
    Path { tier, class: Some(class), set, sent, twice: false }
}

/// Replays every policy on the requests that it holds for.
#[must_use]
pub fn replay(policies: &[Policy], requests: &[Scored]) -> Vec<Replay> {
    policies.iter().map(|policy| one(policies, policy, requests)).collect()
}

fn one(policies: &[Policy], policy: &Policy, requests: &[Scored]) -> Replay {
    let bucket = policy.n_min as usize..=policy.n_max as usize;
    let requests: Vec<&Scored> =
        requests.iter().filter(|r| bucket.contains(&r.n()) && r.n() > policy.k as usize).collect();
    let mut classes = Vec::new();
    let mut uploads = Uploads::default();
    for entry in [Tier::Edge, Tier::Region] {
        let paths: Vec<Path> = requests.iter().map(|r| follow(policies, r, policy.k, entry)).collect();
        let kinds: Vec<Option<Class>> = match entry {
            Tier::Edge => [Class::Edge, Class::Region, Class::MergedRegion, Class::MergedOrigin].map(Some).to_vec(),
            Tier::Region | Tier::Origin => [Class::Region, Class::MergedOrigin].map(Some).to_vec(),
        };
        for class in kinds.into_iter().chain([None]) {
            classes.push(share(entry, class, &requests, &paths, policy.k as usize));
        }
        requests.iter().zip(&paths).for_each(|(request, path)| uploads.add(request, path));
    }
    classes.retain(|c| c.answered > 0);
    let n = [policy.n_min, policy.n_max];
    let requests = requests.len() as u64;
    Replay { k: policy.k, n, alpha: policy.alpha, requests, classes, upload: uploads.means() }
}

fn share(entry: Tier, class: Option<Class>, requests: &[&Scored], paths: &[Path], k: usize) -> Share {
    let (mut answered, mut errors) = (0, 0);
    for (request, path) in requests.iter().zip(paths).filter(|(_, path)| path.class == class) {
        let reference = request.scores.last().map_or_else(Vec::new, |scores| top(scores, k));
        answered += 1;
        errors += u64::from(!same_set(&path.set, &reference));
    }
    let wrong = (answered > 0).then(|| errors as f64 / answered as f64);
    let share = answered as f64 / requests.len().max(1) as f64;
    Share { entry, class, answered, share, errors, wrong, interval: interval(answered, errors) }
}

/// Sums over what the edge sends up.
#[derive(Default)]
struct Uploads {
    requests: u64,
    candidates: usize,
    sent: usize,
    bytes_whole: u64,
    bytes: u64,
}

impl Uploads {
    fn add(&mut self, request: &Scored, path: &Path) {
        let Some(sent) = &path.sent else { return };
        self.requests += 1;
        self.candidates += request.n();
        self.sent += sent.len();
        let whole = request.message.all();
        self.bytes_whole += whole;
        self.bytes += request.message.part(sent) + if path.twice { whole } else { 0 };
    }

    fn means(&self) -> Option<Upload> {
        let mean = |sum: f64| sum / self.requests as f64;
        (self.requests > 0).then(|| Upload {
            requests: self.requests,
            candidates: mean(self.candidates as f64),
            sent: mean(self.sent as f64),
            bytes_whole: mean(self.bytes_whole as f64),
            bytes: mean(self.bytes as f64),
        })
    }
}
