//! What a tier answers when the model cannot: levels 2 to 4, from a bundle of a handful of items.
#![cfg(feature = "toml")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::collections::BTreeMap;

use shared_model::bundle::Manifest;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::graph::{Binary, Builder, DType, Link, Op, Reduce, Scope, Type};
use shared_model::ladder::{Call, Ladder, Outcome, Parts, Step, TierLimits, without_model};
use shared_model::schema::Schema;
use shared_model::tensor::Tensor;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Answer, RankRequest, Reason, Reply, Tier, Why, json};

const FEATURES: &str = r#"
schema_version = 1
model = "toy"

[vocabulary.items]
source = "catalog"

[[feature]]
name = "taste"
kind = "numeric"
scope = "request"
source = "store"
field = "user.taste"
missing = "reject"

[[feature]]
name = "history"
kind = "list"
scope = "request"
field = "user.history"
transform = { vocabulary = "items" }
max_length = 4

[[feature]]
name = "item"
kind = "categorical"
scope = "item"
field = "id"
transform = { vocabulary = "items" }
"#;

/// East, north-east, north, south: where each item points to. The first row is of no item.
const TABLE: [f32; 10] = [9.0, -9.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 0.0, -1.0];

fn catalog(schema: &Schema) -> Catalog {
    let items = [
        r#"{"id":"east","popularity":{"*":1,"de":5}}"#,
        r#"{"id":"north-east","popularity":2}"#,
        r#"{"id":"north","popularity":{"*":4,"de":6}}"#,
        r#"{"id":"south","popularity":3}"#,
    ];
    Catalog::build(schema, items.map(|item| item_from_json(item).unwrap())).unwrap()
}

/// Scores by taste and by the first element of the item's row.
fn variant(name: VariantName) -> Variant {
    let mut builder = Builder::new();
    let of = |dtype, shape: &[usize], scope| Type { dtype, shape: shape.to_vec(), scope };
    let taste = builder.input("taste", of(DType::F32, &[], Scope::Request)).unwrap();
    let item = builder.input("item", of(DType::I32, &[], Scope::Item)).unwrap();
    let table = builder.constant("table", DType::F32, &[5, 2]).unwrap();
    let row = builder.push("row", Op::Embedding, &[table, item]).unwrap();
    let sum = builder.push("sum", Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: false }, &[row]).unwrap();
    let score = builder.push("score", Op::Binary(Binary::Mul), &[taste, sum]).unwrap();
    let tensors = [("table".to_owned(), Tensor::F32 { shape: vec![5, 2], data: TABLE.to_vec() })];
    Variant {
        name,
        graph: builder.finish(score, Link::Identity).unwrap(),
        tensors: BTreeMap::from(tensors),
        noise: None,
    }
}

fn edge(features: &str) -> Ladder {
    let schema = Schema::from_toml(features).expect("a schema");
    let mut manifest = Manifest::new("toy", "3", 1, features.as_bytes());
    manifest.static_list = vec!["b".to_owned(), "a".to_owned()];
    let parts = Parts {
        manifest: &manifest.to_bytes(),
        schema: &schema.to_json(),
        variant: &variant(VariantName::W4).to_bytes().unwrap(),
        catalog: &catalog(&schema).to_safetensors(&schema),
    };
    Ladder::load(Tier::Edge, TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 }, parts)
        .expect("a bundle")
}

fn request(rest: &str) -> RankRequest {
    let body = format!(r#"{{"model":"toy","k":3,"candidates":["south","east","north-east","north"],{rest}}}"#);
    json::decode(body.as_bytes(), &json::JsonLimits::default()).expect("a request").request
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.ranked.iter().map(|r| r.id.as_str()).collect()
}

/// What the edge says of a request when nobody is above.
fn alone(edge: &mut Ladder, request: RankRequest) -> Answer {
    let Step::Escalate { held, message, ready } = edge.rank(&Call { request, below: None, part: None }) else {
        panic!("it does not go up")
    };
    assert!(matches!(message.why, Why::SchemaRule | Why::UnknownItem) && ready.is_none(), "{:?}", message.why);
    match edge.resume(&held, Outcome::Gone) {
        Step::Answer(answer) => *answer,
        other => panic!("not an answer: {other:?}"),
    }
}

#[test]
fn without_the_store_and_without_an_upstream_the_history_ranks() {
    let answer = alone(&mut edge(FEATURES), request(r#""user":{"history":["north","east"]}"#));
    assert_eq!((answer.degradation, answer.reason, answer.variant.as_deref()), (2, Reason::UpstreamGone, None));
    assert_eq!(ids(&answer), ["north-east", "north", "east"], "what is between the two is the most like both");
    assert!(answer.ranked.iter().all(|entry| entry.score.is_none()), "a likeness is no score");
    assert_eq!(answer.agreement, None);
}

#[test]
fn a_request_that_says_itself_what_the_store_would_is_scored() {
    let mut edge = edge(FEATURES);
    let request = RankRequest { tier: shared_model::wire::TierChoice::Edge, ..request(r#""user":{"taste":1}"#) };
    let Step::Answer(answer) = edge.rank(&Call { request, below: None, part: None }) else { panic!("not an answer") };
    assert_eq!((answer.degradation, answer.variant.as_deref()), (0, Some("w4")));
}

#[test]
fn a_user_without_a_known_history_is_level_3() {
    for user in ["{}", r#"{"history":[]}"#, r#"{"history":["unknown"]}"#] {
        let answer = alone(&mut edge(FEATURES), request(&format!(r#""user":{user}"#)));
        assert_eq!((answer.degradation, ids(&answer)), (3, vec!["north", "south", "north-east"]), "{user}");
    }
}

#[test]
fn a_schema_without_a_history_of_items_is_level_3() {
    let hashed = FEATURES.replacen("transform = { vocabulary = \"items\" }\nmax", "transform = { hash = 5 }\nmax", 1);
    let answer = alone(&mut edge(&hashed), request(r#""user":{"history":["north"]}"#));
    assert_eq!(answer.degradation, 3);
}

#[test]
fn a_candidate_that_the_catalog_lacks_is_like_nothing() {
    let mut request = request(r#""user":{"history":["south"]}"#);
    request.candidates[1].id = "new".to_owned();
    request.k = 4;
    let answer = alone(&mut edge(FEATURES), request);
    assert_eq!(answer.degradation, 2);
    assert_eq!(ids(&answer), ["south", "north-east", "north", "new"]);
}

#[test]
fn likeness_never_takes_the_place_of_an_answer_from_above() {
    let mut edge = edge(FEATURES);
    let request = request(r#""user":{"history":["north"]}"#);
    let own = alone(&mut edge, request.clone());
    let Step::Escalate { held, .. } = edge.rank(&Call { request, below: None, part: None }) else {
        panic!("it does not go up")
    };
    let above = Box::new(Answer { degradation: 3, version: "above".to_owned(), ..own });
    assert_eq!(edge.resume(&held, Outcome::Reply(Reply::Answer(above.clone()))), Step::Answer(above));
}

fn ranked(rest: &str) -> (u8, Vec<String>) {
    let schema = Schema::from_toml(FEATURES).unwrap();
    let list = ["b".to_owned(), "a".to_owned()];
    let fallback = without_model(&catalog(&schema), &list, &request(rest), Tier::Edge);
    (fallback.level, fallback.ranked.into_iter().map(|entry| entry.id).collect())
}

#[test]
fn level_3_is_by_popularity_where_the_user_is() {
    let named = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    for here in ["DE", "de"] {
        let (level, ids) = ranked(&format!(r#""context":{{"geo":"{here}"}}"#));
        assert_eq!((level, ids), (3, named(&["north", "east", "south"])), "what is popular here first, then elsewhere");
    }
    for elsewhere in [r#"{"geo":"US"}"#, r#"{"geo":7}"#, "{}"] {
        let (level, ids) = ranked(&format!(r#""context":{elsewhere}"#));
        assert_eq!((level, ids), (3, named(&["north", "south", "north-east"])), "{elsewhere}");
    }
    let (_, without) = ranked(r#""exclude":["north"]"#);
    assert_eq!(without, ["south", "north-east", "east"]);
}

#[test]
fn level_4_is_the_static_list_and_then_the_requests_own_order() {
    let schema = Schema::from_toml(FEATURES).unwrap();
    let list = ["b".to_owned(), "a".to_owned()];
    let body = r#"{"model":"toy","k":3,"candidates":["z","a","y","b"]}"#;
    let request = json::decode(body.as_bytes(), &json::JsonLimits::default()).unwrap().request;
    let fallback = without_model(&catalog(&schema), &list, &request, Tier::Edge);
    let ids: Vec<&str> = fallback.ranked.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!((fallback.level, ids), (4, vec!["b", "a", "z"]));
}

#[test]
fn a_manifest_whose_static_list_has_no_end_is_refused() {
    let mut manifest = Manifest::new("toy", "3", 1, b"");
    manifest.static_list = (0..=1000).map(|i| i.to_string()).collect();
    let refused = Manifest::from_bytes(&manifest.to_bytes()).unwrap_err().to_string();
    assert!(refused.contains("static_list has 1001 ids"), "{refused}");
    manifest.static_list.pop();
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
}
