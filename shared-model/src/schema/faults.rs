//! What is wrong with a schema: all of it, each fault with its place.

use std::fmt;

/// The most faults that are kept; a file with more is not a schema.
const MAX_FAULTS: usize = 200;

/// One fault of `features.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// The line in the file, when the form it was read from has lines.
    pub line: Option<usize>,
    /// The feature at fault.
    pub feature: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("features.toml:")?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(feature) = &self.feature {
            write!(f, " feature `{feature}`:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Every fault of a schema, in the order of the file; shown one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaFaults {
    faults: Vec<SchemaFault>,
}

impl SchemaFaults {
    /// Each fault.
    #[must_use]
    pub fn faults(&self) -> &[SchemaFault] {
        &self.faults
    }

    pub(super) fn one(line: Option<usize>, message: impl Into<String>) -> Self {
        Self { faults: vec![SchemaFault { line, feature: None, message: message.into() }] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn add(&mut self, line: Option<usize>, feature: Option<&str>, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            let feature = feature.map(str::to_owned);
            self.faults.push(SchemaFault { line, feature, message: message.into() });
        }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.faults.sort_by_key(|f| f.line);
        self
    }
}

impl fmt::Display for SchemaFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SchemaFaults {}
