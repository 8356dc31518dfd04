//! Whether a score has the same bits everywhere: in the worker with relaxed SIMD, with SIMD and without it, natively, and
//! in V8.
//!
//! Every request asks for all of its candidates, of a model without its link, so that each score is seen whole. What goes
//! up is resumed without a reply: then those are scored too that no tier would answer alone.

mod cases;

use std::path::{Path, PathBuf};

use minicbor::bytes::ByteSlice;
use pop::hosting::{Guest, Worker};
use serde_json::json;
use shared_model::ladder::{Ladder, Outcome, Step};
use shared_model::tensor::{Activations, Tensor};
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Answer, from_cbor, to_cbor};

use super::Bench;
use super::guest::started;
use super::model::{Bytes, LIMITS, Model, TIER, call, unlinked};
use super::peer::Peer;
use super::speed::load_guest;
use super::{export, guest};
use crate::client::Error;
use crate::rows::{Bar, Row};

/// Whoever scores.
trait Host {
    /// The replies to calls of `rung_rank` or `rung_resume`.
    fn replies(&mut self, verb: Verb, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Rank,
    Resume,
}

/// What one host's replies are, beside another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Compared {
    /// Requests of which at least one candidate is scored.
    scored: usize,
    scores: usize,
    unequal: usize,
}

/// Names of the hosts in the rows; all are compared with the worker in wasmtime.
const HOSTS: [&str; 5] = ["wasmtime_simd128", "wasmtime_scalar", "native", "node", "node_simd128"];

pub(super) fn rows(bench: &Bench<'_>, models: &[Model]) -> Result<Vec<Row>, Error> {
    let simd128 = guest::compile(&bench.options.simd128_worker).map_err(|e| e.to_string());
    let scalar = match &bench.options.scalar_worker {
        Some(file) => guest::compile(file).map_err(|e| e.to_string()),
        None => Err("--scalar-worker is not given".to_owned()),
    };
    let mut compared: [Result<Compared, String>; HOSTS.len()] = std::array::from_fn(|_| Ok(Compared::default()));
    let mut requests = 0;
    for model in models {
        eprintln!("comparing the bits of {}", model.name);
        let w8 = model.variant(VariantName::W8)?;
        let bytes = model.bytes(&Variant { graph: unlinked(&w8.graph)?, ..narrowed(w8) })?;
        let cases = cases::of(bench.options, model, bench.options.cases.div_ceil(models.len()))?;
        let calls: Vec<Vec<u8>> = cases.iter().map(|request| call(request, TIER)).collect();
        requests += calls.len();
        let expected = settled(&mut started(&bench.worker, TIER, &bytes)?, &calls)?;
        let hosts: [Result<Box<dyn Host>, String>; HOSTS.len()] = [
            simd128.as_ref().map_err(Clone::clone).and_then(|worker| in_wasmtime(worker, &bytes)),
            scalar.as_ref().map_err(Clone::clone).and_then(|worker| in_wasmtime(worker, &bytes)),
            Ok(Box::new(Ladder::load(TIER, LIMITS, bytes.parts())?)),
            in_node(bench, bench.node_worker, model, &bytes),
            in_node(bench, &bench.options.simd128_worker, model, &bytes),
        ];
        for (all, host) in compared.iter_mut().zip(hosts) {
            let here = host.and_then(|mut host| settled(host.as_mut(), &calls).map_err(|e| e.to_string()));
            match (all.as_mut(), here) {
                (Ok(all), Ok(here)) => expected.iter().zip(&here).for_each(|(a, b)| all.add(compare(a, b))),
                (Ok(_), Err(why)) => *all = Err(why),
                (Err(_), _) => {}
            }
        }
    }
    let all = compared.iter().try_fold(0, |sum, one| one.as_ref().map(|one| sum + one.unequal));
    let row = |name: String, value: Result<usize, &String>| {
        let row = Row::new(&name, "all", "scores", value.ok().map(|value| value as f64));
        row.because(value.err().cloned())
    };
    let mut rows = vec![row("score_bits_equal".to_owned(), all).held_to(Some(Bar::AtMost(0.0)), None)];
    for (name, compared) in HOSTS.iter().zip(&compared) {
        let unequal = compared.as_ref().map(|c| c.unequal);
        rows.push(row(format!("score_bits_unequal_{name}"), unequal).held_to(Some(Bar::AtMost(0.0)), None));
        rows.push(row(format!("score_bits_compared_{name}"), compared.as_ref().map(|c| c.scores)));
    }
    let scored = compared.iter().flatten().map(|compared| compared.scored as f64).next();
    rows.push(Row::new("score_bits_requests_scored", "all", "requests", scored).because(Some("no host".to_owned())));
    rows.push(Row::new("score_bits_requests", "all", "requests", Some(requests as f64)));
    Ok(rows)
}

/// Every second layer with 8-bit weights takes its inputs in 7 bits: so either kind is compared.
fn narrowed(variant: &Variant) -> Variant {
    let mut variant = variant.clone();
    let layers = variant.tensors.values_mut().filter_map(|tensor| match tensor {
        Tensor::Linear8 { activations, .. } => Some(activations),
        _ => None,
    });
    for (i, activations) in layers.enumerate() {
        *activations = if i % 2 == 0 { Activations::Seven } else { Activations::Sixteen };
    }
    variant
}

fn in_wasmtime(worker: &Worker, bytes: &Bytes) -> Result<Box<dyn Host>, String> {
    let guest = started(worker, TIER, bytes).map_err(|e| e.to_string())?;
    Ok(Box::new(guest))
}

fn in_node(bench: &Bench<'_>, worker: &Path, model: &Model, bytes: &Bytes) -> Result<Box<dyn Host>, String> {
    let node = bench.node.as_ref().map_err(Clone::clone)?.clone();
    let load = || {
        let folder = std::path::absolute(bench.options.work.join(&model.name).join("bits"))?;
        let parts = export::parts(&folder, bytes)?;
        let none = folder.join("none");
        export::messages(&none, [])?;
        let name = format!("bits of {}", worker.display());
        load_guest(&node, &name, worker, &parts, &none)?;
        Ok(Box::new(InNode { node: node.clone(), name, folder }) as _)
    };
    load().map_err(|e: Error| e.to_string())
}

/// The step of every call; where it goes up, what it is without a reply.
fn settled(host: &mut dyn Host, calls: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let mut replies = host.replies(Verb::Rank, calls)?;
    let (mut places, mut messages) = (Vec::new(), Vec::new());
    for (place, reply) in replies.iter().enumerate() {
        if let Step::Escalate { held, .. } = from_cbor(reply)? {
            places.push(place);
            messages.push(to_cbor(&(<&ByteSlice>::from(&held[..]), Outcome::Gone)));
        }
    }
    for (place, reply) in places.into_iter().zip(host.replies(Verb::Resume, &messages)?) {
        replies[place] = reply;
    }
    Ok(replies)
}

/// How many scores two steps have, and how many of them are not the same bits for the same item in the same place.
fn compare(a: &[u8], b: &[u8]) -> Compared {
    let (ours, theirs) = (scores(a), scores(b));
    let (scored, scores) = (usize::from(ours.iter().any(|(_, score)| score.is_some())), ours.len());
    if a == b {
        return Compared { scored, scores, unequal: 0 };
    }
    let alike = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    // Steps that differ in something else are no more equal than those with another score.
    Compared { scored, scores, unequal: (scores.max(theirs.len()) - alike).max(1) }
}

fn scores(step: &[u8]) -> Vec<(String, Option<u32>)> {
    let entries = |answer: Answer| answer.ranked.into_iter().map(|e| (e.id, e.score.map(f32::to_bits))).collect();
    match from_cbor(step) {
        Ok(Step::Answer(answer)) => entries(*answer),
        _ => Vec::new(),
    }
}

impl Compared {
    fn add(&mut self, other: Self) {
        self.scored += other.scored;
        self.scores += other.scores;
        self.unequal += other.unequal;
    }
}

impl Host for Guest {
    fn replies(&mut self, verb: Verb, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let reply = |message: &Vec<u8>| {
            let reply = if verb == Verb::Rank { self.rank(message) } else { self.resume(message) };
            Ok(reply?.to_vec())
        };
        messages.iter().map(reply).collect()
    }
}

impl Host for Ladder {
    fn replies(&mut self, verb: Verb, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let reply = |message: &Vec<u8>| {
            let step = match verb {
                Verb::Rank => self.rank(&from_cbor(message)?),
                Verb::Resume => {
                    let (held, outcome): (minicbor::bytes::ByteVec, Outcome) = from_cbor(message)?;
                    self.resume(&held, outcome)
                }
            };
            Ok(to_cbor(&step))
        };
        messages.iter().map(reply).collect()
    }
}

/// A guest in Node's V8, asked by files.
struct InNode {
    node: Peer,
    name: String,
    folder: PathBuf,
}

impl Host for InNode {
    fn replies(&mut self, verb: Verb, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let (asked, out) = (self.folder.join("asked"), self.folder.join("replies"));
        export::messages(&asked, messages)?;
        let verb = if verb == Verb::Rank { "rank" } else { "resume" };
        self.node.ask(&json!({"do": "replies", "name": self.name, "verb": verb, "messages": asked, "out": out}))?;
        let replies = export::read_messages(&out)?;
        if replies.len() == messages.len() { Ok(replies) } else { Err("the peer has lost replies".into()) }
    }
}

impl Drop for InNode {
    fn drop(&mut self) {
        let _ = self.node.ask(&json!({"do": "drop", "name": self.name}));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quantize::eval::Opened;

    use super::*;
    use crate::stack;
    use shared_model::wire::{Ranked, Reason, Refusal, Tier, Timing};

    fn answer(scores: &[f32]) -> Vec<u8> {
        let ranked = scores.iter().enumerate().map(|(i, s)| Ranked { id: i.to_string(), score: Some(*s), by: TIER });
        to_cbor(&Step::Answer(Box::new(Answer {
            model: "m".to_owned(),
            version: "1".to_owned(),
            tier: Tier::Region,
            variant: None,
            degradation: 0,
            reason: Reason::Asked,
            ranked: ranked.collect(),
            agreement: None,
            timing: Timing::default(),
            warnings: Vec::new(),
            stamp: None,
            explanation: None,
        })))
    }

    #[test]
    fn the_worker_scores_inputs_of_7_bits_as_native_code_does() {
        let (folder, demo) = (stack::test_bundle(), Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo"));
        let opened = Opened::read(&folder).unwrap();
        let model = Model { name: "movies".to_owned(), onnx: demo.join("movies.onnx"), folder, opened };
        let w8 = model.variant(VariantName::W8).unwrap();
        let bytes = model.bytes(&Variant { graph: unlinked(&w8.graph).unwrap(), ..narrowed(w8) }).unwrap();
        let lines = model.lines(&demo.join("requests.eval.jsonl"), usize::MAX, 100).unwrap();
        let calls: Vec<Vec<u8>> = lines.iter().map(|line| call(&line.request, TIER)).collect();
        let worker = guest::compile(&stack::worker()).unwrap();
        let here = settled(&mut Ladder::load(TIER, LIMITS, bytes.parts()).unwrap(), &calls).unwrap();
        let there = settled(&mut started(&worker, TIER, &bytes).unwrap(), &calls).unwrap();
        let mut all = Compared::default();
        here.iter().zip(&there).for_each(|(here, there)| all.add(compare(here, there)));
        assert_eq!((all.scored, all.unequal), (calls.len(), 0));
    }

    #[test]
    fn scores_are_compared_by_their_bits() {
        let zeros = (answer(&[0.0, 1.0]), answer(&[-0.0, 1.0]));
        assert_eq!(compare(&zeros.0, &zeros.1), Compared { scored: 1, scores: 2, unequal: 1 });
        assert_eq!(compare(&zeros.0, &zeros.0), Compared { scored: 1, scores: 2, unequal: 0 });
    }

    #[test]
    fn an_answer_is_not_equal_to_a_refusal_or_to_half_of_it() {
        let refused = to_cbor(&Step::Refused(Refusal { field: String::new(), message: String::new() }));
        assert_eq!(compare(&answer(&[1.0, 2.0]), &refused).unequal, 2);
        assert_eq!(compare(&refused, &answer(&[1.0])).unequal, 1);
        assert_eq!(compare(&answer(&[1.0, 2.0]), &answer(&[1.0])).unequal, 1);
    }
}
