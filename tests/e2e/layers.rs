//! The rooms and the arrows between them, as `docs/architecture.md` draws them: nothing depends on what it must not.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which rooms each room may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("shared-model", &[]),
    ("quantize", &["shared-model"]),
    ("edge-worker", &["shared-model"]),
    ("cdn-config", &[]),
    ("front", &["shared-model"]),
    ("pop", &["cdn-config", "front", "shared-model"]),
    ("origin", &["cdn-config", "front", "shared-model"]),
    ("rung-tests", &["cdn-config", "edge-worker", "front", "origin", "pop", "quantize", "shared-model"]),
    ("rung-fuzz", &["cdn-config", "front", "quantize", "shared-model"]),
    ("rung-bindgen", &[]),
];

/// Which rooms alone may use a package directly.
const PACKAGES: &[(&str, &[&str])] = &[
    ("wasmtime", &["pop", "quantize"]),
    ("wasmtime-wizer", &["quantize"]),
    ("burn", &["origin"]),
    ("wasm-bindgen", &["edge-worker"]),
    ("wasm-bindgen-cli-support", &["rung-bindgen"]),
    ("onnx-ir", &["quantize"]),
    ("tract-onnx", &["quantize"]),
    ("tokio", &["front", "pop", "origin", "rung-tests"]),
    ("hyper", &["front", "pop", "rung-tests"]),
    ("rustls", &["front", "pop", "rung-tests"]),
    ("quinn", &["front", "pop", "rung-tests"]),
    ("h3", &["front", "pop", "rung-tests"]),
];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata")
}

/// What each room depends on outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata.workspace_packages().into_iter();
    packages
        .map(|p| {
            let used = p.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
            (p.name.to_string(), used.map(|d| d.name.clone()).collect())
        })
        .collect()
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let dependencies = dependencies();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let found: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(found, rooms, "a room was added or removed: say here what it may use");
    for (room, allowed) in ROOMS {
        let used = dependencies[*room].iter().map(String::as_str).filter(|d| rooms.contains(d));
        let beyond: Vec<&str> = used.filter(|d| !allowed.contains(d)).collect();
        assert!(beyond.is_empty(), "{room} must not use {beyond:?}");
    }
}

#[test]
fn heavy_packages_stay_in_their_rooms() {
    for (room, used) in dependencies() {
        for (package, rooms) in PACKAGES {
            assert!(!used.contains(*package) || rooms.contains(&room.as_str()), "{room} must not use {package}");
        }
    }
}

#[test]
fn the_core_has_no_way_to_the_outside() {
    let core = &dependencies()["shared-model"];
    for io in ["mio", "rand", "rayon", "reqwest", "tokio", "tracing"] {
        assert!(!core.contains(io), "shared-model must not use {io}");
    }
}

#[test]
fn the_top_level_is_the_one_agreed_on() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let rooms = ["edge-worker", "origin", "shared-model", "quantize", "cdn-config", "tests", "scripts", "docs"];
    let folders = std::fs::read_dir(root).expect("the workspace's folder").map(|entry| entry.expect("an entry"));
    let folders = folders.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.file_name());
    let other: Vec<_> = folders
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target" && !rooms.contains(&name.as_str()))
        .collect();
    assert!(other.is_empty(), "{other:?}");
}
