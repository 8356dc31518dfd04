//! The order of candidates: by score, the higher first; ties by position in the request, the earlier first.

use std::cmp::Ordering;

/// The positions of the scores, best first, at most `k`.
///
/// Scores must not be NaN; see [`first_nan`].
#[must_use]
pub fn top(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_rank = |a: &usize, b: &usize| better(scores, *a, *b);
    if k < order.len() {
        order.select_nth_unstable_by(k, by_rank);
        order.truncate(k);
    }
    order.sort_unstable_by(by_rank);
    order
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

fn better(scores: &[f32], a: usize, b: usize) -> Ordering {
    scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal).then(a.cmp(&b))
}

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
