//! What the edge's variant is to be best at.

use serde_json::Value;

use super::{build_with, said};

/// What was built, with the share and the agreement of the one that was taken.
fn built(more: &[&str]) -> (Value, f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let output = build_with(&dir.path().join("bundle"), &[], more);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    let taken: Vec<&Value> = built["front"].as_array().unwrap().iter().filter(|t| t["taken"] == true).collect();
    let [taken] = taken[..] else { panic!("one is taken: {}", built["front"]) };
    assert_eq!(taken["bytes"], built["sizes"][0]["bytes"]);
    let (share, agreement) = (taken["share"].as_f64().unwrap(), taken["agreement"].as_f64().unwrap());
    (built, share, agreement)
}

#[test]
fn bytes_are_kept_to_and_more_of_them_never_rank_worse() {
    let (_, share, _) = built(&[]);
    assert!(share > 0.2 && share <= 0.22, "{share}");
    let (front, ..) = built(&["--edge-share", "0.27"]);
    let front: Vec<(u64, f64)> = front["front"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["bytes"].as_u64().unwrap(), t["agreement"].as_f64().unwrap()))
        .collect();
    assert!(front.len() > 2 && front.is_sorted_by_key(|t| t.0), "{front:?}");
    assert!(front.last().unwrap().1 > front[0].1, "bits are worth their bytes: {front:?}");
}

#[test]
fn as_few_bytes_as_agree_often_enough() {
    let (_, most, best) = built(&["--edge-share", "0.28"]);
    let wanted = best - 0.1;
    let (built, share, agreement) =
        built(&["--edge-share", "0.28", "--goal", "bytes", "--min-agreement", &wanted.to_string()]);
    assert!(agreement >= wanted && share < most, "{agreement} of {wanted} with {share} of {most}");
    assert_eq!(built["missed"], Value::Null);
}

#[test]
fn what_cannot_be_reached_is_said_and_the_best_is_written() {
    let (few, share, _) = built(&["--max-bytes", "1000"]);
    let missed = few["missed"].as_str().unwrap();
    assert!(share > 0.1 && missed.contains("no weight has more than 4 bits"), "{missed}");
    let (never, ..) = built(&["--edge-share", "0.2", "--goal", "bytes", "--min-agreement", "0.9999"]);
    let missed = never["missed"].as_str().unwrap();
    assert!(missed.contains("and not on 100.0 %") && missed.contains("within 20.0 %"), "{missed}");
}

#[test]
fn for_time_every_linear_has_8_bits() {
    let (built, ..) = built(&["--goal", "time", "--edge-share", "0.27"]);
    for tensor in built["tensors"].as_array().unwrap() {
        let quantized = !tensor["sensitivity"].is_null() && tensor["role"] == "linear weight";
        assert!(!quantized || tensor["stored"][0]["bits"] == 8.0, "{tensor}");
    }
}

#[test]
fn a_goal_of_bytes_wants_to_know_how_often_to_agree() {
    let dir = tempfile::tempdir().unwrap();
    let output = build_with(&dir.path().join("bundle"), &[], &["--goal", "bytes"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("--min-agreement"), "{}", said(&output));
}
