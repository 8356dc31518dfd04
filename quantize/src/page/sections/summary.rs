//! The page in a few numbers.

use shared_model::variant::VariantName;

use crate::evaluate::Evaluation;
use crate::findings::{Findings, Size};
use crate::page::chart::ChartError;
use crate::page::format::{bytes, grouped, percent, span};
use crate::page::html::Html;
use crate::page::table::swatch;
use crate::peer::Missing;
use crate::ranker::Ranker;

pub(in crate::page) fn summary(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    let all: Vec<(&Size, &Evaluation)> = findings.sizes.iter().zip(&findings.evaluations).collect();
    for row in all.chunk_by(|(a, _), (b, _)| a.variant.is_peer() == b.variant.is_peer()) {
        h.tag("div", &[("class", "tiles")], |h| row.iter().for_each(|(size, evaluation)| tile(h, size, evaluation)));
    }
    let graph = &findings.graph;
    h.tag("dl", &[], |h| {
        fact(h, "judged on", &judged(findings));
        let parameters = grouped(graph.parameters as u64);
        fact(h, "model", &format!("{parameters} parameters; ranks by {}, then {}", graph.score, graph.link));
        if let Some(check) = &findings.check {
            let difference = check.difference;
            let said = format!(
                "on {} requests the largest difference is {:.1e} on the output, {:.1e} relative on the score",
                check.requests, difference.absolute, difference.relative
            );
            fact(h, "checked against tract", &said);
        }
        if let Some(compared) = &findings.compared {
            compared.with().into_iter().for_each(|said| fact(h, "compared with", &said));
            for Missing { what, reason } in &compared.missing {
                fact(h, "not compared", &format!("{what}: {reason}"));
            }
        }
    });
    Ok(())
}

fn judged(findings: &Findings) -> String {
    let (requests, users) = (grouped(findings.requests as u64), grouped(findings.users as u64));
    let left_out = match findings.skipped {
        0 => String::new(),
        n => format!("; {} more were left out: a tier would send them up unscored", grouped(n as u64)),
    };
    let files = &findings.files;
    let of = if files.is_empty() { String::new() } else { format!(" in {}", files.join(", ")) };
    format!("{requests} requests of {users} users{of}{left_out}")
}

/// What a variant takes, and the two numbers that say whether it will do.
fn tile(h: &mut Html, size: &Size, e: &Evaluation) {
    h.tag("div", &[("class", &format!("tile {}", size.variant.colour()))], |h| {
        h.tag("h3", &[], |h| {
            swatch(h, size.variant);
            h.leaf("small", &[], size.variant.place());
        });
        h.leaf("strong", &[], &bytes(size.bytes));
        if size.variant == Ranker::Variant(VariantName::F32) {
            h.leaf("p", &[], "the reference");
            if let Some(r) = e.relevance {
                h.leaf("p", &[], &format!("NDCG@{} {:.4}, AUC {:.4}", e.k, r.ndcg, r.auc));
            }
            return;
        }
        h.leaf("p", &[], &format!("{} of f32", percent(size.share)));
        h.leaf("p", &[], &format!("{} with f32's top {}", percent(e.agreement), e.k));
        if let Some(ndcg) = e.beside.and_then(|b| b.ndcg) {
            let interval = ndcg.interval.map_or(String::new(), |i| format!(" ({})", span(i)));
            h.leaf("p", &[], &format!("{} of f32's NDCG@{}{interval}", percent(ndcg.ratio), e.k));
        }
    });
}

fn fact(h: &mut Html, name: &str, value: &str) {
    h.leaf("dt", &[], name);
    h.leaf("dd", &[], value);
}
