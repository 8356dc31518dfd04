//! What batching does at the origin: the same clients against an origin that puts requests together and one that does
//! not, in turns, on the CPU. The number is a ratio of the same run; nothing is asserted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cdn_config::Config;
use clap::Parser;
use serde_json::Value;

use crate::certs::Certs;
use crate::client::{Client, Error, Protocol};
use crate::rows::{Document, Row};

/// A timeout that no request reaches, so that each costs the device its candidates.
const TIMEOUT_MS: u64 = 10_000;
/// Each origin is asked this often before anything is counted, by every client.
const WARM_UP: Duration = Duration::from_millis(500);

/// Show what batches of several requests are worth at the origin
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// The bundle that the origins serve
    #[arg(long, value_name = "DIR", default_value = "target/test-bundle")]
    bundle: PathBuf,
    /// Requests, one a line
    #[arg(long, value_name = "FILE", default_value = "tests/fixtures/demo/requests.eval.jsonl")]
    requests: PathBuf,
    /// Clients that each wait for their answer before they ask again
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Candidates of a request: few, as of those in doubt at the tier below
    #[arg(long, default_value_t = 10)]
    candidates: usize,
    /// Turns that each origin has
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Milliseconds of a turn
    #[arg(long, default_value_t = 2000)]
    turn_ms: u64,
    /// Where the rows go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// An origin, and what it did in its turns.
struct Subject {
    name: &'static str,
    origin: origin::Running,
    answered: u64,
    busy: Duration,
}

/// Measures and writes rows.
///
/// # Errors
/// Says what does not start or does not answer.
pub async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    if let Some(file) = &options.json {
        // A path that cannot be written should be known before the long run.
        std::fs::File::create(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let bodies = Arc::new(bodies(options)?);
    let mut subjects = [
        Subject::start("off", options, "max_delay_us = 0\nmax_requests = 1\n").await?,
        Subject::start("on", options, "").await?,
    ];
    let dir = tempfile::tempdir()?;
    // Nothing here is encrypted, but a client has somebody to trust.
    let client = Client::new(&Certs::write(dir.path())?.ca, Protocol::Http1)?;
    for subject in &mut subjects {
        subject.turn(&client, &bodies, options.clients, WARM_UP).await?;
        (subject.answered, subject.busy) = (0, Duration::ZERO);
    }
    for _ in 0..options.turns {
        for subject in &mut subjects {
            subject.turn(&client, &bodies, options.clients, Duration::from_millis(options.turn_ms)).await?;
        }
    }
    let [off, on] = &subjects;
    let shape = format!("{} clients, {} candidates", options.clients, options.candidates);
    let row = |name: &str, unit, value| Row::new(name, &shape, unit, Some(value));
    let rows = vec![
        row("batching_off_throughput", "requests/s", off.rate()),
        row("batching_on_throughput", "requests/s", on.rate()),
        row("batching_on_batch", "requests", on.mean_batch(&client).await?),
        row("batching_throughput_ratio", "ratio", on.rate() / off.rate()),
    ];
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&Document::new(rows.clone()))?)?;
    }
    Ok(rows)
}

fn bodies(options: &Options) -> Result<Vec<String>, Error> {
    let manifest = std::fs::read(options.bundle.join("manifest.json"))?;
    let model = shared_model::bundle::Manifest::from_bytes(&manifest)?.model;
    let text = std::fs::read_to_string(&options.requests)?;
    let body = |line: &str| {
        let mut request: Value = serde_json::from_str(line)?;
        let fields = request.as_object_mut().ok_or("a request is an object")?;
        fields.remove("relevant");
        fields.insert("model".to_owned(), model.clone().into());
        fields.insert("timeout_ms".to_owned(), TIMEOUT_MS.into());
        if let Some(candidates) = fields.get_mut("candidates").and_then(Value::as_array_mut) {
            candidates.truncate(options.candidates);
        }
        Ok(request.to_string())
    };
    text.lines().map(body).collect()
}

impl Subject {
    async fn start(name: &'static str, options: &Options, batching: &str) -> Result<Self, Error> {
        let text = format!(
            "schema_version = 1\ntier = \"origin\"\n[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [[model]]\nbundle = {:?}\n[device]\nuse = \"cpu\"\n[batching]\n{batching}",
            std::path::absolute(&options.bundle)?
        );
        let config = Config::parse(&text, &std::env::current_dir()?)?;
        let origin = origin::start(origin::Settings::from_config(&config)?).await?;
        Ok(Self { name, origin, answered: 0, busy: Duration::ZERO })
    }

    /// All clients ask for so long.
    async fn turn(
        &mut self,
        client: &Client,
        bodies: &Arc<Vec<String>>,
        clients: usize,
        time: Duration,
    ) -> Result<(), Error> {
        let url = format!("http://{}/v1/rank", self.origin.http().ok_or("no listener")?);
        let started = Instant::now();
        let asking = (0..clients).map(|first| {
            let (client, bodies, url) = (client.clone(), bodies.clone(), url.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                for body in bodies.iter().cycle().skip(first * bodies.len() / clients) {
                    if started.elapsed() >= time {
                        break;
                    }
                    let answer = client.post(&url, body.clone()).await?.json()?;
                    if answer["degradation"] != 0 {
                        return Err(format!("not an answer of the model: {answer}").into());
                    }
                    answered += 1;
                }
                Ok::<u64, Error>(answered)
            })
        });
        for answered in asking.collect::<Vec<_>>() {
            self.answered += answered.await??;
        }
        self.busy += started.elapsed();
        eprintln!("batching {}: {} requests in {:.1?}", self.name, self.answered, self.busy);
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.answered as f64 / self.busy.as_secs_f64()
    }

    /// Requests of a batch, on average.
    async fn mean_batch(&self, client: &Client) -> Result<f64, Error> {
        let told = client.get(&format!("http://{}/metrics", self.origin.admin())).await?;
        Ok(told.metric("origin_batch_requests_sum")? / told.metric("origin_batch_requests_count")?)
    }
}
