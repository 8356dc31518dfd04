//! What a worker costs before it has ranked much: its bytes on the way, its first answer, its memory.

use std::io::Write as _;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use pop::hosting::Worker;
use quantize::score::Line;
use quantize::snapshot;
use shared_model::variant::VariantName;
use shared_model::wire::RankRequest;

use super::Bench;
use super::guest::{BOUNDS, Timed, answered};
use super::model::{LIMITS, Model, TIER, call};
use super::turns::median;
use crate::client::Error;
use crate::rows::{Bar, Row};

/// Guests that are started one after the other; the first ones do not count.
const STARTS: usize = 30;
const WARM_UP: usize = 5;

pub(super) fn rows(bench: &Bench<'_>, model: &Model) -> Result<Vec<Row>, Error> {
    eprintln!("measuring what a worker costs");
    let worker = std::fs::read(&bench.options.worker)?;
    let size = Row::new("worker_gzip_bytes", "worker", "bytes", Some(gzipped(&snapshot::without_loading(&worker)?)?))
        .held_to(Some(Bar::AtMost(200e3)), Some(Bar::AtMost(100e3)));
    let loading = Row::new("worker_that_loads_gzip_bytes", "worker", "bytes", Some(gzipped(&worker)?));
    let lines = model.lines(&bench.options.dir.join("requests.eval.jsonl"), 1, 1)?;
    let line = lines.first().ok_or("there is no request")?;
    let name = &model.name;
    let first = Row::new("first_answer_ms", name, "ms", Some(first_answer(bench, model, line)? * 1e3))
        .held_to(Some(Bar::AtMost(0.5)), Some(Bar::AtMost(0.1)));
    let (linear, resident) = memory(bench, model, line)?;
    let memory = Row::new(&format!("resident_bytes_{name}"), name, "bytes", Some(linear))
        .held_to(Some(Bar::AtMost(32e6)), Some(Bar::AtMost(12e6)));
    let resident = Row::new(&format!("resident_growth_bytes_{name}"), name, "bytes", resident);
    Ok(vec![size, loading, first, memory, resident.because(Some("the system does not tell".to_owned()))])
}

fn gzipped(bytes: &[u8]) -> Result<f64, Error> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?.len() as f64)
}

/// Seconds from an instance of the worker as `quantize build` pre-initializes it to its first answer, of one candidate.
fn first_answer(bench: &Bench<'_>, model: &Model, line: &Line) -> Result<f64, Error> {
    let bytes = model.bytes(&model.as_w8(VariantName::W8)?)?;
    let terms = bytes.terms()?;
    let wasm = std::fs::read(&bench.options.worker)?;
    let loaded = snapshot::Worker::compile(&wasm)?.snapshot(TIER, bytes.parts().payload())?;
    let loaded = Worker::compile(&loaded, BOUNDS)?;
    let one = RankRequest { candidates: line.request.candidates[..1].to_vec(), ..line.request.clone() };
    let one = call(&one, TIER);
    let mut seconds = Vec::new();
    for _ in 0..WARM_UP + STARTS {
        let begun = Instant::now();
        let mut guest = loaded.start(TIER, LIMITS, &terms, None)?;
        let answer = guest.rank(&one)?;
        seconds.push(begun.elapsed().as_secs_f64());
        answered(answer)?;
    }
    Ok(median(seconds.split_off(WARM_UP)).ok_or("nothing was measured")?)
}

/// Bytes of a guest's linear memory after an answer, and by how much this process has grown for it.
fn memory(bench: &Bench<'_>, model: &Model, line: &Line) -> Result<(f64, Option<f64>), Error> {
    let bytes = model.bytes(&model.as_w8(VariantName::W8)?)?;
    let before = resident();
    let guest = Timed::start(&bench.worker, TIER, &bytes, vec![call(&line.request, TIER)])?;
    let grown = before.zip(resident()).map(|(before, after)| (after - before).max(0.0));
    Ok((guest.memory_bytes() as f64, grown))
}

/// The bytes of this process that are in memory.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}
