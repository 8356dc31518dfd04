//! `quantize build`: from a trained model to a bundle.

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
use crate::evaluate::{Evaluation, evaluate};
use crate::failure::Failure;
use crate::gate::{Claim, calibrate};
use crate::import::{ImportError, Imported, import_from};
use crate::progress::Progress;
use crate::replay::{Replay, replay};
use crate::score::{Encoding, Scorer, Set};
use crate::search;
use crate::source::{self, SourceError};
use crate::split::{Model, split};
use crate::worker::{self, Preinitialized};
use crate::write::{self, Place};

/// Calibration requests that the search for the mix looks at.
const SEARCH_REQUESTS: usize = 64;
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
    /// The share of the full-precision bytes that the edge's variant may take; tensors go to 4 bits until it fits.
    #[arg(long, default_value_t = 0.22, value_parser = probability)]
    pub edge_share: f64,
    /// The sizes of answers to certify; the first of them, or 10 if it is one, is that of the quality reported.
    #[arg(long, value_delimiter = ',', default_values_t = KS, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: Vec<u32>,
}

pub(crate) fn probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| *p > 0.0 && *p < 1.0).ok_or_else(|| "must be a number above 0 and below 1".to_owned())
}

/// What a build made.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Its serial.
    pub serial: u64,
    /// How the import compares with tract.
    pub check: Checked,
    /// What each variant takes.
    pub sizes: Vec<Size>,
    /// When a tier may answer.
    pub policies: Vec<Policy>,
    /// How well each variant ranks.
    pub evaluations: Vec<Evaluation>,
    /// What each policy does on the requests judged with.
    pub replays: Vec<Replay>,
    /// Gate and evaluation requests that a tier would send up unscored.
    pub skipped: usize,
    /// The workers that are pre-initialized.
    pub workers: Vec<Preinitialized>,
}

/// The bytes of a variant's tensors.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Whose.
    pub variant: VariantName,
    /// Its bytes.
    pub bytes: usize,
    /// Their share of those of f32.
    pub share: f64,
}

/// Builds a bundle.
///
/// # Errors
/// Names the file, line, node or field at fault; the place of the bundle is left as it was.
pub fn run(options: &Options, progress: &Progress) -> Result<Built, Failure> {
    let place = Place::reserve(&options.out)?;
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
    let (full, check) = checked(&options.model, imported, &specs, encoding, &options.calibration, progress)?;
    let variants = quantize(options, full, encoding, progress)?;
    let scorers = scorers(options, &variants, &schema)?;
    let (policies, gated) = gate(options, &scorers, encoding, progress)?;
    let judged = match &options.eval {
        Some(path) => encoding.score(path, &scorers.iter().collect::<Vec<_>>(), progress)?,
        None => gated.clone(),
    };
    drop(scorers);
    let evaluations = evaluations(&judged, reported(&options.k));
    let replays = replay(&policies, &judged.requests);
    let mut manifest = Manifest::new(schema.model(), &options.version, options.serial, &features);
    policies.clone_into(&mut manifest.policies);
    manifest.static_list = static_list;
    manifest.variants = variants.iter().zip(&evaluations).map(entry).collect();
    let mut files = write::common(features, catalog.to_safetensors(&schema));
    let f32_bytes = variants[REFERENCE].tensor_bytes();
    let size = |v: &Variant| Size {
        variant: v.name,
        bytes: v.tensor_bytes(),
        share: v.tensor_bytes() as f64 / f32_bytes.max(1) as f64,
    };
    let sizes = variants.iter().map(size).collect();
    for variant in variants {
        let bytes = variant.to_bytes().map_err(|e| SourceError::file(&options.out.join(variant.name.file()), e))?;
        files.push((variant.name.file(), bytes));
    }
    let workers = found.preinitialize(worker.as_ref(), &schema, &mut files)?;
    place.fill(manifest, &files)?;

    Ok(Built {
        model: schema.model().to_owned(),
        version: options.version.clone(),
        serial: options.serial,
        check,
        sizes,
        policies,
        evaluations,
        replays,
        skipped: gated.skipped + if options.eval.is_some() { judged.skipped } else { 0 },
        workers,
    })
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
    Ok(Variant { name: VariantName::F32, graph, tensors })
}

fn quantize(
    options: &Options,
    full: Variant,
    encoding: Encoding,
    progress: &Progress,
) -> Result<[Variant; 3], Failure> {
    let w8 = search::w8(&full);
    let calibration = encoding.lines(&options.calibration, SEARCH_REQUESTS)?;
    let w4 = search::w4(&full, &w8, options.edge_share, &calibration, encoding.schema, progress)
        .map_err(|e| Failure::scorer(&options.model, e))?;
    Ok([w4, w8, full])
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

/// One evaluation a variant.
pub(crate) fn evaluations(set: &Set, k: u32) -> Vec<Evaluation> {
    let variants = VariantName::ALL.iter().enumerate();
    variants.map(|(own, name)| evaluate(*name, &set.requests, (own, REFERENCE), k)).collect()
}

/// What the manifest says of a variant.
fn entry((variant, evaluation): (&Variant, &Evaluation)) -> (VariantName, VariantEntry) {
    let bits = variant.tensors.iter().filter(|(_, t)| t.bits() < 32).map(|(n, t)| (n.clone(), t.bits())).collect();
    let tensor_bytes = variant.tensor_bytes() as u64;
    (variant.name, VariantEntry { tensor_bytes, bits, quality: evaluation.quality() })
}
