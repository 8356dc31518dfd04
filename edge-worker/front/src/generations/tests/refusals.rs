//! What is refused leaves nothing behind that would be refused for ever.

use super::*;

fn added(edition: &Edition, id: u32) -> (Vec<u8>, Edition) {
    sample::delta(edition, &format!(r#"{{"id":"n{id}","quality":{id}}}"#))
}

#[test]
fn a_delta_by_order_that_cannot_be_run_is_not_put_into_the_folder() {
    let site = Site::of(&[("1", 1)]);
    site.all.loader.room.store(4, Ordering::Relaxed);
    let edition = sample::edition("1", 1);
    let (large, _) = sample::delta(&edition, "{\"id\":\"m8\",\"quality\":8}\n{\"id\":\"m9\",\"quality\":9}");
    let refused = site.all.add_delta(&large).unwrap_err().to_string();
    let why = "deltas/000001.jsonl: the catalog after it cannot be run here: there is no room for it";
    assert!(refused.ends_with(why), "{refused}");
    assert!(!site.path("1").join(delta_file(1)).exists());
    let (small, _) = sample::delta(&edition, r#"{"id":"m9","quality":9}"#);
    assert_eq!(site.all.add_delta(&small).unwrap().catalog, 1, "a corrected one is taken");
    site.runs("1", 1);
    Site::open(site.root).runs("1", 1);
}

#[test]
fn a_tier_starts_with_the_newest_catalog_that_it_can_run() {
    let site = Site::of(&[("1", 1)]);
    let mut edition = sample::edition("1", 1);
    for revision in 1..=9 {
        let (delta, next) = added(&edition, u32::try_from(revision).unwrap());
        folder::put_delta(&site.path("1"), revision, &delta).unwrap();
        edition = next;
    }
    let Site { root, .. } = site;
    let room = AtomicUsize::new(3 + 5);
    let site = Site::open_with(root, ToyLoader { room, ..ToyLoader::default() });
    site.runs("1", 5);
    assert!(site.refused().contains("deltas/000006.jsonl: the catalog after it cannot be run"), "{}", site.refused());
    site.counts("edge_swaps_total{outcome=\"refused\"} 1");
    site.all.loader.room.store(usize::MAX, Ordering::Relaxed);
    site.poll();
    site.runs("1", 9);
    assert_eq!(site.all.refused(), []);
}

#[test]
fn a_bundle_that_cannot_be_run_without_its_deltas_is_no_start() {
    let site = Site::of(&[("1", 1)]);
    let (delta, _) = added(&sample::edition("1", 1), 1);
    folder::put_delta(&site.path("1"), 1, &delta).unwrap();
    let sources = [BundleSource { folder: site.path("1"), poll: Duration::from_secs(3600) }];
    let loader = ToyLoader { room: AtomicUsize::new(2), ..ToyLoader::default() };
    let mut registry = crate::metrics::registry(Tier::Edge);
    let refused = Read::new(&sources, sample::VARIANT).unwrap().load(loader, &mut registry).err().unwrap().to_string();
    assert!(refused.ends_with("there is no room for it"), "{refused}");
}

#[test]
fn a_rollback_to_another_version_than_the_one_that_runs_and_is_there_is_refused() {
    let site = Site::of(&[("7", 7)]);
    let refused = site.rollback("6").unwrap_err().to_string();
    assert!(refused.ends_with("manifest.json: is of version `7`, not of `6`"), "{refused}");
    assert_eq!(site.rollback("7").unwrap()[0].version, "7", "that one runs");
}

#[test]
fn what_the_system_cannot_read_is_told_once_and_tried_again() {
    let site = Site::of(&[("1", 1), ("2", 2)]);
    let (catalog, aside) = (site.path("2").join(CATALOG), site.path("aside"));
    std::fs::rename(&catalog, &aside).unwrap();
    // What can be read through the link changes without a sign of it in the folder.
    let target = site.path("target");
    std::os::unix::fs::symlink(&target, &catalog).unwrap();
    std::fs::create_dir(&target).unwrap();
    link(site.root.path(), "2");
    for _ in 0..4 {
        site.poll();
    }
    assert!(site.refused().contains("catalog.safetensors: cannot be read: "), "{}", site.refused());
    site.counts("edge_swaps_total{outcome=\"refused\"} 1");
    assert!(site.all.reload(&Reload::default()).is_err());
    site.runs("1", 0);
    std::fs::remove_dir(&target).unwrap();
    std::fs::rename(&aside, &target).unwrap();
    site.poll();
    site.runs("2", 0);
    assert_eq!(site.all.refused(), []);
}
