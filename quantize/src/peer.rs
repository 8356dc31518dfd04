//! `--compare`: what another tool's quantizer makes of the same model, judged on the same requests as the variants.
//!
//! A child process quantizes the ONNX file and scores; it is fed the very inputs that plans are fed. The bundle is written
//! before and depends on nothing here; what cannot be had does not fail a build, but is told with its reason.

mod process;
pub mod protocol;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde::Serialize;
use shared_model::ladder::{BindError, Binding};
use shared_model::schema::Schema;
use thiserror::Error;

use crate::build::{REFERENCE, SEARCH_REQUESTS};
use crate::check::{Difference, RELATIVE_FLOOR};
use crate::evaluate::{Terms, evaluate_peers};
use crate::findings::{Findings, Size};
use crate::import::{Imported, ModelInput};
use crate::progress::Progress;
use crate::ranker::Ranker;
use crate::score::{Encoding, Line, Set};
use crate::source::SourceError;
use process::Child;
use protocol::{Greeting, ProtocolError, shown};

/// What the child runs.
const SCRIPT: &str = include_str!("peer/onnxruntime_peer.py");
/// Python, where nothing is said.
const PYTHON: &str = "python3";
/// How long it may take, from first to last.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// The largest relative difference of two full-precision scores that sums in another order can explain. Other inputs
/// than ours, which is what this tells, make differences of the scores' own size.
const SAME_INPUTS: f32 = 0.01;
/// The lines of its standard error that are told.
const LAST_LINES: usize = 3;

/// Another tool's quantizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// ONNX Runtime's, to 8 bits
    Onnxruntime,
}

/// What a build is compared with.
#[derive(Clone, Debug, clap::Args)]
pub struct Comparison {
    /// Also have another tool quantize the model, and judge that beside the variants; a report without it says why. It
    /// needs Python with the packages onnx and onnxruntime.
    #[arg(long, value_enum)]
    pub compare: Option<Peer>,
    /// The Python that has them.
    #[arg(long, default_value = PYTHON, requires = "compare")]
    pub python: PathBuf,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { compare: None, python: PYTHON.into() }
    }
}

/// How a comparison went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The peer, with its version if it came to tell it.
    pub peer: String,
    /// The largest differences of its full precision from f32, on all requests; `None` if nothing could be compared.
    pub difference: Option<Difference>,
    /// What could not be had.
    pub missing: Vec<Missing>,
}

/// What could not be had of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// A form of the model, or the peer.
    pub what: String,
    /// Why, in one line.
    pub reason: String,
}

impl Compared {
    /// What the variants are compared with, if it is anything.
    pub(crate) fn with(&self) -> Option<String> {
        let Difference { absolute, relative } = self.difference?;
        let peer = &self.peer;
        Some(format!(
            "{peer}, whose full precision differs from f32 by {absolute:.1e} on the output, {relative:.1e} relative on the score"
        ))
    }
}

/// How a model's ONNX file is fed.
#[derive(Debug)]
pub(crate) struct Feed {
    inputs: Vec<ModelInput>,
    score: String,
    binding: Binding,
}

impl Feed {
    /// Of a model, whose tensors are not looked at.
    ///
    /// # Errors
    /// Model and schema do not fit each other.
    pub(crate) fn of(imported: &Imported, schema: &Schema) -> Result<Self, BindError> {
        let (inputs, score) = (imported.inputs.clone(), imported.score_name.clone());
        Ok(Self { inputs, score, binding: Binding::new(&imported.graph, schema)? })
    }

    fn requests(&self, lines: &[Line]) -> Vec<u8> {
        let request = |l: &Line| protocol::request(&self.binding.inputs(&l.prepared), l.prepared.len());
        lines.iter().flat_map(request).collect()
    }
}

/// What a peer is given, and what it is held to.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// The trained model.
    pub(crate) model: &'a Path,
    /// How it is fed.
    pub(crate) feed: &'a Feed,
    /// What requests are encoded with.
    pub(crate) encoding: Encoding<'a>,
    /// Requests to find ranges with.
    pub(crate) calibration: &'a Path,
    /// The files of the requests that the variants were judged on.
    pub(crate) files: &'a [PathBuf],
    /// Those requests, as the variants scored them.
    pub(crate) judged: Set,
    /// What they are judged by.
    pub(crate) terms: Terms<'a>,
}

/// Why a peer has no scores.
#[derive(Debug, Error)]
enum PeerError {
    /// It cannot be started.
    #[error("{}: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// The script has no place.
    #[error("a temporary folder: {0}")]
    Folder(std::io::Error),
    /// Requests cannot be read again.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Requests are not those that the variants were judged on.
    #[error("{} changed during the build", .0.display())]
    Changed(PathBuf),
    /// It does not say what it has made.
    #[error(transparent)]
    Greeting(ProtocolError),
    /// Its answer to a request is none.
    #[error("{at}: {error}")]
    Answer {
        /// The request's file and line.
        at: String,
        /// What is wrong.
        error: ProtocolError,
    },
    /// In full precision, it has other scores.
    #[error(
        "its full precision differs from f32 by {} relative on the score: it does not compute the same model", .0.relative
    )]
    Differs(Difference),
}

/// What a peer answered; the scores are in the case's requests.
struct Answer {
    greeting: Greeting,
    difference: Difference,
}

/// Adds to the findings what the peer that is asked for makes of the model.
pub(crate) fn compare(options: &Comparison, case: Case<'_>, findings: Findings, progress: &Progress) -> Findings {
    match options.compare {
        None => findings,
        Some(Peer::Onnxruntime) => compare_within(LIMIT, &options.python, case, findings, progress),
    }
}

fn compare_within(
    limit: Duration,
    python: &Path,
    mut case: Case<'_>,
    mut findings: Findings,
    progress: &Progress,
) -> Findings {
    let compared = match asked(limit, python, &mut case, progress) {
        Ok(Answer { greeting: Greeting { version, forms }, difference }) => {
            let full = findings.sizes.get(REFERENCE).map_or(1, |size| size.bytes.max(1)) as f64;
            let (mut made, mut missing) = (Vec::new(), Vec::new());
            for (form, outcome) in forms {
                match outcome {
                    Ok(bytes) => {
                        let variant = Ranker::Peer(form);
                        findings.sizes.push(Size { variant, bytes, share: bytes as f64 / full });
                        made.push(form);
                    }
                    Err(reason) => missing.push(Missing { what: form.as_str().to_owned(), reason }),
                }
            }
            findings.evaluations.extend(evaluate_peers(&case.judged.requests, &made, &case.terms));
            Compared { peer: format!("onnxruntime {version}"), difference: Some(difference), missing }
        }
        Err(reason) => {
            let peer = "onnxruntime".to_owned();
            Compared { missing: vec![Missing { what: peer.clone(), reason }], peer, difference: None }
        }
    };
    Findings { compared: Some(compared), ..findings }
}

/// Starts the child, asks it, and ends it. The error is for people, with the child's last words.
fn asked(limit: Duration, python: &Path, case: &mut Case<'_>, progress: &Progress) -> Result<Answer, String> {
    let told = |e: PeerError| shown(&e.to_string());
    let folder = tempfile::tempdir().map_err(|e| told(PeerError::Folder(e)))?;
    let script = folder.path().join("peer.py");
    std::fs::write(&script, SCRIPT).map_err(|e| told(PeerError::Folder(e)))?;
    let mut command = Command::new(python);
    command.arg(&script).arg(case.model).arg(folder.path());
    let mut child = Child::start(&mut command, limit)
        .map_err(|error| told(PeerError::Start { program: python.to_owned(), error }))?;
    let bar = progress.steps(case.judged.requests.len(), "comparing with onnxruntime");
    let answer = converse(&mut child, case, &bar);
    bar.finish_and_clear();
    let (status, words) = child.end();
    answer.map_err(|error| reason(&error, status, &words))
}

fn converse(child: &mut Child, case: &mut Case<'_>, bar: &ProgressBar) -> Result<Answer, PeerError> {
    let Case { feed, encoding, calibration, files, judged, terms, .. } = case;
    let mut ranges = encoding.spread(calibration, SEARCH_REQUESTS)?;
    ranges.retain(Line::is_scored);
    child.ask(protocol::preamble(&feed.inputs, &feed.score, ranges.len()));
    child.ask(feed.requests(&ranges));
    drop(ranges);
    let greeting = protocol::greeting(&mut child.answers).map_err(PeerError::Greeting)?;
    let made = greeting.forms.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    let mut difference = Difference::default();
    let mut requests = judged.requests.iter_mut();
    for path in *files {
        for batch in encoding.batches(path)? {
            let batch = batch?;
            child.ask(feed.requests(&batch));
            for line in &batch {
                let n = line.prepared.len();
                let same = requests.next().filter(|r| r.line == line.number && r.n() == n);
                let request = same.ok_or_else(|| PeerError::Changed(path.clone()))?;
                let at = || format!("{}:{}", path.display(), line.number);
                let mut scores =
                    || protocol::scores(&mut child.answers, n).map_err(|error| PeerError::Answer { at: at(), error });
                let full = scores()?;
                let outputs: Vec<f32> = full.iter().map(|s| terms.link.apply(*s)).collect();
                let ours = &request.scores[REFERENCE];
                difference = difference.max(Difference::of(terms.link, ours, &full, &outputs, RELATIVE_FLOOR));
                for _ in 0..made {
                    request.scores.push(scores()?);
                }
            }
            bar.inc(batch.len() as u64);
        }
    }
    if requests.next().is_some() {
        return Err(PeerError::Changed(files.last().cloned().unwrap_or_default()));
    }
    child.hang_up();
    protocol::end(&mut child.answers).map_err(PeerError::Greeting)?;
    if difference.relative > SAME_INPUTS {
        return Err(PeerError::Differs(difference));
    }
    Ok(Answer { greeting, difference })
}

/// One line for people: what is wrong, how the child ended, and the last that it said.
fn reason(error: &PeerError, status: Option<ExitStatus>, words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let lines: Vec<String> = words.lines().map(shown).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
    let ended = status.filter(|s| !s.success()).map_or(String::new(), |status| format!(" ({status})"));
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    format!("{}{ended}{said}", shown(&error.to_string()))
}
