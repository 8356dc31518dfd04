//! The statistics of a certification: exact bounds on a share, and how much less than their number a user's requests say.

use puruspe::ln_gamma;

/// As near to 1 as a factor of a continued fraction comes before what follows makes no difference.
const NEAR: f64 = 1e-15;
/// Steps that a continued fraction takes for some 10¹⁰ requests.
const MOST_STEPS: u32 = 1 << 20;

/// The exact Clopper-Pearson upper bound on a probability, at level `delta`, of `errors` among `n`.
#[must_use]
pub fn upper_bound(n: f64, errors: f64, delta: f64) -> f64 {
    if n <= errors { 1.0 } else { beta_quantile(1.0 - delta, errors + 1.0, n - errors) }
}

/// The two-sided exact interval of a share with 95 % confidence.
#[must_use]
pub fn interval(n: u64, errors: u64) -> Option<[f64; 2]> {
    exact(n as f64, errors as f64)
}

/// The same of requests by user, each with how many of them are errors: they count as fewer by the design effect.
pub(crate) fn interval_by_user(users: impl Iterator<Item = (u64, u64)> + Clone) -> Option<[f64; 2]> {
    let (n, errors) = users.clone().fold((0, 0), |(n, e), (requests, errors)| (n + requests, e + errors));
    let effect = design_effect(users);
    exact(n as f64 / effect, errors as f64 / effect)
}

fn exact(n: f64, errors: f64) -> Option<[f64; 2]> {
    let lower = if errors > 0.0 { beta_quantile(0.025, errors, n - errors + 1.0) } else { 0.0 };
    (n > 0.0).then(|| [lower, upper_bound(n, errors, 0.025)])
}

/// Whether the upper bound is at most `alpha`; quicker than the bound itself.
pub(super) fn is_below(n: f64, errors: f64, alpha: f64, delta: f64) -> bool {
    n > errors && errors < alpha * n && beta(n - errors, errors + 1.0, 1.0 - alpha) <= delta
}

/// The distribution function of a beta-distributed number, by its continued fraction (DLMF 8.17.22), which Lentz's method
/// evaluates from the front. A crate's ran off above 3,000 errors.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // It converges fast below the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(b, a, 1.0 - x);
    }
    let ln_scale = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    let (mut fraction, mut c, mut d) = (1.0, 1.0, 0.0);
    for m in (0..MOST_STEPS).map(f64::from) {
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let even = (m + 1.0) * (b - m - 1.0) * x / ((a + 2.0 * m + 1.0) * (a + 2.0 * m + 2.0));
        let mut factor = 1.0;
        for term in [odd, even] {
            d = 1.0 / (1.0 + term * d);
            c = 1.0 + term / c;
            factor = c * d;
            fraction *= factor;
        }
        if (factor - 1.0).abs() < NEAR {
            break;
        }
    }
    ln_scale.exp() / (a * fraction)
}

/// Where the distribution function is `p`.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let [mut low, mut high] = [0.0, 1.0];
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        *if beta(a, b, middle) < p { &mut low } else { &mut high } = middle;
    }
}

/// How many times larger the variance of an error rate is with users drawn as a whole than with requests drawn one by
/// one; at least 1. `users` gives each user's requests and how many of them are errors.
///
/// The ratio estimator of cluster sampling (Kish, Survey Sampling, 1965, §6.3 and §8.2). Where errors say nothing of
/// how alike a user's requests are, they count as all alike.
pub(super) fn design_effect(users: impl Iterator<Item = (u64, u64)> + Clone) -> f64 {
    let (n, errors) = users.clone().fold((0, 0), |(n, e), (requests, errors)| (n + requests, e + errors));
    let (n, clusters) = (n as f64, users.clone().count() as f64);
    let rate = errors as f64 / n.max(1.0);
    let spread = rate * (1.0 - rate) * n;
    if clusters < 2.0 || spread == 0.0 {
        let squares: f64 = users.map(|(requests, _)| (requests * requests) as f64).sum();
        return (squares / n.max(1.0)).max(1.0);
    }
    let residuals: f64 = users.map(|(requests, errors)| (errors as f64 - rate * requests as f64).powi(2)).sum();
    (residuals * clusters / (clusters - 1.0) / spread).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_exact_test() {
        // Zero of 59: 1 - 0.05^(1/59); values for 3 of 100 from R's binom.test.
        assert!((upper_bound(59.0, 0.0, 0.05) - (1.0 - 0.05f64.powf(1.0 / 59.0))).abs() < 1e-9);
        assert!((upper_bound(100.0, 3.0, 0.05) - 0.075_712).abs() < 1e-5, "{}", upper_bound(100.0, 3.0, 0.05));
        assert!((upper_bound(5.0, 5.0, 0.05) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_errors_have_their_bound() {
        // From sums of binomial probabilities with 50 digits.
        for (n, errors, delta, want) in [
            (8000.0, 4000.0, 0.025, 0.511_017_351_636),
            (10_000.0, 3500.0, 0.025, 0.359_441_062_105),
            (60_000.0, 3100.0, 0.05, 0.053_177_516_813),
        ] {
            let got = upper_bound(n, errors, delta);
            assert!((got - want).abs() < 1e-10, "{errors} of {n}: {got} for {want}");
        }
        assert!((beta(76_100.0, 3901.0, 0.95) - 0.052_824_236_308).abs() < 1e-9);
        assert!(!is_below(80_000.0, 3900.0, 0.05, 0.05) && is_below(80_000.0, 3850.0, 0.05, 0.05));
        // Where the normal distribution is near enough.
        for n in [1e4, 1e6, 1e9] {
            let [low, high] = exact(n, n / 2.0).unwrap();
            let width = 2.0 * 1.96 * 0.5 / n.sqrt();
            assert!(((high - low) / width - 1.0).abs() < 0.01, "of {n}: {low} to {high}");
        }
    }

    #[test]
    fn the_quick_test_is_that_of_the_bound() {
        for n in [1.0, 30.0, 58.0, 59.0, 400.5, 5000.0] {
            for errors in [0.0, 1.0, 2.5, 40.0, 250.0] {
                let bound = upper_bound(n, errors, 0.05);
                assert_eq!(is_below(n, errors, 0.05, 0.05), bound <= 0.05, "{errors} of {n}: {bound}");
            }
        }
    }

    #[test]
    fn the_interval_is_that_of_the_exact_test() {
        // R: binom.test(3, 100)$conf.int
        let [low, high] = interval(100, 3).unwrap();
        assert!((low - 0.006_230).abs() < 1e-5 && (high - 0.085_176).abs() < 1e-5, "{low} {high}");
        assert_eq!(interval(0, 0), None);
        assert_eq!(interval(10, 0).unwrap()[0], 0.0);
    }

    #[test]
    fn an_interval_by_user_is_wider_where_users_repeat_themselves() {
        let alone = interval_by_user([(1, 1), (1, 0), (1, 0), (1, 0)].repeat(25).into_iter());
        assert!(alone.unwrap()[0] > interval(100, 25).unwrap()[0] - 0.01, "{alone:?}");
        let repeated = interval_by_user([(4, 4), (4, 0), (4, 0), (4, 0)].repeat(25).into_iter());
        let [[low, high], [from, to]] = [repeated.unwrap(), alone.unwrap()];
        assert!((low - from).abs() < 0.01 && (high - to).abs() < 0.01, "400 requests say no more than 100 do");
        assert_eq!(interval_by_user(std::iter::empty()), None);
    }

    #[test]
    fn repeated_requests_of_a_user_count_less() {
        let alone: Vec<(u64, u64)> = (0..3000).map(|i| (1, u64::from(i % 7 == 0))).collect();
        let repeated: Vec<(u64, u64)> = (0..1000).map(|i| (3, 3 * u64::from(i % 7 == 0))).collect();
        assert!(design_effect(alone.into_iter()) < 1.01);
        assert!((design_effect(repeated.into_iter()) - 3.0).abs() < 0.01);
    }

    #[test]
    fn without_an_error_the_requests_of_a_user_count_as_one() {
        assert!((design_effect([(3, 0); 300].into_iter()) - 3.0).abs() < 1e-9);
        assert!((design_effect([(3, 1)].into_iter()) - 3.0).abs() < 1e-9, "one user");
        assert!((design_effect(std::iter::empty()) - 1.0).abs() < 1e-9);
    }
}
