//! `quantize explain`: what each variant of a bundle makes of one request, and which way it takes up the ladder.

mod replay;
mod text;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared_model::explain::{Basis, Explanation};
use shared_model::gate::{self, Scores, Thresholds, Verdict};
use shared_model::ladder::{Noise, Prepared, prepare};
use shared_model::topk;
use shared_model::variant::Variant;
use shared_model::wire::{Answer, RankRequest, Tier, json};

use crate::build::REFERENCE;
use crate::eval::Opened;
use crate::failure::Failure;
use crate::source::{self, Lines, MAX_LINE_BYTES, SourceError};

pub use replay::{Does, Stage};
pub(crate) use text::text;

/// Standard input, in the place of a file.
const STDIN: &str = "-";

/// What is explained.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The bundle's folder.
    #[arg(long)]
    pub bundle: PathBuf,
    /// A file with the request, or `-` for standard input.
    pub request: PathBuf,
    /// The line of the request, from 1, in a file of one a line.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub line: Option<u64>,
}

/// A request, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Candidates and fields that the schema's defaults stand in for.
    pub defaulted: Vec<String>,
    /// One a variant, lowest tier first; none when there is nothing to rank.
    pub tiers: Vec<TierExplained>,
    /// The way of the request, lowest tier first.
    pub path: Vec<Stage>,
    /// What the client gets, with the tiers above the edge there and in time.
    pub answer: Answer,
}

/// What one tier makes of a request.
#[derive(Clone, Debug, Serialize)]
pub struct TierExplained {
    /// What its gate says of its scores, were it asked for them.
    pub verdict: String,
    /// Features, scores, margin and policy.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// Explains a request.
///
/// # Errors
/// A file cannot be used, or the request is at fault; names the file, and the field.
pub fn run(options: &Options) -> Result<Explained, Failure> {
    let opened = Opened::read(&options.bundle)?;
    let request = request(options, opened.schema.model())?;
    let at_fault = |what: String| SourceError::file(&options.request, what);
    let prepared = prepare(&opened.schema, &opened.catalog, &request)
        .map_err(|r| at_fault(format!("`{}`: {}", r.field, r.message)))?;
    let scorers = opened.scorers(&options.bundle)?;
    let mut tiers = Vec::new();
    for (variant, scorer) in opened.variants.iter().zip(&scorers).filter(|_| !prepared.is_empty()) {
        let scores = scorer.score(&mut scorer.arena(), &prepared).map_err(|e| at_fault(e.to_string()))?;
        if let Some(i) = topk::first_nan(&scores) {
            let file = options.bundle.join(variant.name.file());
            return Err(SourceError::file(&file, format!("the score of candidate {i} is not a number")).into());
        }
        tiers.push(tier(&opened, variant, &request, &prepared, &scores));
    }
    let (path, answer) = replay::replay(options, &opened, &request, &scorers[REFERENCE])?;
    Ok(Explained {
        model: opened.bundle.manifest.model,
        version: opened.bundle.manifest.version,
        defaulted: prepared.defaulted(),
        tiers,
        path,
        answer,
    })
}

/// The request of the command line.
fn request(options: &Options, model: &str) -> Result<RankRequest, SourceError> {
    let path = &options.request;
    let bytes = match options.line {
        Some(line) if path.as_os_str() != STDIN => line_of(path, line)?,
        Some(line) => {
            let all = read_stdin()?;
            let at = usize::try_from(line - 1).unwrap_or(usize::MAX);
            let found = all.split(|b| *b == b'\n').nth(at).filter(|line| !line.trim_ascii().is_empty());
            found.map(<[u8]>::to_vec).ok_or_else(|| no_such(path, line))?
        }
        None if path.as_os_str() == STDIN => read_stdin()?,
        None => source::bytes(path, MAX_LINE_BYTES)?,
    };
    let decoded = json::decode_line(&bytes, model, &json::JsonLimits::default()).map_err(|e| {
        let several = options.line.is_none() && bytes.trim_ascii().contains(&b'\n');
        let hint = if several { "; if it holds a request a line, choose one with --line" } else { "" };
        SourceError::file(path, format!("{e}{hint}"))
    })?;
    Ok(decoded.request)
}

fn line_of(path: &Path, wanted: u64) -> Result<Vec<u8>, SourceError> {
    let number = usize::try_from(wanted).unwrap_or(usize::MAX);
    for line in Lines::open(path)? {
        let (at, bytes) = line?;
        if at == number {
            return Ok(bytes);
        }
        if at > number {
            break;
        }
    }
    Err(no_such(path, wanted))
}

fn no_such(path: &Path, line: u64) -> SourceError {
    SourceError::file(path, format!("has no request on line {line}"))
}

fn read_stdin() -> Result<Vec<u8>, SourceError> {
    let path = Path::new(STDIN);
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin().lock().take(MAX_LINE_BYTES + 1);
    stdin.read_to_end(&mut bytes).map_err(|e| SourceError::io(path, e))?;
    if bytes.len() as u64 > MAX_LINE_BYTES {
        return Err(SourceError::TooLarge { path: path.to_owned(), max: MAX_LINE_BYTES });
    }
    Ok(bytes)
}

fn tier(
    opened: &Opened,
    variant: &Variant,
    request: &RankRequest,
    prepared: &Prepared,
    scores: &[f32],
) -> TierExplained {
    let (name, tier) = (variant.name, variant.name.tier());
    let policy = gate::policy(&opened.bundle.manifest.policies, request.k, scores.len());
    let noise = Noise::of(variant, &opened.schema).of_candidates(&opened.catalog, prepared);
    let scores = Scores { values: scores, noise: &noise };
    let basis = Basis {
        tier,
        variant: name,
        stamp: opened.bundle.stamp(),
        schema: &opened.schema,
        catalog: &opened.catalog,
        request,
        prepared,
        scores,
        link: variant.graph.link(),
        policy,
    };
    let explanation = basis.explain();
    let verdict = match policy {
        _ if tier == Tier::Origin => "the reference itself".to_owned(),
        None => "no policy for this k and number of candidates".to_owned(),
        Some(policy) => verdict(policy.of(tier), scores, request.k as usize),
    };
    TierExplained { verdict, explanation }
}

fn verdict(thresholds: Thresholds, scores: Scores<'_>, k: usize) -> String {
    match gate::decide(thresholds, scores, k) {
        Verdict::Trivial => "trivial: every candidate is in the answer".to_owned(),
        Verdict::Sure { threshold, .. } => format!("sure: the margin reaches {threshold:.4}"),
        Verdict::Doubt(split) => format!("in doubt about {} candidates", split.doubt.len()),
        Verdict::Whole => "unsure of all of it".to_owned(),
    }
}
