//! What example requests and items hold.

use std::collections::BTreeSet;
use std::path::Path;

use shared_model::catalog::item_from_json;
use shared_model::graph::Scope;
use shared_model::wire::{Raw, Record, json};

use crate::source::{Lines, SourceError};

/// The lines of each file that are looked at.
const LINES: usize = 20_000;
/// The distinct texts of one field that are kept.
const TEXTS: usize = 4096;
/// The numbers of one field that are kept.
const NUMBERS: usize = 65_536;

/// Every field seen, in the order of first sight.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) fields: Vec<Field>,
    /// The items of the catalog, if all of it was read.
    pub(super) items: Option<usize>,
}

/// A field of requests or items.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) scope: Scope,
    /// As the schema names it: `user.id`, `year`.
    pub(super) path: String,
    pub(super) holds: Holds,
    /// The distinct texts, of lists those of their elements; `None` when there are too many.
    pub(super) texts: Option<BTreeSet<String>>,
    pub(super) numbers: Vec<f64>,
}

/// What all values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Integer,
    Number,
    /// Lists of texts.
    Texts,
    /// Lists of so many numbers each.
    Numbers(usize),
    /// Of several kinds, or of one that no feature takes.
    Other,
}

impl Observed {
    /// Reads requests, and the candidates in them that carry their own fields.
    pub(super) fn requests(&mut self, path: &Path) -> Result<(), SourceError> {
        for line in Lines::open(path)?.take(LINES) {
            let (number, bytes) = line?;
            let decoded = json::decode_line(&bytes, "model", &json::JsonLimits::default())
                .map_err(|e| SourceError::line(path, number, e))?;
            self.record(Scope::Request, "user.", &decoded.request.user);
            self.record(Scope::Request, "context.", &decoded.request.context);
            for features in decoded.request.candidates.iter().filter_map(|c| c.features.as_ref()) {
                self.record(Scope::Item, "", features);
            }
        }
        Ok(())
    }

    /// Reads a catalog.
    pub(super) fn catalog(&mut self, path: &Path) -> Result<(), SourceError> {
        let mut items = 0;
        for line in Lines::open(path)? {
            let (number, bytes) = line?;
            items += 1;
            if items > LINES {
                continue;
            }
            let text = std::str::from_utf8(&bytes).map_err(|e| SourceError::line(path, number, e))?;
            let item = item_from_json(text).map_err(|e| SourceError::line(path, number, e))?;
            self.record(Scope::Item, "", &item);
        }
        self.items = Some(items);
        Ok(())
    }

    fn record(&mut self, scope: Scope, root: &str, record: &Record) {
        for (name, value) in &record.0 {
            let path = format!("{root}{name}");
            let Some(holds) = holds(value) else { continue };
            let at = self.fields.iter().position(|f| f.scope == scope && f.path == path).unwrap_or_else(|| {
                let texts = Some(BTreeSet::new());
                self.fields.push(Field { scope, path, holds, texts, numbers: Vec::new() });
                self.fields.len() - 1
            });
            let field = &mut self.fields[at];
            field.holds = both(field.holds, holds);
            field.keep(value);
        }
    }
}

impl Field {
    fn keep(&mut self, value: &Raw) {
        match value {
            Raw::Int(v) if self.numbers.len() < NUMBERS => self.numbers.push(*v as f64),
            Raw::Float(v) if self.numbers.len() < NUMBERS => self.numbers.push(*v),
            Raw::Text(text) => {
                if let Some(texts) = &mut self.texts {
                    texts.insert(text.clone());
                    if texts.len() > TEXTS {
                        self.texts = None;
                    }
                }
            }
            Raw::List(values) if self.holds == Holds::Texts => values.iter().for_each(|value| self.keep(value)),
            _ => {}
        }
    }
}

fn holds(value: &Raw) -> Option<Holds> {
    Some(match value {
        Raw::Null => return None,
        // It may be of anything.
        Raw::List(values) if values.is_empty() => return None,
        Raw::Bool(_) => Holds::Other,
        Raw::Int(_) => Holds::Integer,
        Raw::Float(_) => Holds::Number,
        Raw::Text(_) => Holds::Text,
        Raw::List(values) if values.iter().all(|v| matches!(v, Raw::Text(_))) => Holds::Texts,
        Raw::List(values) if values.iter().all(|v| matches!(v, Raw::Int(_) | Raw::Float(_))) => {
            Holds::Numbers(values.len())
        }
        Raw::List(_) => Holds::Other,
    })
}

fn both(a: Holds, b: Holds) -> Holds {
    match (a, b) {
        _ if a == b => a,
        (Holds::Integer | Holds::Number, Holds::Integer | Holds::Number) => Holds::Number,
        _ => Holds::Other,
    }
}
