//! How popular items are in each geo: for the geos that the catalog's items name, of the items popular there.

use super::{Catalog, CatalogError};
use crate::limits;
use crate::topk;
use crate::wire::{Raw, Record};

/// The raw field that says how popular an item is: a number, or an object with one number a geo.
pub(super) const FIELD: &str = "popularity";
/// The key of such an object that is no geo's.
const EVERYWHERE: &str = "*";

/// Every geo, by its name in capitals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Geos(Vec<Geo>);

/// The items popular in one geo.
#[derive(Clone, Debug, PartialEq)]
pub struct Geo {
    /// Its name, in capitals.
    pub(super) name: String,
    /// Ascending.
    pub(super) rows: Vec<u32>,
    /// Of each row; above zero.
    pub(super) popularity: Vec<f32>,
}

impl Geo {
    /// The geo's name, in capitals.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How popular an item is here; `None` for one that is not.
    #[must_use]
    pub fn popularity(&self, row: u32) -> Option<f32> {
        self.rows.binary_search(&row).ok().map(|at| self.popularity[at])
    }

    /// The rows of the items that are popular here, ascending.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// How popular each of [`Self::rows`] is.
    #[must_use]
    pub fn popularities(&self) -> &[f32] {
        &self.popularity
    }
}

impl Catalog {
    /// The ids of the most popular items of a geo, or of everywhere, with their popularity; only such as are popular at
    /// all.
    #[must_use]
    pub fn most_popular(&self, geo: Option<&Geo>, k: usize) -> Vec<(String, f32)> {
        let popularity = geo.map_or(&self.popularity[..], |geo| &geo.popularity);
        let row = |at: usize| geo.map_or(at as u32, |geo| geo.rows[at]);
        let best = topk::top(popularity, k).into_iter().filter(|at| popularity[*at] > 0.0);
        best.map(|at| (self.id(row(at)).to_owned(), popularity[at])).collect()
    }
}

impl Geos {
    /// Geos read from a file, which has checked each.
    ///
    /// # Errors
    /// Their names are not those of geos, each after the one before.
    pub(super) fn new(geos: Vec<Geo>) -> Result<Self, String> {
        if geos.len() > limits::MAX_GEOS {
            return Err(format!("has {} geos, but at most {} are allowed", geos.len(), limits::MAX_GEOS));
        }
        if let Some(geo) = geos.iter().find(|geo| read_name(&geo.name).as_deref() != Some(&*geo.name)) {
            return Err(format!("has a geo `{}`, which is no name of one in capitals", shown(&geo.name)));
        }
        if !geos.is_sorted_by(|a, b| a.name < b.name) {
            return Err("has geos that are not in order, each once".to_owned());
        }
        Ok(Self(geos))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Geo> {
        let name = name.to_ascii_uppercase();
        self.0.binary_search_by(|geo| geo.name.as_str().cmp(&name)).ok().map(|at| &self.0[at])
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Geo> {
        self.0.iter()
    }

    /// Notes where an item is popular, and returns how popular it is everywhere: what `*` says, else the sum of all
    /// geos.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn add(&mut self, row: u32, record: &Record) -> Result<f32, Fault> {
        let (mut everywhere, mut sum) = (None, 0.0);
        for (field, raw) in &record.0 {
            if field == FIELD {
                // What is no number was never refused: an item may have fields of any kind.
                everywhere = number(raw).or(everywhere);
                continue;
            }
            let Some(geo) = field.strip_prefix(FIELD).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let fault = |message: String| Fault { field: field.clone(), message };
            let popularity = number(raw).ok_or_else(|| fault("must be a finite number".to_owned()))?;
            if geo == EVERYWHERE {
                everywhere = Some(popularity);
                continue;
            }
            let longest = limits::MAX_GEO_BYTES;
            let name = read_name(geo).ok_or_else(|| {
                fault(format!(
                    "is not named by a geo: up to {longest} letters, digits, `-` and `_`, or `*` for everywhere"
                ))
            })?;
            sum += popularity;
            if popularity > 0.0 {
                self.note(name, row, popularity).map_err(fault)?;
            }
        }
        let everywhere = everywhere.unwrap_or(sum);
        Ok(if everywhere.is_finite() { everywhere } else { f32::MAX })
    }

    fn note(&mut self, name: String, row: u32, popularity: f32) -> Result<(), String> {
        let at = match self.0.binary_search_by(|geo| geo.name.cmp(&name)) {
            Ok(at) => at,
            Err(_) if self.0.len() >= limits::MAX_GEOS => {
                return Err(format!("is of one geo too many: a catalog may have {}", limits::MAX_GEOS));
            }
            Err(at) => {
                self.0.insert(at, Geo { name, rows: Vec::new(), popularity: Vec::new() });
                at
            }
        };
        let geo = &mut self.0[at];
        let Err(place) = geo.rows.binary_search(&row) else {
            return Err("is given twice, in other letters".to_owned());
        };
        geo.rows.insert(place, row);
        geo.popularity.insert(place, popularity);
        Ok(())
    }

    /// Whether an item is popular in any geo.
    pub(super) fn know(&self, row: u32) -> bool {
        self.0.iter().any(|geo| geo.popularity(row).is_some())
    }

    /// Forgets where an item was popular, and the geos that nothing is popular in any more.
    pub(super) fn forget(&mut self, row: u32) {
        self.0.retain_mut(|geo| {
            if let Ok(place) = geo.rows.binary_search(&row) {
                geo.rows.remove(place);
                geo.popularity.remove(place);
            }
            !geo.rows.is_empty()
        });
    }
}

/// What is wrong with an item's popularity.
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn of(self, item: usize, id: &str) -> CatalogError {
        CatalogError::Item { item, id: Some(id.to_owned()), field: self.field, message: self.message }
    }
}

/// The name of a geo in capitals, if it is one.
fn read_name(name: &str) -> Option<String> {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_one = (1..=limits::MAX_GEO_BYTES).contains(&name.len()) && name.bytes().all(sane);
    is_one.then(|| name.to_ascii_uppercase())
}

fn number(raw: &Raw) -> Option<f32> {
    let number = match raw {
        Raw::Int(v) => *v as f32,
        Raw::Float(v) => *v as f32,
        Raw::Null | Raw::Bool(_) | Raw::Text(_) | Raw::List(_) => return None,
    };
    number.is_finite().then_some(number)
}

fn shown(name: &str) -> String {
    name.chars().take(limits::MAX_GEO_BYTES).collect()
}
