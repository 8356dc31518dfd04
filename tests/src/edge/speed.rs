//! One request of 100 candidates: the guest's whole call, from the wire and back to it, beside a runtime that only scores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quantize::import::import;
use quantize::score::Line;
use quantize::split::Work;
use serde_json::{Value, json};
use shared_model::ladder::Prepared;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{RankRequest, Tier};

use super::Bench;
use super::export;
use super::guest::Timed;
use super::model::{LIMITS, Model, TIER, call};
use super::peer::{Named, Peer};
use super::turns::{Samples, Subject, Turns};
use crate::client::Error;
use crate::rows::{Bar, Row};

/// Requests that everybody takes in turn, spread over those to judge with.
const REQUESTS: usize = 64;
/// How often everybody is loaded. Where memory comes to lie costs an instance up to a sixth of its speed for life, and chance
/// should not decide who has the better place.
const LOADS: u32 = 3;
/// How far a peer's f32 scores may be from ours: further, and it was fed something else.
const ALIKE: f32 = 1e-3;

/// What each model is held to: must, want.
struct Bars {
    over_ort: (f64, f64),
    over_ort_web: (f64, f64),
    f32_over_w8: (Option<f64>, f64),
    multiply_adds: (f64, Option<f64>),
}

fn bars(model: &str) -> Option<Bars> {
    Some(match model {
        "dlrm" => Bars {
            over_ort: (1.0, 0.6),
            over_ort_web: (3.0, 7.0),
            f32_over_w8: (None, 1.0),
            multiply_adds: (0.82, None),
        },
        "dcn" => Bars {
            over_ort: (2.5, 1.5),
            over_ort_web: (3.0, 4.0),
            f32_over_w8: (Some(1.0), 1.5),
            multiply_adds: (0.58, None),
        },
        "din" => Bars {
            over_ort: (0.6, 0.4),
            over_ort_web: (3.0, 12.0),
            f32_over_w8: (Some(1.0), 1.5),
            multiply_adds: (0.36, None),
        },
        "bst" => Bars {
            over_ort: (0.6, 0.3),
            over_ort_web: (3.0, 20.0),
            f32_over_w8: (Some(1.0), 1.5),
            multiply_adds: (0.50, Some(0.37)),
        },
        _ => return None,
    })
}

/// What was measured, by its name in the rows, or why it was not.
struct Measured(BTreeMap<&'static str, Result<Samples, String>>);

/// Something to measure: its name in the rows, and whoever does it.
type Entry = (&'static str, Result<Box<dyn Subject>, String>);

/// What they took, or why there is nothing of them.
type Taken = (&'static str, Result<Samples, String>);

/// Whoever is measured, and the memory of guests.
struct Loaded {
    entries: Vec<Entry>,
    memory: [(&'static str, usize); 2],
}

/// All of one model.
pub(super) fn rows(bench: &Bench<'_>, model: &Model) -> Result<Vec<Row>, Error> {
    eprintln!("measuring {}", model.name);
    let lines = model.lines(&bench.options.dir.join("requests.eval.jsonl"), usize::MAX, REQUESTS)?;
    let folder = bench.options.work.join(&model.name).join("peers");
    std::fs::create_dir_all(&folder)?;
    let w8 = model.as_w8(VariantName::W8)?;
    let int8 = quantized(model, &folder, bench.native.as_ref());
    let mut parts: BTreeMap<&'static str, Result<Vec<Samples>, String>> = BTreeMap::new();
    let mut memory = None;
    for _ in 0..LOADS {
        let mut loaded = load(bench, model, &w8, int8.as_deref(), &lines, &folder)?;
        memory = Some(loaded.memory);
        for (name, taken) in take(bench.turns.shared_by(LOADS), &mut loaded.entries)? {
            let part = parts.entry(name).or_insert_with(|| Ok(Vec::new()));
            match (part, taken) {
                (Ok(part), Ok(taken)) => part.push(taken),
                (part, Err(why)) => *part = Err(why),
                (Err(_), Ok(_)) => {}
            }
        }
    }
    let measured = Measured(parts.into_iter().map(|(name, parts)| (name, parts.map(Samples::join))).collect());
    let imported = import(&std::fs::read(&model.onnx)?, model.opened.schema.inputs())?;
    let mut rows = measured.rows(&model.name);
    rows.push(multiply_adds(&model.name, Work::of(&w8.graph), Work::of(&imported.graph)));
    rows.extend(memory.into_iter().flatten().map(|(guest, bytes)| {
        Row::new(&format!("{guest}_memory_{}", model.name), &model.name, "bytes", Some(bytes as f64))
    }));
    Ok(rows)
}

/// Loads everybody.
fn load(
    bench: &Bench<'_>,
    model: &Model,
    w8: &Variant,
    int8: Result<&Path, &String>,
    lines: &[Line],
    folder: &Path,
) -> Result<Loaded, Error> {
    let (f32, w4) = (model.as_w8(VariantName::F32)?, model.variant(VariantName::W4)?);
    let calls = |tier| lines.iter().map(|line| call(&line.request, tier)).collect::<Vec<_>>();
    let guest = |variant: &Variant, tier| Timed::start(&bench.worker, tier, &model.bytes(variant)?, calls(tier));

    let mut reference = guest(&f32, TIER)?;
    let expected = reference.first()?;
    let ort = Ort { model, lines, folder, expected: &expected };
    let (with, without) =
        (guest(w8, TIER)?, Timed::without_table(&bench.worker, TIER, &model.bytes(w8)?, calls(TIER))?);
    let memory = [("edge_w8", with.memory_bytes()), ("edge_w8_no_table", without.memory_bytes())];
    let entries: Vec<Entry> = vec![
        ("edge_w8", Ok(Box::new(with))),
        ("edge_w8_no_table", Ok(Box::new(without))),
        ("ort_f32", ort.load(&bench.native, "f32", Ok(model.onnx.as_path()))),
        ("edge_f32", Ok(Box::new(reference))),
        ("ort_int8", ort.load(&bench.native, "int8", int8)),
        ("edge_w4", Ok(Box::new(guest(w4, Tier::Edge)?))),
        ("ort_web_f32", ort.load(&bench.node, "f32", Ok(model.onnx.as_path()))),
        ("edge_w8_node", in_node(bench, model, w8, folder, &calls(TIER))),
        ("ort_web_int8", ort.load(&bench.node, "int8", int8)),
    ];
    Ok(Loaded { entries, memory })
}

/// What everybody who is there took.
fn take(turns: Turns, entries: &mut [Entry]) -> Result<Vec<Taken>, Error> {
    let (mut names, mut measured) = (Vec::new(), Vec::new());
    let mut present: Vec<&mut dyn Subject> = Vec::new();
    for (name, subject) in entries {
        match subject {
            Ok(subject) => {
                names.push(*name);
                present.push(subject.as_mut());
            }
            Err(why) => measured.push((*name, Err(why.clone()))),
        }
    }
    let taken = turns.take(&mut present)?;
    measured.extend(names.into_iter().zip(taken.into_iter().map(Ok)));
    Ok(measured)
}

/// The guest in V8.
fn in_node(
    bench: &Bench<'_>,
    model: &Model,
    variant: &Variant,
    folder: &Path,
    calls: &[Vec<u8>],
) -> Result<Box<dyn Subject>, String> {
    let node = bench.node.as_ref().map_err(Clone::clone)?;
    let load = || {
        let parts = export::parts(&folder.join("w8"), &model.bytes(variant)?)?;
        let file = std::path::absolute(folder.join("calls"))?;
        export::messages(&file, calls)?;
        load_guest(node, "guest", bench.node_worker, &parts, &file)
    };
    load().map(|named| Box::new(named) as _).map_err(|e: Error| e.to_string())
}

/// Loads a guest in Node; `calls` is a file of messages.
pub(super) fn load_guest(
    node: &Peer,
    name: &str,
    worker: &Path,
    parts: &[PathBuf],
    calls: &Path,
) -> Result<Named, Error> {
    let tier = u32::from(TIER == Tier::Region);
    node.ask(&json!({
        "do": "guest", "name": name, "wasm": std::path::absolute(worker)?, "parts": parts, "calls": calls,
        "tier": tier, "item_table_bytes": LIMITS.item_table_bytes,
    }))?;
    Ok(node.named(name))
}

/// The model as ONNX Runtime's tool quantizes it.
fn quantized(model: &Model, folder: &Path, native: Result<&Peer, &String>) -> Result<PathBuf, String> {
    let made = || {
        let out = std::path::absolute(folder.join("int8.onnx"))?;
        native
            .map_err(String::clone)?
            .ask(&json!({"do": "int8", "model": std::path::absolute(&model.onnx)?, "out": out}))?;
        Ok(out)
    };
    made().map_err(|e: Error| format!("no int8 model: {e}"))
}

/// ONNX Runtime's side of a model.
struct Ort<'a> {
    model: &'a Model,
    lines: &'a [Line],
    folder: &'a Path,
    /// The best of the first request by our own f32 scores.
    expected: &'a [(String, f32)],
}

impl Ort<'_> {
    fn load(
        &self,
        peer: &Result<Peer, String>,
        form: &str,
        onnx: Result<&Path, &String>,
    ) -> Result<Box<dyn Subject>, String> {
        let peer = peer.as_ref().map_err(Clone::clone)?;
        let onnx = onnx.map_err(String::clone)?;
        let load = || {
            let graph = &self.model.variant(VariantName::F32)?.graph;
            let prepared = self.lines.iter().map(|line| &line.prepared);
            let inputs = export::inputs(self.folder, graph, &self.model.opened.schema, prepared)?;
            let onnx = std::path::absolute(onnx)?;
            let told = peer.ask(&json!({"do": "load", "name": form, "model": onnx, "inputs": inputs}))?;
            if form == "f32" {
                self.check(&told)?;
            }
            Ok(Box::new(peer.named(form)) as _)
        };
        load().map_err(|e: Error| e.to_string())
    }

    /// That the peer was fed what the guest was.
    fn check(&self, told: &Value) -> Result<(), Error> {
        let first: Vec<f32> = serde_json::from_value(told["first"].clone())?;
        let (request, prepared): (&RankRequest, &Prepared) = (&self.lines[0].request, &self.lines[0].prepared);
        let theirs: BTreeMap<&str, f32> = first
            .iter()
            .enumerate()
            .map(|(i, score)| (request.candidates[prepared.position(i)].id.as_str(), *score))
            .collect();
        match self.expected.iter().find(|(id, ours)| theirs.get(id.as_str()).is_none_or(|s| (s - ours).abs() > ALIKE)) {
            None => Ok(()),
            Some((id, ours)) => Err(format!("scores {id} {:?}, the guest {ours}", theirs.get(id.as_str())).into()),
        }
    }
}

impl Measured {
    fn of(&self, name: &str) -> Result<&Samples, String> {
        self.0[name].as_ref().map_err(Clone::clone)
    }

    /// The faster of a runtime's two forms; nobody knows it when one is missing.
    fn best(&self, runtime: &str) -> Result<&Samples, String> {
        let [f32, int8] = [self.of(&format!("{runtime}_f32"))?, self.of(&format!("{runtime}_int8"))?];
        Ok(if int8.median() < f32.median() { int8 } else { f32 })
    }

    fn rows(&self, model: &str) -> Vec<Row> {
        let bars = bars(model);
        let bars = bars.as_ref();
        let ratio = |name: &str, value: Result<f64, String>, must: Option<Bar>, want: Option<Bar>| {
            ratio(&format!("{name}_{model}"), model, value).held_to(must, want)
        };
        let over = |a: Result<&Samples, String>, b: Result<&Samples, String>| Ok(a?.beside(b?, |a, b| a / b));
        let (w8, node) = (self.of("edge_w8"), self.of("edge_w8_node"));
        let (at_most, at_least) = (|bar| Some(Bar::AtMost(bar)), |bar| Some(Bar::AtLeast(bar)));
        let mut rows = vec![
            ratio(
                "edge_w8_over_ort",
                over(w8.clone(), self.best("ort")),
                bars.and_then(|b| at_most(b.over_ort.0)),
                bars.and_then(|b| at_most(b.over_ort.1)),
            ),
            ratio(
                "edge_w8_speedup_over_ort_web",
                over(self.best("ort_web"), w8.clone()),
                bars.and_then(|b| at_least(b.over_ort_web.0)),
                bars.and_then(|b| at_least(b.over_ort_web.1)),
            ),
            // In the same engine.
            ratio(
                "edge_w8_node_speedup_over_ort_web",
                over(self.best("ort_web"), node),
                bars.and_then(|b| at_least(b.over_ort_web.0)),
                bars.and_then(|b| at_least(b.over_ort_web.1)),
            ),
            ratio("edge_w8_no_table_over_w8", over(self.of("edge_w8_no_table"), w8.clone()), None, None),
            ratio(
                "edge_f32_over_w8",
                over(self.of("edge_f32"), w8),
                bars.and_then(|b| b.f32_over_w8.0).map(Bar::Above),
                bars.and_then(|b| at_least(b.f32_over_w8.1)),
            ),
        ];
        for (name, samples) in &self.0 {
            for (what, share) in [("ms", 0.5), ("p99_ms", 0.99), ("min_ms", 0.0)] {
                let value = samples.as_ref().map(|samples| samples.quantile(share) * 1e3);
                let row = Row::new(&format!("{name}_{what}_{model}"), model, "ms", value.as_ref().ok().copied());
                rows.push(row.because(value.err().cloned()));
            }
        }
        rows
    }
}

/// The share of a model's multiply-adds that a candidate costs when what does not depend on it is computed once.
fn multiply_adds(model: &str, split: Work, whole: Work) -> Row {
    let bars = bars(model);
    let share = split.a_candidate() / whole.unshared() as f64;
    Row::new(&format!("edge_multiply_adds_share_{model}"), model, "share", Some(share)).held_to(
        bars.as_ref().map(|b| Bar::AtMost(b.multiply_adds.0)),
        bars.as_ref().and_then(|b| b.multiply_adds.1).map(Bar::AtMost),
    )
}

/// A ratio, or why there is none.
pub(super) fn ratio(name: &str, subject: &str, value: Result<f64, String>) -> Row {
    Row::new(name, subject, "ratio", value.as_ref().ok().copied()).because(value.err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(seconds: &[(&'static str, f64)]) -> Measured {
        let ours = ["edge_w8", "edge_w8_no_table", "edge_f32", "edge_w8_node"];
        let names = ours.into_iter().chain(["ort_f32", "ort_int8", "ort_web_f32", "ort_web_int8"]);
        let missing = names.map(|name| (name, Err(format!("no {name}"))));
        let there = seconds.iter().map(|(name, s)| (*name, Ok(Samples::new(&[vec![*s]]).unwrap())));
        Measured(missing.chain(there).collect())
    }

    fn row(rows: &[Row], name: &str) -> Row {
        rows.iter().find(|row| row.name == name).unwrap().clone()
    }

    #[test]
    fn ratios_are_to_the_faster_of_a_peers_forms() {
        let all = [("edge_w8", 2.0), ("edge_f32", 3.0), ("ort_f32", 4.0), ("ort_int8", 5.0)];
        let rows = measured(&all).rows("din");
        let over = row(&rows, "edge_w8_over_ort_din");
        assert_eq!((over.value, over.must.as_deref(), over.met), (Some(0.5), Some("<=0.6"), Some(true)));
        let over = row(&rows, "edge_f32_over_w8_din");
        assert_eq!((over.value, over.must.as_deref(), over.want.as_deref()), (Some(1.5), Some(">1"), Some(">=1.5")));
    }

    #[test]
    fn the_peer_for_the_web_is_beside_the_guest_in_either_engine() {
        let all = [("edge_w8", 2.0), ("edge_w8_node", 1.0), ("ort_web_f32", 4.0), ("ort_web_int8", 5.0)];
        let rows = measured(&all).rows("din");
        let same = row(&rows, "edge_w8_node_speedup_over_ort_web_din");
        assert_eq!((same.value, same.met), (Some(4.0), Some(true)));
        let other = row(&rows, "edge_w8_speedup_over_ort_web_din");
        assert_eq!((other.value, other.met), (Some(2.0), Some(false)));
    }

    #[test]
    fn a_peer_that_is_missing_leaves_a_reason() {
        let rows = measured(&[("edge_w8", 2.0), ("ort_web_f32", 4.0)]).rows("bst");
        let web = row(&rows, "edge_w8_speedup_over_ort_web_bst");
        assert_eq!((web.value, web.reason.as_deref(), web.met), (None, Some("no ort_web_int8"), Some(false)));
    }

    #[test]
    fn a_hundred_candidates_share_what_is_computed_once() {
        let (split, whole) = (Work { request: 100, item: 900, pair: 3 }, Work { request: 2, item: 0, pair: 8 });
        let row = multiply_adds("bst", split, whole);
        assert_eq!((row.value, row.must.as_deref(), row.want.as_deref()), (Some(0.4), Some("<=0.5"), Some("<=0.37")));
        assert_eq!(row.met, Some(true));
    }
}
