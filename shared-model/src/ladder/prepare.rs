//! From a request to the inputs of the model, and from scores to the entries of an answer. Every tier does both alike.

use std::collections::HashSet;

use thiserror::Error;

use crate::catalog::Catalog;
use crate::encode::{Block, Encoded, Encoder};
use crate::graph::{DType, Graph, Link, Scope};
use crate::limits;
use crate::schema::Schema;
use crate::topk;
use crate::wire::{RankRequest, Ranked, Refusal, Tier};

/// A request, encoded: one row of each request-scope input, one row a candidate of each item-scope input, in the order
/// of [`Schema::inputs`].
#[derive(Debug)]
pub struct Prepared {
    request: Vec<Block>,
    items: Vec<Block>,
    /// The positions in the request of the candidates ranked.
    kept: Vec<usize>,
    /// The rows of those that are as the catalog has them.
    rows: Vec<Option<u32>>,
    unknown: Vec<String>,
    escalate: Vec<String>,
}

/// How scores become entries of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Ranking {
    /// From the score ranked by to the score shown.
    pub link: Link,
    /// Who scored.
    pub by: Tier,
}

/// Excludes, looks up and encodes.
///
/// # Errors
/// A field of the request that the schema refuses.
pub fn prepare(schema: &Schema, catalog: &Catalog, request: &RankRequest) -> Result<Prepared, Refusal> {
    prepare_with(schema, catalog, request, false)
}

/// As [`prepare`]; with a table of the catalog's items, the inputs of candidates that all are in it are left out.
pub(super) fn prepare_with(
    schema: &Schema,
    catalog: &Catalog,
    request: &RankRequest,
    table: bool,
) -> Result<Prepared, Refusal> {
    let encoder = Encoder::new(schema, catalog);
    let request_scope = encoder.request(request)?;
    let mut item_scope = Encoded { blocks: encoder.empty_blocks(Scope::Item), escalate: request_scope.escalate };
    let kept = ranked_positions(request);
    let candidates = || kept.iter().map(|&position| (position, &request.candidates[position]));
    let rows: Vec<Option<u32>> =
        candidates().map(|(_, c)| catalog.row(&c.id).filter(|_| c.features.is_none())).collect();
    let mut unknown = Vec::new();
    let left_out = table && rows.iter().all(Option::is_some);
    let catalog_blocks: Vec<&Block> = schema.inputs_of(Scope::Item).filter_map(|(i, _)| catalog.block(i)).collect();
    for ((position, candidate), row) in candidates().zip(&rows).filter(|_| !left_out) {
        let at_fault = |r: Refusal| Refusal { field: format!("candidates[{position}].{}", r.field), ..r };
        match (&candidate.features, row) {
            (Some(features), _) => {
                encoder.append_item(&candidate.id, features, &mut item_scope).map_err(at_fault)?;
            }
            (None, Some(row)) => {
                for (all, items) in item_scope.blocks.iter_mut().zip(&catalog_blocks) {
                    all.append_row_of(items, *row as usize);
                }
            }
            (None, None) => {
                unknown.push(candidate.id.clone());
                // That nothing is known of the item is the reason it goes up; its fields need not be named one by one.
                let rules = std::mem::take(&mut item_scope.escalate);
                encoder.append_unknown(&candidate.id, &mut item_scope).map_err(at_fault)?;
                item_scope.escalate = rules;
            }
        }
    }
    Ok(Prepared {
        request: request_scope.blocks,
        items: item_scope.blocks,
        kept,
        rows,
        unknown,
        escalate: item_scope.escalate,
    })
}

/// The ids that are ranked, in request order.
pub(super) fn ranked_ids(request: &RankRequest) -> impl Iterator<Item = &str> {
    ranked_positions(request).into_iter().map(|i| request.candidates[i].id.as_str())
}

fn ranked_positions(request: &RankRequest) -> Vec<usize> {
    let excluded: HashSet<&str> = request.exclude.iter().map(String::as_str).collect();
    (0..request.candidates.len()).filter(|&i| !excluded.contains(request.candidates[i].id.as_str())).collect()
}

impl Prepared {
    /// The candidates left to rank.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is left to rank.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Where the candidate with this index among those ranked stands in the request.
    ///
    /// # Panics
    /// There is no such candidate.
    #[must_use]
    pub fn position(&self, index: usize) -> usize {
        self.kept[index]
    }

    /// Whether a candidate is neither in the catalog nor described in the request.
    #[must_use]
    pub fn has_unknown_items(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Whether the schema wants a higher tier to see a missing or unknown value.
    #[must_use]
    pub fn breaks_a_rule(&self) -> bool {
        !self.escalate.is_empty()
    }

    /// What was scored with the schema's defaults, in words for the client; at most [`limits::MAX_WARNINGS`] of them.
    #[must_use]
    pub fn defaulted(&self) -> Vec<String> {
        let items = self.unknown.iter().map(|id| format!("`{id}` is not in the catalog: scored with defaults"));
        let fields = self.escalate.iter().map(|f| format!("`{f}` is missing or unknown: scored with its default"));
        let all = self.unknown.len() + self.escalate.len();
        let mut said: Vec<String> = items.chain(fields).take(limits::MAX_WARNINGS).collect();
        if all > said.len() {
            said.pop();
            said.push(format!("and {} more were scored with defaults", all - said.len()));
        }
        said
    }

    /// The row of an input of request scope, by its place among those.
    pub(super) fn request_block(&self, place: usize) -> &Block {
        &self.request[place]
    }

    /// The rows of an input of item scope, by its place among those; none where a table has them.
    pub(super) fn item_block(&self, place: usize) -> &Block {
        &self.items[place]
    }

    /// For each candidate ranked, the row of the catalog that it is, unless the request describes it.
    #[must_use]
    pub fn rows(&self) -> &[Option<u32>] {
        &self.rows
    }

    /// The best k by values that are no scores.
    pub(super) fn unscored(&self, values: &[f32], request: &RankRequest, by: Tier) -> Vec<Ranked> {
        let entry = |i: usize| Ranked { id: request.candidates[self.kept[i]].id.clone(), score: None, by };
        topk::top(values, request.k as usize).into_iter().map(entry).collect()
    }

    /// The best k, of the scores before the link.
    #[must_use]
    pub fn ranked(&self, scores: &[f32], request: &RankRequest, ranking: Ranking) -> Vec<Ranked> {
        let entry = |i: usize| Ranked {
            id: request.candidates[self.kept[i]].id.clone(),
            score: Some(ranking.link.apply(scores[i])),
            by: ranking.by,
        };
        topk::top(scores, request.k as usize).into_iter().map(entry).collect()
    }
}

/// Which encoded input feeds which input of the graph.
#[derive(Clone, Debug)]
pub struct Binding {
    /// For each input of the graph: whether it is of item scope, and its index among the schema's inputs of that scope.
    inputs: Vec<(bool, usize)>,
}

/// Schema and graph disagree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BindError {
    /// No feature feeds an input.
    #[error("no feature feeds the model input `{0}`: add one with `input = \"{0}\"`")]
    Unfed(String),
    /// The input has another type than its features give.
    #[error("the model input `{name}` wants {wants}, the features that feed it give {gives}")]
    Type {
        /// The input.
        name: String,
        /// Of the model.
        wants: String,
        /// Of the schema.
        gives: String,
    },
}

impl Binding {
    /// Binds by name.
    ///
    /// # Errors
    /// An input that no feature feeds, or with another type.
    pub fn new(graph: &Graph, schema: &Schema) -> Result<Self, BindError> {
        let find = |name: &str| {
            let spec = schema.inputs().iter().find(|s| s.name == name)?;
            let index = schema.inputs_of(spec.scope).position(|(_, s)| s.name == name)?;
            Some((spec, index))
        };
        let describe = |dtype: DType, shape: &[usize], scope: Scope| format!("{dtype:?} {shape:?} of {scope:?} scope");
        let inputs = graph
            .inputs()
            .map(|(_, value)| {
                let (spec, index) = find(&value.name).ok_or_else(|| BindError::Unfed(value.name.clone()))?;
                if (spec.dtype, &spec.shape, spec.scope) != (value.ty.dtype, &value.ty.shape, value.ty.scope) {
                    return Err(BindError::Type {
                        name: value.name.clone(),
                        wants: describe(value.ty.dtype, &value.ty.shape, value.ty.scope),
                        gives: describe(spec.dtype, &spec.shape, spec.scope),
                    });
                }
                Ok((spec.scope == Scope::Item, index))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { inputs })
    }

    /// In the order of the graph's inputs, those of item scope; `none` in place of the others.
    pub(super) fn items<'a>(&self, blocks: &[&'a Block], none: &'a Block) -> Vec<&'a Block> {
        self.inputs.iter().map(|&(item, i)| if item { blocks[i] } else { none }).collect()
    }

    /// The blocks in the order of the graph's inputs.
    #[must_use]
    pub fn inputs<'a>(&self, prepared: &'a Prepared) -> Vec<&'a Block> {
        let block = |&(item, i): &(bool, usize)| if item { &prepared.items[i] } else { &prepared.request[i] };
        self.inputs.iter().map(block).collect()
    }
}
