//! Other bundles and other catalogs under running tiers: nothing fails, nothing is mixed, what is bad is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quantize::delta;
use rung_tests::client::Error;
use rung_tests::stack::{Builder, Stack, Which, test_bundle};
use serde_json::{Value, json};
use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest, delta_file};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::schema::Schema;
use tempfile::TempDir;

use crate::requests::{eval, fixture, ids, one, with};

const ALL: [Which; 3] = [Which::Edge, Which::Region, Which::Origin];
const NAMES: [&str; 3] = ["edge", "region", "origin"];

/// Two versions of a bundle, which rank otherwise, and a link for each tier to the one that it serves.
struct Site {
    root: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { root: TempDir::new().unwrap() };
        site.bundle("1", 1, |rating| rating);
        site.bundle("2", 2, |rating| 5.5 - rating);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The test bundle as another version, with other ratings in its catalog.
    fn bundle(&self, version: &str, serial: u64, rating: fn(f64) -> f64) {
        let (from, to) = (test_bundle(), self.path(version));
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        let schema = Schema::from_toml(&std::fs::read_to_string(to.join(FEATURES)).unwrap()).unwrap();
        let items = std::fs::read_to_string(fixture("demo/catalog.jsonl")).unwrap();
        let items = items.lines().map(|line| {
            let mut item: Value = serde_json::from_str(line).unwrap();
            item["mean_rating"] = item["mean_rating"].as_f64().map(rating).into();
            item_from_json(&item.to_string()).unwrap()
        });
        let catalog = Catalog::build(&schema, items).unwrap().to_safetensors(&schema);
        let mut manifest = Manifest::from_bytes(&std::fs::read(to.join(MANIFEST)).unwrap()).unwrap();
        (manifest.version, manifest.serial) = (version.to_owned(), serial);
        manifest.files.insert(CATALOG.to_owned(), FileEntry::of(&catalog));
        std::fs::write(to.join(CATALOG), catalog).unwrap();
        std::fs::write(to.join(MANIFEST), manifest.to_bytes()).unwrap();
    }

    fn link(&self, which: Which) -> PathBuf {
        self.path(NAMES[which as usize])
    }

    /// Points a tier at a version, as a deployment would.
    fn point(&self, which: Which, version: &str) {
        let new = self.path("next");
        std::os::unix::fs::symlink(self.path(version), &new).unwrap();
        std::fs::rename(new, self.link(which)).unwrap();
    }

    fn point_all(&self, version: &str) {
        ALL.into_iter().for_each(|which| self.point(which, version));
    }

    /// All three on version 1.
    async fn start(&self) -> Result<Stack, Error> {
        self.point_all("1");
        let stack = ALL.into_iter().fold(Builder::default(), |stack, which| stack.bundle(which, &self.link(which)));
        stack.start().await
    }

    /// Makes the next delta of version 1, which all tiers find in its folder.
    fn delta(&self, items: &[Value]) -> PathBuf {
        self.delta_to(items, None)
    }

    fn delta_to(&self, items: &[Value], out: Option<PathBuf>) -> PathBuf {
        let file = self.path("items.jsonl");
        std::fs::write(&file, items.iter().map(|item| format!("{item}\n")).collect::<String>()).unwrap();
        let options = delta::Options { items: file, bundle: self.path("1"), after: Vec::new(), out };
        delta::run(&options).unwrap().file
    }
}

async fn ready(stack: &Stack, which: Which) -> Value {
    let response = stack.admin(which, "/readyz").await.unwrap();
    let ready = response.json().unwrap();
    assert_eq!((response.status.as_u16(), &ready["ready"]), (200, &json!(true)), "{ready}");
    ready
}

/// Waits until a tier says so of itself.
async fn until(stack: &Stack, which: Which, what: &str, holds: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let ready = ready(stack, which).await;
        if holds(&ready) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the {} does not get there: {what}: {ready}",
            NAMES[which as usize]
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_version(stack: &Stack, which: Which, version: &str) {
    until(stack, which, version, |ready| ready["models"][0]["version"] == version).await;
}

async fn until_revision(stack: &Stack, revision: u64) {
    for which in ALL {
        until(stack, which, "its revision", |ready| ready["models"][0]["catalog"] == revision).await;
    }
}

async fn until_refused(stack: &Stack, why: &str) {
    for which in ALL {
        let refused = |ready: &Value| ready["refused"][0]["why"].as_str().is_some_and(|text| text.contains(why));
        until(stack, which, why, refused).await;
    }
}

/// The answer of one tier, asked directly.
async fn of(stack: &Stack, which: Which, request: &Value) -> Value {
    let request = with(request.clone(), json!({ "tier": NAMES[which as usize] }));
    let response = stack.rank_at(which, request.to_string()).await.unwrap();
    assert_eq!(response.status, 200, "{:?}", response.body);
    response.json().unwrap()
}

fn requests() -> Vec<Value> {
    eval(5).into_iter().map(|request| with(request, json!({ "timeout_ms": 10_000 }))).collect()
}

/// By version, tier and request: what is to be answered.
type Expected = BTreeMap<(String, String, usize), Value>;

async fn expect(stack: &Stack, expected: &mut Expected) {
    for which in ALL {
        for (i, request) in requests().iter().enumerate() {
            let answer = of(stack, which, request).await;
            let key = (text(&answer["version"]), text(&answer["tier"]), i);
            assert_eq!(key.1, NAMES[which as usize], "{answer}");
            expected.insert(key, answer["ranked"].clone());
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_swapped_and_rolled_back_under_load() {
    let site = Site::new();
    let stack = Arc::new(site.start().await.unwrap());
    let mut expected = Expected::new();
    expect(&stack, &mut expected).await;

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = (0..4).map(|worker| {
        let (stack, stop, answered) = (stack.clone(), stop.clone(), answered.clone());
        tokio::spawn(async move {
            let (requests, mut answers) = (requests(), Vec::new());
            for turn in (worker..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                let i = turn % requests.len();
                // By way of the edge, and each tier directly.
                let (at, tier) = [(0, 0), (0, 1), (0, 2), (1, 1), (2, 2)][turn / requests.len() % 5];
                let request = with(requests[i].clone(), json!({ "tier": NAMES[tier] }));
                answers.push((i, stack.rank_at(ALL[at], request.to_string()).await));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            answers
        })
    });
    let load: Vec<_> = load.collect();
    let some_more = async || {
        let enough = answered.load(Ordering::Relaxed) + 50;
        while answered.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    some_more().await;
    site.point_all("2");
    for which in ALL {
        until_version(&stack, which, "2").await;
    }
    some_more().await;
    expect(&stack, &mut expected).await;

    site.point_all("1");
    until_refused(&stack, "is older than the running one with serial 2").await;
    for which in ALL {
        assert_eq!(ready(&stack, which).await["models"][0]["version"], "2");
        let response = stack.order(which, "/v1/reload", r#"{"rollback":"1"}"#).await.unwrap();
        assert_eq!(response.status, 200, "{:?}", response.body);
        assert_eq!(response.json().unwrap()["models"][0]["version"], "1");
        assert_eq!(ready(&stack, which).await.get("refused"), None);
    }
    some_more().await;
    stop.store(true, Ordering::Relaxed);

    let mut seen = BTreeSet::new();
    for (i, response) in futures(load).await {
        let response = response.expect("no request fails");
        assert_eq!(response.status, 200, "{:?}", response.body);
        let answer = response.json().unwrap();
        let key = (text(&answer["version"]), text(&answer["tier"]), i);
        assert!(alike(&answer["ranked"], &expected[&key]), "all of one version: {answer}, not {}", expected[&key]);
        seen.insert((key.0, key.1));
    }
    let both = ["1", "2"].iter().flat_map(|v| NAMES.map(|tier| ((*v).to_owned(), tier.to_owned())));
    assert_eq!(seen, both.collect(), "each tier has answered with each version");
    let differ = |tier: &str| {
        (0..requests().len())
            .any(|i| expected[&("1".to_owned(), tier.to_owned(), i)] != expected[&("2".to_owned(), tier.to_owned(), i)])
    };
    assert!(NAMES.into_iter().all(differ), "the versions can be told apart");
    for (which, name) in ALL.into_iter().zip(NAMES) {
        let metric = async |line: &str| stack.metric(which, &format!("{name}_{line}")).await.unwrap();
        assert_eq!(metric("bundle_serial{model=\"movies\"}").await, 1.0);
        for outcome in ["bundle", "rollback", "refused"] {
            assert_eq!(metric(&format!("swaps_total{{outcome=\"{outcome}\"}}")).await, 1.0, "{name} {outcome}");
        }
    }
}

/// The same ranking with the same scores, but for what the order of the origin's sums in a batch changes.
fn alike(one: &Value, other: &Value) -> bool {
    let (one, other) = (one.as_array().unwrap(), other.as_array().unwrap());
    let score = |entry: &Value| entry["score"].as_f64().unwrap();
    let same =
        |(a, b): (&Value, &Value)| a["id"] == b["id"] && a["by"] == b["by"] && (score(a) - score(b)).abs() <= 1e-6;
    one.len() == other.len() && one.iter().zip(other).all(same)
}

async fn futures<T>(tasks: Vec<tokio::task::JoinHandle<Vec<T>>>) -> Vec<T> {
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
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

    // A machine that has other things to do may miss it now and then.
    let mut took = Vec::new();
    for turn in 0..10 {
        let begun = Instant::now();
        let here = turn % 2 == 0;
        site.delta(&[if here { new.clone() } else { json!({"id":"new1","removed":true}) }]);
        for which in ALL {
            while knows(&stack, which, "new1").await != here {
                assert!(begun.elapsed() < Duration::from_secs(60), "it is never seen");
            }
        }
        took.push(begun.elapsed());
        if begun.elapsed() < Duration::from_secs(1) {
            return;
        }
    }
    panic!("no change was seen by all within a second: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_refused_and_the_running_one_stays() {
    let site = Site::new();
    let stack = site.start().await.unwrap();
    let mut expected = Expected::new();
    expect(&stack, &mut expected).await;
    let as_before = async |stack: &Stack| {
        let mut now = Expected::new();
        expect(stack, &mut now).await;
        assert_eq!(now, expected);
    };

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
    as_before(&stack).await;
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
