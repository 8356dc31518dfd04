//! The requests that scores are compared on: real ones, and what could be of a kind that no real one is.

use shared_model::limits::MAX_LIST;
use shared_model::wire::{Candidate, RankRequest, Raw, Record};

use crate::client::Error;
use crate::edge::Options;
use crate::edge::model::Model;

/// One of so many is made up.
const MADE_UP: usize = 20;
/// The longest of the made-up requests.
const CANDIDATES: [usize; 4] = [1, 2, 100, 1000];
/// Numbers at the ends of what models can be fed: counts, and what may be negative.
const COUNTS: [f64; 8] = [0.0, -0.0, 1e-45, 1e-38, 0.1, 1.0, 16_777_217.0, 1e30];
const NUMBERS: [f64; 8] = [0.0, -0.0, 1e-45, -1e-38, 0.1, 5.0, -1e3, 1e6];
/// Numbers beyond that: some are refused, and of others no score is a number.
const WILD: [f64; 6] = [-1.0, 3.4e38, -3.4e38, 1e308, -1e308, 1e39];
/// One in so many of the made-up requests has wild numbers.
const TAME: u8 = 4;
const TIMESTAMPS: [i64; 5] = [0, -1, 1, 1_260_759_194, 253_402_300_799];

/// As many requests, each for all of its candidates.
pub(super) fn of(options: &Options, model: &Model, count: usize) -> Result<Vec<RankRequest>, Error> {
    let made_up = count / MADE_UP;
    let real = count - made_up;
    let mut requests = Vec::new();
    for (file, count) in [("eval", real.div_ceil(2)), ("gate", real / 2)] {
        let lines = model.lines(&options.dir.join(format!("requests.{file}.jsonl")), usize::MAX, count.max(1))?;
        requests.extend(lines.into_iter().map(|line| line.request));
    }
    let ids: Vec<&str> = model.opened.catalog.items().map(|(_, id)| id).collect();
    let mut random = fastrand::Rng::with_seed(22);
    let templates = requests.len();
    for _ in 0..made_up {
        let template = requests[random.usize(..templates)].clone();
        requests.push(made(&mut random, template, &ids));
    }
    for request in &mut requests {
        request.k = u32::try_from(request.candidates.len())?.max(1);
    }
    Ok(requests)
}

/// A request in which little is as usual.
fn made(random: &mut fastrand::Rng, mut request: RankRequest, ids: &[&str]) -> RankRequest {
    let wild = random.u8(..TAME) == 0;
    let extreme = |random: &mut fastrand::Rng, field: &str| {
        let numbers = match field {
            _ if wild => &WILD[..],
            "ratings" | "popularity" => &COUNTS,
            _ => &NUMBERS,
        };
        Raw::Float(numbers[random.usize(..numbers.len())])
    };
    for (name, value) in &mut request.user.0 {
        match value {
            Raw::List(history) => *history = list(random, ids),
            Raw::Int(_) | Raw::Float(_) if random.bool() => *value = extreme(random, name),
            Raw::Text(text) if random.bool() => *text = "nobody".repeat(random.usize(..40) + 1),
            _ => {}
        }
    }
    for (_, value) in &mut request.context.0 {
        if matches!(value, Raw::Int(_)) && random.bool() {
            *value = Raw::Int(TIMESTAMPS[random.usize(..TIMESTAMPS.len())]);
        }
    }
    let count = CANDIDATES[random.usize(..CANDIDATES.len())];
    let chosen = random.choose_multiple(ids.iter(), count);
    request.candidates = chosen.into_iter().map(|id| Candidate { id: (*id).to_owned(), features: None }).collect();
    for (i, candidate) in request.candidates.iter_mut().enumerate() {
        match random.u8(..20) {
            0 => candidate.id = format!("unknown-{i}"),
            1 => {
                let features = [
                    ("year".to_owned(), Raw::Int(random.i64(-10_000..10_000))),
                    ("genres".to_owned(), Raw::List(vec![Raw::Text("Drama".to_owned()); random.usize(..30)])),
                    ("popularity".to_owned(), extreme(random, "popularity")),
                    ("mean_rating".to_owned(), extreme(random, "mean_rating")),
                ];
                *candidate = Candidate { id: format!("inline-{i}"), features: Some(Record(features.into())) };
            }
            2 if count > 2 && i > 0 => request.exclude.push(candidate.id.clone()),
            _ => {}
        }
    }
    request
}

/// A list of items: none, one, or as many as a list may hold, some of which nobody knows.
fn list(random: &mut fastrand::Rng, ids: &[&str]) -> Vec<Raw> {
    let length = [0, 1, 30, 31, MAX_LIST][random.usize(..5)];
    let mut item = || {
        let known = random.u8(..10) > 0;
        Raw::Text(if known { ids[random.usize(..ids.len())].to_owned() } else { "unknown".to_owned() })
    };
    (0..length).map(|_| item()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_model::wire::TierChoice;

    #[test]
    fn made_up_requests_reach_the_ends() {
        let user = [
            ("id".to_owned(), Raw::Text("u1".to_owned())),
            ("history".to_owned(), Raw::List(Vec::new())),
            ("ratings".to_owned(), Raw::Int(3)),
        ];
        let template = RankRequest {
            model: "m".to_owned(),
            k: 10,
            user: Record(user.into()),
            context: Record(vec![("timestamp".to_owned(), Raw::Int(5))]),
            candidates: Vec::new(),
            exclude: Vec::new(),
            timeout_ms: None,
            tier: TierChoice::Auto,
            explain: false,
        };
        let ids: Vec<String> = (0..2000).map(|i| format!("m{i}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let all: Vec<RankRequest> = (0..200).map(|_| made(&mut random, template.clone(), &ids)).collect();
        let history = |length: usize| {
            let of = |r: &RankRequest| matches!(r.user.field("history"), Raw::List(items) if items.len() == length);
            all.iter().any(of)
        };
        assert!(history(0) && history(MAX_LIST));
        assert!(all.iter().any(|r| r.candidates.len() == 1) && all.iter().any(|r| r.candidates.len() == 1000));
        assert!(all.iter().any(|r| *r.user.field("ratings") == Raw::Float(1e30)));
        let any = |is: &dyn Fn(&Candidate) -> bool| all.iter().any(|r| r.candidates.iter().any(is));
        assert!(any(&|c| c.features.is_some()) && any(&|c| c.id.starts_with("unknown-")));
    }
}
