//! How the time of one call grows with its candidates, and with the catalog.

use std::fmt::Write as _;

use shared_model::catalog::{Catalog, Delta};
use shared_model::limits::MAX_DELTA_BYTES;
use shared_model::variant::VariantName;
use shared_model::wire::{Candidate, RankRequest, Stamp};

use super::Bench;
use super::guest::Timed;
use super::model::{Model, TIER, call};
use super::turns::Subject;
use crate::client::Error;
use crate::rows::Row;

const CANDIDATES: [usize; 5] = [1, 10, 100, 1000, 10_000];
/// Items, and what they are called in the rows. The first has enough for any request.
const CATALOGS: [(usize, &str); 3] = [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1M")];
/// Candidates of a request to a large catalog.
const OF_A_CATALOG: usize = 100;
/// Requests of one size, each of other candidates.
const REQUESTS: usize = 16;

pub(super) fn rows(bench: &Bench<'_>, model: &Model) -> Result<Vec<Row>, Error> {
    eprintln!("measuring growth");
    let variant = model.as_w8(VariantName::W8)?;
    let lines = model.lines(&bench.options.dir.join("requests.eval.jsonl"), usize::MAX, REQUESTS)?;
    let requests: Vec<RankRequest> = lines.into_iter().map(|line| line.request).collect();
    let raw = std::fs::read_to_string(bench.options.dir.join("catalog.jsonl"))?;
    let (mut names, mut guests) = (Vec::new(), Vec::new());
    let mut memory = Vec::new();
    let mut catalog = model.opened.catalog.clone();
    for (at, (items, name)) in CATALOGS.into_iter().enumerate() {
        catalog = grown(model, catalog, &raw, items)?;
        let bytes = model.with_catalog(&variant, &catalog)?;
        let ids: Vec<&str> = catalog.items().map(|(_, id)| id).collect();
        let mut guest = |row: String, candidates: usize| {
            let calls =
                requests.iter().zip(0..).map(|(request, seed)| call(&of(request, &ids, candidates, seed), TIER));
            names.push(row);
            guests.push(Timed::start(&bench.worker, TIER, &bytes, calls.collect())?);
            Ok::<_, Error>(())
        };
        if at == 0 {
            for candidates in CANDIDATES {
                guest(format!("edge_time_n_{candidates}"), candidates)?;
            }
        }
        guest(format!("edge_time_catalog_{name}"), OF_A_CATALOG)?;
        let bytes = guests.last().map(|guest| guest.memory_bytes() as f64);
        memory.push(Row::new(&format!("edge_memory_catalog_{name}"), &model.name, "bytes", bytes));
    }
    let mut subjects: Vec<&mut dyn Subject> = guests.iter_mut().map(|guest| guest as _).collect();
    let taken = bench.turns.take(&mut subjects)?;
    let times = names.iter().zip(taken).map(|(name, s)| Row::new(name, &model.name, "ms", Some(s.median() * 1e3)));
    Ok(times.chain(memory).collect())
}

/// A request for so many items of the catalog, other ones for another seed.
fn of(request: &RankRequest, ids: &[&str], candidates: usize, seed: u64) -> RankRequest {
    let chosen = fastrand::Rng::with_seed(seed).choose_multiple(ids.iter(), candidates);
    let candidates = chosen.into_iter().map(|id| Candidate { id: (*id).to_owned(), features: None }).collect();
    RankRequest { candidates, ..request.clone() }
}

/// The catalog with as many items, by deltas: the real ones' features again and again, under new ids.
fn grown(model: &Model, mut catalog: Catalog, raw: &str, items: usize) -> Result<Catalog, Error> {
    let schema = &model.opened.schema;
    let mut copies = Copies::of(raw, catalog.rows());
    while catalog.rows() < items {
        let stamp = Stamp { catalog: catalog.revision(), ..model.opened.bundle.stamp() };
        let lines = copies.next(items - catalog.rows())?;
        catalog = Delta::make(schema, stamp, &catalog, lines.as_bytes())?.1;
    }
    Ok(catalog)
}

/// Lines of a catalog under new ids.
struct Copies<'a> {
    lines: Vec<&'a str>,
    made: usize,
}

impl<'a> Copies<'a> {
    fn of(raw: &'a str, made: usize) -> Self {
        Self { lines: raw.lines().filter(|line| !line.trim().is_empty()).collect(), made }
    }

    /// At most so many, and no more than a delta holds.
    fn next(&mut self, most: usize) -> Result<String, Error> {
        let mut text = String::new();
        for _ in 0..most {
            let line = self.lines[self.made % self.lines.len()];
            let mut item: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)?;
            item.insert("id".to_owned(), format!("copy-{}", self.made).into());
            writeln!(text, "{}", serde_json::Value::from(item))?;
            self.made += 1;
            // A header and one more line fit behind it.
            if text.len() as u64 > MAX_DELTA_BYTES / 2 {
                break;
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_new_ids_and_go_on_where_the_last_ended() {
        let mut copies = Copies::of("{\"id\":\"a\",\"year\":1}\n{\"id\":\"b\",\"year\":2}\n", 2);
        assert_eq!(copies.next(1).unwrap(), "{\"id\":\"copy-2\",\"year\":1}\n");
        assert_eq!(copies.next(2).unwrap().lines().count(), 2);
        assert_eq!(copies.made, 5);
    }
}
