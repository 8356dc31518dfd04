//! Copies of the test bundle with another manifest.

use rung_tests::stack::copy_of_test_bundle;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A margin that about a third of the evaluation requests reach at the edge.
const SURE: f64 = 0.125;

pub(crate) fn bundle_with(change: impl Fn(&mut Value)) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_of_test_bundle(copy.path()).unwrap();
    let manifest = copy.path().join("manifest.json");
    let mut json = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&manifest, json.to_string()).unwrap();
    copy
}

/// The certificate of the repo's own model lets the edge only ask. Here it may answer as well.
pub(crate) fn sure_at_the_edge() -> TempDir {
    bundle_with(|manifest| {
        for policy in manifest["policies"].as_array_mut().unwrap() {
            assert!(policy["edge"]["doubt"].is_number(), "{policy}");
            policy["edge"]["margin"] = json!(SURE);
        }
    })
}
