//! A schema as JSON: the keys of `features.toml`, every default spelt out.

use serde_json::{Map, Value, json};

use super::feature::{Coding, Feature, Index, Keep, Origin, Rule, Step, Vocabulary};
use super::{SCHEMA_VERSION, Schema};
use crate::graph::Scope;
use crate::wire::Raw;

pub(super) fn json(schema: &Schema) -> Vec<u8> {
    let vocabularies: Map<String, Value> =
        schema.vocabularies.iter().map(|v| (v.name.clone(), vocabulary(v))).collect();
    let features: Vec<Value> = schema.features.iter().map(|f| feature(f, schema)).collect();
    let mut document = json!({ "schema_version": SCHEMA_VERSION, "model": schema.model, "feature": features });
    if !vocabularies.is_empty() {
        document["vocabulary"] = Value::Object(vocabularies);
    }
    document.to_string().into_bytes()
}

fn vocabulary(vocabulary: &Vocabulary) -> Value {
    match &vocabulary.values {
        Some(names) => json!({ "values": names.iter().collect::<Vec<_>>(), "first": vocabulary.first }),
        None => json!({ "source": "catalog", "first": vocabulary.first }),
    }
}

fn feature(feature: &Feature, schema: &Schema) -> Value {
    let scope = if feature.scope == Scope::Item { "item" } else { "request" };
    let source = match feature.source {
        Origin::Request => "request",
        Origin::Catalog => "catalog",
        Origin::Store => "store",
    };
    let mut map = json!({
        "name": feature.name,
        "kind": feature.coding.kind(),
        "scope": scope,
        "input": schema.inputs[feature.input].name,
        "missing": rule(feature.missing),
    });
    match &feature.fields[..] {
        [field] => map["field"] = field.as_str().into(),
        crossed => map["fields"] = crossed.into(),
    }
    // An item's source is the catalog and cannot be said otherwise.
    if feature.scope != Scope::Item {
        map["source"] = source.into();
    }
    if let Some(column) = feature.column {
        map["column"] = column.into();
    }
    if feature.default != Raw::Null {
        map["default"] = raw(&feature.default);
    }
    let name = |v: usize| json!({ "vocabulary": schema.vocabularies[v].name });
    let by_index = |i: &Index| match *i {
        Index::Vocabulary(v) => name(v),
        Index::Hash(n) => json!({ "hash": n }),
        Index::Identity(None) => "identity".into(),
        Index::Identity(Some(n)) => json!({ "identity": n }),
        Index::Hour => "hour".into(),
        Index::Weekday => "weekday".into(),
    };
    if feature.coding.vocabulary().is_some() {
        map["unknown"] = rule(feature.unknown).into();
    }
    map["transform"] = match &feature.coding {
        Coding::Numeric(steps) => steps.iter().map(step).collect(),
        Coding::Categorical(i) => by_index(i),
        Coding::CrossHash(n) => json!({ "cross_hash": n }),
        Coding::List { index, max_length, keep, padding } => {
            map["max_length"] = (*max_length).into();
            map["keep"] = if *keep == Keep::First { "first" } else { "last" }.into();
            map["padding"] = (*padding).into();
            by_index(index)
        }
        Coding::MultiHot(v) => name(*v),
        Coding::Bucketized(boundaries) => json!({ "boundaries": boundaries }),
        Coding::Dense { length, steps } => {
            map["length"] = (*length).into();
            steps.iter().map(step).collect()
        }
    };
    map
}

fn step(step: &Step) -> Value {
    match step {
        Step::Ln1p => "ln1p".into(),
        Step::Clip { min, max } => {
            // JSON has no infinity: a bound that is none is left out.
            let bounds = [("min", min), ("max", max)].into_iter().filter(|(_, v)| v.is_finite());
            json!({ "clip": bounds.map(|(name, v)| (name.to_owned(), json!(v))).collect::<Map<_, _>>() })
        }
        Step::Standardize { mean, std } => json!({ "standardize": { "mean": mean, "std": std } }),
    }
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Default => "default",
        Rule::Reject => "reject",
        Rule::Escalate => "escalate",
    }
}

fn raw(value: &Raw) -> Value {
    match value {
        Raw::Null => Value::Null,
        Raw::Bool(v) => (*v).into(),
        Raw::Int(v) => (*v).into(),
        Raw::Float(v) => (*v).into(),
        Raw::Text(v) => v.as_str().into(),
        Raw::List(values) => values.iter().map(raw).collect(),
    }
}
