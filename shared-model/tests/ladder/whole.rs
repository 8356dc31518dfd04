//! What a tier does with a whole request: every way to answer, to refuse and to escalate, and what follows.

use std::collections::BTreeMap;

use shared_model::catalog::Catalog;
use shared_model::graph::{Binary, Builder, DType, Link, Op, Scope, Type, Unary};
use shared_model::ladder::{Call, Ladder, Outcome, Parts, Step, TierLimits};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Answer, Digest, Reason, Refusal, Reply, Stamp, Tier, Why};

use crate::toy::{answered, call, escalated, ids, ladder, ladder_of, of, request, toy, toy_with};

#[test]
fn answers_when_the_margin_reaches_the_threshold() {
    let answer = answered(ladder(Tier::Edge).rank(&call(of(&["i1", "i9", "i5"], r#","k":2"#))));
    assert_eq!((ids(&answer), answer.reason, answer.degradation), (vec!["i9", "i5"], Reason::Sure, 0));
    let claim = answer.agreement.expect("a claim");
    assert_eq!((claim.margin, claim.threshold, claim.class.as_str()), (Some(4.0), Some(1.5), "edge"));
    assert_eq!((answer.variant.as_deref(), answer.ranked[0].score), (Some("w4"), Some(9.0)));
}

#[test]
fn escalates_when_the_margin_is_below_the_threshold() {
    let call = call(of(&["i4", "i9", "i5"], r#","k":2"#));
    let (_, message) = escalated(ladder(Tier::Edge).rank(&call));
    assert_eq!((message.why, message.from, &message.request), (Why::Unsure, Tier::Edge, &call.request));
    let answer = answered(ladder(Tier::Region).rank(&call));
    assert_eq!(answer.agreement.expect("a claim").class, "region", "the region's own threshold is lower");
}

#[test]
fn escalates_what_nothing_is_certified_for() {
    for (candidates, k) in [(&["i1", "i2", "i9"][..], 1), (&["i1", "i9"][..], 1)] {
        let step = ladder(Tier::Edge).rank(&call(of(candidates, &format!(r#","k":{k}"#))));
        assert!(matches!(step, Step::Escalate { ready: None, .. }), "scoring would lead to nothing: {step:?}");
        assert_eq!(escalated(step).1.why, Why::NoPolicy);
    }
}

#[test]
fn makes_no_claim_about_a_tier_on_another_bundle() {
    let mut region = ladder(Tier::Region);
    let request = of(&["i1", "i9", "i5"], r#","k":2"#);
    let same = Call { below: Some(region.stamp()), ..call(request.clone()) };
    assert_eq!(answered(region.rank(&same)).reason, Reason::Sure);
    let others = [Stamp { bundle: Digest([7; 32]), ..region.stamp() }, Stamp { catalog: 1, ..region.stamp() }];
    for below in others {
        let (_, message) = escalated(region.rank(&Call { below: Some(below), ..call(request.clone()) }));
        assert_eq!(message.why, Why::NoPolicy);
    }
}

#[test]
fn a_forced_tier_answers_without_a_claim() {
    let answer = answered(ladder(Tier::Edge).rank(&call(of(&["i4", "i9", "i5"], r#","k":2,"tier":"edge""#))));
    assert_eq!((answer.reason, answer.agreement.is_none(), answer.degradation), (Reason::Asked, true, 0));
    let (_, message) = escalated(ladder(Tier::Edge).rank(&call(of(&["i4", "i9", "i5"], r#","k":2,"tier":"region""#))));
    assert_eq!(message.why, Why::Asked);
    let (_, message) = escalated(ladder(Tier::Region).rank(&call(of(&["i4", "i9", "i5"], r#","tier":"origin""#))));
    assert_eq!(message.why, Why::Asked);
}

#[test]
fn a_k_of_all_candidates_is_answered_at_once() {
    let answer = answered(ladder(Tier::Edge).rank(&call(of(&["i1", "i9"], ""))));
    assert_eq!((ids(&answer), answer.reason), (vec!["i9", "i1"], Reason::Trivial));
}

#[test]
fn no_candidates_give_an_empty_answer() {
    let answer = answered(ladder(Tier::Edge).rank(&call(of(&[], ""))));
    assert!(answer.ranked.is_empty() && answer.degradation == 0);
    let answer = answered(ladder(Tier::Edge).rank(&call(of(&["i1"], r#","exclude":["i1"]"#))));
    assert!(answer.ranked.is_empty(), "the only candidate is excluded");
}

#[test]
fn exclusion_comes_before_the_gate() {
    let all = of(&["i4", "i9", "i5", "i1"], r#","k":2,"exclude":["i4","absent"]"#);
    let answer = answered(ladder(Tier::Edge).rank(&call(all)));
    assert_eq!((ids(&answer), answer.reason), (vec!["i9", "i5"], Reason::Sure), "i4 no longer stands at the boundary");
}

#[test]
fn an_unknown_item_goes_up_and_is_scored_with_defaults_when_nobody_is_there() {
    let mut edge = ladder(Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(of(&["i4", "new", "i5"], r#","k":2"#))));
    assert_eq!(message.why, Why::UnknownItem);
    let answer = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!((ids(&answer), answer.reason, answer.degradation), (vec!["i5", "i4"], Reason::UpstreamGone, 1));
    assert!(answer.warnings[0].contains("`new`"), "{:?}", answer.warnings);
}

#[test]
fn an_unknown_item_goes_up_though_the_schema_needs_one_of_its_fields() {
    let mut edge = ladder_of(&toy_with("missing = \"reject\""), Tier::Edge);
    let (held, message) = escalated(edge.rank(&call(of(&["i4", "new", "i5"], r#","k":2"#))));
    assert_eq!(message.why, Why::UnknownItem);
    let answer = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!((ids(&answer), answer.degradation), (vec!["i5", "i4"], 1));
    assert_eq!(answer.warnings, ["`new` is not in the catalog: scored with defaults"]);
    let described = r#"{"model":"toy","user":{"mood":1},"candidates":["i4",{"id":"new","colour":"red"}]}"#;
    let Step::Refused(refusal) = edge.rank(&call(request(described))) else { panic!("not refused") };
    assert_eq!(refusal.field, "candidates[1].quality", "who describes an item says what the schema needs");
}

#[test]
fn inline_features_take_the_place_of_the_catalogs() {
    let body = r#"{"model":"toy","k":2,"user":{"mood":1},
        "candidates":[{"id":"new","quality":50},{"id":"i9","quality":-1},"i3","i5"]}"#;
    let answer = answered(ladder(Tier::Edge).rank(&call(request(body))));
    assert_eq!(ids(&answer), ["new", "i5"]);
}

#[test]
fn a_schema_rule_escalates_and_its_default_serves_when_nobody_is_there() {
    let mut edge = ladder(Tier::Edge);
    let body = r#"{"model":"toy","k":1,"candidates":["i1","i9","i5"]}"#;
    let (held, message) = escalated(edge.rank(&call(request(body))));
    assert_eq!(message.why, Why::SchemaRule);
    let answer = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!((ids(&answer), answer.degradation), (vec!["i9"], 1));
    assert!(answer.warnings[0].contains("user.mood"), "{:?}", answer.warnings);
}

#[test]
fn above_its_limits_a_tier_sends_up_and_falls_back_to_popularity() {
    let mut edge = ladder(Tier::Edge);
    let many: Vec<String> = (0..11).map(|i| format!("i{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for request in [of(&many, r#","k":3"#), of(&many[..8], r#","k":6"#)] {
        let (held, message) = escalated(edge.rank(&call(request)));
        assert_eq!(message.why, Why::OverLimit);
        let answer = answered(edge.resume(&held, Outcome::Gone));
        assert_eq!((answer.degradation, answer.variant.is_none()), (3, true));
        assert_eq!(ids(&answer)[0], "i0", "the most popular comes first");
        assert_eq!(answer.ranked[0].score, None);
    }
}

#[test]
fn the_upstreams_answer_is_passed_on() {
    let mut edge = ladder(Tier::Edge);
    let request = of(&["i4", "i9", "i5"], r#","k":2"#);
    let (held, _) = escalated(edge.rank(&call(request.clone())));
    let above = answered(ladder(Tier::Region).rank(&call(request)));
    let passed = answered(edge.resume(&held, Outcome::Reply(Reply::Answer(Box::new(above.clone())))));
    assert_eq!(passed, above);
    let refusal = Refusal { field: "user.mood".into(), message: "no".into() };
    let step = edge.resume(&held, Outcome::Reply(Reply::Refused(refusal.clone())));
    assert_eq!(step, Step::Refused(refusal));
}

#[test]
fn its_own_scores_are_better_than_a_ranking_that_no_model_made() {
    let mut edge = ladder(Tier::Edge);
    // Scored before it went up; and not, for nothing is certified for it, or the region was asked for.
    for rest in [r#","k":2"#, r#","k":1"#, r#","k":2,"tier":"region""#] {
        let (held, _) = escalated(edge.rank(&call(of(&["i4", "i9", "i5"], rest))));
        let popular = Answer { degradation: 3, ..answered(ladder(Tier::Region).resume(&held, Outcome::Gone)) };
        let answer = answered(edge.resume(&held, Outcome::Reply(Reply::Answer(Box::new(popular)))));
        assert_eq!((answer.degradation, answer.tier, ids(&answer)[0]), (1, Tier::Edge, "i9"), "{rest}");
        assert!(answer.ranked[0].score.is_some(), "{rest}");
    }
}

#[test]
fn an_answer_that_is_ready_comes_with_the_escalation() {
    let mut edge = ladder(Tier::Edge);
    let Step::Escalate { held, ready, .. } = edge.rank(&call(of(&["i4", "i9", "i5"], r#","k":2"#))) else { panic!() };
    assert_eq!(*ready.expect("it has scored"), answered(edge.resume(&held, Outcome::Gone)));
    let Step::Escalate { ready, .. } = edge.rank(&call(of(&["i4", "new"], ""))) else { panic!() };
    assert_eq!(ready, None, "nothing is scored yet");
}

#[test]
fn a_tier_that_was_not_asked_is_gated() {
    let request = of(&["i4", "i9", "i5"], r#","k":2,"tier":"edge""#);
    assert_eq!(answered(ladder(Tier::Region).rank(&call(request))).reason, Reason::Sure);
}

#[test]
fn many_defaults_are_told_in_few_words() {
    let toy = toy();
    let limits = TierLimits { max_candidates: 20, max_k: 5, item_table_bytes: 1 << 20 };
    let parts = Parts {
        manifest: &toy.manifest,
        schema: &toy.schema,
        variant: &toy.variants[&VariantName::W4],
        catalog: &toy.catalog,
    };
    let mut edge = Ladder::load(Tier::Edge, limits, parts).expect("a bundle");
    let warnings = |edge: &mut Ladder, unknown: usize| {
        let many: Vec<String> = (0..unknown).map(|i| format!("new{i}")).collect();
        let body = format!(r#"{{"model":"toy","k":2,"candidates":{many:?}}}"#);
        let (held, _) = escalated(edge.rank(&call(request(&body))));
        answered(edge.resume(&held, Outcome::Gone)).warnings
    };
    assert_eq!(warnings(&mut edge, 15).len(), 16, "all of them: the items and a field");
    let few = warnings(&mut edge, 20);
    assert_eq!(few.len(), 16);
    assert_eq!(few[15], "and 6 more were scored with defaults", "five items and a field are not named");
}

#[test]
fn without_the_upstream_its_own_ranking_stands_at_level_1() {
    let mut edge = ladder(Tier::Edge);
    let (held, _) = escalated(edge.rank(&call(of(&["i4", "i9", "i5"], r#","k":2"#))));
    // Another instance may resume.
    let answer = answered(ladder(Tier::Edge).resume(&held, Outcome::Gone));
    assert_eq!((ids(&answer), answer.degradation, answer.reason), (vec!["i9", "i5"], 1, Reason::UpstreamGone));
    assert!(answer.agreement.is_none());
}

#[test]
fn a_mistyped_field_is_refused_by_name() {
    let body = r#"{"model":"toy","user":{"mood":"good"},"candidates":["i1"]}"#;
    let Step::Refused(refusal) = ladder(Tier::Edge).rank(&call(request(body))) else { panic!("not refused") };
    assert_eq!(refusal.field, "user.mood");
    let body = r#"{"model":"toy","user":{"mood":1},"candidates":["i1",{"id":"new","quality":"high"}]}"#;
    let Step::Refused(refusal) = ladder(Tier::Edge).rank(&call(request(body))) else { panic!("not refused") };
    assert_eq!(refusal.field, "candidates[1].quality");
}

#[test]
fn a_score_that_is_not_a_number_goes_up() {
    let mut builder = Builder::new();
    let mood = builder.input("mood", Type { dtype: DType::F32, shape: vec![], scope: Scope::Request }).unwrap();
    let quality = builder.input("quality", Type { dtype: DType::F32, shape: vec![], scope: Scope::Item }).unwrap();
    let log = builder.push("log", Op::Unary(Unary::Log), &[quality]).unwrap();
    let score = builder.push("score", Op::Binary(Binary::Mul), &[mood, log]).unwrap();
    let graph = builder.finish(score, Link::Identity).unwrap();
    let variant = Variant { name: VariantName::W4, graph, tensors: BTreeMap::new(), noise: None }.to_bytes().unwrap();
    let toy = toy();
    let parts = Parts { manifest: &toy.manifest, schema: &toy.schema, variant: &variant, catalog: &toy.catalog };
    let mut edge =
        Ladder::load(Tier::Edge, TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 }, parts)
            .unwrap();
    let body = r#"{"model":"toy","k":2,"user":{"mood":1},"candidates":["i1",{"id":"a","quality":-1},"i2"]}"#;
    let (held, message) = escalated(edge.rank(&call(request(body))));
    assert_eq!(message.why, Why::WorkerFailed);
    let answer = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!((answer.degradation, ids(&answer)), (3, vec!["i1", "i2"]));
}

#[test]
fn held_state_that_is_not_ours_is_refused() {
    let step = ladder(Tier::Edge).resume(&[0xff; 40], Outcome::Gone);
    assert!(matches!(step, Step::Refused(_)));
}

#[test]
fn the_same_call_gives_the_same_step() {
    let mut edge = ladder(Tier::Edge);
    let call = call(of(&["i4", "i9", "i5"], r#","k":2"#));
    assert_eq!(edge.rank(&call), ladder(Tier::Edge).rank(&call));
    assert_eq!(edge.rank(&call), edge.rank(&call));
}

#[test]
fn an_index_ends_with_the_table_of_the_model_that_is_loaded() {
    let mut builder = Builder::new();
    let ids = builder.input("shelf", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
    let table = builder.constant("table", DType::F32, &[5, 1]).unwrap();
    let row = builder.push("row", Op::Embedding, &[table, ids]).unwrap();
    let score = builder.push("score", Op::Reshape { shape: vec![] }, &[row]).unwrap();
    let graph = builder.finish(score, Link::Identity).unwrap();
    let tensors = [("table".to_owned(), Tensor::F32 { shape: vec![5, 1], data: vec![0.5; 5] })].into();
    let variant = Variant { name: VariantName::W4, graph, tensors, noise: None }.to_bytes().unwrap();
    let load = |default: u32| {
        let feature = format!(r#"{{"name":"shelf","kind":"categorical","scope":"item","default":{default}}}"#);
        let schema = format!(r#"{{"schema_version":1,"model":"toy","feature":[{feature}]}}"#);
        let schema = Schema::from_json(schema.as_bytes()).unwrap();
        let catalog = Catalog::build(&schema, []).unwrap().to_safetensors(&schema);
        let (manifest, schema) = (toy().manifest, schema.to_json());
        let parts = Parts { manifest: &manifest, schema: &schema, variant: &variant, catalog: &catalog };
        Ladder::load(Tier::Edge, TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 }, parts)
    };
    let asked = r#"{"model":"toy","k":2,"candidates":[{"id":"a","shelf":4},{"id":"b","shelf":5}]}"#;
    let Step::Refused(refusal) = load(4).unwrap().rank(&call(request(asked))) else { panic!("not refused") };
    assert_eq!(refusal.field, "candidates[1].shelf");
    let refused = load(5).unwrap_err().to_string();
    assert!(refused.contains("feature `shelf`") && refused.contains("5 rows"), "{refused}");
}

#[test]
fn names_the_file_that_is_not_a_bundles() {
    let toy = toy();
    let limits = TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 };
    let whole = Parts {
        manifest: &toy.manifest,
        schema: &toy.schema,
        variant: &toy.variants[&VariantName::W4],
        catalog: &toy.catalog,
    };
    let faults = [
        (Parts { manifest: b"{}", ..whole }, "manifest.json"),
        (Parts { schema: b"{}", ..whole }, "features"),
        (Parts { variant: b"GGUF", ..whole }, "edge.w4.safetensors"),
        (Parts { catalog: b"", ..whole }, "catalog.safetensors"),
    ];
    for (parts, file) in faults {
        let error = Ladder::load(Tier::Edge, limits, parts).expect_err(file).to_string();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn explains_when_asked_and_only_then() {
    let asked = |rest: &str| of(&["i1", "i9", "i5"], &format!(r#","k":2,"explain":true{rest}"#));
    let explanation = |answer: &Answer| -> serde_json::Value {
        serde_json::from_str(answer.explanation.as_ref().expect("an explanation")).expect("JSON")
    };
    let sure = answered(ladder(Tier::Edge).rank(&call(asked(""))));
    let explained = explanation(&sure);
    assert_eq!(sure.reason, Reason::Sure);
    assert_eq!((explained["margin"].as_f64(), explained["policy"]["edge"]["margin"].as_f64()), (Some(4.0), Some(1.5)));
    assert_eq!((&explained["ranked"][0]["id"], &explained["variant"]), (&"i9".into(), &"w4".into()));
    let silent = answered(ladder(Tier::Edge).rank(&call(of(&["i1", "i9", "i5"], r#","k":2"#))));
    assert_eq!(silent.explanation, None);
    assert_eq!(silent, Answer { explanation: None, ..sure });

    let unsure = of(&["i4", "i9", "i5"], r#","k":2,"explain":true"#);
    let mut edge = ladder(Tier::Edge);
    let Step::Escalate { held, ready: Some(ready), .. } = edge.rank(&call(unsure)) else { panic!("sure") };
    let alone = answered(edge.resume(&held, Outcome::Gone));
    assert_eq!(explanation(&alone)["ranked"][1]["id"], "i5", "the tier's own scores are explained");
    assert_eq!(alone.explanation, ready.explanation);
}
