//! Requests with the scores of every variant: what everything after scoring works from.

use shared_model::gate::{Scores, boundary};
use shared_model::topk::top;

/// A line of a request file, scored by every scorer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Its number in its file, from 1.
    pub line: usize,
    /// Who asked: requests of one user are not independent of each other.
    pub user: String,
    /// The length of the longest list that the schema reads of the user; `None` if it reads none.
    pub history: Option<usize>,
    /// The candidates ranked.
    pub ids: Ids,
    /// Among them, the positions of the relevant ones.
    pub relevant: Vec<usize>,
    /// For each scorer, one score a candidate.
    pub scores: Vec<Vec<f32>>,
    /// For each scorer, how noisy the score of each candidate is.
    pub noise: Vec<Vec<f32>>,
    /// What sending it up takes.
    pub message: MessageSize,
}

impl Scored {
    /// The number of candidates.
    #[must_use]
    pub fn n(&self) -> usize {
        self.scores.first().map_or(0, Vec::len)
    }

    /// What the gate holds against a threshold, of one scorer; `None` when nothing is left out.
    #[must_use]
    pub fn margin(&self, scorer: usize, k: usize) -> Option<f32> {
        let scores = self.gated(scorer);
        Some(scores.margin(boundary(scores.values, &top(scores.values, k.checked_add(1)?), k)?))
    }

    /// What the gate is shown of one scorer.
    #[must_use]
    pub fn gated(&self, scorer: usize) -> Scores<'_> {
        Scores { values: &self.scores[scorer], noise: &self.noise[scorer] }
    }
}

/// Ids in one text: a file has a million of them, and few are ever looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    text: String,
    ends: Vec<usize>,
}

impl Ids {
    /// The id at a position.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn at(&self, position: usize) -> &str {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.text[start..self.ends[position]]
    }
}

impl<'a> FromIterator<&'a str> for Ids {
    fn from_iter<I: IntoIterator<Item = &'a str>>(ids: I) -> Self {
        let mut all = Self::default();
        for id in ids {
            all.text.push_str(id);
            all.ends.push(all.text.len());
        }
        all
    }
}

/// The bytes of a request as a message to the tier above.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageSize {
    /// All but the candidates.
    pub rest: u64,
    /// Of each candidate ranked.
    pub candidates: Vec<u32>,
}

impl MessageSize {
    /// With all candidates.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.rest + self.candidates.iter().map(|bytes| u64::from(*bytes)).sum::<u64>()
    }

    /// With some candidates, by position.
    #[must_use]
    pub fn part(&self, positions: &[usize]) -> u64 {
        self.rest + positions.iter().map(|i| u64::from(self.candidates[*i])).sum::<u64>()
    }
}

/// A request file, scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// What a tier would score, in the order of the file.
    pub requests: Vec<Scored>,
    /// How many a tier sends up unscored: unknown items, or a rule of the schema.
    pub skipped: usize,
}

impl Set {
    /// Takes the requests of another file too.
    pub(crate) fn extend(&mut self, other: Self) {
        self.requests.extend(other.requests);
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_by_its_position() {
        let ids: Ids = ["m1", "", "m30"].into_iter().collect();
        assert_eq!([ids.at(0), ids.at(1), ids.at(2)], ["m1", "", "m30"]);
    }
}
