//! Evaluations of requests whose outcome is known.

use shared_model::catalog::item_from_json;
use shared_model::schema::Schema;

use super::*;

const SCHEMA: &str =
    "schema_version = 1\nmodel = \"m\"\n[[feature]]\nname = \"quality\"\nkind = \"numeric\"\nscope = \"item\"\n";

/// Items `m0` to `m3` with these popularities.
fn catalog(popularity: [u32; 4]) -> Catalog {
    let item = |(i, p): (usize, u32)| {
        item_from_json(&format!("{{\"id\":\"m{i}\",\"quality\":1,\"popularity\":{p}}}")).unwrap()
    };
    Catalog::build(&Schema::from_toml(SCHEMA).unwrap(), popularity.into_iter().enumerate().map(item)).unwrap()
}

fn scored(user: usize, relevant: &[usize], edge: [f32; 4], reference: [f32; 4]) -> Scored {
    Scored {
        user: format!("u{user}"),
        ids: ["m0", "m1", "m2", "m3"].into_iter().collect(),
        relevant: relevant.to_vec(),
        scores: vec![edge.to_vec(), reference.to_vec(), reference.to_vec()],
        ..Scored::default()
    }
}

fn evaluated(requests: &[Scored], popularity: [u32; 4], link: Link) -> Vec<Evaluation> {
    evaluate(requests, &Terms { k: 1, link, catalog: &catalog(popularity) })
}

const RIGHT: [f32; 4] = [3.0, 2.0, 0.0, -1.0];
const WRONG: [f32; 4] = [2.0, 3.0, 0.0, -1.0];

#[test]
fn compares_sets() {
    let requests = [scored(0, &[], RIGHT, RIGHT), scored(1, &[], WRONG, RIGHT)];
    let [edge, region, origin] = &evaluated(&requests, [1; 4], Link::Sigmoid)[..] else { panic!("three variants") };
    assert_eq!((edge.requests, edge.agreement, edge.overlap, edge.regret), (2, 0.5, 0.5, 0.5));
    assert_eq!((region.agreement, region.regret), (1.0, 0.0));
    assert_eq!((edge.relevance, edge.beside, edge.quality()), (None, None, None));
    let [low, high] = edge.agreement_interval.unwrap();
    assert!(low < 0.1 && high > 0.9, "two requests say little: {low} to {high}");
    assert_eq!((origin.agreement_interval, origin.cohorts.len()), (None, 0), "the reference is not beside itself");
}

#[test]
fn relevance_stands_beside_the_reference() {
    let requests: Vec<Scored> =
        (0..40).map(|i| scored(i, &[0], if i % 4 == 0 { WRONG } else { RIGHT }, RIGHT)).collect();
    let [edge, region, origin] = &evaluated(&requests, [1; 4], Link::Identity)[..] else { panic!("three variants") };
    let beside = edge.beside.unwrap();
    assert_eq!((beside.hit_rate.unwrap().ratio, edge.relevance.unwrap().hit_rate), (0.75, 0.75));
    let [low, high] = beside.ndcg.unwrap().interval.unwrap();
    assert!(low < 0.75 && high > 0.75 && high < 1.0, "{low} to {high}");
    assert_eq!(region.beside.unwrap().auc, Some(Ratio { ratio: 1.0, interval: Some([1.0; 2]) }));
    assert_eq!((origin.beside, origin.relevance.unwrap().log_loss), (None, None), "no probability, no log loss");
    let with_link = &evaluated(&requests, [1; 4], Link::Sigmoid);
    let loss = |i: usize| with_link[i].relevance.and_then(|r| r.log_loss).unwrap();
    assert!(loss(0) > loss(2), "{} {}", loss(0), loss(2));
    assert_eq!(*with_link, evaluated(&requests, [1; 4], Link::Sigmoid), "the same input gives the same numbers");
}

#[test]
fn a_cohort_that_is_hurt_is_seen() {
    // The edge is wrong for short histories, and where the relevant item is not popular.
    let request = |i: usize| {
        let new = i.is_multiple_of(4);
        let relevant = usize::from(i.is_multiple_of(2));
        Scored {
            history: Some(if new { 2 } else { i }),
            ..scored(i, &[relevant], if new { WRONG } else { RIGHT }, RIGHT)
        }
    };
    let requests: Vec<Scored> = (4..44).map(request).collect();
    let edge = &evaluated(&requests, [9, 1, 2, 8], Link::Sigmoid)[0];
    let told: Vec<(Cohort, &str, u64, f64)> =
        edge.cohorts.iter().map(|c| (c.cohort, c.what.as_str(), c.requests, c.agreement)).collect();
    assert_eq!(
        told,
        [
            (Cohort::NewUsers, "a history of 5 or less", 11, 1.0 - 10.0 / 11.0),
            (Cohort::HeavyUsers, "a history of 31 or more", 10, 1.0),
            (Cohort::Tail, "relevant items of popularity 2 or less", 20, 0.5),
            (Cohort::Head, "relevant items of popularity above 2", 20, 1.0),
        ]
    );
    assert!(edge.cohorts[3].beside.unwrap().ndcg.unwrap().ratio == 1.0, "{:?}", edge.cohorts[3]);
}

#[test]
fn a_history_that_most_have_is_no_quarter_but_not_everybody() {
    let of = |lengths: &[usize]| -> Vec<(String, u64)> {
        let request = |n: &usize| Scored { history: Some(*n), ..scored(*n, &[], RIGHT, RIGHT) };
        let requests: Vec<Scored> = lengths.iter().map(request).collect();
        let edge = evaluated(&requests, [1; 4], Link::Sigmoid).swap_remove(0);
        edge.cohorts.into_iter().map(|c| (c.what, c.requests)).collect()
    };
    let told = |short: &str, n, long: &str, m| {
        vec![(format!("a history of {short} or less"), n), (format!("a history of {long} or more"), m)]
    };
    assert_eq!(of(&[7, 30, 30, 30, 30, 30]), told("29", 1, "30", 5), "lists are cut at 30");
    assert_eq!(of(&[0, 0, 0, 0, 0, 4]), told("0", 5, "1", 1), "most are new");
    assert_eq!(of(&[5, 5, 5]), []);
}

#[test]
fn a_cohort_that_cannot_be_formed_is_left_out() {
    let alike = [scored(0, &[0], RIGHT, RIGHT), scored(1, &[1], RIGHT, RIGHT)];
    assert_eq!(evaluated(&alike, [1; 4], Link::Sigmoid)[0].cohorts, [], "no history, and all as popular");
    let of = |requests: &[Scored]| {
        let edge = evaluated(requests, [9, 1, 2, 8], Link::Sigmoid).swap_remove(0);
        edge.cohorts.iter().map(|c| c.cohort).collect::<Vec<_>>()
    };
    assert_eq!(of(&alike[..1]), [Cohort::Head], "nobody looks for what is not popular");
    assert_eq!(of(&[scored(0, &[], RIGHT, RIGHT)]), [], "nothing relevant");
    assert_eq!(of(&[scored(0, &[0, 1], RIGHT, RIGHT)]), [], "neither one nor the other");
}
