//! What the variants take: bytes by tensor, and multiply-adds by scope.

use shared_model::graph::Scope;
use shared_model::variant::VariantName;

use crate::findings::{Findings, Stored, TensorUse};
use crate::page::chart::{self, ChartError};
use crate::page::format::{bytes, grouped, percent, tenths};
use crate::page::html::Html;
use crate::page::table::{Cell, table};

/// Tensors with fewer bytes in every variant are folded away.
const SMALL: usize = 1024;

pub(in crate::page) fn front(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    if findings.front.is_empty() {
        h.leaf(
            "p",
            &[],
            "A build looks at other mixes of bits; of a bundle that is there already nothing more is known.",
        );
        return Ok(());
    }
    h.leaf(
        "p",
        &[],
        "Mixes of bits for the edge that the search looked at, without those that another beats; the large dot was taken. \
         Agreement is on the calibration requests, which the bits were chosen by.",
    );
    h.figure("Agreement by bytes", &chart::front(&findings.front)?, "");
    if let Some(missed) = &findings.missed {
        h.leaf("p", &[], &format!("Missed: {missed}."));
    }
    Ok(())
}

pub(in crate::page) fn tensors(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    h.leaf(
        "p",
        &[],
        "The largest first. Sensitivity is what a tensor alone in 4 bits does to scores near the boundaries, as a share of what \
         each alone does. Bits are a mean where the rows of a table differ; inputs are those of a layer, as it runs; bytes include scales; a bar is a share of the \
         largest tensor in full precision.",
    );
    let largest = findings.tensors.iter().flat_map(|t| &t.stored).map(|s| s.bytes).max().unwrap_or(1) as f64;
    let row = |t: &TensorUse| {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        let scopes: Vec<String> = t.scopes.iter().map(|s| format!("{s:?}").to_lowercase()).collect();
        let of = |name: VariantName| t.stored.iter().find(|s| s.variant == name);
        let stored = |s: Option<&Stored>| {
            let note = |s: &Stored| {
                let inputs = s.activation_bits.map(|bits| format!(", inputs {bits}")).unwrap_or_default();
                format!("{} bits{inputs}", tenths(s.bits))
            };
            s.map_or(Cell::Number(String::new()), |s| Cell::Noted(bytes(s.bytes), note(s)))
        };
        vec![
            Cell::Name(t.name.clone()),
            Cell::Remarked(t.role.clone(), scopes.join(", ")),
            Cell::Number(shape.join(" × ")),
            Cell::Number(t.sensitivity.map(percent).unwrap_or_default()),
            stored(of(VariantName::W4)),
            stored(of(VariantName::W8)),
            stored(of(VariantName::F32)),
            Cell::Bars(t.stored.iter().map(|s| (s.bytes as f64 / largest, s.variant.as_str())).collect()),
        ]
    };
    let is_small = |t: &&TensorUse| t.stored.iter().all(|s| s.bytes < SMALL);
    let heads = ["tensor", "role", "shape", "sensitivity", "w4", "w8", "f32", "bytes"];
    let (small, large): (Vec<&TensorUse>, Vec<&TensorUse>) = findings.tensors.iter().partition(is_small);
    table(h, &heads, &large.into_iter().map(row).collect::<Vec<_>>());
    if !small.is_empty() {
        h.tag("details", &[], |h| {
            h.leaf("summary", &[], &format!("{} tensors of less than {}", small.len(), bytes(SMALL)));
            table(h, &heads, &small.into_iter().map(row).collect::<Vec<_>>());
        });
    }
    Ok(())
}

pub(in crate::page) fn work(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    let graph = &findings.graph;
    let split = graph.work;
    h.leaf(
        "p",
        &[],
        "What depends on the user alone is computed once a request, what depends on the item alone once an item, in tables \
         that a tier makes when it loads the bundle.",
    );
    let before = graph.unsplit;
    let scopes = [
        (Scope::Request, "once a request", split.request, before.map(|w| w.request)),
        (Scope::Item, "once an item", split.item, before.map(|w| w.item)),
        (Scope::Pair, "once a candidate", split.pair, before.map(|w| w.pair)),
    ];
    let largest = scopes.iter().map(|s| s.2.max(s.3.unwrap_or(0))).max().unwrap_or(1).max(1) as f64;
    let row = |(scope, often, now, then): &(Scope, &str, u64, Option<u64>)| {
        let mut row =
            vec![Cell::Remarked(format!("{scope:?}").to_lowercase(), (*often).to_owned()), Cell::Number(grouped(*now))];
        row.extend(then.map(|n| Cell::Number(grouped(n))));
        let before = then.map(|n| (n as f64 / largest, "before"));
        row.push(Cell::Bars([(*now as f64 / largest, "now")].into_iter().chain(before).collect()));
        row
    };
    let mut heads = vec!["scope", "multiply-adds"];
    heads.extend(before.map(|_| "before the split"));
    heads.push("");
    table(h, &heads, &scopes.iter().map(row).collect::<Vec<_>>());
    if let Some(all) = before {
        let share = split.a_candidate() / all.unshared().max(1) as f64;
        let said =
            format!("With 100 candidates a request, {} of the unsplit work is left for each of them.", percent(share));
        h.leaf("p", &[], &said);
    }
    Ok(())
}
