//! The order of candidates: by score, the higher first; ties by position in the request, the earlier first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The positions of the scores, best first, at most `k`.
///
/// Scores must not be NaN; see [`first_nan`].
#[must_use]
pub fn top(scores: &[f32], k: usize) -> Vec<usize> {
    let k = k.min(scores.len());
    // The best so far, the last of them on top. A sort would be far more code, which a worker is to have little of.
    let mut best = BinaryHeap::with_capacity(k);
    for (at, &score) in scores.iter().enumerate() {
        let place = Place { score, at };
        if best.len() < k {
            best.push(place);
        } else if let Some(mut last) = best.peek_mut()
            && place < *last
        {
            *last = place;
        }
    }
    best.into_sorted_vec().into_iter().map(|place| place.at).collect()
}

/// The position of a score that is not a number, which no model may give.
#[must_use]
pub fn first_nan(scores: &[f32]) -> Option<usize> {
    scores.iter().position(|s| s.is_nan())
}

/// Whether two sets of positions, each without repeats, are equal.
#[must_use]
pub fn same_set(a: &[usize], b: &[usize]) -> bool {
    let sorted = |s: &[usize]| {
        let mut s = s.to_vec();
        s.sort_unstable();
        s
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// A candidate among others; the better ones are less.
#[derive(Clone, Copy, Debug)]
struct Place {
    score: f32,
    at: usize,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal).then(self.at.cmp(&other.at))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_score_then_by_position() {
        assert_eq!(top(&[0.5, 2.0, 0.5, -1.0, 2.0], 4), [1, 4, 0, 2]);
    }

    #[test]
    fn ties_at_the_boundary_go_to_the_earlier() {
        assert_eq!(top(&[1.0; 6], 3), [0, 1, 2]);
        assert_eq!(top(&[0.0, -0.0, 0.0], 2), [0, 1], "the zeros are equal");
    }

    #[test]
    fn the_best_are_those_of_a_sort() {
        for n in 0..60 {
            let scores: Vec<f32> = (0..n).map(|i| ((i * 37 % 11) as f32 - 4.0) * 0.5).collect();
            let mut sorted: Vec<usize> = (0..n).collect();
            sorted.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            for k in 0..n + 2 {
                assert_eq!(top(&scores, k), sorted[..k.min(n)], "{k} of {n}");
            }
        }
    }

    #[test]
    fn a_k_beyond_the_end_ranks_all() {
        assert_eq!(top(&[1.0, 3.0, 2.0], 10), [1, 2, 0]);
        assert!(top(&[], 10).is_empty());
    }

    #[test]
    fn sets_ignore_order() {
        assert!(same_set(&[3, 1], &[1, 3]));
        assert!(!same_set(&[3, 1], &[1, 2]));
        assert!(!same_set(&[1], &[1, 2]));
    }
}
