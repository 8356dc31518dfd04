//! How well the variants rank, and where they do not.

use crate::evaluate::{Beside, Evaluation, Ratio, Relevance};
use crate::findings::{Change, Changed, Findings};
use crate::page::chart::{self, ChartError};
use crate::page::format::{grouped, percent, span};
use crate::page::html::Html;
use crate::page::table::{Cell, Scale, swatch, table};
use crate::ranker::Ranker;

pub(in crate::page) fn quality(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    let Some(first) = findings.evaluations.first() else { return Ok(()) };
    let k = first.k;
    h.leaf(
        "p",
        &[],
        &format!(
            "Agreement is the share of {} requests with f32's top-{k} set, overlap the mean share of that set. Regret is \
             how much lower f32's mean score of the variant's top {k} is than of its own, before the link.",
            grouped(first.requests)
        ),
    );
    let relevance = |e: &Evaluation, f: fn(&Relevance) -> Option<f64>| {
        Cell::Number(e.relevance.as_ref().and_then(f).map_or("–".to_owned(), |v| format!("{v:.4}")))
    };
    let row = |e: &Evaluation| {
        vec![
            Cell::Ranker(e.variant),
            Cell::Noted(percent(e.agreement), e.agreement_interval.map_or(String::new(), span)),
            Cell::Number(format!("{:.4}", e.overlap)),
            Cell::Number(format!("{:.4}", e.regret)),
            relevance(e, |r| Some(r.hit_rate)),
            relevance(e, |r| Some(r.ndcg)),
            relevance(e, |r| Some(r.auc)),
            relevance(e, |r| r.log_loss),
        ]
    };
    let [hits, ndcg] = [format!("HR@{k}"), format!("NDCG@{k}")];
    let heads = ["variant", "agreement", "overlap", "regret", &hits, &ndcg, "AUC", "log loss"];
    table(h, &heads, &findings.evaluations.iter().map(row).collect::<Vec<_>>());

    let beside: Vec<(Ranker, Beside)> =
        findings.evaluations.iter().filter_map(|e| Some((e.variant, e.beside?))).collect();
    if beside.is_empty() {
        h.leaf("p", &[("class", "note")], "No request names a relevant item: there is nothing to say of relevance.");
        return Ok(());
    }
    h.leaf("h3", &[], "Beside f32");
    h.leaf(
        "p",
        &[],
        "Means as shares of f32's on the same requests, with 95 % intervals of 1000 bootstrap samples of whole users. The \
         upright line is f32, on a scale of its own in each column; an interval that ends before it is drawn in red.",
    );
    if beside.iter().any(|(ranker, _)| ranker.is_peer()) {
        h.leaf("p", &[], "The scales are the variants'; what a peer has beyond them is drawn at their end.");
    }
    let of = [|b: &Beside| b.hit_rate, |b: &Beside| b.ndcg, |b: &Beside| b.auc];
    let scales = of.map(|f| Scale::of(beside.iter().map(|(ranker, b)| (*ranker, f(b)))));
    let row = |(variant, b): &(Ranker, Beside)| {
        let cells = of.iter().zip(scales).map(|(f, scale)| Cell::Ratio(f(b), scale));
        std::iter::once(Cell::Ranker(*variant)).chain(cells).collect()
    };
    table(h, &["variant", &hits, &ndcg, "AUC"], &beside.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

pub(in crate::page) fn coverage(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    h.leaf(
        "p",
        &[],
        "If a variant answered alone, and only where its margin is large enough: how much it would answer, and how much of \
         that with f32's top-k set. The further right a curve stays near 100 %, the better its margin tells what it knows.",
    );
    h.tag("p", &[("class", "legend")], |h| {
        for curve in &findings.curves {
            h.tag("span", &[], |h| swatch(h, curve.variant));
        }
    });
    h.figure("Agreement among the requests answered, by their share", &chart::coverage(&findings.curves)?, "");
    Ok(())
}

pub(in crate::page) fn cohorts(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    let all = || findings.evaluations.iter().flat_map(|e| e.cohorts.iter().map(move |c| (e.variant, c)));
    if all().next().is_none() {
        h.leaf("p", &[("class", "note")], "No cohort can be formed from these requests.");
        return Ok(());
    }
    h.leaf(
        "p",
        &[],
        "A mean can hide who pays for it. New and heavy users have the shortest and the longest quarter of histories; tail \
         and head are requests whose relevant items are of the less and of the more popular half of the catalog.",
    );
    let of = |b: Option<Beside>, f: fn(&Beside) -> Option<Ratio>| b.as_ref().and_then(f);
    let ndcg = Scale::of(all().map(|(ranker, c)| (ranker, of(c.beside, |b| b.ndcg))));
    let auc = Scale::of(all().map(|(ranker, c)| (ranker, of(c.beside, |b| b.auc))));
    let rows: Vec<Vec<Cell>> = all()
        .map(|(variant, c)| {
            vec![
                Cell::Ranker(variant),
                Cell::Remarked(c.cohort.as_str().to_owned(), c.what.clone()),
                Cell::Number(grouped(c.requests)),
                Cell::Noted(percent(c.agreement), c.agreement_interval.map_or(String::new(), span)),
                Cell::Ratio(of(c.beside, |b| b.ndcg), ndcg),
                Cell::Ratio(of(c.beside, |b| b.auc), auc),
            ]
        })
        .collect();
    table(h, &["variant", "cohort", "requests", "agreement", "NDCG of f32's", "AUC of f32's"], &rows);
    Ok(())
}

pub(in crate::page) fn deviation(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    h.leaf(
        "p",
        &[],
        "The variant's score minus f32's, before the link, of every candidate. The mean difference of each request is \
         taken off: it changes no ranking. Each chart has a scale of its own.",
    );
    if findings.deviations.is_empty() {
        h.leaf("p", &[("class", "note")], "No variant's scores deviate.");
    }
    let mut drawings = Vec::new();
    for d in &findings.deviations {
        let note = format!(
            "Root mean square {}, largest {}; {} of {} candidates are beyond the chart.",
            chart::rounded(d.rms, d.rms),
            chart::rounded(d.largest, d.rms),
            grouped(d.outside),
            grouped(d.candidates)
        );
        drawings.push((format!("Deviation of {}", d.variant.as_str()), chart::deviation(d)?, note));
    }
    h.tag("div", &[("class", "pair")], |h| {
        for (title, drawing, note) in &drawings {
            h.figure(title, drawing, note);
        }
    });
    Ok(())
}

pub(in crate::page) fn changed(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    h.leaf(
        "p",
        &[],
        "By regret, for each variant. Beside an item: f32's score before the link, and its rank by f32 → by the variant. quantize explain --line shows a request in full.",
    );
    if findings.changed.is_empty() {
        h.leaf("p", &[("class", "note")], "No variant changes a top k.");
    }
    for variants in findings.changed.chunk_by(|a, b| a.variant == b.variant) {
        h.tag("h3", &[], |h| variants.iter().take(1).for_each(|c| swatch(h, c.variant)));
        let row = |c: &Changed| {
            vec![
                Cell::Number(format!("{:.4}", c.regret)),
                Cell::Remarked(c.user.clone(), format!("line {}", c.line)),
                Cell::Number(c.k.to_string()),
                Cell::Items(c.out.iter().map(item).collect()),
                Cell::Items(c.into.iter().map(item).collect()),
            ]
        };
        let rows: Vec<Vec<Cell>> = variants.iter().map(row).collect();
        table(h, &["regret", "user", "k", "went out", "came in"], &rows);
    }
    Ok(())
}

fn item(change: &Change) -> (String, String) {
    (change.id.clone(), format!("{:.3}, {} → {}", change.score, change.rank, change.ranked))
}
