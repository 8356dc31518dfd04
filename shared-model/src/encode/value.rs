//! The raw value of one feature, or the several that it crosses, into its columns.

use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::block::{Block, Columns};
use super::ln::ln1p;
use crate::schema::{Coding, Feature, Index, Keep, Names, Origin, Rule, Step, Vocabulary};
use crate::wire::{Raw, Refusal};

const SECONDS_AN_HOUR: i64 = 3600;
const SECONDS_A_DAY: i64 = 86_400;
/// The first of January 1970 was a Thursday; Monday is 0.
const WEEKDAY_OF_EPOCH: i64 = 3;

/// What was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The value given.
    Given,
    /// The default, for it, or a part of a cross, is missing.
    Default,
    /// The value given, of which some is not in the vocabulary.
    Unknown,
}

/// A feature and what its values are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Encoding<'a> {
    pub(super) feature: &'a Feature,
    pub(super) vocabularies: &'a [Vocabulary],
    /// The ids of the catalog; without them every id is unknown.
    pub(super) ids: &'a Names,
    /// Whether what the schema would reject is encoded as its default.
    pub(super) lenient: bool,
}

/// Whether the default of a feature, given or not, can be encoded; says what is wrong with it.
pub(crate) fn check_default(feature: &Feature, vocabularies: &[Vocabulary]) -> Result<(), String> {
    let encoding = Encoding { feature, vocabularies, ids: &Names::default(), lenient: false };
    let mut block = Block::empty(feature.coding.dtype(), encoding.width());
    block.append_row();
    let looks_up_the_catalog = feature.coding.vocabulary().is_some_and(|v| vocabularies[v].is_catalog());
    let unknown = if looks_up_the_catalog { Rule::Default } else { Rule::Reject };
    let refused = |refusal: Refusal| format!("its default cannot be encoded: {}", refusal.message);
    match (feature.missing, &feature.coding) {
        (Rule::Reject, _) => Ok(()),
        (_, Coding::CrossHash(n)) => match &feature.default {
            Raw::Null => Ok(()),
            Raw::List(parts) if parts.len() == feature.fields.len() => {
                encoding.crossed(*n, &parts.iter().collect::<Vec<_>>()).map(drop).map_err(refused)
            }
            _ => Err(format!("its default must be a list of {} values, one for each field", feature.fields.len())),
        },
        _ => encoding.given(&feature.default, unknown, block.last_row(0)).map(drop).map_err(refused),
    }
}

impl Encoding<'_> {
    /// The columns that it fills.
    pub(super) fn width(&self) -> usize {
        match &self.feature.coding {
            Coding::List { max_length, .. } => *max_length,
            Coding::Dense { length, .. } => *length,
            Coding::MultiHot(v) => self.vocabularies[*v].size().unwrap_or_default(),
            Coding::Numeric(_) | Coding::Categorical(_) | Coding::CrossHash(_) | Coding::Bucketized(_) => 1,
        }
    }

    /// Writes the columns of what `field` finds at the feature's paths; they are zeros before. A field for which the
    /// schema says `escalate` is added to `escalate`, once.
    pub(super) fn encode<'r>(
        &self,
        field: impl Fn(&str) -> &'r Raw,
        out: Columns<'_>,
        escalate: &mut Vec<String>,
    ) -> Result<Taken, Refusal> {
        let Feature { fields, coding, source, default, .. } = self.feature;
        let rule = |rule: Rule| if self.lenient && rule == Rule::Reject { Rule::Default } else { rule };
        let (missing, unknown) = (rule(self.feature.missing), rule(self.feature.unknown));
        let mut lacks = |field: &String| match missing {
            // What the store has, a tier without one cannot know: one above may.
            _ if *source == Origin::Store => {
                note(escalate, field);
                Ok(())
            }
            Rule::Default => Ok(()),
            Rule::Reject => Err(refusal(field, None, "is missing, and the schema needs it".to_owned())),
            Rule::Escalate => {
                note(escalate, field);
                Ok(())
            }
        };
        match (coding, out) {
            (Coding::CrossHash(n), Columns::I32(out)) => {
                let mut parts: Vec<&Raw> = fields.iter().map(|path| field(path)).collect();
                let mut taken = Taken::Given;
                for (i, path) in fields.iter().enumerate() {
                    if *parts[i] == Raw::Null {
                        lacks(path)?;
                        taken = Taken::Default;
                        if let Raw::List(defaults) = default {
                            parts[i] = &defaults[i];
                        }
                    }
                }
                out[0] = self.crossed(*n, &parts)?;
                Ok(taken)
            }
            (_, out) => {
                let raw = field(&fields[0]);
                if *raw == Raw::Null {
                    lacks(&fields[0])?;
                    // The default was checked with the schema; that the catalog lacks it is not the request's fault.
                    self.given(default, Rule::Default, out)?;
                    return Ok(Taken::Default);
                }
                let taken = self.given(raw, unknown, out)?;
                if taken == Taken::Unknown && unknown == Rule::Escalate {
                    note(escalate, &fields[0]);
                }
                Ok(taken)
            }
        }
    }

    fn given(&self, raw: &Raw, unknown: Rule, out: Columns<'_>) -> Result<Taken, Refusal> {
        let mut taken = Taken::Given;
        match (&self.feature.coding, out) {
            (Coding::Numeric(steps), Columns::F32(out)) => {
                let given = if *raw == Raw::Null { 0.0 } else { self.number(raw, None)? };
                out[0] = self.stepped(given, None, steps)?;
            }
            (Coding::Dense { length, steps }, Columns::F32(out)) => self.dense(raw, steps, &mut out[..*length])?,
            (Coding::Bucketized(boundaries), Columns::I32(out)) => {
                out[0] = match raw {
                    Raw::Null => 0,
                    _ => {
                        let value = self.number(raw, None)?;
                        to_i32(1 + boundaries.partition_point(|boundary| *boundary <= value))
                    }
                };
            }
            (Coding::Categorical(index), Columns::I32(out)) => {
                if *raw != Raw::Null {
                    let value = self.index(index, raw, None)?;
                    out[0] = self.or_unknown(value, unknown, raw, None, &mut taken)?.unwrap_or(0);
                }
            }
            (Coding::List { index, max_length, keep, padding }, Columns::I32(out)) => {
                let values = self.elements(raw)?;
                let surplus = values.len().saturating_sub(*max_length);
                let start = if *keep == Keep::Last { surplus } else { 0 };
                let kept = values.iter().enumerate().skip(start).take(*max_length);
                let row = &mut out[..*max_length];
                row.fill(*padding);
                for (place, (at, raw)) in row.iter_mut().zip(kept) {
                    let value = self.index(index, raw, Some(at))?;
                    *place = self.or_unknown(value, unknown, raw, Some(at), &mut taken)?.unwrap_or(0);
                }
            }
            (Coding::MultiHot(v), Columns::F32(out)) => {
                for (at, raw) in self.elements(raw)?.iter().enumerate() {
                    let value = self.index(&Index::Vocabulary(*v), raw, Some(at))?;
                    if let Some(index) = self.or_unknown(value, unknown, raw, Some(at), &mut taken)? {
                        out[index.unsigned_abs() as usize - self.vocabularies[*v].first as usize] = 1.0;
                    }
                }
            }
            (Coding::CrossHash(_), _) => unreachable!("a cross has several raw values"),
            (Coding::Numeric(_) | Coding::MultiHot(_) | Coding::Dense { .. }, Columns::I32(_))
            | (Coding::Bucketized(_) | Coding::Categorical(_) | Coding::List { .. }, Columns::F32(_)) => {
                unreachable!("a block has the element type of the features that feed it")
            }
        }
        Ok(taken)
    }

    fn dense(&self, raw: &Raw, steps: &[Step], out: &mut [f32]) -> Result<(), Refusal> {
        if *raw == Raw::Null {
            out.fill(self.stepped(0.0, None, steps)?);
            return Ok(());
        }
        let values = self.elements(raw)?;
        if values.len() != out.len() {
            let message = format!("must be a list of {} numbers, not of {}", out.len(), values.len());
            return Err(self.refusal(message));
        }
        for (at, (raw, place)) in values.iter().zip(out).enumerate() {
            *place = self.stepped(self.number(raw, Some(at))?, Some(at), steps)?;
        }
        Ok(())
    }

    /// The index of several values together; 0 if one of them is missing. Each goes into the hash as a netstring (its
    /// length in bytes, `:`, itself, `,`), so that no two lists of texts are hashed alike.
    fn crossed(&self, n: u32, parts: &[&Raw]) -> Result<i32, Refusal> {
        let mut hash = Xxh64::new(0);
        let mut missing = false;
        for (raw, field) in parts.iter().zip(&self.feature.fields) {
            missing |= **raw == Raw::Null;
            if **raw != Raw::Null {
                let mistyped = || refusal(field, None, format!("must be a text, not {}", what(raw)));
                let text = text(raw).ok_or_else(mistyped)?;
                hash.update(format!("{}:{text},", text.len()).as_bytes());
            }
        }
        Ok(if missing { 0 } else { modulo(hash.digest(), n) })
    }

    fn stepped(&self, given: f64, at: Option<usize>, steps: &[Step]) -> Result<f32, Refusal> {
        let value = steps.iter().fold(given, |x, step| match step {
            Step::Ln1p => ln1p(x),
            // Not `clamp`, nor `max` and `min`: what is not a number must stay so, and be refused.
            Step::Clip { min, .. } if x < *min => *min,
            Step::Clip { max, .. } if x > *max => *max,
            Step::Clip { .. } => x,
            Step::Standardize { mean, std } => (x - mean) / std,
        });
        let rounded = value as f32;
        if rounded.is_finite() {
            Ok(rounded)
        } else {
            Err(self.refusal_at(at, format!("{given} is outside the range of its transform")))
        }
    }

    /// The index of a value; `None` when it is not in the vocabulary.
    fn index(&self, index: &Index, raw: &Raw, at: Option<usize>) -> Result<Option<i32>, Refusal> {
        let mistyped = |needed: &str| self.refusal_at(at, format!("must be {needed}, not {}", what(raw)));
        match *index {
            Index::Vocabulary(v) => {
                let text = text(raw).ok_or_else(|| mistyped("a text"))?;
                let Vocabulary { values, first, .. } = &self.vocabularies[v];
                let position = values.as_ref().unwrap_or(self.ids).position(&text);
                Ok(position.map(|position| to_i32(*first as usize + position)))
            }
            Index::Hash(n) => {
                let text = text(raw).ok_or_else(|| mistyped("a text"))?;
                Ok(Some(modulo(xxh64(text.as_bytes(), 0), n)))
            }
            Index::Identity(below) => {
                let given = whole(raw, false).ok_or_else(|| mistyped("an integer"))?;
                let fits = |index: &i32| below.is_none_or(|n| index.unsigned_abs() < n);
                let index = i32::try_from(given).ok().filter(|index| *index >= 0).filter(fits);
                index.map(Some).ok_or_else(|| {
                    let below = below.map_or(String::new(), |n| format!(" and below {n}"));
                    self.refusal_at(at, format!("{given} is not an index: it must be 0 or more{below}"))
                })
            }
            Index::Hour | Index::Weekday => {
                let seconds = whole(raw, true).ok_or_else(|| mistyped("Unix seconds"))?;
                let days = seconds.div_euclid(SECONDS_A_DAY);
                let value = match index {
                    Index::Hour => seconds.rem_euclid(SECONDS_A_DAY) / SECONDS_AN_HOUR,
                    _ => (days + WEEKDAY_OF_EPOCH).rem_euclid(7),
                };
                Ok(Some(i32::try_from(value).expect("an hour or a weekday")))
            }
        }
    }

    fn or_unknown(
        &self,
        index: Option<i32>,
        unknown: Rule,
        raw: &Raw,
        at: Option<usize>,
        taken: &mut Taken,
    ) -> Result<Option<i32>, Refusal> {
        if index.is_none() {
            if unknown == Rule::Reject {
                return Err(self.refusal_at(at, format!("{} is not in the vocabulary", what(raw))));
            }
            *taken = Taken::Unknown;
        }
        Ok(index)
    }

    fn number(&self, raw: &Raw, at: Option<usize>) -> Result<f64, Refusal> {
        match raw {
            Raw::Int(v) => Ok(*v as f64),
            Raw::Float(v) if v.is_finite() => Ok(*v),
            _ => Err(self.refusal_at(at, format!("must be a number, not {}", what(raw)))),
        }
    }

    fn elements<'r>(&self, raw: &'r Raw) -> Result<&'r [Raw], Refusal> {
        match raw {
            Raw::Null => Ok(&[]),
            Raw::List(values) => Ok(values),
            _ => Err(self.refusal(format!("must be a list, not {}", what(raw)))),
        }
    }

    fn refusal(&self, message: String) -> Refusal {
        self.refusal_at(None, message)
    }

    fn refusal_at(&self, at: Option<usize>, message: String) -> Refusal {
        refusal(&self.feature.fields[0], at, message)
    }
}

fn refusal(field: &str, at: Option<usize>, message: String) -> Refusal {
    Refusal { field: at.map_or_else(|| field.to_owned(), |at| format!("{field}[{at}]")), message }
}

/// Names a field for which the schema says `escalate`, once.
fn note(escalate: &mut Vec<String>, field: &String) {
    if !escalate.contains(field) {
        escalate.push(field.clone());
    }
}

/// A text; an integer stands for its decimal digits, for many an id is a number at its source.
fn text(raw: &Raw) -> Option<std::borrow::Cow<'_, str>> {
    match raw {
        Raw::Text(text) => Some(text.as_str().into()),
        Raw::Int(v) => Some(v.to_string().into()),
        _ => None,
    }
}

/// A whole number; a fraction is none, or is rounded down.
fn whole(raw: &Raw, round_down: bool) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match raw {
        Raw::Int(v) => Some(*v),
        Raw::Float(v) if v.abs() <= EXACT && (round_down || v.fract() == 0.0) => Some(v.floor() as i64),
        _ => None,
    }
}

fn modulo(hash: u64, n: u32) -> i32 {
    i32::try_from(hash % u64::from(n)).expect("a hash is taken modulo an i32")
}

fn to_i32(index: usize) -> i32 {
    i32::try_from(index).expect("vocabularies, catalogs and boundaries are bounded far below an i32's")
}

/// What a value is, for a message.
fn what(raw: &Raw) -> String {
    const SHOWN: usize = 40;
    match raw {
        Raw::Null => "null".to_owned(),
        Raw::Bool(v) => format!("the boolean {v}"),
        Raw::Int(v) => v.to_string(),
        Raw::Float(v) => v.to_string(),
        Raw::Text(text) => {
            let end = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
            format!("`{}{end}`", text.chars().take(SHOWN).collect::<String>())
        }
        Raw::List(_) => "a list".to_owned(),
    }
}
