//! How well the variants rank, as tables.

use crate::evaluate::{Beside, Evaluation, Ratio, Relevance};

use super::{percent, table};

/// One row a variant; one a variant beside f32, where requests name relevant items; one a variant and cohort.
pub(crate) fn evaluations(evaluations: &[Evaluation]) -> String {
    let Some(first) = evaluations.first() else { return String::new() };
    let mut text = quality(evaluations, first.k);
    text += &format!("\non {} requests; a tie counts against the relevant item", first.requests);
    if evaluations.iter().any(|e| e.beside.is_some()) {
        text += &format!("\n{}\n", beside_f32(evaluations, first.k));
        text += "shares of f32's means with 95 % intervals, users resampled as a whole";
    }
    if evaluations.iter().any(|e| !e.cohorts.is_empty()) {
        text += &format!("\n{}", cohorts(evaluations, first.k));
    }
    text
}

fn quality(evaluations: &[Evaluation], k: u32) -> String {
    let [hits, ndcg, same] = [format!("HR@{k}"), format!("NDCG@{k}"), format!("top-{k} as f32")];
    let mut rows = table(&["variant", &hits, &ndcg, "AUC", "log loss", &same, "95 % interval", "overlap", "regret"]);
    for e in evaluations {
        let relevance = |f: fn(&Relevance) -> Option<f64>| {
            e.relevance.as_ref().and_then(f).map_or("-".to_owned(), |v| format!("{v:.4}"))
        };
        rows.add_row([
            e.variant.as_str().to_owned(),
            relevance(|r| Some(r.hit_rate)),
            relevance(|r| Some(r.ndcg)),
            relevance(|r| Some(r.auc)),
            relevance(|r| r.log_loss),
            percent(e.agreement),
            span(e.agreement_interval),
            format!("{:.4}", e.overlap),
            format!("{:.4}", e.regret),
        ]);
    }
    rows.to_string()
}

fn beside_f32(evaluations: &[Evaluation], k: u32) -> String {
    let mut rows = table(&["variant", &format!("HR@{k} of f32's"), &format!("NDCG@{k} of f32's"), "AUC of f32's"]);
    for e in evaluations {
        let Some(Beside { hit_rate, ndcg, auc }) = e.beside else { continue };
        rows.add_row([e.variant.as_str().to_owned(), ratio(hit_rate), ratio(ndcg), ratio(auc)]);
    }
    rows.to_string()
}

fn cohorts(evaluations: &[Evaluation], k: u32) -> String {
    let [same, ndcg] = [format!("top-{k} as f32"), format!("NDCG@{k} of f32's")];
    let mut rows = table(&["variant", "cohort", "", "requests", &same, "95 % interval", &ndcg, "AUC of f32's"]);
    for e in evaluations {
        for c in &e.cohorts {
            rows.add_row([
                e.variant.as_str().to_owned(),
                c.cohort.as_str().to_owned(),
                c.what.clone(),
                c.requests.to_string(),
                percent(c.agreement),
                span(c.agreement_interval),
                ratio(c.beside.and_then(|b| b.ndcg)),
                ratio(c.beside.and_then(|b| b.auc)),
            ]);
        }
    }
    rows.to_string()
}

/// `99.71 % (99.40 to 99.98)`
fn ratio(ratio: Option<Ratio>) -> String {
    let Some(Ratio { ratio, interval }) = ratio else { return "-".to_owned() };
    let of = |share: f64| format!("{:.2}", 100.0 * share);
    let interval = interval.map_or(String::new(), |[low, high]| format!(" ({} to {})", of(low), of(high)));
    format!("{} %{interval}", of(ratio))
}

fn span(interval: Option<[f64; 2]>) -> String {
    interval.map_or("-".to_owned(), |[low, high]| format!("{} to {}", percent(low), percent(high)))
}
