//! What is in effect, key by key: the document's values where it has some, the defaults where it has none.
//!
//! A reader need not do anything for it: every key that is asked for is noted with what the document says of it, and
//! what is left out is looked up in [`crate::keys`].

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use toml::de::DeValue;

use crate::Tier;
use crate::keys::{self, Key};

/// One key in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    path: String,
    key: &'static Key,
    value: Option<Value>,
    source: Source,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This line of the document, from 1.
    Line(usize),
    /// The document leaves it out.
    Default,
}

impl Source {
    /// The line, where there is one.
    pub fn line(self) -> Option<usize> {
        match self {
            Self::Line(line) => Some(line),
            Self::Default => None,
        }
    }
}

/// A value as a reader understands it: numbers without their spelling, paths joined to the document's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
    /// A text; also what TOML has beside these types, as text.
    Text(String),
    /// A file or a folder.
    Path(PathBuf),
    /// Several.
    List(Vec<Value>),
}

/// A key that a reader asked for.
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Where the document has it; `None`: nowhere.
    pub(crate) line: Option<usize>,
    /// Sections have none.
    pub(crate) value: Option<Value>,
}

impl Setting {
    /// The path, such as `upstream.url` or `model[1].bundle`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is known of the key.
    pub fn key(&self) -> &'static Key {
        self.key
    }

    /// The value; `None` where leaving the key out means something that is no value: see [`Key::absent`].
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The value, or in words what is in its place.
    pub fn shown(&self, tier: Tier) -> String {
        self.value.as_ref().map_or_else(|| self.key.absent().in_words(tier), Value::to_string)
    }
}

/// The settings in effect, from what was asked for while a document without faults was read.
pub(crate) fn in_effect(asked: Vec<Asked>, tier: Tier) -> Vec<Setting> {
    let mut settings: Vec<(usize, Setting)> = asked
        .into_iter()
        .filter_map(|asked| {
            let (place, key) = keys::position(&asked.path)?;
            let (value, source) = match asked.line {
                Some(line) => (asked.value, Source::Line(line)),
                None => (key.default(tier), Source::Default),
            };
            Some((place, Setting { path: asked.path, key, value, source }))
        })
        .collect();
    // Elements of an array were asked for one after the other, and stay so: the sort is stable.
    settings.sort_by_key(|(place, _)| *place);
    settings.into_iter().map(|(_, setting)| setting).collect()
}

impl Value {
    /// What the document says; a section is not a value.
    pub(crate) fn of(value: &DeValue<'_>) -> Option<Self> {
        Some(match value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Self::Text(integer.to_string()), Self::Number),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Float(float) => Self::Text(float.to_string()),
            DeValue::Datetime(datetime) => Self::Text(datetime.to_string()),
            DeValue::Array(elements) => {
                Self::List(elements.iter().map(|element| Self::of(element.get_ref())).collect::<Option<_>>()?)
            }
            DeValue::Table(_) => return None,
        })
    }
}

/// On one line, whatever is in it; numbers and flags bare, all else in quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Path(path) => write!(f, "{:?}", path.display().to_string()),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}
