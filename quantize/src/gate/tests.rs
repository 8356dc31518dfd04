//! Certification against simulated worlds, and the shortcut of traces against the decisions that serve.

use std::collections::HashSet;

use shared_model::gate::Class;
use shared_model::wire::Tier;

use super::trace::{MARGINS, Steps, WIDTHS};
use super::*;
use crate::replay::follow;
use crate::score::MessageSize;
use crate::simulate::simulate;

/// `users` users with `each` requests of `n` candidates; the edge's scores are the reference's with noise of this size,
/// the region's with a tenth of it. Of the edge's every fourth is three times as noisy as others.
fn world(users: usize, each: usize, n: usize, noise: f32) -> Vec<Scored> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut normal = move || (0..12).map(|_| random.f32()).sum::<f32>() - 6.0;
    let times = |i: usize| if i.is_multiple_of(4) { 3.0 } else { 1.0 };
    let request = |user: usize| {
        let reference: Vec<f32> = (0..n).map(|_| normal()).collect();
        let edge = reference.iter().enumerate().map(|(i, s)| s + times(i) * noise * normal()).collect();
        let region = reference.iter().map(|s| s + 0.1 * noise * normal()).collect();
        let noise = vec![(0..n).map(times).collect(), vec![1.0; n], vec![1.0; n]];
        let message = MessageSize { rest: 100, candidates: vec![10; n] };
        let scores = vec![edge, region, reference];
        Scored { user: format!("u{user}"), scores, noise, message, ..Scored::default() }
    };
    (0..users * each).map(|i| i / each).map(request).collect()
}

fn claim(alpha: f64, ks: &[u32]) -> Claim {
    Claim { alpha, delta: 0.05, ks: ks.to_vec() }
}

#[test]
fn certifies_every_class_that_it_uses() {
    let policies = calibrate(&world(1500, 2, 40, 0.05), &claim(0.05, &[5]));
    let [policy] = &policies[..] else { panic!("one k, one N") };
    assert_eq!((policy.reason.as_deref(), policy.n_min, policy.n_max), (None, 40, 40));
    let classes: HashSet<Class> = policy.evidence.classes.iter().map(|c| c.class).collect();
    assert!(classes.contains(&Class::Edge) && classes.contains(&Class::MergedRegion), "{policy:?}");
    assert!(policy.evidence.classes.iter().all(|c| c.answered > 58 && c.bound <= 0.05), "{policy:?}");
}

#[test]
fn sends_up_fewer_candidates_than_all() {
    let world = world(1500, 2, 40, 0.05);
    let policies = calibrate(&world, &claim(0.05, &[5]));
    let replay = &crate::replay::replay(&policies, &world)[0];
    let upload = replay.upload.expect("some requests are sent up");
    assert!(upload.sent < 20.0 && upload.bytes < upload.bytes_whole, "{upload:?}");
}

#[test]
fn certifies_nothing_for_variants_that_are_never_right() {
    let mut world = world(1000, 2, 40, 0.05);
    for request in &mut world {
        let opposite: Vec<f32> = request.scores[2].iter().map(|s| -s).collect();
        (request.scores[0], request.scores[1]) = (opposite.clone(), opposite);
    }
    let policy = &calibrate(&world, &claim(0.05, &[5]))[0];
    assert_eq!((policy.edge.margin, policy.region.margin, policy.evidence.classes.len()), (None, None, 0));
    assert!(policy.reason.as_deref().is_some_and(|r| r.contains("comes near alpha")), "{policy:?}");
}

#[test]
fn says_how_many_requests_are_missing() {
    let policy = &calibrate(&world(60, 1, 40, 0.05), &claim(0.05, &[5]))[0];
    assert!(
        policy.reason.as_deref().is_some_and(|r| r.starts_with("40 gate requests to certify on are too few")),
        "{:?}",
        policy.reason
    );
}

#[test]
fn every_k_and_bucket_has_its_own_policy_and_a_share_of_delta() {
    let mut both = world(300, 2, 40, 0.05);
    both.extend(world(300, 2, 100, 0.05));
    let policies = calibrate(&both, &claim(0.05, &[5, 50, 5]));
    let held: Vec<(u32, u32, u32)> = policies.iter().map(|p| (p.k, p.n_min, p.n_max)).collect();
    assert_eq!(held, [(5, 40, 40), (5, 100, 100), (50, 100, 100)], "k = 50 of 40 is trivial");
    let alone = calibrate(&both[..600], &claim(0.05, &[5]));
    for (policy, parts) in [(&policies[0], 3.0), (&alone[0], 1.0)] {
        let effect = policy.evidence.design_effect;
        assert!(!policy.evidence.classes.is_empty(), "{policy:?}");
        for class in &policy.evidence.classes {
            let bound = upper_bound(class.answered as f64 / effect, class.errors as f64 / effect, 0.05 / parts);
            assert_eq!(class.bound, bound, "delta in {parts} parts");
        }
    }
}

#[test]
fn the_sizes_of_the_command_line_over_two_buckets_have_a_policy_each_and_a_tenth_of_delta() {
    let mut both = world(600, 2, 60, 0.03);
    both.extend(world(600, 2, 100, 0.03));
    let policies = calibrate(&both, &claim(0.05, &crate::build::KS));
    let held: Vec<(u32, u32)> = policies.iter().map(|p| (p.k, p.n_max)).collect();
    let expected = crate::build::KS.iter().flat_map(|k| [(*k, 60), (*k, 100)]);
    assert_eq!(held, expected.collect::<Vec<_>>());
    assert_eq!(policies.len(), 10);
    let mut classes = 0;
    for policy in &policies {
        let effect = policy.evidence.design_effect;
        for class in &policy.evidence.classes {
            let bound = upper_bound(class.answered as f64 / effect, class.errors as f64 / effect, 0.05 / 10.0);
            assert_eq!(class.bound, bound, "k = {}, n = {}: {class:?}", policy.k, policy.n_max);
            classes += 1;
        }
    }
    assert!(classes >= 10, "too little is certified to show it: {policies:?}");
}

#[test]
fn keeps_all_requests_of_a_user_in_one_part() {
    let world = world(128, 7, 8, 0.1);
    let requests: Vec<&Scored> = world.iter().collect();
    let users = by_user(&requests);
    let (tuning, rest) = split(&users, requests.len());
    let names = |part: &[Vec<usize>]| part.iter().flatten().map(|i| &requests[*i].user).collect::<HashSet<_>>();
    assert!(names(tuning).is_disjoint(&names(rest)));
    let tuned = tuning.iter().map(Vec::len).sum::<usize>();
    assert!((298..=306).contains(&tuned), "{tuned} of 896");
}

#[test]
fn counting_traces_is_following_the_ladder() {
    let world = world(150, 2, 30, 0.2);
    let requests: Vec<&Scored> = world.iter().collect();
    let k = 5;
    let grid = Grid::over(&requests, k);
    let traces: Vec<Trace> = requests.iter().map(|r| Trace::new(r, k, &grid)).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let mut step = |n: usize| Some(random.usize(..n)).filter(|i| i % 5 != 0);
    for _ in 0..200 {
        let steps = [(); 2].map(|()| Steps { margin: step(MARGINS), doubt: step(WIDTHS) });
        let [edge, region] = grid.thresholds(steps);
        let evidence = Evidence { requests: 0, users: 0, design_effect: 1.0, classes: Vec::new() };
        let (n_min, n_max, alpha, delta, reason) = (30, 30, 0.05, 0.05, None);
        let policies = [Policy { k: 5, n_min, n_max, alpha, delta, edge, region, reason, evidence }];
        let tally = Tally::of(steps, traces.iter());
        let replay = &crate::replay::replay(&policies, &world)[0];
        for (entry, class, count) in tally.iter() {
            let share = replay.classes.iter().find(|c| (c.entry, c.class) == (entry, Some(class)));
            let followed = share.map_or((0, 0), |c| (c.answered, c.errors));
            assert_eq!((count.answered, count.errors), followed, "{steps:?} {entry:?} {class:?}");
        }
    }
}

#[test]
fn merging_keeps_the_best_of_both() {
    let world = world(200, 1, 30, 0.2);
    let evidence = Evidence { requests: 0, users: 0, design_effect: 1.0, classes: Vec::new() };
    let edge = Thresholds { margin: None, doubt: Some(2.0) };
    let region = Thresholds { margin: None, doubt: Some(0.5) };
    let (n_min, n_max, alpha, delta, reason) = (30, 30, 0.05, 0.05, None);
    let policies = [Policy { k: 5, n_min, n_max, alpha, delta, edge, region, reason, evidence }];
    for request in &world {
        let path = follow(&policies, request, 5, Tier::Edge);
        assert_eq!((path.tier, path.class), (Tier::Origin, Some(Class::MergedOrigin)));
        assert_eq!(path.set.iter().collect::<HashSet<_>>().len(), 5, "five, none twice: {path:?}");
    }
    let share = &crate::replay::replay(&policies, &world)[0].classes[0];
    assert_eq!((share.answered, share.errors), (200, 0), "widths of ten times the noise lose nothing");
}

#[test]
fn certifications_err_no_more_often_than_they_say() {
    let level = Level { alpha: 0.05, delta: 0.05 };
    for noise in [0.15, 0.05] {
        let simulated = simulate(&world(400, 3, 30, noise), 5, 400, 2000, 1, level);
        assert!(simulated.certified > 0.9, "{noise}: {simulated:?}");
        // What 2,000 draws may miss delta by.
        assert!(simulated.erred <= 0.065, "{noise}: {simulated:?}");
    }
    let careless = simulate(&world(400, 3, 30, 0.15), 5, 400, 200, 1, Level { delta: 0.95, ..level });
    assert!(careless.erred > 0.2, "a certification without care errs: {careless:?}");
}
