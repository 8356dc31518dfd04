//! A table of the document: keys are taken one by one, and those that nobody took are faults.

use crate::schema::document::{Node, Value};
use crate::schema::faults::SchemaFaults;
use crate::schema::nearest;

/// A table being read.
pub(super) struct Table<'a, 'f> {
    entries: &'a [(String, Node)],
    line: Option<usize>,
    feature: Option<&'a str>,
    known: Vec<&'static str>,
    faults: &'f mut SchemaFaults,
}

impl<'a, 'f> Table<'a, 'f> {
    /// The table that `node` must be; `what` names it in the fault.
    pub(super) fn of(
        node: &'a Node,
        feature: Option<&'a str>,
        what: &str,
        faults: &'f mut SchemaFaults,
    ) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            faults.add(node.line, feature, format!("{what} must be a table, not {}", node.what()));
            return None;
        };
        Some(Self { entries, line: node.line, feature, known: Vec::new(), faults })
    }

    /// Says to which feature the faults from here on belong.
    pub(super) fn belongs_to(&mut self, feature: &'a str) {
        self.feature = Some(feature);
    }

    /// Whether a key is there, read or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k == key)
    }

    /// A key that must be there, read by one of the functions below.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: fn(&'a Node) -> Result<T, &'static str>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.faults.add(self.line, self.feature, format!("`{key}` is missing"));
            return None;
        }
        self.optional(key, read)
    }

    /// A key that may be there.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: fn(&'a Node) -> Result<T, &'static str>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match read(node) {
            Ok(value) => Some(value),
            Err(must) => {
                let message = format!("`{key}` must be {must}, not {}", node.what());
                self.faults.add(node.line, self.feature, message);
                None
            }
        }
    }

    /// A key that must be one of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let word = self.optional(key, Self::text)?;
        let found = choices.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.fault(key, format!("`{key}` is `{}`, but must be one of {}", short(word), listed(&words)));
        }
        found.map(|(_, choice)| *choice)
    }

    /// The value of a key, unread.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.entries.iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Notes a fault of a key.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        let line = self.entries.iter().find(|(k, _)| k == key).map_or(self.line, |(_, node)| node.line);
        self.faults.add(line, self.feature, message);
    }

    /// Notes a fault of a place within the table.
    pub(super) fn fault_at(&mut self, node: &Node, message: impl Into<String>) {
        self.faults.add(node.line, self.feature, message);
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in self.entries.iter().filter(|(key, _)| !self.known.contains(&key.as_str())) {
            let hint = match nearest(key, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", listed(&self.known)),
            };
            self.faults.add(node.line, self.feature, format!("unknown key `{}`; {hint}", short(key)));
        }
    }

    pub(super) fn text(node: &'a Node) -> Result<&'a str, &'static str> {
        if let Value::Text(text) = &node.value { Ok(text) } else { Err("text") }
    }

    pub(super) fn integer(node: &'a Node) -> Result<i64, &'static str> {
        if let Value::Int(v) = node.value { Ok(v) } else { Err("an integer") }
    }

    pub(super) fn number(node: &'a Node) -> Result<f64, &'static str> {
        match node.value {
            Value::Int(v) => Ok(v as f64),
            Value::Float(v) if v.is_finite() => Ok(v),
            _ => Err("a finite number"),
        }
    }

    pub(super) fn list(node: &'a Node) -> Result<&'a [Node], &'static str> {
        if let Value::List(nodes) = &node.value { Ok(nodes) } else { Err("a list") }
    }

    pub(super) fn entries(node: &'a Node) -> Result<&'a [(String, Node)], &'static str> {
        if let Value::Table(entries) = &node.value { Ok(entries) } else { Err("a table") }
    }
}

/// Words for a message.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

/// Text that fits into a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
