//! TOML into a document, each value with the line it stands on.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue, Error};

use super::document::{Node, Value};
use super::faults::SchemaFaults;

/// Parses TOML; every syntax error is a fault.
pub(super) fn parse(text: &str) -> Result<Node, SchemaFaults> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let line = Some(1);
        return Ok(Node { line, value: Value::Table(entries(table.get_ref(), &lines)) });
    }
    let mut faults = SchemaFaults::default();
    for error in &errors {
        faults.add(error.span().map(|span| lines.line(span.start)), None, reason(error));
    }
    Err(faults.sorted())
}

fn reason(error: &Error) -> String {
    format!("not valid TOML: {}", error.message().replace('\n', "; "))
}

fn entries(table: &DeTable<'_>, lines: &Lines) -> Vec<(String, Node)> {
    table
        .iter()
        .map(|(key, value)| {
            // The key's line, for a value may be spread over many.
            let line = Some(lines.line(key.span().start));
            (key.get_ref().clone().into_owned(), Node { line, value: node(value, lines).value })
        })
        .collect()
}

fn node(spanned: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(v) => Value::Text(v.clone().into_owned()),
        DeValue::Integer(v) => {
            let parsed = i64::from_str_radix(v.as_str(), v.radix());
            parsed.map_or(Value::Other("an integer out of range"), Value::Int)
        }
        DeValue::Float(v) => v.as_str().parse().map_or(Value::Other("a number out of range"), Value::Float),
        DeValue::Boolean(v) => Value::Bool(*v),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(v) => Value::List(v.iter().map(|v| node(v, lines)).collect()),
        DeValue::Table(v) => Value::Table(entries(v, lines)),
    };
    Node { line: Some(lines.line(spanned.span().start)), value }
}

/// Where each line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line, from 1, of a byte.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|&start| start <= at)
    }
}
