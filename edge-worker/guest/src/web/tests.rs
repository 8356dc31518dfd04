//! The worker for JavaScript, held natively: what is refused and named, and what an escalation carries.

use std::collections::BTreeMap;

use shared_model::bundle::FileEntry;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, Unary};
use shared_model::variant::Variant;
use shared_model::wire::{Escalation, Reply, Why};

use super::*;

const LIMITS: TierLimits = TierLimits { max_candidates: 10, max_k: 10, item_table_bytes: 1 << 20 };

const SCHEMA: &str = r#"schema_version = 1
model = "toy"

[[feature]]
name = "quality"
kind = "numeric"
scope = "item"
"#;

/// A bundle that ranks items by their `quality`, the least first.
fn files() -> BundleFiles {
    let schema = Schema::from_toml(SCHEMA).expect("a schema");
    let items = (0..4).map(|i| item_from_json(&format!(r#"{{"id":"m{i}","quality":{i}}}"#)).expect("an item"));
    let catalog = Catalog::build(&schema, items).expect("a catalog").to_safetensors(&schema);
    let mut builder = Builder::new();
    let ty = Type { dtype: DType::F32, shape: Vec::new(), scope: Scope::Item };
    let quality = builder.input("quality", ty).expect("an input");
    let score = builder.push("score", Op::Unary(Unary::Neg), &[quality]).expect("a node");
    let graph = builder.finish(score, Link::Identity).expect("a graph");
    let variant =
        Variant { name: VariantName::W4, graph, tensors: BTreeMap::new(), noise: None }.to_bytes().expect("a variant");
    let mut manifest = Manifest::new("toy", "7", 1, SCHEMA.as_bytes());
    for (file, bytes) in
        [(FEATURES, SCHEMA.as_bytes()), (CATALOG, &catalog[..]), (VariantName::W4.file(), &variant[..])]
    {
        manifest.files.insert(file.to_owned(), FileEntry::of(bytes));
    }
    BundleFiles { manifest: manifest.to_bytes(), features: SCHEMA.into(), catalog, variant }
}

fn worker() -> JsonWorker {
    JsonWorker::load("edge", LIMITS, files()).expect("a bundle")
}

/// A request with these fields besides the model, the candidates and k.
fn request(fields: &str) -> String {
    format!(r#"{{"model":"toy","k":2,"candidates":["m3","m1","m0"]{fields}}}"#)
}

fn answer(step: Result<WebStep, WebError>) -> String {
    match step.expect("a step") {
        WebStep::Answer { json } => json,
        other => panic!("{other:?}"),
    }
}

struct Escalated {
    message: Escalation,
    wait: Duration,
    held: Vec<u8>,
    ready: Option<String>,
}

fn escalated(step: Result<WebStep, WebError>) -> Escalated {
    match step.expect("a step") {
        WebStep::Escalate { body, wait, held, ready } => {
            Escalated { message: from_cbor(&body).expect("a message"), wait, held, ready }
        }
        WebStep::Answer { json } => panic!("{json}"),
    }
}

#[test]
fn gives_the_answer_of_the_api() {
    let json = answer(worker().rank(&request(r#","tier":"edge""#), None));
    assert!(
        json.starts_with(r#"{"model":"toy","version":"7","tier":"edge","variant":"w4","degradation":0,"#),
        "{json}"
    );
    let ranked = r#""ranked":[{"id":"m0","score":-0.0,"by":"edge"},{"id":"m1","score":-1.0,"by":"edge"}]"#;
    assert!(json.contains(ranked), "{json}");
}

#[test]
fn warns_of_what_was_ignored_also_after_an_escalation() {
    let warning = "unknown field `modle` was ignored; did you mean `model`?";
    let mut worker = worker();
    let own = answer(worker.rank(&request(r#","tier":"edge","modle":1"#), None));
    assert!(own.contains(warning), "{own}");
    let up = escalated(worker.rank(&request(r#","modle":1"#), None));
    let json = answer(worker.resume(&up.held, None, None));
    for json in up.ready.into_iter().chain([json]) {
        assert_eq!(json.matches(warning).count(), 1, "{json}");
    }
}

#[test]
fn shares_out_the_time_that_is_left() {
    let mut worker = worker();
    let up = escalated(worker.rank(&request(""), None));
    assert_eq!(up.message.why, Why::NoPolicy);
    assert_eq!((up.wait.as_millis(), up.message.remaining_us), (80, 72_000), "a client waits 100 ms unless it says");
    let up = escalated(worker.rank(&request(r#","timeout_ms":50"#), None));
    assert_eq!((up.wait.as_millis(), up.message.remaining_us), (40, 36_000));
    let up = escalated(worker.rank(&request(r#","timeout_ms":50"#), Some(Duration::from_millis(10))));
    assert_eq!((up.wait.as_millis(), up.message.remaining_us), (8, 7_200), "the host knows better");
    let up = escalated(worker.rank(&request(""), Some(Duration::MAX)));
    assert_eq!(up.wait.as_millis(), 48_000, "no client waits longer than a minute");
}

#[test]
fn goes_on_with_the_reply_of_the_tier_above() {
    let mut worker = worker();
    let up = escalated(worker.rank(&request(""), None));
    let refusal = Reply::Refused(Refusal { field: "user.age".to_owned(), message: "is not a number".to_owned() });
    let refused = worker.resume(&up.held, Some(&to_cbor(&refusal)), None).expect_err("it answers");
    assert_eq!((refused.field(), refused.to_string().as_str()), ("user.age", "is not a number"));
}

#[test]
fn what_is_no_reply_counts_as_none() {
    let mut worker = worker();
    let up = escalated(worker.rank(&request(""), None));
    for reply in [None, Some(&b"{\"title\":\"Unavailable\"}"[..]), Some(b"")] {
        let json = answer(worker.resume(&up.held, reply, None));
        assert!(json.contains(r#""degradation":1,"reason":"upstream_gone""#), "{json}");
    }
}

#[test]
fn names_the_field_of_a_request_that_it_refuses() {
    let long = format!("\"{}\"", "x".repeat(MAX_MESSAGE_BYTES));
    let cases = [
        ("{", ""),
        (long.as_str(), ""),
        (r#"{"model":"toy"}"#, "candidates"),
        (r#"{"model":"toy","candidates":["m1",{"id":7}]}"#, "candidates[1].id"),
        (r#"{"model":"films","candidates":[]}"#, "model"),
    ];
    for (request, field) in cases {
        let refused = worker().rank(request, None).expect_err("it ranks");
        assert!(matches!(refused, WebError::Request(_)) && refused.field() == field, "{refused}");
    }
}

#[test]
fn rejects_a_file_that_the_manifest_does_not_list() {
    type Of = fn(&mut BundleFiles) -> &mut Vec<u8>;
    let cases: [(Of, &str); 4] = [
        (|files| &mut files.manifest, "manifest.json"),
        (|files| &mut files.features, "features.toml"),
        (|files| &mut files.catalog, "catalog.safetensors"),
        (|files| &mut files.variant, "edge.w4.safetensors"),
    ];
    for (of, name) in cases {
        for spoil in [|bytes: &mut Vec<u8>| bytes[0] ^= 1, |bytes: &mut Vec<u8>| bytes.push(b' ')] {
            let mut files = files();
            spoil(of(&mut files));
            let made = JsonWorker::load("edge", LIMITS, files);
            if let (Ok(worker), "manifest.json") = (&made, name) {
                assert_ne!(worker.digest(), self::worker().digest(), "another manifest is another bundle");
                continue;
            }
            let refused = made.expect_err("it loads");
            assert_eq!(refused.field(), "bundle");
            assert!(refused.to_string().starts_with(name), "{refused}");
        }
    }
}

#[test]
fn rejects_a_tier_that_has_no_worker_or_no_variant_in_the_bundle() {
    let refused = JsonWorker::load("origin", LIMITS, files()).expect_err("it loads");
    assert_eq!(
        (refused.field(), refused.to_string().as_str()),
        ("tier", "is `origin`, but must be `edge` or `region`")
    );
    let refused = JsonWorker::load("region", LIMITS, files()).expect_err("it loads").to_string();
    assert!(refused.contains("region.w8.safetensors"), "{refused}");
}

#[test]
fn rejects_what_no_escalation_held() {
    let mut worker = worker();
    let refused = worker.resume(b"nothing", None, None).expect_err("it goes on");
    assert_eq!(refused.field(), "held");
    let held = to_cbor(&Held { ladder: b"nothing".to_vec(), warnings: Vec::new(), left_us: 0 });
    worker.resume(&held, None, None).expect_err("it goes on");
}
