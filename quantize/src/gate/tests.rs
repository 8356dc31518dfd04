//! The bounds against known values, and sequences against simulated requests.

use super::*;

const CLAIM: Claim = Claim { alpha: 0.05, delta: 0.05, k: 10 };

/// `n` requests with margins spread over 0..1, wrong with a share that falls from `worst` to 0 as the margin grows.
fn outcomes(n: u32, per_user: u32, worst: f64) -> Vec<Outcome> {
    (0..n)
        .map(|i| {
            let draw = |salt: u64| xxh64(&i.to_le_bytes(), salt) as f64 / u64::MAX as f64;
            let margin = draw(1);
            Outcome {
                user: format!("u{}", i / per_user),
                margin: Some(margin as f32),
                agrees: draw(2) >= worst * (1.0 - margin).powi(2),
                n: 100,
            }
        })
        .collect()
}

#[test]
fn the_bound_is_that_of_the_exact_test() {
    // Zero of 59: 1 - 0.05^(1/59); values for 3 of 100 from R's binom.test.
    assert!((upper_bound(59.0, 0.0, 0.05) - (1.0 - 0.05f64.powf(1.0 / 59.0))).abs() < 1e-9);
    assert!((upper_bound(100.0, 3.0, 0.05) - 0.075_712).abs() < 1e-5, "{}", upper_bound(100.0, 3.0, 0.05));
    assert!((upper_bound(5.0, 5.0, 0.05) - 1.0).abs() < 1e-12);
}

#[test]
fn certifies_the_margins_that_agree() {
    let policy = certify(VariantName::W8, &outcomes(6000, 1, 0.4), |_| true, CLAIM);
    let threshold = policy.threshold.unwrap();
    assert!((0.1..0.6).contains(&threshold), "{threshold}");
    assert!(policy.evidence.bound.unwrap() <= 0.05 && policy.evidence.errors > 0);
    assert_eq!((policy.n_min, policy.n_max, policy.reason), (100, 100, None));
}

#[test]
fn certifies_nothing_for_a_variant_that_is_never_right() {
    let mut all = outcomes(3000, 1, 1.0);
    all.iter_mut().for_each(|o| o.agrees = o.agrees && o.n == 0);
    let policy = certify(VariantName::W4, &all, |_| true, CLAIM);
    assert_eq!((policy.threshold, policy.evidence.bound), (None, None));
    assert!(policy.reason.unwrap().contains("no threshold comes near alpha"));
}

#[test]
fn says_how_many_requests_are_missing() {
    let policy = certify(VariantName::W8, &outcomes(60, 1, 0.0), |_| true, CLAIM);
    assert!(policy.reason.unwrap().contains("needs 59 without an error"));
}

#[test]
fn keeps_all_requests_of_a_user_in_one_part() {
    let all = outcomes(900, 7, 0.3);
    let (tuning, rest) = split(&all);
    let users = |part: &[usize]| part.iter().map(|i| all[*i].user.as_str()).collect::<HashSet<_>>();
    assert!(users(&tuning).is_disjoint(&users(&rest)));
    assert!((300..310).contains(&tuning.len()) && tuning.len() + rest.len() == 900);
}

#[test]
fn repeated_requests_of_a_user_count_less() {
    let alone = outcomes(3000, 1, 0.4);
    let repeated: Vec<Outcome> = outcomes(1000, 1, 0.4).into_iter().flat_map(|o| [o.clone(), o.clone(), o]).collect();
    let effect = |all: &[Outcome]| design_effect(&all.iter().collect::<Vec<_>>());
    assert!(effect(&alone) < 1.01, "{}", effect(&alone));
    assert!((effect(&repeated) - 3.0).abs() < 0.01, "{}", effect(&repeated));
}

#[test]
fn without_an_error_the_requests_of_a_user_count_as_one() {
    let all = outcomes(900, 3, 0.0);
    let effect = |all: &[Outcome]| design_effect(&all.iter().collect::<Vec<_>>());
    assert!((effect(&all) - 3.0).abs() < 1e-9, "{}", effect(&all));
    assert!((effect(&all[..3]) - 3.0).abs() < 1e-9, "one user");
    assert!((effect(&[]) - 1.0).abs() < 1e-9);
}

/// Wrong once in eight where the margin is within `wrong`, right elsewhere.
fn wrong_within(n: u32, wrong: std::ops::Range<f32>) -> Vec<Outcome> {
    let mut all = outcomes(n, 1, 0.0);
    for (i, o) in (0u32..).zip(&mut all) {
        let drawn = xxh64(&i.to_le_bytes(), 3).is_multiple_of(8);
        o.agrees = !(drawn && o.margin.is_some_and(|m| wrong.contains(&m)));
    }
    all
}

#[test]
fn certifies_nothing_when_what_the_tier_below_leaves_is_hard() {
    // Margins are the same on both tiers: the one below answers what is easy.
    let all = wrong_within(9000, 0.0..0.3);
    let alone = certify(VariantName::W8, &all, |_| true, CLAIM);
    assert!(alone.threshold.is_some_and(|t| t < 0.1), "{alone:?}");
    let above = certify(VariantName::W8, &all, |i| all[i].margin.is_some_and(|m| m < 0.3), CLAIM);
    assert_eq!((above.threshold, above.evidence.bound), (None, None), "{above:?}");
    assert!((1600..2000).contains(&above.evidence.requests), "{above:?}");
}

#[test]
fn certifies_nothing_that_does_not_hold_for_clients_that_ask_directly() {
    let mut all = wrong_within(9000, 0.3..1.1);
    let sent = |o: &Outcome| o.margin.is_some_and(|m| m < 0.3);
    let alone: Vec<Outcome> = all.iter().filter(|o| sent(o)).cloned().collect();
    assert!(certify(VariantName::W8, &alone, |_| true, CLAIM).threshold.is_some());
    let reaching: Vec<bool> = all.iter().map(sent).collect();
    let policy = certify(VariantName::W8, &all, |i| reaching[i], CLAIM);
    assert_eq!(policy.threshold, None, "{policy:?}");
    // Nothing to say of a tier that is asked nothing.
    all.iter_mut().for_each(|o| o.agrees = true);
    let unasked = certify(VariantName::W8, &all, |_| false, CLAIM);
    assert!(unasked.reason.unwrap().contains("the tier below answers all"));
}

#[test]
fn starts_where_one_request_fewer_does_not_end_it() {
    let all = outcomes(2000, 1, 0.0);
    let sample = Sample::new(&all, &split(&all), |_| true);
    let first = thresholds([&sample, &sample], CLAIM)[0];
    let answered =
        Counts::at(&sample.tuning, first).answered as f64 * sample.rest.len() as f64 / sample.tuning.len() as f64;
    assert!((110.0..150.0).contains(&answered), "59 would do, twice as many are sought: {answered}");
}

#[test]
fn stops_at_the_first_failure() {
    // The margins between 0.5 and 0.6 are wrong in the certifying part alone: what is looser must not be taken.
    let mut all = outcomes(6000, 1, 0.0);
    let (_, rest) = split(&all);
    let certifying: HashSet<String> = rest.iter().map(|i| all[*i].user.clone()).collect();
    for o in &mut all {
        let within = o.margin.is_some_and(|m| (0.5..0.6).contains(&m));
        o.agrees = !(within && certifying.contains(&o.user));
    }
    let threshold = certify(VariantName::W8, &all, |_| true, CLAIM).threshold.unwrap();
    assert!(threshold > 0.55, "{threshold}");
}
