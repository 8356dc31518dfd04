use super::*;
use crate::catalog::item_from_json;
use crate::wire::json::{JsonLimits, decode_line};

/// A schema with this feature of request scope and, for its sake, a vocabulary of colours.
fn schema(feature: &str) -> Schema {
    let text = format!(
        r#"{{"schema_version": 1, "model": "m",
        "vocabulary": {{"ids": {{"source": "catalog"}}, "colours": {{"values": ["red", "42"], "first": 1}}}},
        "feature": [
          {{"name": "x", "scope": "request", "field": "user.x", {feature}}},
          {{"name": "i", "kind": "categorical", "scope": "item", "field": "id", "transform": {{"vocabulary": "ids"}}}},
          {{"name": "c", "kind": "multi_hot", "scope": "item", "transform": {{"vocabulary": "colours"}}}}]}}"#
    );
    Schema::from_json(text.as_bytes()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn encode(feature: &str, user: &str) -> Result<Encoded, Refusal> {
    let schema = schema(feature);
    let items = ["m1", "m2"].map(|id| item_from_json(&format!("{{\"id\":\"{id}\"}}")).unwrap());
    let catalog = Catalog::build(&schema, items).unwrap();
    let line = format!(r#"{{"user":{user},"candidates":[]}}"#);
    let request = decode_line(line.as_bytes(), "m", &JsonLimits::default()).unwrap().request;
    Encoder::new(&schema, &catalog).request(&request)
}

fn indices(feature: &str, user: &str) -> Vec<i32> {
    match encode(feature, user).unwrap().blocks.remove(0).data {
        Data::I32(v) => v,
        Data::F32(_) => panic!("not indices"),
    }
}

fn numbers(feature: &str, user: &str) -> Vec<f32> {
    match encode(feature, user).unwrap().blocks.remove(0).data {
        Data::F32(v) => v,
        Data::I32(_) => panic!("not numbers"),
    }
}

fn refusal(feature: &str, user: &str) -> String {
    let Refusal { field, message } = encode(feature, user).unwrap_err();
    format!("{field}: {message}")
}

const NUMERIC: &str = r#""kind": "numeric""#;
const COLOUR: &str = r#""kind": "categorical", "transform": {"vocabulary": "colours"}"#;
const HISTORY: &str = r#""kind": "list", "max_length": 3, "transform": {"vocabulary": "ids"}"#;

#[test]
fn refuses_a_mistyped_field_and_names_it() {
    assert_eq!(refusal(NUMERIC, r#"{"x":"high"}"#), "user.x: must be a number, not `high`");
    assert_eq!(refusal(NUMERIC, r#"{"x":true}"#), "user.x: must be a number, not the boolean true");
    assert_eq!(refusal(COLOUR, r#"{"x":1.5}"#), "user.x: must be a text, not 1.5");
    assert_eq!(refusal(COLOUR, r#"{"x":["red"]}"#), "user.x: must be a text, not a list");
    assert_eq!(refusal(HISTORY, r#"{"x":"m1"}"#), "user.x: must be a list, not `m1`");
    assert_eq!(refusal(HISTORY, r#"{"x":["m1",null]}"#), "user.x[1]: must be a text, not null");
    let hour = r#""kind": "categorical", "transform": "hour""#;
    assert_eq!(refusal(hour, r#"{"x":"noon"}"#), "user.x: must be Unix seconds, not `noon`");
    assert_eq!(refusal(hour, r#"{"x":1e300}"#).split(", not").next(), Some("user.x: must be Unix seconds"));
}

#[test]
fn refuses_a_number_outside_the_range_of_its_transform() {
    assert_eq!(refusal(NUMERIC, r#"{"x":1e39}"#).split(": 1").next(), Some("user.x"));
    let ln1p = r#""kind": "numeric", "transform": "ln1p""#;
    assert_eq!(refusal(ln1p, r#"{"x":-1}"#), "user.x: -1 is outside the range of its transform");
    assert_eq!(refusal(ln1p, r#"{"x":-2.5}"#), "user.x: -2.5 is outside the range of its transform");
}

#[test]
fn applies_numeric_steps_in_order() {
    let steps = r#""kind": "numeric", "transform": [{"standardize": {"mean": 1, "std": 2}}, "ln1p"]"#;
    assert_eq!(numbers(steps, r#"{"x":5}"#), [3f64.ln() as f32]);
}

#[test]
fn a_missing_value_follows_its_rule() {
    let with = |rule: &str| format!("{COLOUR}, \"missing\": \"{rule}\"");
    for user in ["{}", r#"{"x":null}"#] {
        assert_eq!(encode(&with("default"), user).unwrap().escalate, [""; 0]);
        assert_eq!(refusal(&with("reject"), user), "user.x: is missing, and the schema needs it");
        let encoded = encode(&with("escalate"), user).unwrap();
        assert_eq!((encoded.escalate, encoded.blocks[0].data.clone()), (vec!["user.x".to_owned()], Data::I32(vec![0])));
    }
    let with_default = format!("{COLOUR}, \"default\": \"red\"");
    assert_eq!(indices(&with_default, "{}"), [1]);
}

#[test]
fn an_unknown_value_follows_its_rule() {
    let with = |rule: &str| format!("{HISTORY}, \"unknown\": \"{rule}\"");
    let user = r#"{"x":["m2","m9","m8"]}"#;
    assert_eq!(indices(&with("default"), user), [2, 0, 0]);
    assert_eq!(refusal(&with("reject"), user), "user.x[1]: `m9` is not in the vocabulary");
    assert_eq!(encode(&with("escalate"), user).unwrap().escalate, ["user.x"], "named once");
}

#[test]
fn a_default_that_the_catalog_lacks_is_nobodys_fault() {
    let feature = format!("{HISTORY}, \"unknown\": \"reject\", \"default\": [\"m9\", \"m1\"]");
    assert_eq!(indices(&feature, "{}"), [0, 1, 0]);
}

#[test]
fn only_the_kept_end_of_a_list_counts() {
    let first = format!("{HISTORY}, \"keep\": \"first\", \"unknown\": \"reject\"");
    assert_eq!(indices(&first, r#"{"x":["m1","m2","m1","m9"]}"#), [1, 2, 1]);
    let padded = format!("{HISTORY}, \"padding\": 2");
    assert_eq!(indices(&padded, r#"{"x":["m9"]}"#), [0, 2, 2], "unknown is 0 whatever the padding");
}

#[test]
fn an_integer_stands_for_its_digits_where_a_text_is_needed() {
    assert_eq!(indices(COLOUR, r#"{"x":42}"#), [2]);
    let hash = r#""kind": "categorical", "transform": {"hash": 1000003}"#;
    assert_eq!(indices(hash, r#"{"x":-7}"#), indices(hash, r#"{"x":"-7"}"#));
}

#[test]
fn an_identity_is_an_index_or_refused() {
    let identity = r#""kind": "categorical""#;
    assert_eq!(indices(identity, r#"{"x":7}"#), [7]);
    assert_eq!(indices(identity, r#"{"x":7.0}"#), [7]);
    assert_eq!(refusal(identity, r#"{"x":7.5}"#), "user.x: must be an integer, not 7.5");
    assert_eq!(refusal(identity, r#"{"x":-1}"#), "user.x: -1 is not an index: it must be 0 or more");
    assert!(refusal(identity, r#"{"x":2147483648}"#).starts_with("user.x: 2147483648 is not an index"));
}

#[test]
fn hour_and_weekday_take_fractions_of_seconds_and_times_before_1970() {
    let hour = r#""kind": "categorical", "transform": "hour""#;
    let weekday = r#""kind": "categorical", "transform": "weekday""#;
    assert_eq!((indices(hour, r#"{"x":3599.9}"#), indices(hour, r#"{"x":-0.5}"#)), (vec![0], vec![23]));
    assert_eq!((indices(weekday, r#"{"x":-0.5}"#), indices(weekday, r#"{"x":345600}"#)), (vec![2], vec![0]));
    assert_eq!(indices(weekday, &format!("{{\"x\":{}}}", i64::MIN)).len(), 1, "no overflow");
}

#[test]
fn a_multi_hot_ignores_the_first_index_of_its_vocabulary() {
    let schema = schema(NUMERIC);
    let catalog = Catalog::build(&schema, []).unwrap();
    let record = item_from_json(r#"{"id":"ignored","c":["42","blue"]}"#).unwrap();
    let encoded = Encoder::new(&schema, &catalog).item("new", &record).unwrap();
    assert_eq!(encoded.blocks[1].data, Data::F32(vec![0.0, 1.0]));
    assert_eq!(encoded.blocks[0].data, Data::I32(vec![0]), "not in the catalog");
}

#[test]
fn what_the_store_would_have_said_is_a_tiers_above_to_say() {
    for missing in ["default", "escalate", "reject"] {
        let feature = format!("{COLOUR}, \"source\": \"store\", \"missing\": \"{missing}\"");
        assert_eq!(indices(&feature, r#"{"x":"red"}"#), [1], "a request that says it itself needs no store");
        assert_eq!(encode(&feature, "{}").unwrap().escalate, ["user.x"], "{missing}");
    }
}
