//! The table of the demo, for people and as JSON.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use shared_model::gate::{Policy, Thresholds};
use shared_model::variant::VariantName;

use super::Options;
use super::drive::{Judged, Measured};
use crate::client::Error;
use crate::processes::Processes;
use crate::rows::{Document, Row};
use crate::stack::Which;

/// What each tier should keep below, in milliseconds.
const TARGETS: [(VariantName, f64); 3] = [(VariantName::W4, 10.0), (VariantName::W8, 20.0), (VariantName::F32, 100.0)];

/// The figures of one row.
struct Line {
    name: &'static str,
    target: Option<f64>,
    share: f64,
    /// `None` where nothing was answered.
    figures: Option<Figures>,
    why_none: Option<String>,
}

struct Figures {
    hit_rate: f64,
    ndcg: f64,
    agreement: f64,
    p50: f64,
    p99: f64,
}

/// Prints the table and writes the JSON asked for.
pub(super) fn print(measured: &Measured, options: &Options) -> Result<(), Error> {
    let lines: Vec<Line> = lines(measured);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table(&lines, measured))?;
    for line in &lines {
        if let Some(why) = &line.why_none {
            writeln!(out, "{}: null: {why}", line.name)?;
        }
    }
    let degraded = measured.answers.iter().filter(|a| a.degradation > 0).count();
    let tagged: Vec<&Judged> = measured.answers.iter().filter(|a| a.tagged).collect();
    let wrong = tagged.iter().filter(|a| !a.agrees).count();
    writeln!(
        out,
        "{} answers, {} degraded; {} tagged as agreeing (at most {:.0} % of them may not), {} of these do not",
        measured.answers.len(),
        degraded,
        tagged.len(),
        options.alpha * 100.0,
        wrong
    )?;
    for (class, answers, wrong) in classes(measured) {
        writeln!(out, "{class}: {answers} answers, {wrong} of them with another set")?;
    }
    let [alike, compared] = replayed(measured);
    writeln!(out, "{alike} of {compared} have the tier, class and set of the ladder replayed on the scores")?;
    if let Some(file) = &options.json {
        let mut text = serde_json::to_string_pretty(&Document::new(rows(&lines, measured, &options.model)))?;
        text.push('\n');
        std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

/// Says how to try the tiers that stay up.
pub(super) fn invite(tiers: &Processes, options: &Options) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let sample = std::path::Path::new(".rung").join(&options.model).join("request.json");
    writeln!(out, "\nThe tiers stay up until Ctrl-C. Try:\n")?;
    writeln!(
        out,
        "  curl --cacert {} -H 'content-type: application/json' -d @{} {}\n",
        tiers.certs().ca.display(),
        sample.display(),
        tiers.url(Which::Edge, "/v1/rank")
    )?;
    Ok(())
}

fn lines(measured: &Measured) -> Vec<Line> {
    let all = measured.answers.len() as f64;
    let mut lines: Vec<Line> = TARGETS
        .iter()
        .map(|&(variant, target)| {
            let name = variant.tier().as_str();
            let own: Vec<&Judged> = measured.answers.iter().filter(|a| a.tier == name).collect();
            let share = own.len() as f64 / all;
            let why_none = own.is_empty().then(|| why_none(measured, variant));
            Line { name, target: Some(target), share, figures: figures(&own), why_none }
        })
        .collect();
    let everything: Vec<&Judged> = measured.answers.iter().collect();
    lines.push(Line { name: "all", target: None, share: 1.0, figures: figures(&everything), why_none: None });
    lines
}

/// Why a tier answered nothing: its policy says, or no request reached it.
fn why_none(measured: &Measured, variant: VariantName) -> String {
    let policy = measured.policies.first();
    match policy.map(|p| (p, p.of(variant.tier()))) {
        Some((Policy { reason: Some(reason), .. }, _)) => reason.clone(),
        Some((_, Thresholds { margin: None, doubt: Some(_) })) => {
            "it is certified to send up the candidates in doubt, not to answer".into()
        }
        Some((_, Thresholds { margin: None, doubt: None })) => "nothing is certified for it".into(),
        Some(_) => "no request's margin reached its threshold".into(),
        None => "no request went up to it".into(),
    }
}

/// Each class of tagged answers, with how many there are and how many of them are wrong.
fn classes(measured: &Measured) -> Vec<(&str, usize, usize)> {
    let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (class, answer) in measured.answers.iter().filter_map(|a| Some((a.class.as_deref()?, a))) {
        let (answers, wrong) = classes.entry(class).or_default();
        *answers += 1;
        *wrong += usize::from(!answer.agrees);
    }
    classes.into_iter().map(|(class, (answers, wrong))| (class, answers, wrong)).collect()
}

/// How many answers are as the replay says, and how many could be compared.
fn replayed(measured: &Measured) -> [usize; 2] {
    let compared: Vec<bool> = measured.answers.iter().filter_map(|a| a.as_replayed).collect();
    [compared.iter().filter(|alike| **alike).count(), compared.len()]
}

fn figures(answers: &[&Judged]) -> Option<Figures> {
    if answers.is_empty() {
        return None;
    }
    let mean = |f: fn(&Judged) -> f64| answers.iter().map(|a| f(a)).sum::<f64>() / answers.len() as f64;
    let mut latency: Vec<Duration> = answers.iter().map(|a| a.latency).collect();
    latency.sort_unstable();
    let quantile = |q: f64| {
        let rank = (q * latency.len() as f64).ceil() as usize;
        latency[rank.clamp(1, latency.len()) - 1].as_secs_f64() * 1e3
    };
    Some(Figures {
        hit_rate: mean(|a| a.hit),
        ndcg: mean(|a| a.gain),
        agreement: mean(|a| f64::from(u8::from(a.agrees))),
        p50: quantile(0.5),
        p99: quantile(0.99),
    })
}

fn table(lines: &[Line], measured: &Measured) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["answered by", "share", "HR@10", "NDCG@10", "top-10 agreement", "p50 ms", "p99 ms", "target ms"]);
    for line in lines {
        let figure = |f: fn(&Figures) -> f64, digits: usize| {
            line.figures.as_ref().map_or_else(|| "null".to_owned(), |x| format!("{:.digits$}", f(x)))
        };
        table.add_row([
            line.name.to_owned(),
            format!("{:.1} %", line.share * 100.0),
            figure(|f| f.hit_rate, 4),
            figure(|f| f.ndcg, 4),
            figure(|f| f.agreement, 4),
            figure(|f| f.p50, 2),
            figure(|f| f.p99, 2),
            line.target.map_or_else(String::new, |t| format!("{t:.0}")),
        ]);
    }
    let (hit, gain) = measured.reference;
    let reference =
        ["f32 reference".to_owned(), String::new(), format!("{hit:.4}"), format!("{gain:.4}"), "1.0000".to_owned()];
    table.add_row(reference.into_iter().chain(std::iter::repeat_n(String::new(), 3)));
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rows(lines: &[Line], measured: &Measured, model: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in lines {
        let row = |what: &str, unit, value: Option<f64>| {
            Row::new(&format!("{}_{what}", line.name), model, unit, value).because(line.why_none.clone())
        };
        let figure = |f: fn(&Figures) -> f64| line.figures.as_ref().map(f);
        let latency = |row: Row| if let Some(target) = line.target { row.at_most(target) } else { row };
        rows.push(row("answered", "share", Some(line.share)));
        rows.push(row("hit_rate_at_10", "share", figure(|f| f.hit_rate)));
        rows.push(row("ndcg_at_10", "share", figure(|f| f.ndcg)));
        rows.push(row("top10_agreement", "share", figure(|f| f.agreement)));
        rows.push(row("latency_p50", "ms", figure(|f| f.p50)));
        rows.push(latency(row("latency_p99", "ms", figure(|f| f.p99))));
    }
    for (class, answers, wrong) in classes(measured) {
        let share = answers as f64 / measured.answers.len() as f64;
        rows.push(Row::new(&format!("class_{class}_answered"), model, "share", Some(share)));
        rows.push(Row::new(&format!("class_{class}_wrong"), model, "share", Some(wrong as f64 / answers as f64)));
    }
    let [alike, compared] = replayed(measured);
    rows.push(Row::new("as_replayed", model, "share", (compared > 0).then(|| alike as f64 / compared as f64)));
    rows.push(Row::new("f32_hit_rate_at_10", model, "share", Some(measured.reference.0)));
    rows.push(Row::new("f32_ndcg_at_10", model, "share", Some(measured.reference.1)));
    rows
}
