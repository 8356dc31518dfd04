//! The `transform` of a feature, and the keys that go with its kind.

use super::feature::{Kind, bounded_integer};
use super::table::{Table, listed, short};
use crate::limits;
use crate::schema::document::{Node, Value};
use crate::schema::feature::{Coding, Index, Keep, Step};

/// How the values of a feature of this kind are encoded.
pub(super) fn coding(
    kind: Kind,
    transform: Option<&Node>,
    vocabularies: &[&str],
    table: &mut Table<'_, '_>,
) -> Option<Coding> {
    match kind {
        Kind::Numeric => Some(Coding::Numeric(steps(transform, table)?)),
        Kind::Categorical => {
            if let Some(Value::Table(entries)) = transform.map(|t| &t.value)
                && let [(key, node)] = &entries[..]
                && key == "cross_hash"
            {
                return indices("`cross_hash`", node, table).map(Coding::CrossHash);
            }
            let words = [("identity", Index::Identity(None)), ("hour", Index::Hour), ("weekday", Index::Weekday)];
            Some(Coding::Categorical(index(transform, &words, vocabularies, table)?))
        }
        Kind::List => {
            let index = index(transform, &[("identity", Index::Identity(None))], vocabularies, table);
            if !table.has("max_length") {
                table.fault("max_length", "`max_length` is missing: a list needs it");
            }
            let max_length = bounded_integer(table, "max_length", 1, limits::MAX_LIST);
            let keep = table.choice("keep", &[("last", Keep::Last), ("first", Keep::First)]).unwrap_or(Keep::Last);
            let padding = bounded_integer(table, "padding", 0, limits::MAX_ITEMS).unwrap_or(0);
            let padding = i32::try_from(padding).expect("the catalog's bound is an i32's");
            Some(Coding::List { index: index?, max_length: max_length?, keep, padding })
        }
        Kind::MultiHot => match index(transform, &[], vocabularies, table)? {
            Index::Vocabulary(v) => Some(Coding::MultiHot(v)),
            _ => {
                table.fault("transform", "a multi-hot takes `transform = { vocabulary = \"name\" }` only");
                None
            }
        },
        Kind::Bucketized => {
            let wanted = "a bucketized feature takes `transform = { boundaries = [..] }`";
            let (key, node) = single(transform, wanted, table)?;
            if key != "boundaries" {
                table.fault("transform", wanted);
                return None;
            }
            Some(Coding::Bucketized(boundaries(node, table)?))
        }
        Kind::Dense => {
            let steps = steps(transform, table);
            if !table.has("length") {
                table.fault("length", "`length` is missing: a dense feature needs it");
            }
            let length = bounded_integer(table, "length", 1, limits::MAX_LIST);
            Some(Coding::Dense { length: length?, steps: steps? })
        }
    }
}

/// The one key of a transform that is a table.
fn single<'a>(transform: Option<&'a Node>, wanted: &str, table: &mut Table<'_, '_>) -> Option<(&'a str, &'a Node)> {
    match transform.map(|t| &t.value) {
        Some(Value::Table(entries)) if entries.len() == 1 => Some((&entries[0].0, &entries[0].1)),
        _ => {
            table.fault("transform", wanted);
            None
        }
    }
}

fn index(
    transform: Option<&Node>,
    words: &[(&str, Index)],
    vocabularies: &[&str],
    table: &mut Table<'_, '_>,
) -> Option<Index> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let word = match transform.map(|t| &t.value) {
        Some(Value::Text(word)) => Some(word.as_str()),
        None => Some("identity"),
        Some(_) => None,
    };
    if let Some(word) = word {
        let found = words.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let or = if names.is_empty() { String::new() } else { format!(" or one of {}", listed(&names)) };
            let word = short(word);
            let message =
                format!("`transform` is `{word}`, but must be {{ vocabulary = \"name\" }}, {{ hash = n }}{or}");
            table.fault("transform", message);
        }
        return found.map(|(_, index)| *index);
    }
    let (key, node) = single(transform, "`transform` must have one key: `vocabulary`, `hash` or `identity`", table)?;
    match key {
        "vocabulary" => {
            let name = read_or_fault(node, "the vocabulary's name", Table::text, table)?;
            let found = vocabularies.iter().position(|v| *v == name);
            if found.is_none() {
                let name = short(name);
                table.fault_at(node, format!("there is no [vocabulary.{name}]; there are: {}", listed(vocabularies)));
            }
            found.map(Index::Vocabulary)
        }
        "hash" => indices("`hash`", node, table).map(Index::Hash),
        "identity" => indices("`identity`", node, table).map(|n| Index::Identity(Some(n))),
        _ => {
            let key = short(key);
            let known = "a table has `vocabulary`, `hash` or `identity` here, or `cross_hash` for a categorical";
            table.fault_at(node, format!("unknown transform `{key}`; {known}"));
            None
        }
    }
}

/// A number of indices.
fn indices(what: &str, node: &Node, table: &mut Table<'_, '_>) -> Option<u32> {
    let n = read_or_fault(node, what, Table::integer, table)?;
    let indices = u32::try_from(n).ok().filter(|n| (1..=limits::MAX_INDICES).contains(n));
    if indices.is_none() {
        table.fault_at(node, format!("{what} is {n}, but must be 1 to {}", limits::MAX_INDICES));
    }
    indices
}

fn steps(transform: Option<&Node>, table: &mut Table<'_, '_>) -> Option<Vec<Step>> {
    let Some(transform) = transform else { return Some(Vec::new()) };
    let nodes = match &transform.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(transform),
    };
    if nodes.len() > limits::MAX_STEPS {
        table.fault("transform", format!("`transform` has more than {} steps", limits::MAX_STEPS));
        return None;
    }
    let mut steps = Vec::new();
    for node in nodes {
        match &node.value {
            Value::Text(word) if word == "identity" => {}
            Value::Text(word) if word == "ln1p" => steps.push(Step::Ln1p),
            Value::Table(entries) if entries.len() == 1 && entries[0].0 == "standardize" => {
                steps.push(standardize(&entries[0].1, table)?);
            }
            Value::Table(entries) if entries.len() == 1 && entries[0].0 == "clip" => {
                steps.push(clip(&entries[0].1, table)?);
            }
            _ => {
                let known =
                    "`identity`, `ln1p`, { clip = { min = …, max = … } } or { standardize = { mean = …, std = … } }";
                table.fault_at(node, format!("a step of a numeric `transform` must be {known}"));
                return None;
            }
        }
    }
    Some(steps)
}

/// The two numbers of a step, of which either may be left out.
fn pair(step: &str, names: [&str; 2], node: &Node, table: &mut Table<'_, '_>) -> Option<[Option<f64>; 2]> {
    let [first, second] = names;
    let Value::Table(entries) = &node.value else {
        table.fault_at(node, format!("`{step}` must be {{ {first} = …, {second} = … }}, not {}", node.what()));
        return None;
    };
    for (key, node) in entries.iter().filter(|(key, _)| !names.contains(&key.as_str())) {
        let key = short(key);
        table.fault_at(node, format!("unknown key `{key}` of `{step}`; known here: `{first}`, `{second}`"));
    }
    let mut numbers = [None; 2];
    for (number, name) in numbers.iter_mut().zip(names) {
        if let Some((_, node)) = entries.iter().find(|(key, _)| key == name) {
            *number = Some(read_or_fault(node, &format!("`{name}` of `{step}`"), Table::number, table)?);
        }
    }
    Some(numbers)
}

fn clip(node: &Node, table: &mut Table<'_, '_>) -> Option<Step> {
    let [min, max] = pair("clip", ["min", "max"], node, table)?;
    if min.is_none() && max.is_none() {
        table.fault_at(node, "`clip` needs `min` or `max`, or both");
        return None;
    }
    let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
    if min > max {
        table.fault_at(node, format!("`min` of `clip` is {min}, above its `max` of {max}"));
        return None;
    }
    Some(Step::Clip { min, max })
}

fn standardize(node: &Node, table: &mut Table<'_, '_>) -> Option<Step> {
    let [mean, std] = pair("standardize", ["mean", "std"], node, table)?;
    for (name, number) in [("mean", mean), ("std", std)] {
        if number.is_none() {
            table.fault_at(node, format!("`{name}` of `standardize` is missing"));
        }
    }
    if std == Some(0.0) {
        table.fault_at(node, "`std` of `standardize` is 0: nothing can be divided by it");
        return None;
    }
    Some(Step::Standardize { mean: mean?, std: std? })
}

fn boundaries(node: &Node, table: &mut Table<'_, '_>) -> Option<Vec<f64>> {
    let nodes = read_or_fault(node, "`boundaries`", Table::list, table)?;
    if nodes.is_empty() || nodes.len() > limits::MAX_BOUNDARIES {
        table.fault_at(node, format!("`boundaries` must have 1 to {} numbers", limits::MAX_BOUNDARIES));
        return None;
    }
    let mut boundaries: Vec<f64> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let boundary = read_or_fault(node, "a boundary", Table::number, table)?;
        if boundaries.last().is_some_and(|&last| boundary <= last) {
            table.fault_at(node, format!("boundary {boundary} must be above the one before it"));
            return None;
        }
        boundaries.push(boundary);
    }
    Some(boundaries)
}

fn read_or_fault<'a, T>(
    node: &'a Node,
    what: &str,
    read: fn(&'a Node) -> Result<T, &'static str>,
    table: &mut Table<'_, '_>,
) -> Option<T> {
    read(node).map_err(|must| table.fault_at(node, format!("{what} must be {must}, not {}", node.what()))).ok()
}
