//! Means as shares of the reference's on the same requests, with intervals from a bootstrap that draws whole users.

use serde::Serialize;

/// Draws of as many users as there are.
const DRAWS: usize = 1000;
/// Any will do; the same input must give the same numbers.
const SEED: u64 = 1;

/// A mean as a share of the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// 1: as good as the reference.
    pub ratio: f64,
    /// The 95 % interval; `None` with a single user.
    pub interval: Option<[f64; 2]>,
}

/// The ratio of each of several numbers, given as a user's sums `[own, reference]`; `None` where the reference has 0.
pub(super) fn ratios<const W: usize>(users: &[[[f64; 2]; W]]) -> [Option<Ratio>; W] {
    let total = sums(users.iter());
    let mut draws: [Vec<f64>; W] = std::array::from_fn(|_| Vec::with_capacity(DRAWS));
    if users.len() > 1 {
        let mut random = fastrand::Rng::with_seed(SEED);
        for _ in 0..DRAWS {
            let drawn = sums((0..users.len()).map(|_| &users[random.usize(..users.len())]));
            for (ratios, ratio) in draws.iter_mut().zip(drawn.map(share)) {
                ratios.extend(ratio);
            }
        }
    }
    let mut draws = draws.into_iter();
    total.map(|sums| {
        let interval = draws.next().and_then(middle);
        share(sums).map(|ratio| Ratio { ratio, interval })
    })
}

fn sums<'a, const W: usize>(users: impl Iterator<Item = &'a [[f64; 2]; W]>) -> [[f64; 2]; W] {
    users.fold([[0.0; 2]; W], |mut sums, user| {
        for (sum, [own, reference]) in sums.iter_mut().zip(user) {
            sum[0] += own;
            sum[1] += reference;
        }
        sums
    })
}

fn share([own, reference]: [f64; 2]) -> Option<f64> {
    (reference > 0.0).then(|| own / reference)
}

/// What the middle 95 % of the draws span.
fn middle(mut draws: Vec<f64>) -> Option<[f64; 2]> {
    draws.sort_unstable_by(f64::total_cmp);
    let last = draws.len().checked_sub(1)?;
    let at = |share: f64| draws[(share * last as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(users: &[[f64; 2]]) -> Option<Ratio> {
        let users: Vec<[[f64; 2]; 1]> = users.iter().map(|u| [*u]).collect();
        let [ratio] = ratios(&users);
        ratio
    }

    #[test]
    fn the_interval_is_that_of_the_ratio_estimator() {
        // Of 400 users a tenth loses all: the delta method gives 0.9 ± 1.96 * sqrt(0.9 * 0.1 / 400).
        let users: Vec<[f64; 2]> = (0..400).map(|i| [f64::from(u8::from(i % 10 != 0)), 1.0]).collect();
        let ratio = only(&users).unwrap();
        let [low, high] = ratio.interval.unwrap();
        assert!((ratio.ratio - 0.9).abs() < 1e-12);
        assert!((low - 0.8706).abs() < 0.005 && (high - 0.9294).abs() < 0.005, "{low} {high}");
    }

    #[test]
    fn a_variant_that_loses_the_same_everywhere_is_known_exactly() {
        let users: Vec<[f64; 2]> = (1..50).map(|i| [0.75 * f64::from(i), f64::from(i)]).collect();
        let Ratio { ratio, interval } = only(&users).unwrap();
        let [low, high] = interval.unwrap();
        assert!((ratio - 0.75).abs() < 1e-12 && (low - ratio).abs() < 1e-12 && (high - ratio).abs() < 1e-12);
    }

    #[test]
    fn users_are_drawn_as_a_whole() {
        // The same requests, of one user each and of ten users: what is alike says less.
        let alone: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(u8::from(i % 4 != 0)), 1.0]).collect();
        let together: Vec<[f64; 2]> = (0..20).map(|i| [10.0 * f64::from(u8::from(i % 4 != 0)), 10.0]).collect();
        let width = |users: &[[f64; 2]]| only(users).unwrap().interval.map(|[low, high]| high - low).unwrap();
        assert!(width(&together) > 2.0 * width(&alone));
    }

    #[test]
    fn nothing_is_said_without_users_or_of_a_reference_without_hits() {
        assert_eq!(only(&[]), None);
        assert_eq!(only(&[[1.0, 0.0], [0.0, 0.0]]), None);
        assert_eq!(only(&[[1.0, 2.0]]), Some(Ratio { ratio: 0.5, interval: None }));
    }
}
