//! A request, and a line of a request file.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Decoded;
use super::fault::Faults;
use super::fields::Object;
use super::scalar::{Maybe, Skip, Text, Whole};
use crate::limits;
use crate::schema::nearest;
use crate::wire::{Candidate, RankRequest, Raw, Record, TierChoice};

const DEFAULT_K: u32 = 10;
const FIELDS: [&str; 9] = ["model", "k", "user", "context", "candidates", "exclude", "timeout_ms", "tier", "explain"];
const RELEVANT: &str = "relevant";
const TIERS: [(&str, TierChoice); 4] = [
    ("auto", TierChoice::Auto),
    ("edge", TierChoice::Edge),
    ("region", TierChoice::Region),
    ("origin", TierChoice::Origin),
];
/// The elements for which a list has room at first: most requests have about so many candidates.
const ROOM: usize = 128;
/// The longest part of an unknown field's name that a warning repeats.
const SHOWN: usize = 60;

/// A request; of a file, when there is the model that a line without one is for.
pub(super) struct Request<'f> {
    pub(super) faults: &'f Faults<'f>,
    pub(super) file: Option<&'f str>,
}

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Decoded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Default)]
struct Given {
    model: Option<String>,
    k: Option<u32>,
    user: Option<Record>,
    context: Option<Record>,
    candidates: Option<Vec<Candidate>>,
    exclude: Option<Vec<String>>,
    timeout_ms: Option<u32>,
    tier: Option<TierChoice>,
    explain: Option<bool>,
    relevant: Option<Vec<String>>,
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object: a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Decoded, A::Error> {
        let faults = self.faults;
        faults.enter(1)?;
        let mut given = Given::default();
        let mut seen: Vec<&str> = Vec::new();
        let mut warnings = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let known = FIELDS.iter().chain(self.file.map(|_| &RELEVANT)).find(|name| **name == key);
            let Some(&name) = known else {
                faults.within(map.next_value_seed(Skip { faults, depth: 2 }), || shown(&key))?;
                if warnings.len() < limits::MAX_WARNINGS {
                    warnings.push(unknown(&key));
                }
                continue;
            };
            let value = if seen.contains(&name) {
                Err(faults.refuse("is given twice"))
            } else {
                given.read(name, faults, &mut map)
            };
            faults.within(value, || name.to_owned())?;
            seen.push(name);
        }
        given.finish(&self, warnings)
    }
}

impl Given {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, faults: &Faults<'_>, map: &mut A) -> Result<(), A::Error> {
        let text = || Text { faults, bytes: 1..=limits::MAX_ID_BYTES };
        let ids = || Maybe(List { faults, element: text });
        match name {
            "model" => self.model = map.next_value_seed(Maybe(text()))?,
            "k" => self.k = map.next_value_seed(Maybe(Whole { faults, range: 1..=u32::MAX }))?,
            "user" => self.user = map.next_value_seed(Maybe(Object { faults, depth: 2 }))?,
            "context" => self.context = map.next_value_seed(Maybe(Object { faults, depth: 2 }))?,
            "candidates" => {
                let candidates = map.next_value_seed(List { faults, element: || CandidateSeed { faults } })?;
                distinct(&candidates, faults)?;
                self.candidates = Some(candidates);
            }
            "exclude" => self.exclude = map.next_value_seed(ids())?,
            "timeout_ms" => {
                self.timeout_ms = map.next_value_seed(Maybe(Whole { faults, range: 1..=limits::MAX_TIMEOUT_MS }))?;
            }
            "tier" => {
                self.tier = match map.next_value_seed(Maybe(text()))? {
                    Some(word) => Some(tier(&word, faults)?),
                    None => None,
                }
            }
            "explain" => self.explain = map.next_value()?,
            RELEVANT => self.relevant = map.next_value_seed(ids())?,
            _ => unreachable!("every known field is read"),
        }
        Ok(())
    }

    fn finish<E: Error>(self, request: &Request<'_>, warnings: Vec<String>) -> Result<Decoded, E> {
        let missing = |name: &str, what: &str| {
            let faults = request.faults;
            faults.within(Err(faults.refuse(format!("is missing: {what}"))), || name.to_owned())
        };
        let Some(model) = self.model.or(request.file.map(str::to_owned)) else {
            return missing("model", "name the model");
        };
        let Some(candidates) = self.candidates else {
            return missing("candidates", "give a list of ids, or of objects with an `id`");
        };
        let request = RankRequest {
            model,
            k: self.k.unwrap_or(DEFAULT_K),
            user: self.user.unwrap_or_default(),
            context: self.context.unwrap_or_default(),
            candidates,
            exclude: self.exclude.unwrap_or_default(),
            timeout_ms: self.timeout_ms,
            tier: self.tier.unwrap_or_default(),
            explain: self.explain.unwrap_or_default(),
        };
        Ok(Decoded { request, relevant: self.relevant.unwrap_or_default(), warnings })
    }
}

fn tier<E: Error>(word: &str, faults: &Faults<'_>) -> Result<TierChoice, E> {
    let found = TIERS.iter().find(|(name, _)| *name == word);
    found.map(|(_, tier)| *tier).ok_or_else(|| {
        faults.refuse(format!("is `{}`, but must be one of `auto`, `edge`, `region`, `origin`", shown(word)))
    })
}

fn distinct<E: Error>(candidates: &[Candidate], faults: &Faults<'_>) -> Result<(), E> {
    let mut seen = HashSet::with_capacity(candidates.len());
    match candidates.iter().position(|candidate| !seen.insert(candidate.id.as_str())) {
        None => Ok(()),
        Some(at) => {
            let id = shown(&candidates[at].id);
            let first = candidates.iter().position(|c| c.id == candidates[at].id).unwrap_or_default();
            let fault = faults.refuse(format!("`{id}` is candidate {first} already: give each once"));
            faults.within(Err(fault), || format!("[{at}].id"))
        }
    }
}

fn unknown(key: &str) -> String {
    let hint = nearest(key, &FIELDS).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!("unknown field `{}` was ignored{hint}", shown(key))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// A list of at most as many elements as there may be candidates.
struct List<'f, F> {
    faults: &'f Faults<'f>,
    element: F,
}

impl<'de, S: DeserializeSeed<'de>, F: Fn() -> S> DeserializeSeed<'de> for List<'_, F> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de>, F: Fn() -> S> Visitor<'de> for List<'_, F> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let max = self.faults.limits.max_candidates;
        self.faults.enter(2)?;
        let mut values = Vec::with_capacity(ROOM.min(max));
        loop {
            let next = seq.next_element_seed((self.element)());
            match self.faults.within(next, || format!("[{}]", values.len()))? {
                Some(_) if values.len() >= max => return Err(self.faults.refuse(format!("is longer than {max}"))),
                Some(value) => values.push(value),
                None => return Ok(values),
            }
        }
    }
}

/// An id, or an object with an `id` and features.
struct CandidateSeed<'f> {
    faults: &'f Faults<'f>,
}

impl CandidateSeed<'_> {
    fn id<E: Error>(&self, id: &str) -> Result<String, E> {
        Text { faults: self.faults, bytes: 1..=limits::MAX_ID_BYTES }.visit_str(id)
    }
}

impl<'de> DeserializeSeed<'de> for CandidateSeed<'_> {
    type Value = Candidate;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Candidate, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CandidateSeed<'_> {
    type Value = Candidate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id or an object with an `id`")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Candidate, E> {
        Ok(Candidate { id: self.id(v)?, features: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Candidate, A::Error> {
        let faults = self.faults;
        let Record(mut fields) = Object { faults, depth: 3 }.visit_map(map)?;
        let id = match fields.iter().position(|(name, _)| name == "id").map(|at| fields.remove(at).1) {
            Some(Raw::Text(id)) => self.id(&id),
            Some(_) => Err(faults.refuse("must be a text")),
            None => Err(faults.refuse("is missing: a candidate has one")),
        };
        let id = faults.within(id, || "id".to_owned())?;
        Ok(Candidate { id, features: (!fields.is_empty()).then_some(Record(fields)) })
    }
}
