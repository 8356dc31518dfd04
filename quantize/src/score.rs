//! Scores request files: streamed in batches, decoded, encoded and scored in parallel, in the order of the file.

mod set;

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;
use shared_model::catalog::Catalog;
use shared_model::encode::Block;
use shared_model::ladder::{BindError, Binding, Noise, Prepared, prepare};
use shared_model::plan::{Arena, Plan, PlanError, RunError};
use shared_model::schema::{Coding, Schema};
use shared_model::topk;
use shared_model::variant::Variant;
use shared_model::wire::{Candidate, Digest, Escalation, Part, RankRequest, Raw, Stamp, Tier, Why, json, to_cbor};
use thiserror::Error;

use crate::progress::Progress;
use crate::source::{Lines, SourceError};

pub use set::{Ids, MessageSize, Scored, Set};

/// Requests in flight at once: what bounds memory.
const BATCH: usize = 256;

/// A variant that cannot be scored with.
#[derive(Debug, Error)]
pub enum ScorerError {
    /// Its graph and the schema disagree.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its graph and tensors disagree.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A plan, bound to the inputs that a schema encodes.
#[derive(Debug)]
pub struct Scorer {
    plan: Plan,
    binding: Binding,
    noise: Noise,
}

impl Scorer {
    /// Compiles a variant.
    ///
    /// # Errors
    /// Graph, tensors and schema do not fit each other.
    pub fn new(variant: &Variant, schema: &Schema) -> Result<Self, ScorerError> {
        Ok(Self {
            binding: Binding::new(&variant.graph, schema)?,
            plan: Plan::new(&variant.graph, &variant.tensors)?,
            noise: Noise::of(variant, schema),
        })
    }

    /// Memory for one request at a time.
    #[must_use]
    pub fn arena(&self) -> Arena {
        self.plan.arena()
    }

    /// What the plan is fed, in the order of the graph's inputs.
    #[must_use]
    pub fn inputs<'a>(&self, prepared: &'a Prepared) -> Vec<&'a Block> {
        self.binding.inputs(prepared)
    }

    /// The scores before the link.
    ///
    /// # Errors
    /// An id without a row in its table.
    pub fn score(&self, arena: &mut Arena, prepared: &Prepared) -> Result<Vec<f32>, RunError> {
        let mut scores = vec![0.0; prepared.len()];
        self.plan.run(arena, &self.binding.inputs(prepared), &mut scores)?;
        Ok(scores)
    }

    /// How noisy the score of each candidate is, by the variant.
    #[must_use]
    pub fn noise(&self, catalog: &Catalog, prepared: &Prepared) -> Vec<f32> {
        self.noise.of_candidates(catalog, prepared)
    }
}

/// What every request is decoded and encoded with.
#[derive(Clone, Copy, Debug)]
pub struct Encoding<'a> {
    /// The rules.
    pub schema: &'a Schema,
    /// The items.
    pub catalog: &'a Catalog,
}

/// A line of a request file, encoded.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// The request.
    pub request: RankRequest,
    /// Its inputs.
    pub prepared: Prepared,
    /// Among the candidates ranked, the positions of the relevant ones.
    pub relevant: Vec<usize>,
}

impl Line {
    /// Whether a tier scores it: it has candidates, all in the catalog, and breaks no rule of the schema.
    #[must_use]
    pub fn is_scored(&self) -> bool {
        !(self.prepared.is_empty() || self.prepared.has_unknown_items() || self.prepared.breaks_a_rule())
    }
}

impl Encoding<'_> {
    /// The first `limit` lines of a request file.
    ///
    /// # Errors
    /// Names file, line and field.
    pub fn lines(&self, path: &Path, limit: usize) -> Result<Vec<Line>, SourceError> {
        let lines = Lines::open(path)?.take(limit).collect::<Result<Vec<_>, _>>()?;
        lines.par_iter().map(|(number, bytes)| self.line(path, *number, bytes)).collect()
    }

    /// About `limit` lines of a request file, evenly spread, whatever its order.
    ///
    /// # Errors
    /// Names file, line and field.
    pub(crate) fn spread(&self, path: &Path, limit: usize) -> Result<Vec<Line>, SourceError> {
        let (mut kept, mut step) = (Vec::new(), 1);
        for (i, line) in Lines::open(path)?.enumerate() {
            let line = line?;
            if i % step == 0 {
                kept.push(line);
            }
            if kept.len() == 2 * limit {
                let mut even = [true, false].into_iter().cycle();
                kept.retain(|_| even.next() == Some(true));
                step *= 2;
            }
        }
        kept.par_iter().map(|(number, bytes)| self.line(path, *number, bytes)).collect()
    }

    /// The lines of a request file that a tier scores, in batches.
    ///
    /// # Errors
    /// Names file, line and field, here or in place of a batch.
    pub(crate) fn batches(
        &self,
        path: &Path,
    ) -> Result<impl Iterator<Item = Result<Vec<Line>, SourceError>>, SourceError> {
        let mut lines = Lines::open(path)?;
        let encoded = |batch: Vec<(usize, Vec<u8>)>| {
            let mut batch =
                batch.par_iter().map(|(n, bytes)| self.line(path, *n, bytes)).collect::<Result<Vec<_>, _>>()?;
            batch.retain(Line::is_scored);
            Ok(batch)
        };
        Ok(std::iter::from_fn(move || match lines.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>() {
            Ok(batch) if batch.is_empty() => None,
            batch => Some(batch.and_then(encoded)),
        }))
    }

    /// Scores a whole request file by each of `scorers`.
    ///
    /// # Errors
    /// Names file, line and field, or the scores that are not numbers.
    pub fn score(&self, path: &Path, scorers: &[&Scorer], progress: &Progress) -> Result<Set, SourceError> {
        let mut lines = Lines::open(path)?;
        let bar = progress.bytes(path, "scoring");
        let mut set = Set::default();
        loop {
            let batch = lines.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>()?;
            if batch.is_empty() {
                break;
            }
            let arenas = || scorers.iter().map(|s| s.arena()).collect::<Vec<_>>();
            let scored: Vec<Option<Scored>> = batch
                .par_iter()
                .map_init(arenas, |arenas, (number, bytes)| {
                    let line = self.line(path, *number, bytes)?;
                    self.scored(path, line, scorers, arenas)
                })
                .collect::<Result<_, _>>()?;
            let before = set.requests.len();
            let lines_read = scored.len();
            set.requests.extend(scored.into_iter().flatten());
            set.skipped += lines_read - (set.requests.len() - before);
            bar.set_position(lines.read());
        }
        bar.finish_and_clear();
        if set.requests.is_empty() {
            return Err(SourceError::file(path, "it has no request that can be scored"));
        }
        Ok(set)
    }

    fn line(&self, path: &Path, number: usize, bytes: &[u8]) -> Result<Line, SourceError> {
        let decoded = json::decode_line(bytes, self.schema.model(), &json::JsonLimits::default())
            .map_err(|e| SourceError::line(path, number, e))?;
        let request = decoded.request;
        let prepared = prepare(self.schema, self.catalog, &request)
            .map_err(|r| SourceError::line(path, number, format!("`{}`: {}", r.field, r.message)))?;
        let wanted: HashSet<&str> = decoded.relevant.iter().map(String::as_str).collect();
        let is_relevant = |i: &usize| wanted.contains(request.candidates[prepared.position(*i)].id.as_str());
        let relevant = (0..prepared.len()).filter(is_relevant).collect();
        Ok(Line { number, request, prepared, relevant })
    }

    fn scored(
        &self,
        path: &Path,
        line: Line,
        scorers: &[&Scorer],
        arenas: &mut [Arena],
    ) -> Result<Option<Scored>, SourceError> {
        if !line.is_scored() {
            return Ok(None);
        }
        let Line { number, request, prepared, relevant } = line;
        let scores = scorers.iter().zip(arenas).map(|(scorer, arena)| {
            let scores = scorer.score(arena, &prepared).map_err(|e| SourceError::line(path, number, e))?;
            match topk::first_nan(&scores) {
                None => Ok(scores),
                Some(i) => {
                    let what = format!("the score of candidate {i} is not a number: the model cannot be ranked by");
                    Err(SourceError::line(path, number, what))
                }
            }
        });
        let scores = scores.collect::<Result<_, _>>()?;
        let noise = scorers.iter().map(|scorer| scorer.noise(self.catalog, &prepared)).collect();
        let ids = (0..prepared.len()).map(|i| request.candidates[prepared.position(i)].id.as_str()).collect();
        let (user, history) = (user(&request), self.history(&request));
        Ok(Some(Scored {
            line: number,
            user,
            history,
            ids,
            relevant,
            scores,
            noise,
            message: message_size(request, &prepared),
        }))
    }

    /// The length of the longest list that the schema reads of the user; `None` if it reads none.
    fn history(&self, request: &RankRequest) -> Option<usize> {
        let lists = self.schema.features().iter().filter(|f| matches!(f.coding, Coding::List { .. }));
        let names = lists.flat_map(|f| &f.fields).filter_map(|path| path.strip_prefix("user."));
        let length = |name| match request.user.field(name) {
            Raw::List(values) => values.len(),
            _ => 0,
        };
        names.map(length).max()
    }
}

fn message_size(request: RankRequest, prepared: &Prepared) -> MessageSize {
    let bytes = |candidate: &Candidate| u32::try_from(to_cbor(candidate).len()).unwrap_or(u32::MAX);
    let candidates = (0..prepared.len()).map(|i| bytes(&request.candidates[prepared.position(i)])).collect();
    let stamp = Stamp { bundle: Digest([0; 32]), catalog: 0 };
    let part = Some(Part { k: request.k, n: u32::try_from(prepared.len()).unwrap_or(u32::MAX) });
    let request = RankRequest { candidates: Vec::new(), exclude: Vec::new(), ..request };
    let (from, why, remaining_us) = (Tier::Edge, Why::Unsure, 100_000);
    let rest = to_cbor(&Escalation { request, stamp, from, why, remaining_us, part }).len() as u64;
    MessageSize { rest, candidates }
}

/// What tells users apart: the id, else everything said of them.
fn user(request: &RankRequest) -> String {
    match request.user.field("id") {
        Raw::Text(id) => id.clone(),
        Raw::Int(id) => id.to_string(),
        _ => format!("{:?}", request.user),
    }
}
