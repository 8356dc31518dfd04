//! One `[[feature]]`.

use super::fields;
use super::table::Table;
use super::transform::coding;
use crate::graph::Scope;
use crate::limits;
use crate::schema::document::{Node, Value};
use crate::schema::faults::SchemaFaults;
use crate::schema::feature::{Coding, Origin, Rule};
use crate::wire::Raw;

/// A feature as given: its input is a name still.
pub(in crate::schema) struct Draft {
    pub(in crate::schema) line: Option<usize>,
    pub(in crate::schema) name: String,
    pub(in crate::schema) scope: Scope,
    pub(in crate::schema) source: Origin,
    pub(in crate::schema) fields: Vec<String>,
    pub(in crate::schema) input: String,
    pub(in crate::schema) column: Option<usize>,
    pub(in crate::schema) coding: Coding,
    pub(in crate::schema) missing: Rule,
    pub(in crate::schema) unknown: Rule,
    pub(in crate::schema) default: Raw,
}

const RULES: [(&str, Rule); 3] = [("default", Rule::Default), ("reject", Rule::Reject), ("escalate", Rule::Escalate)];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Numeric,
    Categorical,
    List,
    MultiHot,
    Bucketized,
    Dense,
}

const KINDS: [(&str, Kind); 6] = [
    ("numeric", Kind::Numeric),
    ("categorical", Kind::Categorical),
    ("list", Kind::List),
    ("multi_hot", Kind::MultiHot),
    ("bucketized", Kind::Bucketized),
    ("dense", Kind::Dense),
];

/// Reads feature number `i`; `None` when too little of it is understood to go on with it.
pub(super) fn read(i: usize, node: &Node, vocabularies: &[&str], faults: &mut SchemaFaults) -> Option<Draft> {
    let mut table = Table::of(node, None, &format!("feature number {}", i + 1), faults)?;
    let name = table.required("name", Table::text);
    if let Some(name) = name {
        table.belongs_to(name);
    }
    let name = bounded(name, "name", &mut table);
    for key in ["kind", "scope"] {
        if !table.has(key) {
            table.fault(key, format!("`{key}` is missing"));
        }
    }
    let kind = table.choice("kind", &KINDS);
    let scope = table.choice("scope", &[("request", Scope::Request), ("item", Scope::Item)]);
    let origins = [("request", Origin::Request), ("catalog", Origin::Catalog), ("store", Origin::Store)];
    let source = table.choice("source", &origins);
    let input = table.optional("input", Table::text).or(name);
    let input = bounded(input, "input", &mut table);
    let column = bounded_integer(&mut table, "column", 0, limits::MAX_FEATURES - 1);
    let transform = table.node("transform");
    let missing = table.choice("missing", &RULES);
    let unknown = table.choice("unknown", &RULES);
    let default = table.node("default").map_or(Raw::Null, |node| raw(node, &mut table));
    if missing == Some(Rule::Reject) && table.has("default") {
        table.fault("default", "`default` is never used with `missing = \"reject\"`: leave one of them out");
    }
    let coding = kind.and_then(|kind| coding(kind, transform, vocabularies, &mut table));
    check_keys(kind, coding.as_ref(), &mut table);
    let fields = fields::read(name, coding.as_ref(), scope, &mut table);
    if let (Some(scope), Some(source)) = (scope, source) {
        check_source(scope, source, &mut table);
    }
    table.finish();
    let usual = if scope? == Scope::Item { Origin::Catalog } else { Origin::Request };
    Some(Draft {
        line: node.line,
        name: name?.to_owned(),
        scope: scope?,
        source: source.unwrap_or(usual),
        fields: fields?,
        input: input?.to_owned(),
        column,
        coding: coding?,
        missing: missing.unwrap_or(Rule::Default),
        unknown: unknown.unwrap_or(Rule::Default),
        default,
    })
}

pub(super) fn bounded<'a>(text: Option<&'a str>, key: &'static str, table: &mut Table<'_, '_>) -> Option<&'a str> {
    let text = text?;
    if text.is_empty() || text.len() > limits::MAX_ID_BYTES {
        table.fault(key, format!("`{key}` must have 1 to {} bytes", limits::MAX_ID_BYTES));
        return None;
    }
    Some(text)
}

pub(super) fn bounded_integer(table: &mut Table<'_, '_>, key: &'static str, min: usize, max: usize) -> Option<usize> {
    let given = table.optional(key, Table::integer)?;
    let value = usize::try_from(given).ok().filter(|v| (min..=max).contains(v));
    if value.is_none() {
        table.fault(key, format!("`{key}` is {given}, but must be {min} to {max}"));
    }
    value
}

fn check_source(scope: Scope, source: Origin, table: &mut Table<'_, '_>) {
    match (scope, source) {
        (Scope::Request, Origin::Catalog) => {
            table.fault("source", "`source = \"catalog\"` is for item scope: a request is not in the catalog");
        }
        (Scope::Item, Origin::Request | Origin::Store) => {
            let message =
                "an item's features come from the catalog, or with the candidate in their place: leave `source` out";
            table.fault("source", message);
        }
        _ => {}
    }
}

/// Keys that have no meaning for the kind are faults, not noise.
fn check_keys(kind: Option<Kind>, coding: Option<&Coding>, table: &mut Table<'_, '_>) {
    let Some(kind) = kind else {
        // Without a kind nobody can tell whether these belong.
        for key in ["max_length", "keep", "padding", "length"] {
            table.node(key);
        }
        return;
    };
    if matches!(kind, Kind::List | Kind::MultiHot | Kind::Dense) && table.has("column") {
        table.fault("column", "`column` is for a feature of one value; a list, multi-hot or dense is a whole input");
    }
    if table.has("unknown") && coding.is_some_and(|coding| coding.vocabulary().is_none()) {
        table.fault("unknown", "`unknown` has a meaning with a vocabulary only");
    }
}

/// A `default`, of which the kind is checked once all vocabularies are known.
fn raw(node: &Node, table: &mut Table<'_, '_>) -> Raw {
    let scalar = |node: &Node| match &node.value {
        Value::Int(v) => Some(Raw::Int(*v)),
        Value::Float(v) if v.is_finite() => Some(Raw::Float(*v)),
        Value::Text(v) if v.len() <= limits::MAX_TEXT_BYTES => Some(Raw::Text(v.clone())),
        _ => None,
    };
    let value = match &node.value {
        Value::List(nodes) if nodes.len() <= limits::MAX_LIST => {
            nodes.iter().map(scalar).collect::<Option<_>>().map(Raw::List)
        }
        _ => scalar(node),
    };
    value.unwrap_or_else(|| {
        table.fault_at(node, "`default` must be a finite number, a text or a list of them");
        Raw::Null
    })
}
