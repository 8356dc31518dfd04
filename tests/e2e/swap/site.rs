//! What tiers are started on and swap to: two versions of a bundle, the deltas of the first, and waits until they have.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quantize::delta;
use rung_tests::client::Error;
use rung_tests::stack::{Builder, Stack, Which, copy_of_test_bundle};
use serde_json::{Value, json};
use shared_model::bundle::{CATALOG, FEATURES, FileEntry, MANIFEST, Manifest};
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::schema::Schema;
use tempfile::TempDir;

use crate::requests::fixture;

pub(super) const ALL: [Which; 3] = [Which::Edge, Which::Region, Which::Origin];
pub(super) const NAMES: [&str; 3] = ["edge", "region", "origin"];

/// Two versions of a bundle, which rank otherwise, and a link for each tier to the one that it serves.
pub(super) struct Site {
    root: TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        let site = Self { root: TempDir::new().unwrap() };
        site.bundle("1", 1, |rating| rating);
        site.bundle("2", 2, |rating| 5.5 - rating);
        site
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The test bundle as another version, with other ratings in its catalog.
    fn bundle(&self, version: &str, serial: u64, rating: fn(f64) -> f64) {
        let to = self.path(version);
        copy_of_test_bundle(&to).unwrap();
        let schema = Schema::from_toml(&std::fs::read_to_string(to.join(FEATURES)).unwrap()).unwrap();
        let items = rated(rating).map(|item| item_from_json(&item.to_string()).unwrap());
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
    pub(super) fn point(&self, which: Which, version: &str) {
        let new = self.path("next");
        std::os::unix::fs::symlink(self.path(version), &new).unwrap();
        std::fs::rename(new, self.link(which)).unwrap();
    }

    pub(super) fn point_all(&self, version: &str) {
        ALL.into_iter().for_each(|which| self.point(which, version));
    }

    /// All three on version 1.
    pub(super) async fn start(&self) -> Result<Stack, Error> {
        self.point_all("1");
        let stack = Builder::default().without_caches();
        let stack = ALL.into_iter().fold(stack, |stack, which| stack.bundle(which, &self.link(which)));
        stack.start().await
    }

    /// Makes the next delta of version 1, which all tiers find in its folder.
    pub(super) fn delta(&self, items: &[Value]) -> PathBuf {
        self.delta_to(items, None)
    }

    pub(super) fn delta_to(&self, items: &[Value], out: Option<PathBuf>) -> PathBuf {
        let file = self.path("items.jsonl");
        std::fs::write(&file, items.iter().map(|item| format!("{item}\n")).collect::<String>()).unwrap();
        let options = delta::Options { items: file, bundle: self.path("1"), after: Vec::new(), out };
        delta::run(&options).unwrap().file
    }
}

/// The items of the repo's own catalog with other ratings.
pub(super) fn rated(rating: fn(f64) -> f64) -> impl Iterator<Item = Value> {
    let items = std::fs::read_to_string(fixture("demo/catalog.jsonl")).unwrap();
    let items: Vec<Value> = items.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    items.into_iter().map(move |mut item| {
        item["mean_rating"] = item["mean_rating"].as_f64().map(rating).into();
        item
    })
}

pub(super) async fn ready(stack: &Stack, which: Which) -> Value {
    let response = stack.admin(which, "/readyz").await.unwrap();
    let ready = response.json().unwrap();
    assert_eq!((response.status.as_u16(), &ready["ready"]), (200, &json!(true)), "{ready}");
    ready
}

/// Waits until a tier says so of itself.
pub(super) async fn until(stack: &Stack, which: Which, what: &str, holds: impl Fn(&Value) -> bool) {
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

pub(super) async fn until_version(stack: &Stack, which: Which, version: &str) {
    until(stack, which, version, |ready| ready["models"][0]["version"] == version).await;
}

pub(super) async fn until_revision(stack: &Stack, revision: u64) {
    for which in ALL {
        until(stack, which, "its revision", |ready| ready["models"][0]["catalog"] == revision).await;
    }
}

pub(super) async fn until_refused(stack: &Stack, why: &str) {
    for which in ALL {
        let refused = |ready: &Value| ready["refused"][0]["why"].as_str().is_some_and(|text| text.contains(why));
        until(stack, which, why, refused).await;
    }
}
