//! The requests that a variant answers worst: whose top k the reference thinks least of, beside its own.

use serde::Serialize;
use shared_model::topk::top;
use shared_model::variant::VariantName;

use crate::build::REFERENCE;
use crate::evaluate::Look;
use crate::score::Scored;

/// So many requests of each variant are told.
const REQUESTS: usize = 10;

/// A request whose top k is another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// By which variant.
    pub variant: VariantName,
    /// Its line in its file, from 1.
    pub line: usize,
    /// Who asked.
    pub user: String,
    /// The size of the answer.
    pub k: usize,
    /// How much lower the reference's mean score is of this top k than of its own, before the link.
    pub regret: f64,
    /// What is in the reference's top k alone, its best first.
    pub out: Vec<Change>,
    /// What is in this variant's top k alone, its best first.
    pub into: Vec<Change>,
}

/// A candidate that is in one top k and not in the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The candidate.
    pub id: String,
    /// The reference's score, before the link.
    pub score: f32,
    /// The reference's rank, from 1.
    pub rank: usize,
    /// The variant's rank.
    pub ranked: usize,
}

pub(super) fn changed(requests: &[Scored], own: usize, variant: VariantName, k: usize) -> Vec<Changed> {
    let regret = |r: &Scored| Look::new(r, own, REFERENCE, k).set.map_or(0.0, |set| set.regret);
    let mut worst: Vec<(f64, &Scored)> = requests.iter().map(|r| (regret(r), r)).filter(|(r, _)| *r > 0.0).collect();
    // Stable: of equals, the first of the file.
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    worst.into_iter().take(REQUESTS).map(|(regret, r)| one(r, own, variant, k, regret)).collect()
}

fn one(request: &Scored, own: usize, variant: VariantName, k: usize, regret: f64) -> Changed {
    let scores = &request.scores[REFERENCE];
    let [ours, theirs] = [own, REFERENCE].map(|v| top(&request.scores[v], request.n()));
    let rank = |order: &[usize], i: usize| order.iter().position(|p| *p == i).map_or(0, |p| p + 1);
    let only = |set: &[usize], other: &[usize]| {
        let change = |i: usize| Change {
            id: request.ids.at(i).to_owned(),
            score: scores[i],
            rank: rank(&theirs, i),
            ranked: rank(&ours, i),
        };
        set.iter().copied().filter(|i| !other.contains(i)).map(change).collect()
    };
    let (out, into) = (only(&theirs[..k], &ours[..k]), only(&ours[..k], &theirs[..k]));
    Changed { variant, line: request.line, user: request.user.clone(), k, regret, out, into }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_with_what_went_out_and_what_came_in() {
        let scored = |line, own: [f32; 3]| Scored {
            line,
            user: format!("u{line}"),
            ids: ["a", "b", "c"].into_iter().collect(),
            scores: vec![own.to_vec(), own.to_vec(), vec![3.0, 2.0, 1.0]],
            ..Scored::default()
        };
        let requests = [scored(1, [3.0, 2.0, 1.0]), scored(2, [1.0, 2.0, 0.0]), scored(3, [1.0, 0.0, 2.0])];
        let changed = changed(&requests, 0, VariantName::W4, 1);
        assert_eq!(changed.iter().map(|c| (c.line, c.regret)).collect::<Vec<_>>(), [(3, 2.0), (2, 1.0)]);
        let change = |id: &str, score, rank, ranked| Change { id: id.to_owned(), score, rank, ranked };
        assert_eq!(changed[0].out, [change("a", 3.0, 1, 2)]);
        assert_eq!(changed[0].into, [change("c", 1.0, 3, 1)]);
    }
}
