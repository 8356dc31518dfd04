//! What is wrong with a `rung.toml`: data first, words last.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::Tier;

/// Every fault of one file, by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    file: PathBuf,
    faults: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(file: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.line);
        Self { file: file.to_owned(), faults }
    }

    /// The file that they are in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The faults, first line first.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }
}

impl std::error::Error for Faults {}

/// One `file:line: key: what is wrong` a line, as compilers write it.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{fault}", self.file.display())?;
        }
        Ok(())
    }
}

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    line: usize,
    key: String,
    kind: FaultKind,
}

impl Fault {
    pub(crate) fn new(line: usize, key: impl Into<String>, kind: FaultKind) -> Self {
        Self { line, key: key.into(), kind }
    }

    /// The line, from 1; for something missing, that of the section it is missing from.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The path of the key, such as `upstream.url` or `model[1].bundle`; empty for a fault of the file as a whole.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    pub fn kind(&self) -> &FaultKind {
        &self.kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.kind.fmt(f)
    }
}

/// What is wrong with a key, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The file is longer than a configuration can be.
    TooLong {
        /// The longest that is read, in bytes.
        max: usize,
    },
    /// The file is not TOML.
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// Nobody reads this key.
    UnknownKey {
        /// The known key that it is most likely a slip of.
        nearest: Option<&'static str>,
        /// The keys that this section can have.
        known: Vec<&'static str>,
    },
    /// A key or section has to be there.
    Missing {
        /// What it would hold.
        expected: Cow<'static, str>,
    },
    /// The value is of another TOML type.
    WrongType {
        /// The type it is of.
        found: &'static str,
        /// What it would hold.
        expected: Cow<'static, str>,
    },
    /// The value is of the right type and still not one that can be used.
    Value {
        /// The value, shortened if it is long.
        found: String,
        /// What it would hold.
        expected: Cow<'static, str>,
    },
    /// The section is of another tier.
    Misplaced {
        /// The tier of this file.
        tier: Tier,
        /// The tiers that have such a section.
        belongs: &'static [Tier],
    },
    /// The setting would do nothing, because another one is not there.
    Unused {
        /// What it would need.
        without: &'static str,
    },
    /// A file that the document names cannot be used.
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
}

impl FaultKind {
    /// A stable word for programs: the `kind` in `cdn-config check --format json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Syntax { .. } => "syntax",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Missing { .. } => "missing",
            Self::WrongType { .. } => "wrong_type",
            Self::Value { .. } => "value",
            Self::Misplaced { .. } => "misplaced",
            Self::Unused { .. } => "unused",
            Self::File { .. } => "file",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max } => write!(f, "the file is longer than {max} bytes"),
            Self::Syntax { message } => f.write_str(message),
            Self::UnknownKey { nearest: Some(nearest), .. } => {
                write!(f, "unknown key, did you mean `{nearest}`?")
            }
            Self::UnknownKey { nearest: None, known } => {
                write!(f, "unknown key, expected one of `{}`", known.join("`, `"))
            }
            Self::Missing { expected } => write!(f, "missing, expected {expected}"),
            Self::WrongType { found, expected } => write!(f, "is of type {found}, expected {expected}"),
            Self::Value { found, expected } => write!(f, "is `{found}`, expected {expected}"),
            Self::Misplaced { tier, belongs } => {
                let belongs: Vec<_> = belongs.iter().map(|tier| tier.name()).collect();
                write!(f, "not a section of tier `{tier}`, expected only at `{}`", belongs.join("` and `"))
            }
            Self::Unused { without } => write!(f, "has no use without {without}"),
            Self::File { path, reason } => write!(f, "`{}`: {reason}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_one_a_line_first_line_first() {
        let faults = Faults::new(
            Path::new("etc/rung.toml"),
            vec![
                Fault::new(7, "listen.http", FaultKind::Unused { without: "luck" }),
                Fault::new(2, "", FaultKind::TooLong { max: 5 }),
            ],
        );
        assert_eq!(
            faults.to_string(),
            "etc/rung.toml:2: the file is longer than 5 bytes\netc/rung.toml:7: listen.http: has no use without luck"
        );
    }
}
