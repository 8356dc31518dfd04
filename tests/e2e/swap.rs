//! Other bundles and other catalogs under running tiers: nothing fails, nothing is mixed, what is bad is refused.

mod load;
mod site;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rung_tests::stack::{Stack, Which};
use serde_json::{Value, json};
use shared_model::bundle::{CATALOG, delta_file};

use crate::requests::{eval, ids, one, with};
use load::{Load, State, each_of_one, requests};
use site::{ALL, NAMES, Site, rated, ready, until, until_refused, until_revision, until_version};

/// The answer of one tier, asked directly.
async fn of(stack: &Stack, which: Which, request: &Value) -> Value {
    let request = with(request.clone(), json!({ "tier": NAMES[which as usize] }));
    let response = stack.rank_at(which, request.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    response.json().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What the requests rank, with other ratings: items of a delta.
fn rerated(rating: fn(f64) -> f64) -> Vec<Value> {
    let ranked: Vec<Value> = requests().iter().flat_map(|r| r["candidates"].as_array().unwrap().clone()).collect();
    rated(rating).filter(|item| ranked.contains(&item["id"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_and_catalogs_change_under_load_and_every_answer_is_of_one_of_them() {
    let site = Site::new();
    let stack = Arc::new(site.start().await.unwrap());
    let mut states = vec![State::now(&stack).await];
    let load = Load::start(&stack);
    load.goes_on().await;

    let changes: [fn(f64) -> f64; 2] = [|rating| 0.5 * rating, |rating| 5.5 - 0.8 * rating];
    for (revision, rating) in (1..).zip(changes) {
        site.delta(&rerated(rating));
        until_revision(&stack, revision).await;
        load.goes_on().await;
        states.push(State::now(&stack).await);
    }

    site.point_all("2");
    for which in ALL {
        until_version(&stack, which, "2").await;
    }
    load.goes_on().await;
    states.push(State::now(&stack).await);

    site.point_all("1");
    until_refused(&stack, "is older than the running one with serial 2").await;
    for which in ALL {
        assert_eq!(ready(&stack, which).await["models"][0]["version"], "2");
        let response = stack.order(which, "/v1/reload", r#"{"rollback":"1"}"#).await.unwrap();
        assert_eq!(response.status, 200, "{:?}", response.body);
        let running = &response.json().unwrap()["models"][0];
        assert_eq!((&running["version"], &running["catalog"]), (&json!("1"), &json!(2)));
        assert_eq!(ready(&stack, which).await.get("refused"), None);
    }
    load.goes_on().await;

    let seen = each_of_one(&load.end().await, &states);
    for state in &states {
        for tier in NAMES {
            let (version, revision) = (&state.version[..], state.revision);
            assert!(seen.contains(&(version, revision, tier)), "{version} {revision} {tier}: {seen:?}");
        }
    }
    for (which, name) in ALL.into_iter().zip(NAMES) {
        let metric = async |line: &str| stack.metric(which, &format!("{name}_{line}")).await.unwrap();
        assert_eq!(metric("bundle_serial{model=\"movies\"}").await, 1.0);
        for (outcome, times) in [("bundle", 1.0), ("rollback", 1.0), ("refused", 1.0), ("catalog", 2.0)] {
            assert_eq!(metric(&format!("swaps_total{{outcome=\"{outcome}\"}}")).await, times, "{name} {outcome}");
        }
    }
}

/// A request about a film that is new and some that are not.
fn about(id: &str) -> Value {
    with(one(), json!({ "candidates": [id, "m3", "m5", "m7"], "timeout_ms": 10_000 }))
}

fn score(answer: &Value, id: &str) -> f64 {
    let entry = answer["ranked"].as_array().unwrap().iter().find(|entry| entry["id"] == id);
    entry.unwrap_or_else(|| panic!("no {id} in {answer}"))["score"].as_f64().unwrap()
}

/// Whether a tier knows the item: else it goes up, and the origin says that it does not.
async fn knows(stack: &Stack, which: Which, id: &str) -> bool {
    let answer = of(stack, which, &about(id)).await;
    assert!(ids(&answer).contains(&id), "{answer}");
    let warned = format!("`{id}` is not in the catalog: scored with defaults");
    answer["tier"] == NAMES[which as usize]
        && !answer["warnings"].as_array().is_some_and(|w| w.contains(&json!(warned)))
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_added_changed_and_removed_at_every_tier() {
    let site = Site::new();
    let stack = site.start().await.unwrap();
    let mut before = Vec::new();
    for which in ALL {
        assert!(!knows(&stack, which, "new1").await && knows(&stack, which, "m1").await);
        before.push(score(&of(&stack, which, &about("m2")).await, "m2"));
    }
    let new = json!({"id":"new1","year":2016,"genres":["Drama"],"popularity":300,"mean_rating":4.9});
    let changed = json!({"id":"m2","year":1931,"genres":["Horror"],"popularity":1,"mean_rating":0.5});
    site.delta(&[new.clone(), changed, json!({"id":"m1","removed":true})]);
    until_revision(&stack, 1).await;
    for (which, before) in ALL.into_iter().zip(before) {
        assert!(knows(&stack, which, "new1").await && !knows(&stack, which, "m1").await);
        assert_ne!(score(&of(&stack, which, &about("m2")).await, "m2"), before);
    }

    // By order, at one tier: the others find it in the folder.
    let delta = site.delta_to(&[json!({"id":"new1","removed":true})], Some(site.path("delta.jsonl")));
    let delta = std::fs::read_to_string(delta).unwrap();
    let response = stack.order(Which::Origin, "/v1/catalog", &delta).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.json().unwrap()["models"][0]["catalog"]), (200, &json!(2)));
    assert!(!knows(&stack, Which::Origin, "new1").await, "at once");
    until_revision(&stack, 2).await;
    for (which, name) in ALL.into_iter().zip(NAMES) {
        assert!(!knows(&stack, which, "new1").await);
        let metric = format!("{name}_catalog_revision{{model=\"movies\"}}");
        assert_eq!(stack.metric(which, &metric).await.unwrap(), 2.0);
    }

    let mut took = Vec::new();
    for turn in 0..7 {
        let begun = Instant::now();
        let here = turn % 2 == 0;
        site.delta(&[if here { new.clone() } else { json!({"id":"new1","removed":true}) }]);
        for which in ALL {
            while knows(&stack, which, "new1").await != here {
                assert!(begun.elapsed() < Duration::from_secs(60), "it is never seen");
            }
        }
        took.push(begun.elapsed());
    }
    // The median: a machine that has other things to do may miss it now and then.
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_secs(1), "seen by all within a second: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_refused_and_the_running_one_stays() {
    let site = Site::new();
    let stack = site.start().await.unwrap();
    let before = State::now(&stack).await;

    let delta = site.delta(&[json!({"id":"new1","year":2016})]);
    let whole = std::fs::read(&delta).unwrap();
    until_revision(&stack, 1).await;
    let damaged = site.path("1").join(delta_file(2));
    std::fs::write(&damaged, &whole[..whole.len() - 3]).unwrap();
    until_refused(&stack, "deltas/000002.jsonl: does not match the digest").await;
    std::fs::write(&damaged, &whole).unwrap();
    until_refused(&stack, "deltas/000002.jsonl: is for revision 0 of the catalog").await;
    until_revision(&stack, 1).await;
    let refused = stack.order(Which::Edge, "/v1/catalog", str::from_utf8(&whole[5..]).unwrap()).await.unwrap();
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json().unwrap()["type"], "urn:rung:problem:bundle-refused");
    std::fs::remove_file(&damaged).unwrap();

    damage(&site.path("2").join(CATALOG));
    site.point_all("2");
    until_refused(&stack, "catalog.safetensors does not match its digest").await;
    for which in ALL {
        assert_eq!(ready(&stack, which).await["models"][0]["version"], "1");
    }
    assert_eq!(State::now(&stack).await.rankings, before.rankings);
    site.point_all("1");
    for which in ALL {
        until(&stack, which, "nothing refused", |ready| ready.get("refused").is_none()).await;
    }
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_that_swap_one_after_the_other_are_never_mixed() {
    let site = Site::new();
    let stack = site.start().await.unwrap();
    let version = |answer: &Value, tier: &str| {
        assert_eq!((answer["tier"].as_str(), &answer["degradation"]), (Some(tier), &json!(0)), "{answer}");
        text(&answer["version"])
    };
    let through_the_edge = async |tier: &str| {
        let request = with(one(), json!({ "tier": tier, "timeout_ms": 10_000 }));
        let response = stack.rank(request.to_string()).await.unwrap();
        version(&response.json().unwrap(), tier)
    };

    // Top down: what still comes from below is answered with what is there below.
    site.point(Which::Origin, "2");
    site.point(Which::Region, "2");
    for which in [Which::Origin, Which::Region] {
        until_version(&stack, which, "2").await;
        assert_eq!(version(&of(&stack, which, &one()).await, NAMES[which as usize]), "2", "for its own clients");
    }
    for tier in NAMES {
        assert_eq!(through_the_edge(tier).await, "1", "at the {tier}");
    }

    // The edge ahead of what the region has: no claim of the region's.
    let site = Site::new();
    let stack = site.start().await.unwrap();
    site.point(Which::Edge, "2");
    until_version(&stack, Which::Edge, "2").await;
    let mut tiers = BTreeSet::new();
    for request in eval(40) {
        let response = stack.rank(request.to_string()).await.unwrap();
        let answer = response.json().unwrap();
        let tier = text(&answer["tier"]);
        assert_ne!(tier, "region", "{answer}");
        assert!(answer["agreement"].is_null() || (tier == "edge" && answer["version"] == "2"), "{answer}");
        tiers.insert(tier);
    }
    assert!(tiers.contains("origin"), "some go up: {tiers:?}");
}
