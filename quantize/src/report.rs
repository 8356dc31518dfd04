//! What people read at the end, on stdout.

mod quality;

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use shared_model::gate::{Class, ClassEvidence, Policy, Thresholds};
use shared_model::wire::Tier;

use crate::build::Built;
use crate::check::Checked;
use crate::delta::Made;
use crate::findings::{Findings, Noisy};
use crate::inspect::{GraphSummary, Inspected};
use crate::peer::Missing;
use crate::replay::Replay;
use crate::schema_check::SchemaChecked;
use crate::simulate::Simulated;
use crate::split::Work;

use quality::evaluations;

/// An empty table with these heads.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().copied());
    table
}

/// The result of a build.
pub(crate) fn built(built: &Built, out: &Path) -> String {
    let Built { findings, workers } = built;
    let mut text = String::new();
    let mut sizes = table(&["variant", "tensor bytes", "of f32"]);
    for size in &findings.sizes {
        sizes.add_row([size.variant.as_str().to_owned(), size.bytes.to_string(), percent(size.share)]);
    }
    let _ = writeln!(text, "{sizes}");
    if let Some(missed) = &findings.missed {
        let _ = writeln!(text, "missed: {missed}");
    }
    let _ = writeln!(text, "{}", evaluations(&findings.evaluations));
    if let Some(Checked { requests, difference, .. }) = &findings.check {
        let _ = writeln!(
            text,
            "import checked against tract on {requests} requests: largest difference {:.1e} on the output, {:.1e} relative on the score",
            difference.absolute, difference.relative
        );
    }
    if let Some(compared) = &findings.compared {
        text.extend(compared.with().map(|said| format!("compared with {said}\n")));
        text.extend(compared.missing.iter().map(|Missing { what, reason }| format!("no {what}: {reason}\n")));
    }
    text.extend(findings.noise.iter().map(|n| noisy(n) + "\n"));
    for policy in &findings.policies {
        let _ = writeln!(text, "{}", sentence(policy));
    }
    let _ = writeln!(text, "{}", replays(&findings.replays));
    text += &skipped(findings.skipped);
    for worker in workers {
        let _ = match (worker.bytes, &worker.reason) {
            (Some(bytes), _) => writeln!(text, "{}: a worker that has it all loaded, {bytes} bytes", worker.file),
            (None, reason) => writeln!(text, "no {}: {}", worker.file, reason.as_deref().unwrap_or_default()),
        };
    }
    let Findings { model, version, serial, .. } = findings;
    let _ = write!(text, "{model} version {version} (serial {serial}) is in {}", out.display());
    text
}

/// The result of a delta.
pub(crate) fn delta(made: &Made) -> String {
    let Made { file, model, bundle, revision, changes, items } = made;
    let file = file.display();
    format!("{model}, bundle {bundle}: {changes} changes lead to revision {revision} of {items} items; in {file}")
}

/// One row a class of each policy.
pub(crate) fn replays(replays: &[Replay]) -> String {
    let mut rows = table(&["k", "N", "enters at", "answered by", "share", "wrong", "95 % interval", "sent up"]);
    for replay in replays {
        let [low, high] = replay.n;
        let n = if low == high { low.to_string() } else { format!("{low} to {high}") };
        for c in &replay.classes {
            let interval = |[low, high]: [f64; 2]| format!("{} to {}", percent(low), percent(high));
            let sent = match (&replay.upload, c.entry, c.class) {
                (Some(u), Tier::Edge, Some(Class::MergedRegion | Class::MergedOrigin)) => {
                    format!(
                        "{:.1} of {:.0} candidates, {:.0} of {:.0} bytes",
                        u.sent, u.candidates, u.bytes, u.bytes_whole
                    )
                }
                _ => String::new(),
            };
            rows.add_row([
                replay.k.to_string(),
                n.clone(),
                c.entry.as_str().to_owned(),
                c.class.map_or("origin", Class::as_str).to_owned(),
                percent(c.share),
                format!("{} of {}", c.errors, c.answered),
                c.interval.map_or("-".to_owned(), interval),
                sent,
            ]);
        }
    }
    format!(
        "{rows}\nwrong: with another top-k set than f32; sent up: means over all requests that the edge does not answer"
    )
}

/// An evaluation, with the ladder if it was replayed.
pub(crate) fn evaluated(evaluated: &Findings) -> String {
    let mut text = evaluations(&evaluated.evaluations);
    if !evaluated.replays.is_empty() {
        let _ = write!(text, "\n{}", replays(&evaluated.replays));
    }
    let _ = write!(text, "\n{}", skipped(evaluated.skipped));
    text
}

fn skipped(requests: usize) -> String {
    match requests {
        0 => String::new(),
        n => format!("{n} requests were left out: a tier would send them up unscored\n"),
    }
}

/// How often certifications erred.
pub(crate) fn simulated(simulated: &Simulated) -> String {
    let mut rows = table(&["enters at", "answered by", "share", "wrong", "draws with more than alpha wrong"]);
    for c in &simulated.classes {
        let wrong = c.wrong.map_or("-".to_owned(), percent);
        rows.add_row([c.entry.as_str(), c.class.as_str(), &percent(c.share), &wrong, &percent(c.erred)]);
    }
    format!(
        "{rows}\n{} draws of {} users from {} with {} requests: {} certified a policy, {} of them erred in some class (alpha {}, delta {})",
        simulated.draws,
        simulated.drawn,
        simulated.users,
        simulated.requests,
        percent(simulated.certified),
        percent(simulated.erred),
        simulated.alpha,
        simulated.delta
    )
}

/// How noisy a variant is.
pub(crate) fn noisy(noisy: &Noisy) -> String {
    let Noisy { variant, table, by_bits } = noisy;
    let of: Vec<String> = by_bits.iter().map(|(bits, noise)| format!("{bits} bits {noise:.1}")).collect();
    format!("{}: noise of an item's score, by its row of `{table}`: {}", variant.as_str(), of.join(", "))
}

pub(crate) fn sentence(policy: &Policy) -> String {
    let e = &policy.evidence;
    let (k, alpha) = (policy.k, policy.alpha);
    if let Some(reason) = &policy.reason {
        return format!("k = {k}: nothing is certified: {reason}");
    }
    let tier = |name: &str, t: &Thresholds| {
        let margin = t.margin.map_or("never answers".to_owned(), |m| format!("answers from margin {m:.4} on"));
        let doubt = t.doubt.map_or("else sends all up".to_owned(), |d| format!("else sends up what is within {d:.4}"));
        format!("{name} {margin}, {doubt}")
    };
    let class = |c: &ClassEvidence| {
        let entry = if c.entry == Tier::Region { " entering there" } else { "" };
        format!("{}{entry} {} of {} wrong, at most {}", c.class.as_str(), c.errors, c.answered, percent(c.bound))
    };
    let classes: Vec<String> = e.classes.iter().map(class).collect();
    format!(
        "k = {k}: {}; {} (alpha {alpha}, delta {}, design effect {:.2}, {} users): {}",
        tier("the edge", &policy.edge),
        tier("the region", &policy.region),
        policy.delta,
        e.design_effect,
        e.users,
        classes.join("; ")
    )
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
            let mut variants = table(&["variant", "tensor bytes", "tensors of 4 bits", "of 8 bits", "mixed"]);
            for (name, v) in &manifest.variants {
                let of = |kind: fn(f64) -> bool| v.bits.values().filter(|b| kind(**b)).count().to_string();
                let (four, eight) = (of(|b| b == 4.0), of(|b| b == 8.0));
                let mixed = of(|b| b != 4.0 && b != 8.0);
                variants.add_row([name.as_str().to_owned(), v.tensor_bytes.to_string(), four, eight, mixed]);
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
    let work = |work: &Work| {
        let Work { request, item, pair } = work;
        format!("{request} once a request, {item} once an item, {pair} a candidate")
    };
    let share = graph.unsplit.map_or(String::new(), |all| {
        let share = graph.work.a_candidate() / all.unshared() as f64;
        format!("\n  before it is split: {}; of all that, {} is left a candidate", work(&all), percent(share))
    });
    format!(
        "ranks by `{}`, then {}; {} parameters\nmultiply-adds: {}{share}\nnodes by scope: {}\nnodes by op: {}",
        graph.score,
        graph.link,
        graph.parameters,
        work(&graph.work),
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
