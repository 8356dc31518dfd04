//! What a variant takes where it runs: the memory of an instance of the worker, which is run here for one request, and
//! the time of its multiply-adds at a modest speed.
//!
//! The worker in the package for JavaScript is the same code behind another shell, so `worker.wasm` stands for it.

use std::borrow::Cow;
use std::path::Path;

use shared_model::bundle::{Bundle, CATALOG};
use shared_model::catalog::Catalog;
use shared_model::ladder::{Call, Payload, Step, Terms, TierLimits};
use shared_model::plan::Plan;
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Candidate, RankRequest, Record, Tier, TierChoice, json};

use super::Options;
use super::deploy::{self, Deployed};
use crate::failure::Failure;
use crate::guest::{self, Guest};
use crate::snapshot::{ITEM_TABLE_BYTES, SnapshotError};
use crate::source::{Lines, SourceError};
use crate::split::Work;

/// Multiply-adds a microsecond: 5 billion a second, which the worker's kernels exceed in every runtime that was measured.
const SPEED: u64 = 5_000;

/// What one variant takes.
pub(super) struct Measured {
    /// The bytes of an instance's memory, with what lies beside it; or why it cannot be run.
    pub(super) memory: Result<u64, String>,
    /// Microseconds a request.
    pub(super) cpu: u64,
}

/// What every variant is measured with.
pub(super) struct Measuring<'a> {
    options: &'a Options,
    bundle: &'a Bundle,
    schema: Schema,
    /// What is ranked: candidates are added once the catalog is read.
    request: RankRequest,
}

impl<'a> Measuring<'a> {
    /// # Errors
    /// The schema or the requests cannot be used.
    pub(super) fn new(options: &'a Options, bundle: &'a Bundle) -> Result<Self, SourceError> {
        let schema = bundle.schema().map_err(|e| SourceError::file(&options.bundle, e))?;
        let request = match &options.requests {
            Some(path) => first(path, schema.model())?,
            None => unspoken(schema.model()),
        };
        Ok(Self { options, bundle, schema, request })
    }

    /// How a variant is deployed, and what it takes as it is.
    ///
    /// # Errors
    /// A file is not what it should be, or the worker does not score the request.
    pub(super) fn of(&self, name: VariantName) -> Result<(Deployed, Measured), Failure> {
        let Options { bundle: folder, .. } = self.options;
        let at_fault = |e: String| SourceError::file(&folder.join(name.file()), e);
        let file = |file| self.bundle.file(file).map_err(|e| SourceError::file(folder, e));
        let variant = self.bundle.variant(name, |bytes| Variant::from_bytes(bytes).map(|v| (v.name, v)));
        let variant = variant.map_err(|e| SourceError::file(folder, e))?;
        let schema = self.schema.clone().bounded_by(&variant.graph).map_err(|e| at_fault(e.to_string()))?;
        let catalog = Catalog::from_safetensors(file(CATALOG)?, &schema);
        let catalog = catalog.map_err(|e| SourceError::file(&folder.join(CATALOG), e))?;
        let plan = Plan::new(&variant.graph, &variant.tensors).map_err(|e| at_fault(e.to_string()))?;
        let json = schema.to_json();
        let payload = Payload { schema: &json, variant: file(name.file())?, catalog: file(CATALOG)? };
        let deployed = Deployed::of(self.options, self.bundle, name, payload)?;
        let snapshot = if deployed.loaded.is_some() { ITEM_TABLE_BYTES } else { 0 };
        let most = snapshot.max(self.options.target.item_table_bytes());
        let has_table = plan.item_table_bytes(catalog.rows()) <= most as usize;
        let cpu = microseconds(Work::of(&variant.graph), self.options.candidates, has_table);
        drop((plan, variant));
        let memory = self.memory(name.tier(), &deployed, payload, &catalog)?;
        let memory = memory.map(|bytes| bytes + deployed.resident);
        Ok((deployed, Measured { memory, cpu }))
    }

    /// The memory of an instance that has ranked once.
    fn memory(
        &self,
        tier: Tier,
        deployed: &Deployed,
        payload: Payload<'_>,
        catalog: &Catalog,
    ) -> Result<Result<u64, String>, SourceError> {
        let (path, wasm, load) = match deployed.loaded {
            Some(file) => {
                let wasm = self.bundle.file(file).map_err(|e| SourceError::file(&self.options.bundle, e))?;
                (self.options.bundle.join(file), Cow::Borrowed(wasm), None)
            }
            None => (self.options.worker.clone(), Cow::Owned(deploy::worker(self.options)?), Some(payload)),
        };
        match self.ranked(tier, &wasm, load, catalog) {
            Ok((bytes, Step::Answer(_))) => Ok(Ok(bytes)),
            Ok((_, Step::Refused(refusal))) => Err(self.unscored(&format!("`{}`: {}", refusal.field, refusal.message))),
            Ok((_, Step::Escalate { message, .. })) => Err(self.unscored(message.why.as_str())),
            Ok((_, Step::Whole(_))) => Err(self.unscored("the worker asks for all of it")),
            Err(error @ (SnapshotError::Foreign(_) | SnapshotError::Origin)) => Err(SourceError::file(&path, error)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn ranked(
        &self,
        tier: Tier,
        wasm: &[u8],
        load: Option<Payload<'_>>,
        catalog: &Catalog,
    ) -> Result<(u64, Step), SnapshotError> {
        let item_table_bytes = self.options.target.item_table_bytes();
        let mut guest = Guest::start(&guest::compile(wasm)?)?;
        if let Some(payload) = load {
            guest.load(tier, payload, item_table_bytes)?;
        }
        let terms = Terms::new(&self.bundle.manifest, self.bundle.digest);
        guest.begin(tier, &terms, TierLimits { max_candidates: u32::MAX, max_k: u32::MAX, item_table_bytes })?;
        // Its own answer, sure or not: what the gate says of one request is beside the point.
        let choice = if tier == Tier::Edge { TierChoice::Edge } else { TierChoice::Region };
        let some = catalog.items().take(self.options.candidates as usize);
        let candidates = some.map(|(_, id)| Candidate { id: id.to_owned(), features: None }).collect();
        let request = RankRequest { candidates, tier: choice, ..self.request.clone() };
        let step = guest.rank(&Call { request, below: None, part: None })?;
        Ok((guest.memory_bytes(), step))
    }

    /// The request is not one to measure with.
    fn unscored(&self, why: &str) -> SourceError {
        match &self.options.requests {
            Some(path) => SourceError::file(path, format!("the worker does not score its first request: {why}")),
            None => {
                let what = format!(
                    "the worker does not score a request that says nothing of user and context ({why}): name requests that \
                     it does with --requests"
                );
                SourceError::file(&self.options.bundle, what)
            }
        }
    }
}

/// A request that says nothing but which model it wants.
fn unspoken(model: &str) -> RankRequest {
    RankRequest {
        model: model.to_owned(),
        k: 10,
        user: Record::default(),
        context: Record::default(),
        candidates: Vec::new(),
        exclude: Vec::new(),
        timeout_ms: None,
        tier: TierChoice::Auto,
        explain: false,
    }
}

/// The first request of a file.
fn first(path: &Path, model: &str) -> Result<RankRequest, SourceError> {
    let (number, bytes) = Lines::open(path)?.next().ok_or_else(|| SourceError::file(path, "it has no request"))??;
    let decoded = json::decode_line(&bytes, model, &json::JsonLimits::default());
    decoded.map(|decoded| decoded.request).map_err(|e| SourceError::line(path, number, e))
}

/// The time of a request's multiply-adds; those of its items count unless a table has them.
pub(super) fn microseconds(work: Work, candidates: u32, has_table: bool) -> u64 {
    let Work { request, item, pair } = work;
    let each = if has_table { pair } else { pair + item };
    (request + u64::from(candidates) * each).div_ceil(SPEED)
}
