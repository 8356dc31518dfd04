//! The package for JavaScript, in Node: the same bits as the native ladder and as `pop`, and the whole ladder above it.
//!
//! `tests/web` is the JavaScript side; `scripts/build-web.sh` builds the package.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rung_tests::stack::{Builder, Stack, Which, test_bundle, web_package};
use serde_json::{Value, json};
use shared_model::ladder::{Call, Ladder, Outcome, Step};
use shared_model::wire::json::{JsonLimits, decode, encode};
use shared_model::wire::{Answer, Tier, to_cbor};

use crate::bundles::sure_at_the_edge;
use crate::parity::native;
use crate::requests::{eval, one, with};

/// The oldest Node that the package is for: Debian's.
const OLDEST_NODE: u32 = 18;

fn node() -> Command {
    let told = Command::new("node").arg("--version").output();
    let told = told.unwrap_or_else(|e| panic!("node does not run ({e}): scripts/setup.sh installs it"));
    let version = String::from_utf8(told.stdout).unwrap();
    let major: u32 = version.trim_start_matches('v').split('.').next().unwrap().parse().unwrap();
    assert!(major >= OLDEST_NODE, "node is {}: {OLDEST_NODE} or later is needed", version.trim());
    Command::new("node")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(name)
}

fn said(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What the package does with each request; with a tier above, what comes of it.
fn in_node(entry: &str, tier: Tier, bundle: &Path, requests: &[Value], above: Option<&Stack>) -> Vec<Value> {
    let mut node = node();
    node.arg(script("run.mjs")).arg(web_package().join(entry)).arg(bundle).arg(tier.as_str());
    if let Some(stack) = above {
        let shown = stack.shown(Which::Edge);
        node.arg(format!("https://localhost:{}", stack.tiers(Which::Region).port()));
        node.args([stack.ca(), &shown.certificate, &shown.key]);
    }
    let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    // It reads to the end before it writes.
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let told = said(child.wait_with_output().unwrap());
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), requests.len());
    told
}

/// Requests of the k that there is a policy for, whichever tier answers.
const BY_POLICY: usize = 60;

/// More than a thousand requests: some by the policy, many for several k and tiers, and some that are at fault or unusual.
fn requests() -> Vec<Value> {
    let by_policy = eval(BY_POLICY).into_iter().map(|request| with(request, json!({ "timeout_ms": 10_000 })));
    let of = |i: usize| {
        let k = [1, 5, 10, 20, 50, 200][i % 6];
        let tier = ["auto", "edge", "auto", "region", "auto", "origin", "edge"][i % 7];
        json!({ "k": k, "tier": tier, "timeout_ms": 10_000 })
    };
    // Each three times: their number and those of the k and tiers have no common factor.
    let thrice = (0..3).flat_map(|_| eval(usize::MAX));
    let thrice = thrice.enumerate().map(|(i, request)| with(request, of(i)));
    let mut requests: Vec<Value> = by_policy.chain(thrice).collect();
    let inline = json!([{ "id": "a", "year": null, "genres": [] }, { "id": "é", "genres": ["Drama", "unheard of"] }]);
    requests.extend([
        with(one(), json!({ "user": {}, "context": {} })),
        with(one(), json!({ "user": { "id": "é\u{10ffff}", "history": ["m-none", "m1"], "ratings": 1e9 } })),
        with(one(), json!({ "candidates": inline, "tier": "edge" })),
        with(one(), json!({ "candidates": ["m1", "m-none"] })),
        with(one(), json!({ "candidates": [] })),
        with(one(), json!({ "exclude": ["m1"], "contxt": 1, "timeout_ms": 70 })),
        with(one(), json!({ "k": 0 })),
        with(one(), json!({ "candidates": ["m1", { "id": 7 }] })),
        with(one(), json!({ "candidates": ["m1", "m1"] })),
    ]);
    requests
}

/// What `tests/web/cases.mjs` tells of a request, of the native ladder.
fn expected(ladder: &mut Ladder, request: &Value) -> Value {
    let decoded = match decode(request.to_string().as_bytes(), &JsonLimits::default()) {
        Ok(decoded) => decoded,
        Err(error) => return json!({ "field": error.field, "message": error.message }),
    };
    let answered = |answer: Answer| {
        let answer = Answer { warnings: [answer.warnings, decoded.warnings.clone()].concat(), ..answer };
        let bits: Vec<u32> = answer.ranked.iter().map(|r| r.score.unwrap_or(f32::NAN).to_bits()).collect();
        json!({ "answer": serde_json::from_slice::<Value>(&encode(&answer)).unwrap(), "bits": bits })
    };
    let timeout_ms = decoded.request.timeout_ms.unwrap();
    match ladder.rank(&Call { request: decoded.request, below: None, part: None }) {
        Step::Answer(answer) => answered(*answer),
        Step::Refused(refusal) => json!({ "field": refusal.field, "message": refusal.message }),
        Step::Whole(why) => panic!("a client sends no part: {why:?}"),
        Step::Escalate { held, mut message, ready, .. } => {
            message.remaining_us = u64::from(timeout_ms) * 720;
            let body: String = to_cbor(&message).iter().map(|byte| format!("{byte:02x}")).collect();
            let Step::Answer(alone) = ladder.resume(&held, Outcome::Gone) else { panic!("no answer for {request}") };
            json!({
                "escalate": { "path": "/v1/escalate", "contentType": "application/cbor", "body": body,
                              "waitMs": f64::from(timeout_ms) * 0.8 },
                "ready": ready.map(|answer| answered(*answer)),
                "alone": answered(*alone),
            })
        }
    }
}

/// JavaScript writes whole numbers without a point.
fn normal(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.into_iter().map(normal).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, normal(value))).collect(),
        other => other,
    }
}

/// By which path an answer came, if it claims anything.
fn class(answer: &Value) -> Option<&str> {
    answer["agreement"]["class"].as_str()
}

#[test]
fn a_package_in_node_does_what_the_native_ladder_does_to_the_bit() {
    let (requests, bundle) = (requests(), sure_at_the_edge());
    assert!(requests.len() >= 1000);
    for (entry, tier) in [("node.js", Tier::Edge), ("node.js", Tier::Region), ("web.js", Tier::Edge)] {
        let mut ladder = native(tier, bundle.path());
        let (mut answers, mut sure) = (0, 0);
        for (got, request) in in_node(entry, tier, bundle.path(), &requests, None).into_iter().zip(&requests) {
            let want = expected(&mut ladder, request);
            answers += usize::from(want.get("answer").is_some());
            sure += usize::from(want["answer"]["reason"] == "sure" && class(&want["answer"]) == Some(tier.as_str()));
            assert_eq!(normal(got), normal(want), "{entry} as {tier:?}: {request}");
        }
        assert!((500..requests.len() - 500).contains(&answers), "{answers} answers: some of each are compared");
        assert!(sure >= 50, "{sure} of them sure");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_in_node_answers_and_escalates_as_pop_does() {
    let bundle = sure_at_the_edge();
    let stack = Builder::serving(bundle.path()).start().await.unwrap();
    let requests = requests();
    let alone = in_node("node.js", Tier::Edge, bundle.path(), &requests, None);
    let climbed = in_node("node.js", Tier::Edge, bundle.path(), &requests[..BY_POLICY + 100], Some(&stack));
    let (mut compared, mut classes) = (0, BTreeSet::new());
    for (at, (request, own)) in requests.iter().zip(&alone).enumerate() {
        let response = stack.rank(request.to_string()).await.unwrap();
        let mut pop = response.json().unwrap();
        if response.status != 200 {
            assert_eq!(own["field"], pop["field"], "{request}");
            continue;
        }
        let timeless = |answer: &mut Value| answer.as_object_mut().unwrap().remove("timing_us");
        timeless(&mut pop);
        if let Some(answer) = own.get("answer") {
            let mut own = answer.clone();
            timeless(&mut own);
            assert_eq!(normal(own), normal(pop.clone()), "{request}");
            compared += 1;
        } else {
            assert_ne!(pop["tier"], "edge", "only one of the two escalates: {request}");
        }
        if let Some(answer) = climbed.get(at) {
            let mut climbed = answer.clone();
            timeless(&mut climbed);
            classes.extend(class(&climbed).map(str::to_owned));
            assert_eq!(normal(climbed), normal(pop), "{request}");
        }
    }
    assert!(compared >= 550, "{compared} answers of the edge");
    let all = ["edge", "merged_origin", "merged_region"].map(str::to_owned);
    assert_eq!(classes, all.into(), "whichever tier answers");
}

#[test]
fn the_package_passes_its_own_tests_in_node() {
    let tests = node()
        .args(["--test", "--test-reporter=tap"])
        .arg(script("package.test.mjs"))
        .env("RUNG_WEB", web_package())
        .env("RUNG_BUNDLE", test_bundle())
        .env("RUNG_VERSION", env!("CARGO_PKG_VERSION"))
        .output();
    said(tests.unwrap());
}
