//! Swaps, deltas and refusals, with a loader that counts and can be told to fail. Polls are made by hand: the watch is
//! too slow to do so.

mod refusals;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::text::encode;
use shared_model::bundle::{CATALOG, MANIFEST, delta_file};
use shared_model::wire::Tier;
use tempfile::TempDir;

use super::*;
use crate::metrics::Registry;

/// Remembers by which way it came to its weights, and how many items it has.
#[derive(Debug)]
struct Toy {
    loads: usize,
    items: usize,
}

struct ToyLoader {
    loads: AtomicUsize,
    /// The most items that it has room for.
    room: AtomicUsize,
}

impl Default for ToyLoader {
    fn default() -> Self {
        Self { loads: AtomicUsize::new(0), room: AtomicUsize::new(usize::MAX) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no room for it")]
struct NoRoom;

impl Loader for ToyLoader {
    type Model = Toy;
    type Error = NoRoom;

    fn variant(&self) -> VariantName {
        sample::VARIANT
    }

    fn is_escalated_to(&self) -> bool {
        true
    }

    fn load(&self, edition: &Edition, weights: Weights<'_, Toy>) -> Result<Toy, NoRoom> {
        let loads = match weights {
            Weights::Files(files) => {
                assert!(!files.variant.is_empty());
                self.loads.fetch_add(1, Ordering::Relaxed) + 1
            }
            Weights::Of(toy) => toy.loads,
        };
        match edition.manifest().version.as_str() {
            "large" => Err(NoRoom),
            "panicking" => panic!("on purpose"),
            _ if edition.catalog().len() > self.room.load(Ordering::Relaxed) => Err(NoRoom),
            _ => Ok(Toy { loads, items: edition.catalog().len() }),
        }
    }
}

/// A folder with bundles, and a link to the one that is served.
struct Site {
    root: TempDir,
    registry: Registry,
    all: Arc<Generations<ToyLoader>>,
}

fn link(root: &Path, to: &str) {
    let new = root.join("next");
    std::os::unix::fs::symlink(root.join(to), &new).unwrap();
    std::fs::rename(new, root.join("bundle")).unwrap();
}

impl Site {
    /// Serves the first of the bundles, each by version and serial.
    fn of(bundles: &[(&str, u64)]) -> Self {
        let root = TempDir::new().unwrap();
        for (version, serial) in bundles {
            sample::write(&root.path().join(version), version, *serial);
        }
        link(root.path(), bundles[0].0);
        Self::open(root)
    }

    fn open(root: TempDir) -> Self {
        Self::open_with(root, ToyLoader::default())
    }

    fn open_with(root: TempDir, loader: ToyLoader) -> Self {
        let mut registry = crate::metrics::registry(Tier::Edge);
        let sources = [BundleSource { folder: root.path().join("bundle"), poll: Duration::from_secs(3600) }];
        let all = Read::new(&sources, sample::VARIANT).unwrap().load(loader, &mut registry).unwrap();
        Self { root, registry, all }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What the watch does after some time.
    fn poll(&self) {
        self.all.poll(&self.all.slots[sample::MODEL]);
    }

    fn running(&self) -> (String, u64) {
        let current = self.all.take(sample::MODEL, None).unwrap();
        (current.edition.manifest().version.clone(), current.stamp().catalog)
    }

    fn runs(&self, version: &str, revision: u64) {
        assert_eq!(self.running(), (version.to_owned(), revision));
    }

    /// The one reason why something is refused.
    fn refused(&self) -> String {
        let refused = self.all.refused();
        assert_eq!((refused.len(), refused[0].model.as_str()), (1, sample::MODEL), "{refused:?}");
        refused[0].why.clone()
    }

    fn rollback(&self, version: &str) -> Result<Vec<Running>, OrderError> {
        self.all.reload(&Reload { model: None, rollback: Some(version.to_owned()) })
    }

    #[track_caller]
    fn counts(&self, line: &str) {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_newer_bundle_takes_the_place_of_the_running_one() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    let before = site.all.take(sample::MODEL, None).unwrap();
    site.poll();
    site.runs("1", 0);
    link(site.root.path(), "2");
    site.poll();
    site.runs("2", 0);
    let below = site.all.take(sample::MODEL, Some(before.stamp())).unwrap();
    assert!(Arc::ptr_eq(&before, &below), "for tiers below that still have it");
    site.counts("edge_bundle_serial{model=\"toy\"} 2");
    site.counts("edge_swaps_total{outcome=\"bundle\"} 1");
    site.counts("edge_swaps_total{outcome=\"refused\"} 0");
    assert!(site.all.take("books", None).is_none());
}

#[test]
fn what_has_not_changed_is_not_loaded_again() {
    let site = Site::of(&[("1", 1)]);
    for _ in 0..3 {
        site.poll();
        site.all.reload(&Reload::default()).unwrap();
    }
    // Another copy of the same bundle.
    sample::write(&site.path("copy"), "1", 1);
    link(site.root.path(), "copy");
    site.poll();
    assert_eq!(site.all.loader.loads.load(Ordering::Relaxed), 1);
}

#[test]
fn an_older_bundle_is_taken_only_when_asked_for_by_name() {
    let site = Site::of(&[("2", 2), ("1", 1)]);
    link(site.root.path(), "1");
    for _ in 0..3 {
        site.poll();
    }
    site.runs("2", 0);
    assert!(site.refused().contains("manifest.json: version `1` with serial 1 is older"), "{}", site.refused());
    site.counts("edge_swaps_total{outcome=\"refused\"} 1");
    let other = site.rollback("0").unwrap_err().to_string();
    assert!(other.ends_with("manifest.json: is of version `1`, not of `0`"), "{other}");
    site.runs("2", 0);
    let running = site.rollback("1").unwrap();
    assert_eq!((running[0].version.as_str(), running[0].serial), ("1", 1));
    site.runs("1", 0);
    assert_eq!(site.all.refused(), []);
    site.counts("edge_swaps_total{outcome=\"rollback\"} 1");
    site.poll();
    site.runs("1", 0);
}

#[test]
fn a_name_that_is_not_there_leaves_what_is_there_to_the_watch() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    link(site.root.path(), "2");
    site.rollback("1").unwrap_err();
    site.runs("1", 0);
    site.poll();
    site.runs("2", 0);
    assert_eq!(site.all.refused(), []);
}

#[test]
fn a_damaged_bundle_is_refused_once_it_is_sure_not_to_be_half_written() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    let catalog = site.path("2").join(CATALOG);
    let whole = std::fs::read(&catalog).unwrap();
    std::fs::write(&catalog, &whole[..whole.len() - 1]).unwrap();
    link(site.root.path(), "2");
    site.poll();
    assert_eq!(site.all.refused(), [], "it may be on its way");
    site.poll();
    assert!(site.refused().contains("catalog.safetensors does not match its digest"), "{}", site.refused());
    assert!(site.refused().starts_with(&format!("the bundle in {}", site.path("bundle").display())));
    site.poll();
    site.counts("edge_swaps_total{outcome=\"refused\"} 1");
    site.runs("1", 0);
    std::fs::write(&catalog, &whole).unwrap();
    site.poll();
    site.runs("2", 0);
    assert_eq!(site.all.refused(), []);
}

#[test]
fn what_the_tier_cannot_run_is_refused() {
    let site = Site::of(&[("1", 1), ("large", 2), ("panicking", 3)]);
    link(site.root.path(), "large");
    let refused = site.all.reload(&Reload::default()).unwrap_err().to_string();
    assert!(refused.ends_with("it cannot be run here: there is no room for it"), "{refused}");
    link(site.root.path(), "panicking");
    site.poll();
    site.poll();
    assert!(site.refused().ends_with("it cannot be run here: a bug: on purpose"), "{}", site.refused());
    site.runs("1", 0);
}

#[test]
fn another_model_is_refused() {
    let site = Site::of(&[("1", 1)]);
    for (name, bytes) in sample::files("books", "2", 2) {
        std::fs::create_dir_all(site.path("2")).unwrap();
        std::fs::write(site.path("2").join(name), bytes).unwrap();
    }
    link(site.root.path(), "2");
    let refused = site.all.reload(&Reload::default()).unwrap_err().to_string();
    assert!(refused.contains("is of model `books`, and `toy` is served from this folder"), "{refused}");
    std::fs::remove_file(site.path("bundle")).unwrap();
    let refused = site.all.reload(&Reload::default()).unwrap_err().to_string();
    assert!(refused.contains("No such file"), "{refused}");
    site.runs("1", 0);
}

#[test]
fn deltas_in_the_folder_are_applied_in_order() {
    let site = Site::of(&[("1", 1)]);
    let edition = sample::edition("1", 1);
    let (first, after) = sample::delta(&edition, r#"{"id":"m9","quality":9}"#);
    let (second, last) = sample::delta(&after, "{\"id\":\"m0\",\"removed\":true}\n{\"id\":\"m1\",\"removed\":true}");
    let before = site.all.take(sample::MODEL, None).unwrap();
    folder::put_delta(&site.path("1"), 2, &second).unwrap();
    site.poll();
    site.runs("1", 0);
    folder::put_delta(&site.path("1"), 1, &first).unwrap();
    site.poll();
    site.runs("1", 2);
    let now = site.all.take(sample::MODEL, None).unwrap();
    assert_eq!(now.edition.catalog(), last.catalog());
    assert_eq!((now.model.items, now.model.loads), (2, 1), "the weights are those of before");
    assert_eq!(before.edition.catalog().len(), 3, "whoever has the revision before keeps it");
    site.counts("edge_catalog_revision{model=\"toy\"} 2");
    site.counts("edge_swaps_total{outcome=\"catalog\"} 1");
    // As after a restart.
    let again = Site::open(site.root);
    again.runs("1", 2);
    assert_eq!(again.all.refused(), []);
}

#[test]
fn a_damaged_delta_leaves_the_revision_before_it() {
    let site = Site::of(&[("1", 1)]);
    let (good, after) = sample::delta(&sample::edition("1", 1), r#"{"id":"m9","quality":9}"#);
    let (mut bad, _) = sample::delta(&after, r#"{"id":"m8","quality":8}"#);
    let at = bad.len() - 2;
    bad[at] ^= 1;
    folder::put_delta(&site.path("1"), 1, &good).unwrap();
    folder::put_delta(&site.path("1"), 2, &bad).unwrap();
    for _ in 0..3 {
        site.poll();
    }
    site.runs("1", 1);
    assert!(site.refused().contains("deltas/000002.jsonl: does not match the digest"), "{}", site.refused());
    let again = Site::open(site.root);
    again.runs("1", 1);
    assert!(again.refused().contains("deltas/000002.jsonl: "), "and the tier starts all the same");
    std::fs::remove_file(again.path("1").join(delta_file(2))).unwrap();
    again.poll();
    assert_eq!(again.all.refused(), []);
}

#[test]
fn a_delta_of_another_bundle_is_refused() {
    let site = Site::of(&[("1", 1)]);
    let (delta, _) = sample::delta(&sample::edition("2", 2), r#"{"id":"m9","quality":9}"#);
    let refused = site.all.add_delta(&delta).unwrap_err().to_string();
    assert!(refused.contains("deltas/000001.jsonl: is for revision 0 of the catalog of model `toy`"), "{refused}");
    assert!(!site.path("1").join("deltas").exists(), "and not written");
    assert_eq!(site.all.refused(), [], "it is nowhere to be found");
    folder::put_delta(&site.path("1"), 1, &delta).unwrap();
    site.poll();
    site.poll();
    assert!(site.refused().contains("deltas/000001.jsonl: is for revision 0"), "{}", site.refused());
    site.runs("1", 0);
}

#[test]
fn a_delta_by_order_is_in_the_folder_and_applied_once() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    let (delta, after) = sample::delta(&sample::edition("1", 1), r#"{"id":"m9","quality":9}"#);
    for _ in 0..2 {
        assert_eq!(site.all.add_delta(&delta).unwrap().catalog, 1);
    }
    assert_eq!(std::fs::read(site.path("1").join(delta_file(1))).unwrap(), delta);
    site.counts("edge_swaps_total{outcome=\"catalog\"} 1");
    let (other, _) = sample::delta(&sample::edition("1", 1), r#"{"id":"m8","quality":8}"#);
    assert!(matches!(site.all.add_delta(&other), Err(OrderError::Refused(_))), "the revision is taken");
    assert!(matches!(site.all.add_delta(b"{}\n"), Err(OrderError::Refused(_))));
    let (next, _) = sample::delta(&after, r#"{"id":"m9","removed":true}"#);
    link(site.root.path(), "2");
    let refused = site.all.add_delta(&next).unwrap_err().to_string();
    assert!(refused.contains("the folder holds another bundle than the one that runs"), "{refused}");
    site.runs("1", 1);
}

#[test]
fn a_new_bundle_begins_with_its_own_deltas() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    let (delta, _) = sample::delta(&sample::edition("2", 2), r#"{"id":"m9","quality":9}"#);
    folder::put_delta(&site.path("2"), 1, &delta).unwrap();
    link(site.root.path(), "2");
    site.poll();
    site.runs("2", 1);
    site.counts("edge_swaps_total{outcome=\"bundle\"} 1");
}

#[test]
fn an_order_names_a_model_that_is_served() {
    let site = Site::of(&[("1", 1)]);
    let order = Reload { model: Some("books".to_owned()), rollback: None };
    assert!(matches!(site.all.reload(&order), Err(OrderError::UnknownModel(model)) if model == "books"));
}

#[test]
fn two_bundles_of_one_model_are_no_start() {
    let root = TempDir::new().unwrap();
    let sources = ["a", "b"].map(|name| {
        sample::write(&root.path().join(name), "1", 1);
        BundleSource { folder: root.path().join(name), poll: Duration::from_secs(3600) }
    });
    let refused = Read::new(&sources, sample::VARIANT).unwrap_err().to_string();
    assert!(refused.contains("model `toy` is served from another bundle already"), "{refused}");
    std::fs::remove_file(root.path().join("a").join(MANIFEST)).unwrap();
    let refused = Read::new(&sources, sample::VARIANT).unwrap_err().to_string();
    assert!(refused.contains("manifest.json: "), "{refused}");
}

#[test]
fn the_watch_looks_by_itself_and_ends_with_the_generations() {
    let root = TempDir::new().unwrap();
    sample::write(&root.path().join("1"), "1", 1);
    sample::write(&root.path().join("2"), "2", 2);
    link(root.path(), "1");
    let sources = [BundleSource { folder: root.path().join("bundle"), poll: Duration::from_millis(5) }];
    let mut registry = crate::metrics::registry(Tier::Edge);
    let all = Read::new(&sources, sample::VARIANT).unwrap().load(ToyLoader::default(), &mut registry).unwrap();
    link(root.path(), "2");
    while all.take(sample::MODEL, None).unwrap().edition.manifest().version != "2" {
        std::thread::sleep(Duration::from_millis(1));
    }
    let watched = Arc::downgrade(&all);
    drop(all);
    while watched.strong_count() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}
