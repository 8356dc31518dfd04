//! Who is looked at on their own, by what any schema, catalog and request can tell.

use serde::Serialize;
use shared_model::catalog::Catalog;

use crate::score::Scored;

/// A group of users or requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cohort {
    /// The quarter of requests with the shortest histories.
    NewUsers,
    /// The quarter with the longest.
    HeavyUsers,
    /// Every relevant item is among the less popular half of the catalog.
    Tail,
    /// Every relevant item is among the more popular half.
    Head,
}

impl Cohort {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewUsers => "new users",
            Self::HeavyUsers => "heavy users",
            Self::Tail => "tail items",
            Self::Head => "head items",
        }
    }
}

/// A cohort's requests.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) cohort: Cohort,
    pub(super) what: String,
    /// For each request, whether it is one of them.
    pub(super) members: Vec<bool>,
}

/// The cohorts that can be formed, and have a request.
pub(super) fn groups(requests: &[Scored], catalog: &Catalog) -> Vec<Group> {
    let mut groups = by_history(requests);
    groups.extend(by_popularity(requests, catalog));
    groups.retain(|group| group.members.contains(&true));
    groups
}

/// None where histories are all alike, or the schema has no list of the user's. Equal lengths stay together: a cohort is
/// more than a quarter where many are as short, or as long, but never everybody.
fn by_history(requests: &[Scored]) -> Vec<Group> {
    let mut lengths: Vec<usize> = requests.iter().filter_map(|r| r.history).collect();
    lengths.sort_unstable();
    let (Some(least), Some(most)) = (lengths.first(), lengths.last()) else { return Vec::new() };
    if least == most {
        return Vec::new();
    }
    let short = lengths[lengths.len() / 4].min(most - 1);
    let long = lengths[lengths.len() * 3 / 4].max(least + 1);
    let group = |cohort, what, is: &dyn Fn(usize) -> bool| {
        let members = requests.iter().map(|r| r.history.is_some_and(is)).collect();
        Group { cohort, what, members }
    };
    vec![
        group(Cohort::NewUsers, format!("a history of {short} or less"), &|n| n <= short),
        group(Cohort::HeavyUsers, format!("a history of {long} or more"), &|n| n >= long),
    ]
}

/// None where the items are all as popular.
fn by_popularity(requests: &[Scored], catalog: &Catalog) -> Vec<Group> {
    let popularity = |row: u32| catalog.popularity()[row as usize];
    let mut all: Vec<f32> = catalog.items().map(|(row, _)| popularity(row)).collect();
    all.sort_unstable_by(f32::total_cmp);
    let Some(middle) = all.len().checked_sub(1).map(|last| all[last / 2]) else { return Vec::new() };
    if all.last().is_none_or(|most| *most <= middle) {
        return Vec::new();
    }
    let group = |cohort, what, is: &dyn Fn(f32) -> bool| {
        let member = |r: &Scored| {
            let mut relevant = r.relevant.iter().map(|i| catalog.row(r.ids.at(*i)).map(popularity));
            !r.relevant.is_empty() && relevant.all(|p| p.is_some_and(is))
        };
        Group { cohort, what, members: requests.iter().map(member).collect() }
    };
    vec![
        group(Cohort::Tail, format!("relevant items of popularity {middle} or less"), &|p| p <= middle),
        group(Cohort::Head, format!("relevant items of popularity above {middle}"), &|p| p > middle),
    ]
}
