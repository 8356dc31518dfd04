//! What is answered when the model cannot: degradation levels 2 to 4 (DESIGN §10), each from the bundle alone.
//!
//! Level 2 is for a request that lacks what only a feature store knows of its user: [`super::similarity`] ranks. Level 3
//! is by popularity where the user is, and level 4, where nobody knows how popular any of the candidates is, by the
//! bundle's static list. None of them shows a score: a score is the model's.

use std::collections::HashSet;

use super::prepare::ranked_ids;
use crate::catalog::Catalog;
use crate::encode::request_field;
use crate::graph::Scope;
use crate::schema::{Origin, Schema};
use crate::topk;
use crate::wire::{RankRequest, Ranked, Raw, Tier};

/// The field of the context that says where the user is.
const GEO: &str = "geo";

/// A ranking that no model made.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// The degradation level: 3 or 4.
    pub level: u8,
    /// The best first, at most k.
    pub ranked: Vec<Ranked>,
}

/// The best ranking without a model and without a history: level 3, or level 4 if popularity says nothing.
#[must_use]
pub fn without_model(catalog: &Catalog, static_list: &[String], request: &RankRequest, by: Tier) -> Fallback {
    let geo = match request.context.field(GEO) {
        Raw::Text(geo) => catalog.geo(geo),
        _ => None,
    };
    let known = |id: &str| {
        let row = catalog.row(id)?;
        let everywhere = catalog.popularity()[row as usize];
        let here = geo.and_then(|geo| geo.popularity(row));
        (here.is_some() || everywhere > 0.0).then_some((here, everywhere))
    };
    if ranked_ids(request).next().is_some() && !ranked_ids(request).any(|id| known(id).is_some()) {
        return Fallback { level: 4, ranked: by_static_list(static_list, request, by) };
    }
    let ranked = match geo {
        Some(_) => {
            let (here, elsewhere): (Vec<&str>, _) =
                ranked_ids(request).partition(|id| known(id).is_some_and(|(here, _)| here.is_some()));
            let popular_here = best(&here, |id| known(id).and_then(|(here, _)| here));
            let popular_elsewhere = best(&elsewhere, |id| everywhere(catalog, id));
            first(popular_here.into_iter().chain(popular_elsewhere), request, by)
        }
        None => return Fallback { level: 3, ranked: by_popularity(catalog, request, by) },
    };
    Fallback { level: 3, ranked }
}

/// The candidates by how popular they are everywhere. Unknown items come last.
fn by_popularity(catalog: &Catalog, request: &RankRequest, by: Tier) -> Vec<Ranked> {
    let ids: Vec<&str> = ranked_ids(request).collect();
    first(best(&ids, |id| everywhere(catalog, id)), request, by)
}

fn everywhere(catalog: &Catalog, id: &str) -> Option<f32> {
    catalog.row(id).map(|row| catalog.popularity()[row as usize])
}

/// Those of the list in its order, then the others in the request's.
fn by_static_list(list: &[String], request: &RankRequest, by: Tier) -> Vec<Ranked> {
    let ids: HashSet<&str> = ranked_ids(request).collect();
    let listed: Vec<&str> = list.iter().map(String::as_str).filter(|id| ids.contains(id)).collect();
    let known: HashSet<&str> = listed.iter().copied().collect();
    first(listed.iter().copied().chain(ranked_ids(request).filter(|id| !known.contains(id))), request, by)
}

/// All ids, the best first; ties in the order given; those of which nothing is known last.
pub(super) fn best<'a>(ids: &[&'a str], value: impl Fn(&str) -> Option<f32>) -> Vec<&'a str> {
    let values: Vec<f32> = ids.iter().map(|id| value(id).unwrap_or(f32::NEG_INFINITY)).collect();
    topk::top(&values, ids.len()).into_iter().map(|at| ids[at]).collect()
}

fn first<'a>(ids: impl IntoIterator<Item = &'a str>, request: &RankRequest, by: Tier) -> Vec<Ranked> {
    let entry = |id: &str| Ranked { id: id.to_owned(), score: None, by };
    ids.into_iter().take(request.k as usize).map(entry).collect()
}

/// Whether a request lacks what the schema says the feature store has. Nobody below a store can score it as it should
/// be.
pub(super) fn lacks_the_store(schema: &Schema, request: &RankRequest) -> bool {
    let mut features = schema.features().iter().filter(|feature| feature.scope == Scope::Request);
    let lacks = |path: &String| *request_field(request, path) == Raw::Null;
    features.any(|feature| feature.source == Origin::Store && feature.fields.iter().any(lacks))
}
