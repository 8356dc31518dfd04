//! Degradation levels 2 to 4, and the schema's `escalate`, with bundles made for them of the repo's own.

use std::path::Path;

use rung_tests::stack::{Builder, Stack, Which, copy_of_test_bundle};
use serde_json::{Value, json};
use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::schema::Schema;

use crate::requests::{fixture, ids, one, with};

/// The test bundle with another schema and other items; the manifest may be changed at last.
fn bundle(
    schema: impl Fn(String) -> String,
    item: impl Fn(&mut Value),
    manifest: impl Fn(&mut Manifest),
) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_of_test_bundle(copy.path()).unwrap();
    let read = |file: &str| std::fs::read(copy.path().join(file)).unwrap();
    let features = schema(String::from_utf8(read(FEATURES)).unwrap());
    let parsed = Schema::from_toml(&features).unwrap();
    let lines = std::fs::read_to_string(fixture("demo/catalog.jsonl")).unwrap();
    let items = lines.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        item(&mut value);
        item_from_json(&value.to_string()).unwrap()
    });
    let catalog = Catalog::build(&parsed, items).unwrap().to_safetensors(&parsed);
    let mut changed = Manifest::from_bytes(&read(MANIFEST)).unwrap();
    changed.schema_hash = FileEntry::of(features.as_bytes()).sha256;
    manifest(&mut changed);
    for (file, bytes) in [(FEATURES, features.into_bytes()), (CATALOG, catalog)] {
        std::fs::write(copy.path().join(file), &bytes).unwrap();
        changed.files.insert(file.to_owned(), FileEntry::of(&bytes));
    }
    std::fs::write(copy.path().join(MANIFEST), changed.to_bytes()).unwrap();
    copy
}

/// The schema in which the user's mean rating has this rule more.
fn mean_rating(rule: &'static str) -> impl Fn(String) -> String {
    move |features| {
        let field = "field = \"user.mean_rating\"\n";
        assert!(features.contains(field));
        let (head, tail) = features.split_once(field).unwrap();
        let tail = tail.replacen("missing = \"default\"\n", "", 1);
        format!("{head}{field}{rule}\n{tail}")
    }
}

async fn serving(bundle: &Path, edge: &str) -> Stack {
    let builder = [Which::Edge, Which::Region, Which::Origin].into_iter();
    let builder = builder.fold(Builder::default(), |builder, which| builder.bundle(which, bundle));
    builder.with(Which::Edge, edge).start().await.unwrap()
}

async fn answered(stack: &Stack, body: &Value) -> Value {
    let response = stack.rank(body.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    response.json().unwrap()
}

/// One request whose user has no mean rating.
fn unrated() -> Value {
    let mut request = one();
    request["user"].as_object_mut().unwrap().remove("mean_rating").unwrap();
    request
}

#[tokio::test]
async fn a_schema_rule_goes_up_and_with_nobody_there_its_default_is_scored_and_named() {
    let bundle = bundle(mean_rating("missing = \"escalate\""), |_| {}, |_| {});
    let mut stack = serving(bundle.path(), "[cache]\nmax_mib = 0\n").await;
    let answer = answered(&stack, &unrated()).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("origin"), &json!(0)), "{answer}");
    assert_eq!(stack.metric(Which::Edge, "edge_escalations_total{reason=\"schema_rule\"}").await.unwrap(), 1.0);
    stack.stop(Which::Region).await;
    let answer = answered(&stack, &unrated()).await;
    assert_eq!((&answer["tier"], &answer["degradation"]), (&json!("edge"), &json!(1)), "{answer}");
    assert!(answer["warnings"][0].as_str().is_some_and(|w| w.contains("user.mean_rating")), "{answer}");
}

#[tokio::test]
async fn without_the_store_and_without_an_upstream_the_history_ranks() {
    let bundle = bundle(mean_rating("source = \"store\""), |_| {}, |_| {});
    let mut stack = serving(bundle.path(), "").await;
    stack.stop(Which::Region).await;
    let user = json!({ "id": "u1", "history": ["m1"], "ratings": 20 });
    let mut candidates = one()["candidates"].as_array().unwrap().clone();
    candidates.retain(|id| id != "m1");
    candidates.push(json!("m1"));
    let request = with(one(), json!({ "user": user, "candidates": candidates, "k": 10 }));
    let answer = answered(&stack, &request).await;
    assert_eq!((&answer["degradation"], &answer["variant"]), (&json!(2), &Value::Null), "{answer}");
    assert_eq!((&answer["reason"], &answer["agreement"]), (&json!("upstream_gone"), &Value::Null));
    assert_eq!(ids(&answer)[0], "m1", "a movie is like itself: {answer}");
    assert!(answer["ranked"].as_array().unwrap().iter().all(|entry| entry["score"] == Value::Null));

    let scored = answered(&stack, &one()).await;
    assert!(scored["degradation"] != 2, "a request that says it all needs no store: {scored}");
    let new_user = with(one(), json!({ "user": { "id": "u1", "ratings": 0 } }));
    let answer = answered(&stack, &new_user).await;
    assert_eq!(answer["degradation"], 3, "a user without a history: {answer}");
}

#[tokio::test]
async fn level_3_is_by_popularity_where_the_user_is() {
    let favourite = |item: &mut Value| {
        if item["id"] == "m2" {
            item["popularity.DE"] = json!(7);
        }
    };
    let bundle = bundle(|features| features, favourite, |_| {});
    let edge = "[limits]\nmax_k = 2\n[clients]\ngeo_header = \"cf-ipcountry\"\n";
    let mut stack = serving(bundle.path(), edge).await;
    stack.stop(Which::Region).await;
    // m1 is the more popular, but not in Germany.
    let body = with(one(), json!({ "candidates": ["m3", "m1", "m2"], "k": 3 }));
    let at = |geo: &str| with(body.clone(), json!({ "context": { "geo": geo, "timestamp": 1 } }));
    for (body, first) in [(body.clone(), "m1"), (at("DE"), "m2"), (at("FR"), "m1")] {
        let answer = answered(&stack, &body).await;
        assert_eq!((&answer["degradation"], ids(&answer)[0]), (&json!(3), first), "{answer}");
    }
    let client = stack.client(rung_tests::client::Protocol::Http2).unwrap();
    let request = http::Request::post(stack.url(Which::Edge, "/v1/rank"))
        .header("content-type", "application/json")
        .header("cf-ipcountry", "de")
        .body(http_body_util::Full::from(body.to_string()))
        .unwrap();
    let answer = client.request(request).await.unwrap().json().unwrap();
    assert_eq!(ids(&answer)[0], "m2", "the CDN says where the user is: {answer}");
}

#[tokio::test]
async fn level_4_is_the_bundles_static_list() {
    let list = |manifest: &mut Manifest| manifest.static_list = vec!["new3".to_owned(), "new1".to_owned()];
    let bundle = bundle(|features| features, |_| {}, list);
    let mut stack = serving(bundle.path(), "[limits]\nmax_k = 2\n").await;
    stack.stop(Which::Region).await;
    let unheard_of = json!({ "candidates": ["new1", "new2", "new3"], "k": 3 });
    let answer = answered(&stack, &with(one(), unheard_of)).await;
    assert_eq!((&answer["degradation"], &answer["variant"]), (&json!(4), &Value::Null), "{answer}");
    assert_eq!(ids(&answer), ["new3", "new1", "new2"]);
}
