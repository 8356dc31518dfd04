//! What people read at the end, on stdout.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use shared_model::gate::Policy;
use shared_model::variant::VariantName;

use crate::build::Built;
use crate::delta::Made;
use crate::evaluate::Evaluation;
use crate::inspect::{GraphSummary, Inspected};
use crate::schema_check::SchemaChecked;

/// An empty table with these heads.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().copied());
    table
}

/// The result of a build.
pub(crate) fn built(built: &Built, out: &Path) -> String {
    let mut text = String::new();
    let mut sizes = table(&["variant", "tensor bytes", "of f32"]);
    for size in &built.sizes {
        sizes.add_row([size.variant.as_str().to_owned(), size.bytes.to_string(), percent(size.share)]);
    }
    let _ = writeln!(text, "{sizes}");
    let _ = writeln!(text, "{}", evaluations(&built.evaluations, &built.policies));
    let difference = built.check.difference;
    let _ = writeln!(
        text,
        "import checked against tract on {} requests: largest difference {:.1e} on the output, {:.1e} relative on the score",
        built.check.requests, difference.absolute, difference.relative
    );
    for policy in &built.policies {
        let _ = writeln!(text, "{}", sentence(policy));
    }
    if built.skipped > 0 {
        let _ = writeln!(text, "{} requests were left out: a tier would send them up unscored", built.skipped);
    }
    let _ = write!(text, "{} version {} (serial {}) is in {}", built.model, built.version, built.serial, out.display());
    text
}

/// The result of a delta.
pub(crate) fn delta(made: &Made) -> String {
    let Made { file, model, bundle, revision, changes, items } = made;
    let file = file.display();
    format!("{model}, bundle {bundle}: {changes} changes lead to revision {revision} of {items} items; in {file}")
}

/// One row a variant; the policies are shown where there are any.
pub(crate) fn evaluations(evaluations: &[Evaluation], policies: &[Policy]) -> String {
    let k = evaluations.first().map_or(0, |e| e.k);
    let heads = [
        "variant",
        &format!("HR@{k}"),
        &format!("NDCG@{k}"),
        "AUC",
        &format!("top-{k} as f32"),
        "overlap",
        "threshold",
        "answers of sent up",
        "wrong of those",
    ];
    let mut rows = table(&heads);
    for e in evaluations {
        let relevance = |f: fn(&crate::evaluate::Relevance) -> f64| {
            e.relevance.as_ref().map_or("-".to_owned(), |r| format!("{:.4}", f(r)))
        };
        let threshold = policies.iter().find(|p| p.variant == e.variant).map(|p| p.threshold);
        let of_policy = |v: Option<f64>| match (e.variant, v) {
            (VariantName::F32, _) => "-".to_owned(),
            (_, None) => "null".to_owned(),
            (_, Some(v)) => percent(v),
        };
        rows.add_row([
            e.variant.as_str().to_owned(),
            relevance(|r| r.hit_rate),
            relevance(|r| r.ndcg),
            relevance(|r| r.auc),
            percent(e.agreement),
            format!("{:.4}", e.overlap),
            match threshold {
                None => "-".to_owned(),
                Some(None) => "null".to_owned(),
                Some(Some(t)) => format!("{t:.4}"),
            },
            of_policy(e.answered),
            of_policy(e.wrong),
        ]);
    }
    let requests = evaluations.first().map_or(0, |e| e.requests);
    format!(
        "{rows}\non {requests} requests; a tie counts against the relevant item; answers of sent up: of the requests that no tier below answers (for the edge, of all), the share that the policy lets the tier answer; wrong of those: the share with another top-{k} set than f32"
    )
}

fn sentence(policy: &Policy) -> String {
    let (variant, tier) = (policy.variant.as_str(), policy.variant.tier().as_str());
    let e = &policy.evidence;
    match (policy.threshold, e.bound) {
        (Some(t), Some(bound)) => format!(
            "{tier} ({variant}) answers from margin {t:.4} on: {} of {} answers were wrong, at most {} with {} certainty (alpha {}, design effect {:.2}, {} users)",
            e.errors,
            e.answered,
            percent(bound),
            percent(1.0 - policy.delta),
            policy.alpha,
            e.design_effect,
            e.users
        ),
        _ => format!("{tier} ({variant}) certifies nothing: {}", policy.reason.as_deref().unwrap_or("no reason given")),
    }
}

/// A bundle or a model.
pub(crate) fn inspected(inspected: &Inspected) -> String {
    match inspected {
        Inspected::Bundle { digest, manifest, items, graph } => {
            let mut text = format!(
                "{} version {} (serial {}), {items} items, digest {digest}\n",
                manifest.model, manifest.version, manifest.serial
            );
            let mut files = table(&["file", "bytes", "SHA-256"]);
            for (name, file) in &manifest.files {
                files.add_row([name.clone(), file.bytes.to_string(), file.sha256.clone()]);
            }
            let mut variants = table(&["variant", "tensor bytes", "tensors of 4 bits", "of 8 bits"]);
            for (name, v) in &manifest.variants {
                let of = |bits: u8| v.bits.values().filter(|b| **b == bits).count().to_string();
                variants.add_row([name.as_str().to_owned(), v.tensor_bytes.to_string(), of(4), of(8)]);
            }
            let _ = writeln!(text, "{files}\n{variants}\n{}", graph_text(graph));
            text.extend(manifest.policies.iter().map(|p| sentence(p) + "\n"));
            text
        }
        Inspected::Model { inputs, graph } => {
            let mut rows = table(&["input", "type", "shape"]);
            for input in inputs {
                let dims: Vec<String> =
                    input.shape.iter().map(|d| d.map_or("?".to_owned(), |n| n.to_string())).collect();
                rows.add_row([input.name.clone(), input.elem.clone(), format!("[{}]", dims.join(", "))]);
            }
            let rest = graph.as_ref().map_or("give --schema to see how it is imported".to_owned(), graph_text);
            format!("{rows}\n{rest}")
        }
    }
}

fn graph_text(graph: &GraphSummary) -> String {
    let list = |counts: &std::collections::BTreeMap<String, usize>| {
        counts.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "ranks by `{}`, then {}; {} parameters\nnodes by scope: {}\nnodes by op: {}",
        graph.score,
        graph.link,
        graph.parameters,
        list(&graph.nodes_by_scope),
        list(&graph.nodes_by_op)
    )
}

/// A schema's faults, or that there are none.
pub(crate) fn schema_checked(checked: &SchemaChecked) -> String {
    if checked.faults.is_empty() {
        return format!("sound: {} features feed {} inputs", checked.features, checked.inputs);
    }
    checked.faults.join("\n")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
