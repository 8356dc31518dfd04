//! Peers that are shell scripts: what they answer is judged, and what they do not is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use shared_model::bundle::Manifest;
use shared_model::catalog::Catalog;
use shared_model::variant::{Variant, VariantName};
use tempfile::TempDir;

use super::*;
use crate::build::full_precision;
use crate::evaluate::evaluate;
use crate::import::import;
use crate::ranker::Form;
use crate::score::Scorer;
use crate::source;

const LONG: Duration = Duration::from_secs(60);
const MADE: &str =
    r#"{"version":"1.0","forms":[{"form":"int8_dynamic","bytes":4000},{"form":"int8_static","failed":"no ranges"}]}"#;

/// The demo's model and some of its requests, scored by three variants that are all in full precision.
struct World {
    dir: TempDir,
    files: Vec<PathBuf>,
    schema: Schema,
    catalog: Catalog,
    feed: Feed,
    judged: Set,
    findings: Findings,
}

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/demo").join(file)
}

fn encoding<'a>(schema: &'a Schema, catalog: &'a Catalog) -> Encoding<'a> {
    Encoding { schema, catalog }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lines = fs::read_to_string(demo("requests.eval.jsonl")).unwrap();
        let part = |name: &str, skip: usize, take: usize| {
            let path = dir.path().join(name);
            fs::write(&path, lines.lines().skip(skip).take(take).collect::<Vec<_>>().join("\n")).unwrap();
            path
        };
        let files = vec![part("a.jsonl", 0, 12), part("b.jsonl", 12, 8)];
        let (schema, features) = source::schema(&demo("features.toml")).unwrap();
        let catalog = source::catalog(&demo("catalog.jsonl"), &schema).unwrap();
        let imported = import(&fs::read(demo("movies.onnx")).unwrap(), schema.inputs()).unwrap();
        let feed = Feed::of(&imported, &schema).unwrap();
        let full = full_precision(imported).unwrap();
        let scorer = Scorer::new(&full, &schema).unwrap();
        let mut judged = Set::default();
        for path in &files {
            let set = encoding(&schema, &catalog).score(path, &[&scorer; 3], &Progress::hidden());
            judged.extend(set.unwrap());
        }
        let variants = VariantName::ALL.map(|name| Variant { name, ..full.clone() });
        let evaluations = evaluate(&judged.requests, &terms(&catalog));
        let findings = Findings::of(&Manifest::new("m", "1", 1, &features), &variants, &judged, evaluations);
        Self { dir, files, schema, catalog, feed, judged, findings }
    }

    /// A program that is this script, and not Python.
    fn program(&self, script: &str) -> PathBuf {
        let path = self.dir.path().join("python");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A program that says these bytes, whatever it is asked.
    fn saying(&self, bytes: &[u8]) -> PathBuf {
        let said = self.dir.path().join("said");
        fs::write(&said, bytes).unwrap();
        self.program(&format!("exec cat '{}'", said.display()))
    }

    fn compared(&self, program: &Path, limit: Duration) -> Findings {
        let case = Case {
            model: &demo("movies.onnx"),
            feed: &self.feed,
            encoding: encoding(&self.schema, &self.catalog),
            calibration: &demo("requests.calibration.jsonl"),
            files: &self.files,
            judged: self.judged.clone(),
            terms: terms(&self.catalog),
        };
        compare_within(limit, program, case, self.findings.clone(), &Progress::hidden())
    }

    /// Why nothing could be compared.
    fn refused(&self, program: &Path, limit: Duration) -> String {
        let findings = self.compared(program, limit);
        assert_eq!((findings.sizes.len(), findings.evaluations.len()), (3, 3));
        let Compared { peer, difference, missing } = findings.compared.unwrap();
        let [Missing { what, reason }] = &missing[..] else { panic!("{missing:?}") };
        assert_eq!((peer.as_str(), difference, what.as_str()), ("onnxruntime", None, "onnxruntime"));
        reason.clone()
    }

    /// What a peer says of whose full precision and int8 are made of ours so.
    fn answers(&self, full: impl Fn(f32) -> f32, int8: impl Fn(f32) -> f32) -> Vec<u8> {
        let mut said = format!("{MADE}\n").into_bytes();
        for request in &self.judged.requests {
            for score in [&full as &dyn Fn(f32) -> f32, &int8] {
                said.extend(u32::try_from(request.n()).unwrap().to_le_bytes());
                said.extend(request.scores[REFERENCE].iter().flat_map(|s| score(*s).to_le_bytes()));
            }
        }
        said
    }
}

fn terms(catalog: &Catalog) -> Terms<'_> {
    Terms { k: 10, link: shared_model::graph::Link::Sigmoid, catalog }
}

#[test]
fn what_a_peer_answers_is_judged_as_a_variant_is() {
    let world = World::new();
    for (int8, agreement) in [(1.0f32, 1.0), (-1.0, 0.0)] {
        let findings = world.compared(&world.saying(&world.answers(|s| s, |s| int8 * s)), LONG);
        let (size, evaluation) = (&findings.sizes[3], &findings.evaluations[3]);
        assert_eq!((size.variant, evaluation.variant), (Ranker::Peer(Form::Int8Dynamic), size.variant));
        assert_eq!((size.bytes, evaluation.requests, evaluation.agreement), (4000, 20, agreement));
        assert_eq!(size.share, 4000.0 / findings.sizes[REFERENCE].bytes as f64);
        assert!(evaluation.agreement_interval.is_some() && evaluation.beside.is_some());
        assert_eq!(findings.evaluations[..3], world.findings.evaluations[..], "the variants are as they were");
        let Compared { peer, difference, missing } = findings.compared.unwrap();
        assert_eq!((peer.as_str(), difference), ("onnxruntime 1.0", Some(Difference::default())));
        let [Missing { what, reason }] = &missing[..] else { panic!("{missing:?}") };
        assert_eq!((what.as_str(), reason.as_str()), ("onnxruntime int8 static", "no ranges"));
    }
}

#[test]
fn a_peer_of_another_model_is_not_judged() {
    let world = World::new();
    let reason = world.refused(&world.saying(&world.answers(|s| s + 0.5, |s| s)), LONG);
    assert!(reason.starts_with("its full precision differs from f32 by "), "{reason}");
}

#[test]
fn a_peer_that_cannot_answer_is_told_with_its_last_words() {
    let world = World::new();
    let none = world.refused(Path::new("no/such/python"), LONG);
    assert!(none.starts_with("no/such/python: No such file"), "{none}");
    let failing = world.program("echo first >&2; echo \"No module named 'onnx'\" >&2; exit 1");
    let expected = "it ended before it had answered (exit status: 1): first / No module named 'onnx'";
    assert_eq!(world.refused(&failing, LONG), expected);
    let chatty = world.saying(b"Python 3.11.2\n");
    assert!(world.refused(&chatty, LONG).starts_with("it does not say what it has made: "));
    let begun = std::time::Instant::now();
    assert_eq!(world.refused(&world.program("exec sleep 60"), Duration::from_millis(100)), "it took too long");
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn an_answer_of_another_length_is_told_with_its_line() {
    let world = World::new();
    let said = world.answers(|s| s, |s| s);
    let short = world.refused(&world.saying(&said[..said.len() - 1]), LONG);
    assert!(short.contains("b.jsonl:8: it ended before it had answered"), "{short}");
    let long = world.refused(&world.saying(&[&said[..], b"\n"].concat()), LONG);
    assert_eq!(long, "it says more than it is asked");
    let mut other = said.clone();
    other[MADE.len() + 1] ^= 1;
    let other = world.refused(&world.saying(&other), LONG);
    assert!(other.contains("a.jsonl:1: it gives ") && other.contains(" scores for "), "{other}");
    let infinite = world.refused(&world.saying(&world.answers(|s| s, |_| f32::INFINITY)), LONG);
    assert!(infinite.contains("a.jsonl:1: the score of candidate 0 is not a finite number"), "{infinite}");
}

#[test]
fn requests_that_changed_during_the_build_are_not_compared() {
    let mut world = World::new();
    world.judged.requests[14].line += 1;
    let reason = world.refused(&world.saying(&world.answers(|s| s, |s| s)), LONG);
    assert!(reason.ends_with("b.jsonl changed during the build"), "{reason}");
}
