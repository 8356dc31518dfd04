//! `quantize build`: from a trained model to a bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use shared_model::bundle::{Manifest, VariantEntry};
use shared_model::catalog::Catalog;
use shared_model::gate::Policy;
use shared_model::schema::{InputSpec, Schema};
use shared_model::variant::{Variant, VariantName};

use crate::check::{self, Checked, Expected};
use crate::evaluate::{Evaluation, Terms, evaluate};
use crate::failure::Failure;
use crate::findings::Findings;
use crate::gate::{Claim, calibrate};
use crate::import::{ImportError, Imported, import_from};
use crate::page::PageFile;
use crate::peer::{Case, Comparison, Feed, compare};
use crate::progress::Progress;
use crate::replay::replay;
use crate::score::{Encoding, Scorer, Set};
use crate::search::{self, Fewest, Found, Goal, Jury, Search, Tried, Wanted};
use crate::sense::Sense;
use crate::source::{self, SourceError};
use crate::split::{Model, Work, split};
use crate::worker::{self, Preinitialized};
use crate::write::{self, Place};

/// Calibration requests that the search for bits looks at.
pub(crate) const SEARCH_REQUESTS: usize = 256;
/// The sizes of answers that are certified when nothing is said.
pub(crate) const KS: [u32; 5] = [1, 5, 10, 20, 50];

/// What a build is made from.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The trained model.
    #[arg(long)]
    pub model: PathBuf,
    /// How raw fields become its inputs.
    #[arg(long)]
    pub schema: PathBuf,
    /// The items, one JSON object a line.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Ids, one a line: the order of an answer when nothing is known of any candidate.
    #[arg(long)]
    pub static_list: Option<PathBuf>,
    /// Requests to check the import and to choose bits with.
    #[arg(long)]
    pub calibration: PathBuf,
    /// Requests like live traffic, to certify on; used for nothing else. Several files are taken together.
    #[arg(long, required = true)]
    pub gate: Vec<PathBuf>,
    /// Other such requests, to judge with; GATE unless given.
    #[arg(long)]
    pub eval: Option<PathBuf>,
    /// The folder of the bundle.
    #[arg(long)]
    pub out: PathBuf,
    /// The WASM worker that is pre-initialized for the edge and the region; target/worker/worker.wasm if it is there.
    #[arg(long)]
    pub worker: Option<PathBuf>,
    /// The version that answers name.
    #[arg(long, default_value = "1")]
    pub version: String,
    /// Grows with every bundle; a tier refuses an older one.
    #[arg(long, default_value_t = 1)]
    pub serial: u64,
    /// At most this share of answers may have another top-k set than full precision.
    #[arg(long, default_value_t = 0.01, value_parser = probability)]
    pub alpha: f64,
    /// The probability that the certification errs.
    #[arg(long, default_value_t = 0.05, value_parser = probability)]
    pub delta: f64,
    /// The share of the full-precision bytes that the edge's variant may take; its weights have 4 bits or more.
    #[arg(long, default_value_t = Self::EDGE_SHARE, value_parser = probability)]
    pub edge_share: f64,
    /// What the edge's variant is to be best at.
    #[arg(long, value_enum, default_value_t = Goal::Agreement)]
    pub goal: Goal,
    /// The bytes that the edge's variant may take, in place of a share.
    #[arg(long)]
    pub max_bytes: Option<u64>,
    /// The share of calibration requests that the edge's variant is to agree on with full precision; with the goal
    /// `bytes` it is as small as that allows.
    #[arg(long, value_parser = probability, required_if_eq("goal", "bytes"))]
    pub min_agreement: Option<f64>,
    /// The share that the region's variant may take; its weights have 8 bits or more.
    #[arg(long, default_value_t = Self::REGION_SHARE, value_parser = probability)]
    pub region_share: f64,
    /// The sizes of answers to certify; the first of them, or 10 if it is one, is that of the quality reported.
    #[arg(long, value_delimiter = ',', default_values_t = KS, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: Vec<u32>,
    /// Also write what was found out as a page of HTML.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// What the variants are compared with.
    #[command(flatten)]
    pub comparison: Comparison,
}

impl Options {
    /// The share of the full-precision bytes for the edge's variant when nothing is said.
    pub const EDGE_SHARE: f64 = 0.22;
    /// The same for the region's.
    pub const REGION_SHARE: f64 = 0.30;
}

pub(crate) fn probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| *p > 0.0 && *p < 1.0).ok_or_else(|| "must be a number above 0 and below 1".to_owned())
}

/// What a build made.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// What was found out on the way.
    #[serde(flatten)]
    pub findings: Findings,
    /// The workers that are pre-initialized.
    pub workers: Vec<Preinitialized>,
}

/// Builds a bundle.
///
/// # Errors
/// Names the file, line, node or field at fault; the place of the bundle is left as it was.
pub fn run(options: &Options, progress: &Progress) -> Result<Built, Failure> {
    let place = Place::reserve(&options.out)?;
    let page = options.report.as_deref().map(|path| PageFile::reserve(path, &options.out)).transpose()?;
    let found = worker::Source::find(options.worker.as_deref())?;
    let worker = found.compile()?;
    let (schema, features) = source::schema(&options.schema)?;
    let catalog = source::catalog(&options.catalog, &schema)?;
    let static_list = options.static_list.as_deref().map(source::static_list).transpose()?.unwrap_or_default();

    let specs = inputs(&schema, &catalog);
    let imported = imported(&options.model, &specs)?;
    let schema = schema.bounded_by(&imported.graph);
    let schema = schema.map_err(|faults| SourceError::Schema { path: options.schema.clone(), faults })?;
    catalog.check(&schema).map_err(|e| SourceError::file(&options.catalog, e))?;
    let encoding = Encoding { schema: &schema, catalog: &catalog };
    let unsplit = Work::of(&imported.graph);
    let feed = Feed::of(&imported, &schema).map_err(|e| Failure::scorer(&options.model, e.into()))?;
    let (full, check) = checked(&options.model, imported, &specs, encoding, &options.calibration, progress)?;
    let Quantized { variants, front, missed, sensitivity } = quantize(options, full, encoding, progress)?;
    let scorers = scorers(options, &variants, &schema)?;
    let (policies, gated) = gate(options, &scorers, encoding, progress)?;
    let judged = match &options.eval {
        Some(path) => encoding.score(path, &scorers.iter().collect::<Vec<_>>(), progress)?,
        None => gated.clone(),
    };
    drop(scorers);
    let link = variants[REFERENCE].graph.link();
    let terms = Terms { k: reported(&options.k), link, catalog: &catalog };
    let evaluations = evaluate(&judged.requests, &terms);
    let replays = replay(&policies, &judged.requests);
    let mut manifest = Manifest::new(schema.model(), &options.version, options.serial, &features);
    policies.clone_into(&mut manifest.policies);
    manifest.static_list = static_list;
    manifest.variants = variants.iter().zip(&evaluations).map(entry).collect();
    let mut files = write::common(features, catalog.to_safetensors(&schema));
    let judged_on = options.eval.as_ref().map_or(&options.gate[..], std::slice::from_ref);
    let findings = Findings {
        check: Some(check),
        front,
        missed,
        files: judged_on.iter().map(|path| path.display().to_string()).collect(),
        replays,
        skipped: gated.skipped + if options.eval.is_some() { judged.skipped } else { 0 },
        ..Findings::of(&manifest, &variants, &judged, evaluations)
    };
    let findings = findings.with_unsplit(unsplit).with_sensitivity(&sensitivity);
    for variant in variants {
        let bytes = variant.to_bytes().map_err(|e| SourceError::file(&options.out.join(variant.name.file()), e))?;
        files.push((variant.name.file(), bytes));
    }
    let workers = found.preinitialize(worker.as_ref(), &schema, &mut files)?;
    place.fill(manifest, &files)?;
    drop(files);
    let (model, calibration) = (&options.model, &options.calibration);
    let case = Case { model, feed: &feed, encoding, calibration, files: judged_on, judged, terms };
    let findings = compare(&options.comparison, case, findings, progress);
    page.map(|page| page.fill(&findings)).transpose()?;
    Ok(Built { findings, workers })
}

fn imported(model: &Path, specs: &[InputSpec]) -> Result<Imported, Failure> {
    import_from(&mut open(model)?, specs).map_err(|e| Failure::import(model, e))
}

fn open(model: &Path) -> Result<File, SourceError> {
    File::open(model).map_err(|e| SourceError::io(model, e))
}

/// A model in full precision, compared with tract on calibration requests; `outline` is what it was imported as.
///
/// While tract reads a model it holds it twice: our tensors are given up before, and imported again after.
///
/// # Errors
/// Names the file, node, tensor or line at fault.
pub fn checked(
    model: &Path,
    mut outline: Imported,
    specs: &[InputSpec],
    encoding: Encoding,
    calibration: &Path,
    progress: &Progress,
) -> Result<(Variant, Checked), Failure> {
    let fault = |e| Failure::check(model, e);
    outline.tensors.clear();
    let expected = Expected::of(&mut open(model)?, &outline, encoding, calibration, progress).map_err(fault)?;
    let full = full_precision(imported(model, specs)?).map_err(|e| Failure::import(model, e))?;
    let checked = check::check(&full, expected, encoding, calibration, progress).map_err(fault)?;
    Ok((full, checked))
}

/// The schema's inputs, with the bounds of their indices as the catalog makes them.
fn inputs(schema: &Schema, catalog: &Catalog) -> Vec<InputSpec> {
    let bounded = |(i, spec): (usize, &InputSpec)| InputSpec {
        cardinality: schema.cardinality(i, catalog.len()),
        ..spec.clone()
    };
    schema.inputs().iter().enumerate().map(bounded).collect()
}

/// Where the reference is among a bundle's variants, which are in the order of [`VariantName::ALL`].
pub(crate) const REFERENCE: usize = 2;

/// The imported model as a variant: split by scope, in full precision.
///
/// # Errors
/// A value of it would be larger than a graph allows.
pub fn full_precision(imported: Imported) -> Result<Variant, ImportError> {
    let tensors = imported.tensors.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect();
    let Model { graph, tensors } = split(Model { graph: imported.graph, tensors })?;
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, Arc::unwrap_or_clone(tensor))).collect();
    Ok(Variant { name: VariantName::F32, graph, tensors, noise: None })
}

/// The variants, and what the search for them found out.
struct Quantized {
    variants: [Variant; 3],
    front: Vec<Tried>,
    missed: Option<String>,
    sensitivity: BTreeMap<String, f64>,
}

fn quantize(options: &Options, full: Variant, encoding: Encoding, progress: &Progress) -> Result<Quantized, Failure> {
    let failed = |e| Failure::scorer(&options.model, e);
    let lines = encoding.spread(&options.calibration, SEARCH_REQUESTS)?;
    let sense = Sense::of(&full, (&options.calibration, &lines), &options.k, encoding, progress)?;
    let search = Search::new(&full, &sense, encoding.schema, progress).map_err(failed)?;
    let jury = Jury::new(&full, &lines, encoding.schema, reported(&options.k)).map_err(failed)?;
    let most = full.tensor_bytes().max(1) as f64;
    let share = options.max_bytes.map_or(options.edge_share, |bytes| bytes as f64 / most);
    let wanted = Wanted { goal: options.goal, share, agreement: options.min_agreement };
    let Found { variant: mut w4, front, missed } = search.edge(wanted, &jury).map_err(failed)?;
    let mut w8 = search.variant(VariantName::W8, Fewest::Eight, options.region_share);
    let for_edge = if options.goal == Goal::Time { search::SHARE_IF_FAST } else { search::SHARE };
    for (variant, share) in [(&mut w4, for_edge), (&mut w8, search::SHARE)] {
        search::narrow(variant, &full, &sense.samples, encoding.schema, share).map_err(failed)?;
    }
    // The rows that the region has are too like each other to gain from it (ADR 21).
    w4.noise = jury.noise(&w4, encoding.catalog).map_err(failed)?;
    let sensitivity = search.sensitivity();
    Ok(Quantized { variants: [w4, w8, full], front, missed, sensitivity })
}

fn scorers(options: &Options, variants: &[Variant; 3], schema: &Schema) -> Result<Vec<Scorer>, Failure> {
    variants.iter().map(|v| Scorer::new(v, schema).map_err(|e| Failure::scorer(&options.model, e))).collect()
}

/// Certifies the policies, and hands on what was scored.
fn gate(
    options: &Options,
    scorers: &[Scorer],
    encoding: Encoding,
    progress: &Progress,
) -> Result<(Vec<Policy>, Set), Failure> {
    let scorers: Vec<&Scorer> = scorers.iter().collect();
    let mut set = Set::default();
    for path in &options.gate {
        set.extend(encoding.score(path, &scorers, progress)?);
    }
    let claim = Claim { alpha: options.alpha, delta: options.delta, ks: options.k.clone() };
    Ok((calibrate(&set.requests, &claim), set))
}

/// The k of the quality that is reported.
fn reported(ks: &[u32]) -> u32 {
    if ks.contains(&10) { 10 } else { ks.first().copied().unwrap_or(10) }
}

/// What the manifest says of a variant.
fn entry((variant, evaluation): (&Variant, &Evaluation)) -> (VariantName, VariantEntry) {
    let bits = variant.tensors.iter().filter(|(_, t)| t.bits() < 32.0).map(|(n, t)| (n.clone(), t.bits())).collect();
    let tensor_bytes = variant.tensor_bytes() as u64;
    (variant.name, VariantEntry { tensor_bytes, bits, quality: evaluation.quality() })
}
