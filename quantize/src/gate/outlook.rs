//! How likely a class is to pass its test: what the tuning requests say of the certifying ones.

use puruspe::ln_gamma;

use super::Level;
use super::bound::is_below;
use super::tally::Count;

/// Of classes counted on the tuning requests.
pub(super) struct Outlook {
    /// For so many independent requests, the most errors that pass.
    allowed: Vec<Option<u32>>,
    /// Independent requests among the certifying, over the tuning requests.
    scale: f64,
    effect: f64,
}

impl Outlook {
    /// `effect` is the design effect.
    pub(super) fn new(tuning: usize, certifying: usize, effect: f64, level: Level) -> Self {
        let independent = certifying as f64 / effect;
        let mut passing = 0;
        let allowed = (0..=independent as usize).map(|n| {
            while is_below(n as f64, f64::from(passing), level.alpha, level.delta) {
                passing += 1;
            }
            u32::checked_sub(passing, 1)
        });
        Self { allowed: allowed.collect(), scale: independent / tuning.max(1) as f64, effect }
    }

    /// The probability to pass: errors are beta-binomial, with Jeffreys' prior of their share. A class may also be smaller
    /// than it was, and counts as smaller by a standard deviation.
    pub(super) fn chance(&self, count: Count) -> f64 {
        let expected = count.answered as f64 * self.scale;
        let n = (expected - expected.sqrt()).max(0.0).floor();
        let Some(Some(allowed)) = self.allowed.get(n as usize) else { return 0.0 };
        let wrong = count.errors as f64 / self.effect + 0.5;
        let right = (count.answered - count.errors) as f64 / self.effect + 0.5;
        let none = ln_gamma(n + right) - ln_gamma(right) + ln_gamma(wrong + right) - ln_gamma(wrong + right + n);
        let errors = std::iter::successors(Some((0.0, none.exp())), |(x, p): &(f64, f64)| {
            let more = (n - x) / (x + 1.0) * (x + wrong) / (n - x - 1.0 + right);
            Some((x + 1.0, p * more))
        });
        errors.take(*allowed as usize + 1).map(|(_, p)| p).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: Level = Level { alpha: 0.05, delta: 0.05 };

    fn chance(outlook: &Outlook, answered: u64, errors: u64) -> f64 {
        outlook.chance(Count { answered, errors })
    }

    #[test]
    fn a_class_passes_as_often_as_the_beta_binomial_says() {
        // 110 expected, 99 counted on; one error of 99 passes, a second does not.
        let outlook = Outlook::new(500, 500, 1.0, LEVEL);
        assert_eq!((outlook.allowed[58], outlook.allowed[59], outlook.allowed[99]), (None, Some(0), Some(1)));
        let by_hand = |n: f64, a: f64, b: f64| {
            let beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
            (beta(a, n + b) - beta(a, b)).exp() + n * (beta(a + 1.0, n - 1.0 + b) - beta(a, b)).exp()
        };
        let found = chance(&outlook, 110, 1);
        assert!((found - by_hand(99.0, 1.5, 109.5)).abs() < 1e-9, "{found}");
    }

    #[test]
    fn fewer_errors_and_more_requests_are_likelier_to_pass() {
        let outlook = Outlook::new(1000, 2000, 1.5, LEVEL);
        assert!(chance(&outlook, 1000, 10) > chance(&outlook, 1000, 20));
        assert!(chance(&outlook, 1000, 20) > chance(&outlook, 500, 10));
        assert!(chance(&outlook, 1000, 0) > 0.999 && chance(&outlook, 1000, 100) < 1e-3);
    }

    #[test]
    fn a_class_that_may_come_out_too_small_does_not_pass() {
        let outlook = Outlook::new(100, 100, 1.0, LEVEL);
        assert_eq!(chance(&outlook, 60, 0), 0.0, "59 are needed, and fewer than 60 may come");
        assert!(chance(&outlook, 70, 0) > 0.5);
        assert_eq!(chance(&outlook, 0, 0), 0.0);
    }
}
