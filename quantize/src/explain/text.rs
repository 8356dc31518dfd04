//! An explanation for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use shared_model::explain::{CandidateExplained, FeatureExplained, Number};
use shared_model::wire::Answer;

use super::{Does, Explained, TierExplained};
use crate::report::{sentence, table};

/// The encoded values of a feature that fit a cell.
const VALUES: usize = 8;
/// The characters of a raw value that fit a cell.
const CHARS: usize = 48;

pub(crate) fn text(explained: &Explained) -> String {
    let Explained { model, version, defaulted, tiers, path, answer } = explained;
    let mut text = String::new();
    match tiers.first() {
        None => {
            let _ = writeln!(text, "{model} version {version}: no candidate is left to rank");
        }
        Some(first) => {
            let e = &first.explanation;
            let _ = writeln!(text, "{model} version {version}: the best {} of {} candidates", e.k, e.candidates);
            let _ = writeln!(text, "bundle {}\n\n{}", e.bundle, features(&e.request));
        }
    }
    for tier in tiers {
        let _ = writeln!(text, "\n{}", of_tier(tier));
    }
    let items = items(tiers);
    if !items.is_empty() {
        let _ = writeln!(text, "\n{items}");
    }
    for said in defaulted {
        let _ = writeln!(text, "{said}");
    }
    let stages = path.iter().map(|stage| match stage.does {
        Does::Answers { .. } => format!("{} answers", stage.tier.as_str()),
        Does::Escalates { why, candidates } => {
            format!("{} sends {candidates} candidates up ({})", stage.tier.as_str(), why.as_str().replace('_', " "))
        }
        Does::AsksForAll => format!("{} asks for the whole request", stage.tier.as_str()),
    });
    let _ = writeln!(text, "\n{}", stages.collect::<Vec<_>>().join(" -> "));
    text + &of_answer(answer)
}

fn features(features: &[FeatureExplained]) -> String {
    let mut rows = table(&["feature", "input", "raw", "transform", "encoded", "from"]);
    for f in features {
        let input = f.column.map_or_else(|| f.input.clone(), |column| format!("{}[{column}]", f.input));
        let from = format!("{:?}", f.from).to_lowercase();
        rows.add_row([f.feature.clone(), input, raw(f), f.transform.clone(), encoded(f), from]);
    }
    rows.to_string()
}

fn of_tier(tier: &TierExplained) -> String {
    let e = &tier.explanation;
    let margin = match (e.margin, e.boundary) {
        (Some(margin), Some(boundary)) => format!("margin {margin:.4} around {boundary:.4}"),
        _ => "nothing is left out".to_owned(),
    };
    let policy = e.policy.as_ref().map_or_else(String::new, |policy| format!("\n{}", sentence(policy)));
    let mut rows = table(&["rank", "id", "score", "before the link", "noise"]);
    let mut last = 0;
    for c in &e.ranked {
        if c.rank > last + 1 {
            rows.add_row(["…", "", "", "", ""]);
        }
        let rank = format!("{}{}", c.rank, if c.rank == e.k as usize { " (last in)" } else { "" });
        let [score, before_link] = [c.score, c.score_before_link].map(|score| format!("{score:.6}"));
        rows.add_row([rank, c.id.clone(), score, before_link, format!("{:.2}", c.noise)]);
        last = c.rank;
    }
    let (name, variant) = (e.tier.as_str(), e.variant.as_str());
    format!("{name} ({variant}): {margin}; {}{policy}\n{rows}", tier.verdict)
}

/// The features of every candidate shown, once.
fn items(tiers: &[TierExplained]) -> String {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let all = tiers.iter().flat_map(|tier| &tier.explanation.ranked);
    let shown: Vec<&CandidateExplained> = all.filter(|c| seen.insert(&c.id) && !c.features.is_empty()).collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut rows = table(&["candidate", "features, encoded"]);
    for candidate in shown {
        let of = |f: &FeatureExplained| format!("{} {}", f.feature, encoded(f));
        rows.add_row([candidate.id.clone(), candidate.features.iter().map(of).collect::<Vec<_>>().join("; ")]);
    }
    rows.to_string()
}

fn of_answer(answer: &Answer) -> String {
    let shown = |(i, r): (usize, &shared_model::wire::Ranked)| {
        format!("{:>4}  {}  {:.6}  by {}", i + 1, r.id, r.score.unwrap_or(f32::NAN), r.by.as_str())
    };
    let entries: Vec<String> = answer.ranked.iter().enumerate().map(shown).collect();
    entries.join("\n")
}

fn raw(feature: &FeatureExplained) -> String {
    let Some(values) = &feature.raw else { return "(catalog)".to_owned() };
    let text = |v: &Value| match v {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let all = values.iter().map(text).collect::<Vec<_>>().join(" x ");
    match all.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &all[..end]),
        None => all,
    }
}

fn encoded(feature: &FeatureExplained) -> String {
    let values = feature.encoded.iter().take(VALUES).map(Number::to_string);
    let more = if feature.encoded.len() + feature.encoded_left_out > VALUES { " …" } else { "" };
    values.collect::<Vec<_>>().join(" ") + more
}
