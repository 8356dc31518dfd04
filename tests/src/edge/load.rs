//! What is left of the guest's speed when a client asks over HTTP: `pop` as a process on loopback, beside the guest alone.
//!
//! Both have the same core in turn, and the client has the others. Both are counted in CPU time: the process's own, without
//! the client's, and that of the thread that runs the guest.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use shared_model::variant::VariantName;
use shared_model::wire::Tier;
use tokio::runtime::Builder;

use super::Bench;
use super::cores::OneCore;
use super::guest::Timed;
use super::model::{Model, call};
use super::turns::{Subject as _, median};
use crate::client::{Client, Error, Protocol};
use crate::processes::{Processes, cpu_time};
use crate::rows::{Bar, Row};
use crate::stack::{self, Which};

/// Clients that each wait for their answer before they ask again.
const CLIENTS: usize = 4;
/// Requests that they take in turn.
const REQUESTS: usize = 64;
/// A turn of each, longer than elsewhere: clients come and go.
const TURN: Duration = Duration::from_millis(250);

pub(super) fn rows(bench: &Bench<'_>, model: &Model) -> Result<Vec<Row>, Error> {
    eprintln!("measuring pop over HTTP");
    let core = OneCore::take()?;
    measured(bench, model, core.others)
}

/// On the core of this thread, which `pop` inherits; the client is on the others.
fn measured(bench: &Bench<'_>, model: &Model, others: CpuSet) -> Result<Vec<Row>, Error> {
    let lines = model.lines(&bench.options.dir.join("requests.eval.jsonl"), usize::MAX, REQUESTS)?;
    let calls = lines.iter().map(|line| call(&line.request, Tier::Edge)).collect();
    let bytes = model.bytes(model.variant(VariantName::W4)?)?;
    let mut guest = Timed::start(&bench.worker, Tier::Edge, &bytes, calls)?;
    let numbers: Vec<usize> = lines.iter().map(|line| line.number).collect();
    let bodies = bodies(&bench.options.dir.join("requests.eval.jsonl"), &numbers, &model.opened.bundle.manifest.model)?;

    let runtime = Builder::new_multi_thread()
        .enable_all()
        // Where it may not be, it shares a core with what it asks.
        .on_thread_start(move || {
            let _ = sched_setaffinity(None, &others);
        })
        .build()?;
    let builder = stack::Builder::serving(&model.folder).without_caches().wasm(Which::Edge, &bench.options.worker);
    let pop = runtime.block_on(builder.spawn_only(&[Which::Edge]))?;
    let (mut ratios, mut rates, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn only warms up.
    for turn in 0..=bench.turns.count {
        let began = own_cpu()?;
        let asked = guest.turn(TURN)?.len() as f64;
        let guest_rate = asked / (own_cpu()? - began).as_secs_f64();
        let began = pop.cpu(Which::Edge)?;
        let answered = runtime.block_on(asking(&pop, &bodies, TURN))? as f64;
        let rate = answered / (pop.cpu(Which::Edge)? - began).as_secs_f64();
        if turn > 0 {
            ratios.push(rate / guest_rate);
            rates.push(rate);
            alone.push(guest_rate);
        }
    }
    runtime.block_on(pop.stop())?;
    let name = &model.name;
    Ok(vec![
        Row::new(&format!("pop_requests_per_core_over_guest_{name}"), name, "ratio", median(ratios))
            .held_to(Some(Bar::AtLeast(0.6)), Some(Bar::AtLeast(0.8))),
        Row::new(&format!("pop_requests_per_core_{name}"), name, "1/s", median(rates)),
        Row::new(&format!("guest_w4_requests_per_core_{name}"), name, "1/s", median(alone)),
    ])
}

/// The lines of these numbers, as a client sends them that wants the edge's own answer.
fn bodies(file: &Path, numbers: &[usize], model: &str) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(file)?;
    let lines: Vec<&str> = text.lines().collect();
    let body = |number: &usize| {
        let line = lines.get(number - 1).ok_or("the file has changed")?;
        let mut request: Value = serde_json::from_str(line)?;
        let fields = request.as_object_mut().ok_or("a request is an object")?;
        fields.remove("relevant");
        fields.extend([
            ("model".to_owned(), model.into()),
            ("tier".to_owned(), "edge".into()),
            ("timeout_ms".to_owned(), 10_000.into()),
        ]);
        Ok(request.to_string())
    };
    numbers.iter().map(body).collect()
}

/// Asks for so long; how many answers came. Each client keeps its connection.
async fn asking(pop: &Processes, bodies: &[String], time: Duration) -> Result<usize, Error> {
    let mut clients = tokio::task::JoinSet::new();
    for place in 0..CLIENTS {
        let (client, at) = (pop.client(Protocol::Http1)?, pop.plain(Which::Edge));
        let bodies: Vec<String> =
            bodies.iter().cycle().skip(place * bodies.len() / CLIENTS).take(bodies.len()).cloned().collect();
        clients.spawn(async move { one(&client, at, &bodies, time).await });
    }
    let mut answered = 0;
    while let Some(client) = clients.join_next().await {
        answered += client??;
    }
    Ok(answered)
}

async fn one(client: &Client, at: SocketAddr, bodies: &[String], time: Duration) -> Result<usize, Error> {
    let (begun, mut answered, url) = (Instant::now(), 0, format!("http://{at}/v1/rank"));
    while begun.elapsed() < time {
        let response = client.post(&url, bodies[answered % bodies.len()].clone()).await?;
        // Looked at in part: what an answer is made of is checked elsewhere.
        if !response.status.is_success() || !response.body.windows(16).any(|w| w == br#""reason":"asked""#) {
            return Err(format!("{}: {}", response.status, String::from_utf8_lossy(&response.body)).into());
        }
        answered += 1;
    }
    Ok(answered)
}

/// The CPU time of this thread.
fn own_cpu() -> Result<Duration, Error> {
    cpu_time(Path::new("/proc/thread-self/schedstat"))
}
