//! Only the candidates in doubt go up: what is sent, what comes back, and how it is merged.

use shared_model::ladder::{Call, Outcome, Step};
use shared_model::wire::{
    Answer, Digest, Escalation, Part, RankRequest, Ranked, Reason, Reply, Stamp, Tier, TierChoice, Whole, Why,
};

use crate::toy::{answered, call, escalated, ids, ladder, of};

/// In the order of the scores: 19, 12 | 11, 10, 9 and far off 1. The edge is not sure; 12, 11, 10 and 9 are in doubt.
fn unsure() -> RankRequest {
    of(&["i1", "i9", "i10", "i11", "i12", "i19"], r#","k":2,"exclude":["absent"]"#)
}

fn with_k(k: u32) -> RankRequest {
    RankRequest { k, ..unsure() }
}

fn sent(message: &Escalation) -> Vec<&str> {
    message.request.candidates.iter().map(|c| c.id.as_str()).collect()
}

fn from_below(message: &Escalation) -> Call {
    Call { request: message.request.clone(), below: Some(message.stamp), part: message.part }
}

fn reply(step: Step) -> Outcome {
    Outcome::Reply(Reply::Answer(Box::new(answered(step))))
}

/// What the origin says to an escalation, by the toy's scores.
fn reference(message: &Escalation) -> Outcome {
    let quality = |id: &str| id.trim_start_matches('i').parse::<f32>().expect("an item");
    let mut ids = sent(message);
    ids.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
    let entry = |id: &&str| Ranked { id: (*id).to_owned(), score: Some(quality(id)), by: Tier::Origin };
    let ranked = ids.iter().take(message.request.k as usize).map(entry).collect();
    let blank = answered(ladder(Tier::Region).rank(&call(of(&[], ""))));
    Outcome::Reply(Reply::Answer(Box::new(Answer {
        tier: Tier::Origin,
        reason: Reason::Reference,
        agreement: None,
        ranked,
        stamp: Some(message.stamp),
        ..blank
    })))
}

#[test]
fn sends_up_the_candidates_in_doubt_with_the_rest_of_k() {
    // 19, 12, 11 | 10, 9, 1: the middle is 10.5.
    let (_, message) = escalated(ladder(Tier::Edge).rank(&call(with_k(3))));
    assert_eq!(sent(&message), ["i9", "i10", "i11", "i12"], "in request order");
    assert_eq!((message.request.k, message.part), (2, Some(Part { k: 3, n: 6 })));
    assert_eq!((message.why, message.request.exclude.len()), (Why::Unsure, 0));
    assert_eq!(message.request.user, with_k(3).user);
}

#[test]
fn merges_the_origins_choice_behind_the_certain() {
    let mut edge = ladder(Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let answer = answered(edge.resume(&held, reference(&message)));
    assert_eq!(ids(&answer), ["i19", "i12", "i11"]);
    assert_eq!(answer.ranked.iter().map(|r| r.by).collect::<Vec<_>>(), [Tier::Edge, Tier::Origin, Tier::Origin]);
    assert_eq!((answer.tier, answer.reason, answer.degradation), (Tier::Origin, Reason::Merged, 0));
    let claim = answer.agreement.expect("a claim");
    assert_eq!((claim.class.as_str(), claim.k, claim.alpha, claim.margin), ("merged_origin", 3, 0.05, None));
}

#[test]
fn nothing_is_claimed_of_what_the_origin_ranks_where_the_certified_region_sends_up_no_part() {
    let mut edge = ladder(Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(with_k(4))));
    assert!(message.part.is_some(), "the edge sends a part, and there is no region between it and the origin");
    let answer = answered(edge.resume(&held, reference(&message)));
    assert_eq!((answer.reason, answer.degradation, answer.agreement), (Reason::Merged, 0, None));
    assert_eq!(answer.ranked.len(), 4);
}

#[test]
fn nothing_is_claimed_of_what_the_origin_ranks_in_a_lower_precision() {
    let rounded = |message: &Escalation| {
        let Outcome::Reply(Reply::Answer(answer)) = reference(message) else { panic!("an answer") };
        let variant = Some("tf32".to_owned());
        Outcome::Reply(Reply::Answer(Box::new(Answer { reason: Reason::Rounded, variant, ..*answer })))
    };
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let (held_above, above) = escalated(region.rank(&from_below(&message)));
    for outcome in [rounded(&message), reply(region.resume(&held_above, rounded(&above)))] {
        let answer = answered(edge.resume(&held, outcome));
        assert_eq!((answer.reason, answer.variant.as_deref()), (Reason::Merged, Some("tf32")));
        assert_eq!((ids(&answer), answer.degradation), (vec!["i19", "i12", "i11"], 0));
        assert_eq!(answer.agreement, None);
    }
}

#[test]
fn whoever_merges_explains() {
    let mut edge = ladder(Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(RankRequest { explain: true, ..with_k(3) })));
    assert!(!message.request.explain, "of a part there is nothing to explain to the client");
    let answer = answered(edge.resume(&held, reference(&message)));
    let explanation: serde_json::Value = serde_json::from_str(&answer.explanation.expect("an explanation")).unwrap();
    assert_eq!((&explanation["tier"], explanation["candidates"].as_u64()), (&"edge".into(), Some(6)));
    assert_eq!(explanation["policy"]["edge"]["doubt"].as_f64(), Some(4.0));
}

#[test]
fn the_region_decides_on_a_part_by_the_policy_of_its_request() {
    let mut edge = ladder(Tier::Edge);
    let request = RankRequest { k: 3, ..of(&["i1", "i9", "i10", "i13", "i12", "i19"], "") };
    let (held, message) = escalated(edge.rank(&call(request)));
    assert_eq!(sent(&message), ["i9", "i10", "i13", "i12"]);
    let step = ladder(Tier::Region).rank(&from_below(&message));
    let claim = answered(step.clone()).agreement.expect("a claim");
    assert_eq!(
        (claim.class.as_str(), claim.k, claim.margin, claim.threshold),
        ("merged_region", 3, Some(2.0), Some(2.0))
    );
    let answer = answered(edge.resume(&held, reply(step)));
    assert_eq!((ids(&answer), answer.tier), (vec!["i19", "i13", "i12"], Tier::Region));
    assert_eq!(answer.variant.as_deref(), Some("w8"));
    assert_eq!(answer.agreement.expect("a claim"), claim);
}

#[test]
fn a_part_of_a_part_goes_on_to_the_origin_and_is_merged_twice() {
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let (held_above, above) = escalated(region.rank(&from_below(&message)));
    assert_eq!((sent(&above), above.request.k, above.part), (vec!["i9", "i10", "i11", "i12"], 2, message.part));
    let merged = region.resume(&held_above, reference(&above));
    let answer = answered(edge.resume(&held, reply(merged)));
    assert_eq!((ids(&answer), answer.tier), (vec!["i19", "i12", "i11"], Tier::Origin));
    assert_eq!(answer.agreement.expect("a claim").class, "merged_origin");
}

#[test]
fn a_region_that_answers_without_the_origin_makes_no_claim_but_counts() {
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let (held_above, _) = escalated(region.rank(&from_below(&message)));
    let alone = region.resume(&held_above, Outcome::Gone);
    let answer = answered(edge.resume(&held, reply(alone)));
    assert_eq!((answer.degradation, answer.reason, answer.tier), (1, Reason::UpstreamGone, Tier::Region));
    assert_eq!((ids(&answer), &answer.agreement), (vec!["i19", "i12", "i11"], &None));
}

#[test]
fn another_bundle_above_wants_the_whole_request() {
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let others = [Stamp { bundle: Digest([7; 32]), ..message.stamp }, Stamp { catalog: 9, ..message.stamp }];
    for below in others {
        let step = region.rank(&Call { below: Some(below), ..from_below(&message) });
        assert_eq!(step, Step::Whole(Whole::OtherBundle));
    }
    let (held, whole) = escalated(edge.resume(&held, Outcome::Reply(Reply::Whole(Whole::OtherBundle))));
    let of_origin = RankRequest { tier: TierChoice::Origin, ..with_k(3) };
    assert_eq!((whole.request, whole.part), (of_origin, None), "no region of the same bundle is to claim for it alone");
    let once = edge.resume(&held, Outcome::Reply(Reply::Whole(Whole::OtherBundle)));
    assert_eq!(answered(once).degradation, 1, "it escalates at most once more");
}

#[test]
fn without_a_policy_for_what_goes_on_the_origin_ranks_all() {
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (held, message) = escalated(edge.rank(&call(RankRequest { k: 4, ..with_k(4) })));
    let Step::Whole(why) = region.rank(&from_below(&message)) else { panic!("it is sure") };
    assert_eq!(why, Whole::NoPolicy);
    let (held, whole) = escalated(edge.resume(&held, Outcome::Reply(Reply::Whole(why))));
    assert_eq!((whole.request.tier, whole.request.candidates.len()), (TierChoice::Origin, 6));
    let (_, passed) = escalated(region.rank(&from_below(&whole)));
    assert_eq!(passed.why, Why::Asked);
    let answer = answered(edge.resume(&held, reference(&passed)));
    assert_eq!((answer.reason, answer.agreement), (Reason::Reference, None));
}

#[test]
fn a_region_passes_on_that_the_origin_has_another_bundle() {
    let (mut edge, mut region) = (ladder(Tier::Edge), ladder(Tier::Region));
    let (_, message) = escalated(edge.rank(&call(with_k(3))));
    let (held, _) = escalated(region.rank(&from_below(&message)));
    let step = region.resume(&held, Outcome::Reply(Reply::Whole(Whole::OtherBundle)));
    assert_eq!(step, Step::Whole(Whole::OtherBundle));
}

#[test]
fn a_reply_that_does_not_fit_what_was_sent_is_none() {
    let mut edge = ladder(Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(with_k(3))));
    let Outcome::Reply(Reply::Answer(good)) = reference(&message) else { unreachable!() };
    let entry = |id: &str| Ranked { id: id.to_owned(), ..good.ranked[0].clone() };
    let misfits = [
        ("too few", Answer { ranked: good.ranked[..1].to_vec(), ..(*good).clone() }),
        ("too many", Answer { ranked: ["i12", "i11", "i10"].map(entry).to_vec(), ..(*good).clone() }),
        ("twice the same", Answer { ranked: ["i12", "i12"].map(entry).to_vec(), ..(*good).clone() }),
        ("not in doubt", Answer { ranked: ["i12", "i19"].map(entry).to_vec(), ..(*good).clone() }),
        ("of another bundle", Answer { stamp: Some(Stamp { catalog: 5, ..message.stamp }), ..(*good).clone() }),
    ];
    for (what, answer) in misfits {
        let answer = answered(edge.resume(&held, Outcome::Reply(Reply::Answer(Box::new(answer)))));
        assert_eq!((answer.degradation, answer.tier, answer.agreement), (1, Tier::Edge, None), "{what}");
    }
}

#[test]
fn without_a_reply_its_own_ranking_of_all_stands() {
    let mut edge = ladder(Tier::Edge);
    let Step::Escalate { held, ready, .. } = edge.rank(&call(with_k(3))) else { panic!("it is sure") };
    let answer = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!((ids(&answer), answer.degradation), (vec!["i19", "i12", "i11"], 1));
    assert_eq!(*ready.expect("it has scored"), answer);
}
