//! What is known of every key of a `rung.toml`: the one source of the reference page, of `explain` and of `diff`.
//!
//! A key's entry stands in the file of its section, beside the code that reads it, and takes its bounds from there.
//! Nothing is read by these entries; `keys::tests` holds them and the readers to each other.

use std::ops::RangeInclusive;

use crate::limits::Bound;
use crate::nearest::nearest;
use crate::{Tier, Value, batching, cache, clients, config, device, limits, listen, log, model, tls, upstream, worker};

mod page;

pub use page::page;

/// Every section, in the order of the reference page.
static SECTIONS: &[Keys] = &[
    Keys { section: "", about: "", keys: config::KEYS },
    Keys { section: "listen", about: "required", keys: listen::KEYS },
    Keys {
        section: "tls",
        about: "belongs to `listen.https` and `listen.tiers`, and is refused without them",
        keys: tls::KEYS,
    },
    Keys { section: "model", about: "one `[[model]]` for each, at least one", keys: model::KEYS },
    Keys { section: "limits", about: "", keys: limits::KEYS },
    Keys { section: "clients", about: "", keys: clients::KEYS },
    Keys { section: "cache", about: "edge and region", keys: cache::KEYS },
    Keys { section: "worker", about: "edge and region, required", keys: worker::KEYS },
    Keys { section: "upstream", about: "edge and region; without it this tier has nobody above", keys: upstream::KEYS },
    Keys { section: "device", about: "origin", keys: device::KEYS },
    Keys {
        section: "batching",
        about: "origin: requests that arrive close together share a batch",
        keys: batching::KEYS,
    },
    Keys { section: "log", about: "", keys: log::KEYS },
];

/// The keys of one section.
struct Keys {
    /// As in the document; empty for the keys above all sections.
    section: &'static str,
    /// What is said of the section as a whole.
    about: &'static str,
    keys: &'static [Key],
}

/// One key of a section: what it is for, what it can be, and who notices when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    name: &'static str,
    what: &'static str,
    values: Values,
    absent: Absent,
    clients: Option<&'static str>,
}

/// What a new value asks of the tier that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// It is read once, at start.
    Restart,
}

impl Needs {
    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
        }
    }
}

/// What a key can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// A whole number.
    Number {
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// One of these.
    Choice(&'static [&'static str]),
    /// What these words say.
    Words(&'static str),
}

/// What it means to leave a key out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It cannot be.
    Required,
    /// It is this number.
    Number {
        /// At an edge and in a region.
        pop: usize,
        /// At the origin.
        origin: usize,
    },
    /// It is this text.
    Text(&'static str),
    /// It is what these words say: nothing, or something that another key or the machine decides.
    Words(&'static str),
}

impl Key {
    const fn new(name: &'static str, what: &'static str, values: Values, absent: Absent) -> Self {
        Self { name, what, values, absent, clients: None }
    }

    /// A number that may be left out.
    pub(crate) const fn number(bound: &Bound, what: &'static str) -> Self {
        let absent = Absent::Number { pop: bound.default, origin: bound.default };
        Self::new(bound.key, what, Values::number(&bound.range), absent)
    }

    /// A number that something else decides when it is left out.
    pub(crate) const fn number_or(
        name: &'static str,
        range: &RangeInclusive<usize>,
        otherwise: &'static str,
        what: &'static str,
    ) -> Self {
        Self::new(name, what, Values::number(range), Absent::Words(otherwise))
    }

    /// One of a few words. Required, unless [`Self::or_text`] or [`Self::or`] says otherwise.
    pub(crate) const fn choice(name: &'static str, choices: &'static [&'static str], what: &'static str) -> Self {
        Self::new(name, what, Values::Choice(choices), Absent::Required)
    }

    /// A text of the form that `values` says in words. Required, unless told otherwise, as above.
    pub(crate) const fn text(name: &'static str, values: &'static str, what: &'static str) -> Self {
        Self::new(name, what, Values::Words(values), Absent::Required)
    }

    /// The default, where the key is not required.
    pub(crate) const fn or_text(self, default: &'static str) -> Self {
        Self { absent: Absent::Text(default), ..self }
    }

    /// What leaving it out means, where that is no value that could be written.
    pub(crate) const fn or(self, words: &'static str) -> Self {
        Self { absent: Absent::Words(words), ..self }
    }

    /// Another default at the origin.
    pub(crate) const fn at_origin(self, bound: &Bound) -> Self {
        let absent = match self.absent {
            Absent::Number { pop, .. } => Absent::Number { pop, origin: bound.default },
            other => other,
        };
        Self { absent, ..self }
    }

    /// What clients, or the tiers below, notice when this changes.
    pub(crate) const fn clients(self, notice: &'static str) -> Self {
        Self { clients: Some(notice), ..self }
    }

    /// The key's name in its section.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, in Markdown.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// A default as the document would say it. A choice of `true` and `false` is a flag, not a text.
    pub(crate) fn default(&self, tier: Tier) -> Option<Value> {
        match (self.absent, tier) {
            (Absent::Required | Absent::Words(_), _) => None,
            (Absent::Number { pop, .. }, Tier::Edge | Tier::Region) => Some(Value::Number(pop as u64)),
            (Absent::Number { origin, .. }, Tier::Origin) => Some(Value::Number(origin as u64)),
            (Absent::Text(text), _) => match (self.values, text.parse()) {
                (Values::Choice(["true", "false"]), Ok(flag)) => Some(Value::Flag(flag)),
                _ => Some(Value::Text(text.to_owned())),
            },
        }
    }

    /// What it can be.
    pub fn values(&self) -> Values {
        self.values
    }

    /// What it means to leave it out.
    pub fn absent(&self) -> Absent {
        self.absent
    }

    /// What a new value asks of the tier that is running.
    pub fn needs(&self) -> Needs {
        Needs::Restart
    }

    /// What clients, or the tiers below, notice when it changes; `None`: nothing.
    pub fn clients_notice(&self) -> Option<&'static str> {
        self.clients
    }

    /// What its number counts, by the name's ending.
    pub fn unit(&self) -> Option<&'static str> {
        let units = [("_us", "µs"), ("_ms", "ms"), ("_seconds", "s"), ("_bytes", "bytes"), ("_mib", "MiB")];
        units.into_iter().find(|(ending, _)| self.name.ends_with(ending)).map(|(_, unit)| unit)
    }
}

impl Values {
    const fn number(range: &RangeInclusive<usize>) -> Self {
        Self::Number { min: *range.start(), max: *range.end() }
    }

    /// The same in words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Number { min, max } => format!("{min} to {max}"),
            Self::Choice(choices) => format!("`{}`", choices.join("`, `")),
            Self::Words(words) => (*words).to_owned(),
        }
    }
}

impl Absent {
    /// The same in words, for one tier.
    pub fn in_words(&self, tier: Tier) -> String {
        match (self, tier) {
            (Self::Required, _) => "required".to_owned(),
            (Self::Number { pop, .. }, Tier::Edge | Tier::Region) => pop.to_string(),
            (Self::Number { origin, .. }, Tier::Origin) => origin.to_string(),
            (Self::Text(text), _) => format!("`{text}`"),
            (Self::Words(words), _) => (*words).to_owned(),
        }
    }
}

/// Every key with its path, such as `upstream.url` or `model.bundle`, in the order of the reference page.
pub fn all() -> impl Iterator<Item = (String, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.path(key), key)))
}

/// The place on the reference page of a key by its path, with or without indices: `model[1].bundle`.
pub(crate) fn position(path: &str) -> Option<(usize, &'static Key)> {
    let path = without_indices(path);
    all().enumerate().find(|(_, (known, _))| *known == path).map(|(place, (_, key))| (place, key))
}

/// The known path that an unknown one is most likely a slip of.
pub(crate) fn nearest_path(path: &str) -> Option<String> {
    let paths: Vec<String> = all().map(|(known, _)| known).collect();
    let known: Vec<&str> = paths.iter().map(String::as_str).collect();
    nearest(path, &known).map(str::to_owned)
}

/// `model[1].bundle` as `model.bundle`. Only indices have brackets: a key of ours has letters and underscores.
pub(crate) fn without_indices(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

impl Keys {
    fn path(&self, key: &Key) -> String {
        if self.section.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.section, key.name) }
    }
}

#[cfg(test)]
mod tests;
