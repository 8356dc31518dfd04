//! A walk over a TOML document that notes every fault on its way and goes on.
//!
//! A reader asks a [`Section`] for its keys, one call each, and for each says in words what it expects. What is not
//! right is noted in [`Findings`] with its line, and the reader gets `None`: it builds its value only once all keys have
//! been asked for. A key that nobody asked for is an unknown one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::files::{FileKind, NamedFile};
use crate::limits::Bound;
use crate::nearest::nearest;
use crate::setting::{Asked, Value};
use crate::{Fault, FaultKind};

/// The longest part of a value that a fault repeats, in characters.
const SHOWN_CHARS: usize = 80;

/// What has been noted of one document so far; all its sections write to the same one.
pub(crate) struct Findings {
    line_starts: Vec<usize>,
    folder: PathBuf,
    faults: RefCell<Vec<Fault>>,
    files: RefCell<Vec<NamedFile>>,
    asked: RefCell<Vec<Asked>>,
}

/// All that was noted of a document.
pub(crate) struct Noted {
    pub(crate) faults: Vec<Fault>,
    pub(crate) files: Vec<NamedFile>,
    pub(crate) asked: Vec<Asked>,
}

impl Findings {
    /// Nothing yet of `text`, whose relative paths start at `folder`.
    pub(crate) fn new(text: &str, folder: &Path) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_starts: std::iter::once(0).chain(newlines.map(|(offset, _)| offset + 1)).collect(),
            folder: folder.to_owned(),
            faults: RefCell::default(),
            files: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// The line, from 1, that a byte of the document is on.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn fault(&self, line: usize, key: impl Into<String>, kind: FaultKind) {
        self.faults.borrow_mut().push(Fault::new(line, key, kind));
    }

    pub(crate) fn into_noted(self) -> Noted {
        Noted { faults: self.faults.into_inner(), files: self.files.into_inner(), asked: self.asked.into_inner() }
    }

    /// Notes what the reader made of a value, where that says more than the document's text.
    fn read_as(&self, key: &str, value: Value) {
        if let Some(asked) = self.asked.borrow_mut().iter_mut().rev().find(|asked| asked.path == key) {
            asked.value = Some(value);
        }
    }
}

/// One table of the document and the keys asked for so far.
pub(crate) struct Section<'a> {
    findings: &'a Findings,
    path: String,
    line: usize,
    /// `None` when the document leaves the section out, so that every key takes its default.
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a DeTable<'a>, findings: &'a Findings) -> Self {
        Self { findings, path: String::new(), line: 1, table: Some(table), known: Vec::new() }
    }

    /// The value of a key that may be left out.
    pub(crate) fn optional(&mut self, name: &'static str, expected: impl Into<Cow<'static, str>>) -> Option<Entry<'a>> {
        self.known.push(name);
        let (key, line) = (self.key(name), self.line_of(name));
        let value = self.table.and_then(|table| table.get(name)).map(|value| value.get_ref());
        let asked = Asked { path: key.clone(), line: value.map(|_| line), value: value.and_then(Value::of) };
        self.findings.asked.borrow_mut().push(asked);
        Some(Entry { findings: self.findings, key, line, expected: expected.into(), value: value? })
    }

    /// The value of a key that has to be there.
    pub(crate) fn required(&mut self, name: &'static str, expected: impl Into<Cow<'static, str>>) -> Option<Entry<'a>> {
        let expected = expected.into();
        let entry = self.optional(name, expected.clone());
        if entry.is_none() {
            self.fault(name, FaultKind::Missing { expected });
        }
        entry
    }

    /// A section whose keys all have defaults: left out, it is the same as empty.
    pub(crate) fn defaulted(&mut self, name: &'static str) -> Section<'a> {
        let absent =
            Section { findings: self.findings, path: self.key(name), line: self.line, table: None, known: Vec::new() };
        self.optional(name, "a section").and_then(Entry::section).unwrap_or(absent)
    }

    /// A whole number within its bound, or the default.
    pub(crate) fn number(&mut self, bound: &Bound) -> usize {
        self.optional(bound.key, bound.expected())
            .and_then(|entry| entry.number(bound.range.clone()))
            .unwrap_or(bound.default)
    }

    /// A number of milliseconds within its bound, or the default.
    pub(crate) fn millis(&mut self, bound: &Bound) -> Duration {
        Duration::from_millis(self.number(bound) as u64)
    }

    /// A number of microseconds within its bound, or the default.
    pub(crate) fn micros(&mut self, bound: &Bound) -> Duration {
        Duration::from_micros(self.number(bound) as u64)
    }

    /// Whether the document has a value for this key, right or wrong.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// Notes a fault of a key, on the key's line or else on the section's.
    pub(crate) fn fault(&self, name: &str, kind: FaultKind) {
        self.findings.fault(self.line_of(name), self.key(name), kind);
    }

    /// Notes every key that nobody asked for. The last call on a section.
    pub(crate) fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let nearest = nearest(name, &self.known);
                self.fault(name, FaultKind::UnknownKey { nearest, known: self.known.clone() });
            }
        }
    }

    fn line_of(&self, name: &str) -> usize {
        self.table
            .and_then(|table| table.get_key_value(name))
            .map_or(self.line, |(key, _)| self.findings.line(key.span().start))
    }

    fn key(&self, name: &str) -> String {
        let name = shown(name);
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

/// The value of one key, and in words what it should be.
pub(crate) struct Entry<'a> {
    findings: &'a Findings,
    key: String,
    line: usize,
    expected: Cow<'static, str>,
    value: &'a DeValue<'a>,
}

impl<'a> Entry<'a> {
    pub(crate) fn section(self) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value else { return self.wrong_type() };
        Some(Section {
            findings: self.findings,
            path: self.key,
            line: self.line,
            table: Some(table),
            known: Vec::new(),
        })
    }

    /// The tables of an array of tables.
    pub(crate) fn sections(self) -> Option<Vec<Section<'a>>> {
        Some(self.elements()?.into_iter().filter_map(Entry::section).collect())
    }

    /// The elements of an array, each to be told what it is expected to be.
    pub(crate) fn elements(self) -> Option<Vec<Entry<'a>>> {
        let DeValue::Array(elements) = self.value else { return self.wrong_type() };
        let entry = |(index, element): (usize, &'a toml::Spanned<DeValue<'a>>)| Entry {
            findings: self.findings,
            key: format!("{}[{index}]", self.key),
            line: self.findings.line(element.span().start),
            expected: self.expected.clone(),
            value: element.get_ref(),
        };
        Some(elements.iter().enumerate().map(entry).collect())
    }

    /// The same value, with other words for what it should be.
    pub(crate) fn expecting(self, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { expected: expected.into(), ..self }
    }

    pub(crate) fn number(self, range: RangeInclusive<usize>) -> Option<usize> {
        let DeValue::Integer(integer) = self.value else { return self.wrong_type() };
        match usize::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) | Err(_) => self.refuse(&integer.to_string()),
        }
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        let DeValue::Boolean(is) = self.value else { return self.wrong_type() };
        Some(*is)
    }

    /// A text that `read` can make something of.
    pub(crate) fn text<T>(self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let DeValue::String(text) = self.value else { return self.wrong_type() };
        read(text).or_else(|| self.refuse(text))
    }

    pub(crate) fn parse<T: FromStr + Display>(self) -> Option<T> {
        self.normal(|text| text.parse().ok())
    }

    /// A text with a normal form, which is what it is shown and compared in.
    pub(crate) fn normal<T: Display>(self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (findings, key) = (self.findings, self.key.clone());
        let value = self.text(read)?;
        findings.read_as(&key, Value::Text(value.to_string()));
        Some(value)
    }

    pub(crate) fn one_of<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        self.text(|text| choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice))
    }

    /// A path, joined to the document's folder if it is relative. Whether it is there is not asked here.
    pub(crate) fn path(self, kind: FileKind) -> Option<PathBuf> {
        let (findings, line, key) = (self.findings, self.line, self.key.clone());
        let path = self.text(|text| (!text.is_empty()).then(|| findings.folder.join(text)))?;
        findings.read_as(&key, Value::Path(path.clone()));
        findings.files.borrow_mut().push(NamedFile { line, key, path: path.clone(), kind });
        Some(path)
    }

    fn wrong_type<T>(self) -> Option<T> {
        let kind = FaultKind::WrongType { found: self.value.type_str(), expected: self.expected };
        self.findings.fault(self.line, self.key, kind);
        None
    }

    fn refuse<T>(self, found: &str) -> Option<T> {
        let kind = FaultKind::Value { found: shown(found), expected: self.expected };
        self.findings.fault(self.line, self.key, kind);
        None
    }
}

/// Text of the document as it can be shown on one line of a terminal.
fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(SHOWN_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{}{rest}", start.escape_debug())
}
