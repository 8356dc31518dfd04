//! One raw value into the columns of one feature.

use xxhash_rust::xxh64::xxh64;

use super::block::{Block, Columns};
use super::ln::ln1p;
use crate::schema::{Coding, Feature, Index, Keep, Names, Origin, Rule, Step, Vocabulary};
use crate::wire::{Raw, Refusal};

const SECONDS_AN_HOUR: i64 = 3600;
const SECONDS_A_DAY: i64 = 86_400;
/// The first of January 1970 was a Thursday; Monday is 0.
const WEEKDAY_OF_EPOCH: i64 = 3;

/// Whether a value asks for its request to go up whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Escalates(pub(super) bool);

/// A feature and what its values are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Encoding<'a> {
    pub(super) feature: &'a Feature,
    pub(super) vocabularies: &'a [Vocabulary],
    /// The ids of the catalog; without them every id is unknown.
    pub(super) ids: &'a Names,
}

/// Whether the default of a feature, given or not, can be encoded; says what is wrong with it.
pub(crate) fn check_default(feature: &Feature, vocabularies: &[Vocabulary]) -> Result<(), String> {
    let width = match &feature.coding {
        Coding::List { max_length, .. } => *max_length,
        Coding::MultiHot(v) => vocabularies[*v].size().unwrap_or_default(),
        _ => 1,
    };
    let mut block = Block::empty(feature.coding.dtype(), width);
    block.append_row();
    let encoding = Encoding { feature, vocabularies, ids: &Names::default() };
    let unknown = if encoding.looks_up_the_catalog() { Rule::Default } else { Rule::Reject };
    let refused = |refusal: Refusal| format!("its default cannot be encoded: {}", refusal.message);
    match feature.missing {
        Rule::Reject => Ok(()),
        _ => encoding.given(&feature.default, unknown, block.last_row(0)).map(drop).map_err(refused),
    }
}

impl Encoding<'_> {
    /// Writes the columns of a raw value; they are zeros before.
    pub(super) fn encode(&self, raw: &Raw, out: Columns<'_>) -> Result<Escalates, Refusal> {
        if *raw != Raw::Null {
            return self.given(raw, self.feature.unknown, out);
        }
        let stored = self.feature.source == Origin::Store;
        if self.feature.missing == Rule::Reject && !stored {
            return Err(self.refusal("is missing, and the schema needs it".to_owned()));
        }
        // The default was checked with the schema; that the catalog lacks it is not the request's fault.
        self.given(&self.feature.default, Rule::Default, out)?;
        // What the store has, a tier without one cannot know: one above may.
        Ok(Escalates(stored || self.feature.missing == Rule::Escalate))
    }

    fn given(&self, raw: &Raw, unknown: Rule, out: Columns<'_>) -> Result<Escalates, Refusal> {
        let mut escalates = Escalates::default();
        match (&self.feature.coding, out) {
            (Coding::Numeric(steps), Columns::F32(out)) => out[0] = self.numeric(raw, steps)?,
            (Coding::Bucketized(boundaries), Columns::I32(out)) => {
                out[0] = match raw {
                    Raw::Null => 0,
                    _ => {
                        let value = self.number(raw)?;
                        to_i32(1 + boundaries.partition_point(|boundary| *boundary <= value))
                    }
                };
            }
            (Coding::Categorical(index), Columns::I32(out)) => {
                if *raw != Raw::Null {
                    let value = self.index(index, raw, None)?;
                    out[0] = self.or_unknown(value, unknown, raw, None, &mut escalates)?.unwrap_or(0);
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
                    *place = self.or_unknown(value, unknown, raw, Some(at), &mut escalates)?.unwrap_or(0);
                }
            }
            (Coding::MultiHot(v), Columns::F32(out)) => {
                for (at, raw) in self.elements(raw)?.iter().enumerate() {
                    let value = self.index(&Index::Vocabulary(*v), raw, Some(at))?;
                    if let Some(index) = self.or_unknown(value, unknown, raw, Some(at), &mut escalates)? {
                        out[index.unsigned_abs() as usize - self.vocabularies[*v].first as usize] = 1.0;
                    }
                }
            }
            (Coding::Numeric(_) | Coding::MultiHot(_), Columns::I32(_))
            | (Coding::Bucketized(_) | Coding::Categorical(_) | Coding::List { .. }, Columns::F32(_)) => {
                unreachable!("a block has the element type of the features that feed it")
            }
        }
        Ok(escalates)
    }

    fn numeric(&self, raw: &Raw, steps: &[Step]) -> Result<f32, Refusal> {
        let given = if *raw == Raw::Null { 0.0 } else { self.number(raw)? };
        let value = steps.iter().fold(given, |x, step| match step {
            Step::Ln1p => ln1p(x),
            Step::Standardize { mean, std } => (x - mean) / std,
        });
        let rounded = value as f32;
        if rounded.is_finite() {
            Ok(rounded)
        } else {
            Err(self.refusal(format!("{given} is outside the range of its transform")))
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
                let index = xxh64(text.as_bytes(), 0) % u64::from(n);
                Ok(Some(i32::try_from(index).expect("a hash is taken modulo an i32")))
            }
            Index::Identity => {
                let given = whole(raw, false).ok_or_else(|| mistyped("an integer"))?;
                let index = i32::try_from(given).ok().filter(|index| *index >= 0);
                index
                    .map(Some)
                    .ok_or_else(|| self.refusal_at(at, format!("{given} is not an index: it must be 0 or more")))
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
        escalates: &mut Escalates,
    ) -> Result<Option<i32>, Refusal> {
        if index.is_none() {
            match unknown {
                Rule::Default => {}
                Rule::Reject => return Err(self.refusal_at(at, format!("{} is not in the vocabulary", what(raw)))),
                Rule::Escalate => escalates.0 = true,
            }
        }
        Ok(index)
    }

    fn number(&self, raw: &Raw) -> Result<f64, Refusal> {
        match raw {
            Raw::Int(v) => Ok(*v as f64),
            Raw::Float(v) if v.is_finite() => Ok(*v),
            _ => Err(self.refusal(format!("must be a number, not {}", what(raw)))),
        }
    }

    fn elements<'r>(&self, raw: &'r Raw) -> Result<&'r [Raw], Refusal> {
        match raw {
            Raw::Null => Ok(&[]),
            Raw::List(values) => Ok(values),
            _ => Err(self.refusal(format!("must be a list, not {}", what(raw)))),
        }
    }

    fn looks_up_the_catalog(&self) -> bool {
        match self.feature.coding {
            Coding::Categorical(Index::Vocabulary(v))
            | Coding::List { index: Index::Vocabulary(v), .. }
            | Coding::MultiHot(v) => self.vocabularies[v].is_catalog(),
            _ => false,
        }
    }

    fn refusal(&self, message: String) -> Refusal {
        self.refusal_at(None, message)
    }

    fn refusal_at(&self, at: Option<usize>, message: String) -> Refusal {
        let field = &self.feature.field;
        Refusal { field: at.map_or_else(|| field.clone(), |at| format!("{field}[{at}]")), message }
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
