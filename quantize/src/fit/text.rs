//! The table, and the line that says which variant to take.

use std::fmt::Write as _;

use super::{Fit, Fitted, Quantity, Row};
use crate::report::table;

/// For people.
pub(crate) fn text(fitted: &Fitted) -> String {
    let mut rows = table(&["variant", "what", "takes", "allowed", ""]);
    for fit in &fitted.variants {
        for row in &fit.rows {
            let allowed = row.limit.map_or("-".to_owned(), |limit| amount(row.what, limit));
            let verdict = if row.ok { "ok" } else { "too much" };
            rows.add_row([fit.variant.as_str(), name(row.what), &amount(row.what, row.value), &allowed, verdict]);
        }
    }
    let mut text = format!("{rows}\n");
    for fit in &fitted.variants {
        let _ = writeln!(text, "{}: {}{}", fit.variant.as_str(), fit.deployed, agreement(fit));
    }
    let _ = match fitted.best {
        Some(best) => write!(text, "best: {}", best.as_str()),
        None => write!(text, "none fits: {}", reasons(&fitted.variants)),
    };
    text
}

fn agreement(fit: &Fit) -> String {
    let share = |share: f64| format!("; its answers are those of full precision in {:.1} % of requests", 100.0 * share);
    fit.agreement.map_or(String::new(), share)
}

/// Everything that each variant takes too much of.
fn reasons(variants: &[Fit]) -> String {
    let of = |fit: &Fit| {
        let beyond = fit.rows.iter().filter(|row| !row.ok).map(beyond);
        let all: Vec<String> = fit.fault.clone().into_iter().chain(beyond).collect();
        format!("{}: {}", fit.variant.as_str(), all.join(", "))
    };
    variants.iter().map(of).collect::<Vec<_>>().join("; ")
}

fn beyond(row: &Row) -> String {
    let most = row.limit.map_or(String::new(), |limit| amount(row.what, limit));
    format!("{} of {}, {most} allowed", amount(row.what, row.value), name(row.what))
}

fn name(what: Quantity) -> &'static str {
    match what {
        Quantity::CompressedBytes => "size with gzip",
        Quantity::Bytes => "size",
        Quantity::MemoryBytes => "memory",
        Quantity::EstimatedCpuMicroseconds => "CPU time a request (estimate)",
    }
}

fn amount(what: Quantity, value: u64) -> String {
    match what {
        Quantity::CompressedBytes | Quantity::Bytes | Quantity::MemoryBytes => format!("{:.2} MB", value as f64 / 1e6),
        Quantity::EstimatedCpuMicroseconds => format!("{:.2} ms", value as f64 / 1e3),
    }
}
