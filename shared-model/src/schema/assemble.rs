//! The parts of a schema put together: what no part can tell alone.

use std::collections::{BTreeMap, HashMap};

use super::faults::SchemaFaults;
use super::feature::{Coding, Feature, Index, Vocabulary};
use super::read::{Draft, Drafts};
use super::{InputSpec, Schema};
use crate::encode;
use crate::graph::DType;

/// Builds the schema from its parts; `None`, or faults, when they do not fit together.
pub(super) fn assemble(drafts: Drafts, faults: &mut SchemaFaults) -> Option<Schema> {
    let Drafts { model, vocabularies, features: drafts } = drafts;
    check_names(&drafts, faults);
    check_vocabularies(&vocabularies, &drafts, faults);
    if !faults.is_empty() {
        // Half-read features would bring forth faults of columns and inputs that are none.
        return None;
    }
    let vocabularies: Vec<Vocabulary> = vocabularies.into_iter().map(|(_, v)| v).collect();
    let mut order: Vec<&str> = Vec::new();
    let mut by_input: BTreeMap<&str, Vec<&Draft>> = BTreeMap::new();
    for draft in &drafts {
        let members = by_input.entry(&draft.input).or_default();
        if members.is_empty() {
            order.push(&draft.input);
        }
        members.push(draft);
    }
    let mut inputs = Vec::with_capacity(order.len());
    for name in &order {
        inputs.extend(input(name, &by_input[name], &vocabularies, faults));
    }
    let index_of: HashMap<&str, usize> = order.iter().enumerate().map(|(i, name)| (*name, i)).collect();
    let features: Vec<Feature> = drafts.iter().map(|draft| feature(draft, index_of[draft.input.as_str()])).collect();
    for (draft, feature) in drafts.iter().zip(&features) {
        if let Err(message) = encode::check_default(feature, &vocabularies) {
            faults.add(draft.line, Some(&draft.name), message);
        }
    }
    if !faults.is_empty() {
        return None;
    }
    let mut fed_by = vec![Vec::new(); inputs.len()];
    for (i, feature) in features.iter().enumerate() {
        fed_by[feature.input].push(i);
    }
    for (i, input) in inputs.iter_mut().enumerate() {
        input.cardinality = cardinality(&vocabularies, fed_by[i].iter().map(|&f| &features[f]), None);
    }
    Some(Schema { model, vocabularies, features, inputs, fed_by })
}

/// The exclusive upper bound of what these features, all those of one input, encode to.
pub(super) fn cardinality<'a>(
    vocabularies: &[Vocabulary],
    features: impl Iterator<Item = &'a Feature>,
    items: Option<usize>,
) -> Option<usize> {
    let of_index = |index: &Index| match *index {
        Index::Vocabulary(v) => {
            let vocabulary = &vocabularies[v];
            // Index 0 is always possible: it stands for what is unknown.
            vocabulary.size().or(items).map(|len| (vocabulary.first as usize + len).max(1))
        }
        Index::Hash(n) => Some(n as usize),
        Index::Identity(below) => below.map(|n| n as usize),
        Index::Hour => Some(24),
        Index::Weekday => Some(7),
    };
    let of_feature = |feature: &Feature| match &feature.coding {
        Coding::Numeric(_) | Coding::MultiHot(_) | Coding::Dense { .. } => None,
        Coding::Categorical(index) => of_index(index),
        Coding::CrossHash(n) => Some(*n as usize),
        Coding::List { index, padding, .. } => of_index(index).map(|n| n.max(padding.unsigned_abs() as usize + 1)),
        Coding::Bucketized(boundaries) => Some(boundaries.len() + 2),
    };
    // The largest; unknown if any is.
    features.map(of_feature).reduce(|a, b| Some(a?.max(b?))).flatten()
}

fn check_names(drafts: &[Draft], faults: &mut SchemaFaults) {
    let mut seen: HashMap<&str, &Draft> = HashMap::new();
    for draft in drafts {
        if let Some(first) = seen.insert(&draft.name, draft) {
            let at = first.line.map_or(String::new(), |line| format!(" (also on line {line})"));
            faults.add(draft.line, Some(&draft.name), format!("the name is taken{at}: give each feature its own"));
        }
    }
}

fn check_vocabularies(vocabularies: &[(Option<usize>, Vocabulary)], drafts: &[Draft], faults: &mut SchemaFaults) {
    // A feature that could not be read may be the one that uses it.
    let whole = faults.is_empty();
    for (at, (line, vocabulary)) in vocabularies.iter().enumerate() {
        if whole && !drafts.iter().any(|draft| draft.coding.vocabulary() == Some(at)) {
            faults.add(*line, None, format!("vocabulary `{}` is used by no feature: leave it out", vocabulary.name));
        }
    }
    for draft in drafts {
        if let Coding::MultiHot(v) = draft.coding
            && vocabularies[v].1.is_catalog()
        {
            let message = "a multi-hot needs a vocabulary with `values`: the catalog's length is not known here";
            faults.add(draft.line, Some(&draft.name), message);
        }
    }
}

/// The input that these features, at least one, feed together; its cardinality is left open.
fn input(name: &str, members: &[&Draft], vocabularies: &[Vocabulary], faults: &mut SchemaFaults) -> Option<InputSpec> {
    let first = members[0];
    let (scope, dtype) = (first.scope, first.coding.dtype());
    for other in &members[1..] {
        if other.scope != scope {
            let message =
                format!("input `{name}` is fed by `{}` of the other scope, too: an input has one", first.name);
            faults.add(other.line, Some(&other.name), message);
        }
        if other.coding.dtype() != dtype {
            let (kind, first_kind) = (other.coding.kind(), first.coding.kind());
            let of = if dtype == DType::F32 { "f32" } else { "indices" };
            let message = format!(
                "is {kind}, but input `{name}` is of {of}: `{}`, which also feeds it, is {first_kind}",
                first.name
            );
            faults.add(other.line, Some(&other.name), message);
        }
    }
    let shape = match (members, &first.coding) {
        ([only], Coding::List { max_length, .. }) if only.column.is_none() => vec![*max_length],
        ([only], Coding::MultiHot(v)) if only.column.is_none() => vec![vocabularies[*v].size()?],
        ([only], Coding::Dense { length, .. }) if only.column.is_none() => vec![*length],
        ([only], _) if only.column.is_none() => Vec::new(),
        _ => vec![columns(name, members, faults)],
    };
    Some(InputSpec { name: name.to_owned(), dtype, shape, scope, cardinality: None })
}

/// The number of columns, of which each must be there once.
fn columns(name: &str, members: &[&Draft], faults: &mut SchemaFaults) -> usize {
    let mut owners: Vec<Option<&Draft>> = vec![None; members.len()];
    for draft in members {
        let fault = match draft.column {
            None => format!("`column` is missing: input `{name}` is fed by {} features", members.len()),
            Some(column) => match owners.get_mut(column) {
                Some(owner @ None) => {
                    *owner = Some(draft);
                    continue;
                }
                Some(Some(owner)) => format!("column {column} of input `{name}` is that of `{}` already", owner.name),
                None => format!("column {column} of input `{name}` leaves a gap: {} features feed it", members.len()),
            },
        };
        faults.add(draft.line, Some(&draft.name), fault);
    }
    members.len()
}

fn feature(draft: &Draft, input: usize) -> Feature {
    let Draft { line: _, name, scope, source, fields, input: _, column, coding, missing, unknown, default } = draft;
    Feature {
        name: name.clone(),
        scope: *scope,
        source: *source,
        fields: fields.clone(),
        input,
        column: *column,
        coding: coding.clone(),
        missing: *missing,
        unknown: *unknown,
        default: default.clone(),
    }
}
