//! Sends the evaluation requests to the edge and judges every answer.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use quantize::eval::Opened;
use serde_json::Value;
use shared_model::gate::Policy;
use shared_model::wire::json::{self, Decoded, JsonLimits};

use super::Options;
use crate::client::{Client, Error, Response};
use crate::judge::{Judge, hit_and_gain};
use crate::processes::Processes;
use crate::replay::Replayer;
use crate::stack::Which;

/// Sent before anything is counted, so that connections stand and code is warm.
const WARM_UP: usize = 20;

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) answers: Vec<Judged>,
    /// HR@k and NDCG@k of the reference on the same requests.
    pub(super) reference: (f64, f64),
    pub(super) policies: Vec<Policy>,
    /// A request to show.
    pub(super) sample: String,
}

/// One answer, judged.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) tier: String,
    pub(super) degradation: u64,
    pub(super) tagged: bool,
    /// By which path it came, if it claims anything.
    pub(super) class: Option<String>,
    pub(super) agrees: bool,
    /// Whether the ladder, replayed on the scores, gives the same tier, class and set; `None` where it cannot tell.
    pub(super) as_replayed: Option<bool>,
    pub(super) hit: f64,
    pub(super) gain: f64,
    pub(super) latency: Duration,
}

pub(super) async fn drive(
    options: &Options,
    bundle: &Path,
    tiers: &Processes,
    client: &Client,
) -> Result<Measured, Error> {
    let opened = Opened::read(bundle)?;
    let manifest = &opened.bundle.manifest;
    let mut judge = Judge::new(bundle)?;
    let mut replayer = Replayer::new(&opened, bundle)?;
    let file = options.requests_file("eval");
    let lines = lines(&file, options.requests)?;
    let bodies = lines.iter().map(|line| body(line, &manifest.model)).collect::<Result<Vec<_>, _>>()?;
    let url = tiers.url(Which::Edge, "/v1/rank");
    for body in bodies.iter().take(WARM_UP) {
        client.post(&url, body.clone()).await?;
    }
    eprintln!("demo: sending {} requests, {} a second on average", bodies.len(), options.rate);
    let responses = send(client, &url, &bodies, options.rate).await?;
    let mut answers = Vec::with_capacity(responses.len());
    let mut reference = (0.0, 0.0);
    for (i, (line, (response, latency))) in lines.iter().zip(responses).enumerate() {
        let at = || format!("{}:{}", file.display(), i + 1);
        let decoded = json::decode_line(line.as_bytes(), &manifest.model, &JsonLimits::default());
        let Decoded { request, relevant, .. } = decoded.map_err(|e| format!("{}: {e}", at()))?;
        let truth = judge.reference(&request).map_err(|e| format!("{}: {e}", at()))?;
        let answer = response.json()?;
        if response.status != 200 {
            return Err(format!("{}: the edge answered {} {answer}", at(), response.status).into());
        }
        let ids = answer["ranked"].as_array().into_iter().flatten().filter_map(|r| r["id"].as_str());
        let ids: Vec<&str> = ids.collect();
        let (hit, gain) = hit_and_gain(&ids, &relevant);
        let best: Vec<&str> = truth.ids().collect();
        let (reference_hit, reference_gain) = hit_and_gain(&best, &relevant);
        reference = (reference.0 + reference_hit, reference.1 + reference_gain);
        answers.push(Judged {
            tier: answer["tier"].as_str().unwrap_or_default().to_owned(),
            degradation: answer["degradation"].as_u64().unwrap_or_default(),
            tagged: !answer["agreement"].is_null(),
            class: answer["agreement"]["class"].as_str().map(str::to_owned),
            agrees: truth.agrees(&ids),
            as_replayed: replayer.agrees(&request, &answer)?,
            hit,
            gain,
            latency,
        });
    }
    let n = answers.len() as f64;
    let sample = bodies.first().cloned().unwrap_or_default();
    let policies = manifest.policies.clone();
    Ok(Measured { answers, reference: (reference.0 / n, reference.1 / n), policies, sample })
}

/// Sends at Poisson arrivals, whatever the answers do; latency counts from the time a request was due.
async fn send(client: &Client, url: &str, bodies: &[String], rate: f64) -> Result<Vec<(Response, Duration)>, Error> {
    let mut random = fastrand::Rng::with_seed(7);
    let start = Instant::now();
    let mut due = Duration::ZERO;
    let mut sent = Vec::with_capacity(bodies.len());
    for body in bodies {
        due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
        let (client, url, body, at) = (client.clone(), url.to_owned(), body.clone(), start + due);
        sent.push(tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            client.post(&url, body).await.map(|response| (response, at.elapsed()))
        }));
    }
    let mut responses = Vec::with_capacity(sent.len());
    for task in sent {
        responses.push(task.await??);
    }
    Ok(responses)
}

fn lines(file: &Path, most: usize) -> Result<Vec<String>, Error> {
    let open = File::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let lines: Vec<String> = BufReader::new(open).lines().take(most).collect::<Result<_, _>>()?;
    if lines.is_empty() { Err(format!("{} has no requests", file.display()).into()) } else { Ok(lines) }
}

/// The body of a request: the line without what is only for evaluation.
fn body(line: &str, model: &str) -> Result<String, Error> {
    let mut request: Value = serde_json::from_str(line)?;
    let fields = request.as_object_mut().ok_or("a request is not an object")?;
    fields.remove("relevant");
    fields.insert("model".into(), model.into());
    fields.entry("k").or_insert(10.into());
    Ok(request.to_string())
}
