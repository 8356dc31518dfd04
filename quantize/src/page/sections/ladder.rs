//! When each tier may answer, and what that does with the requests.

use shared_model::gate::Class;
use shared_model::wire::Tier;

use crate::findings::Findings;
use crate::page::chart::ChartError;
use crate::page::format::{grouped, percent, span};
use crate::page::html::Html;
use crate::page::table::{Cell, table};
use crate::replay::{Replay, Share};
use crate::report::{noisy, sentence};

/// Who may answer, in the order of a bar.
const ANSWERS: [Option<Class>; 5] =
    [Some(Class::Edge), Some(Class::Region), Some(Class::MergedRegion), Some(Class::MergedOrigin), None];

pub(in crate::page) fn ladder(h: &mut Html, findings: &Findings) -> Result<(), ChartError> {
    if findings.policies.is_empty() {
        h.leaf("p", &[("class", "note")], "The bundle has no policy: the origin answers everything.");
        return Ok(());
    }
    h.leaf(
        "p",
        &[],
        "The requests that variants were judged on, replayed by each policy. Wrong is an answer with another top-k set than \
         f32; the origin's own answers are the reference.",
    );
    h.tag("p", &[("class", "legend")], |h| {
        for answer in ANSWERS {
            h.tag("span", &[], |h| {
                h.leaf("i", &[("class", &format!("swatch {}", name(answer)))], "");
                h.text(&name(answer).replace('_', " "));
            });
        }
    });
    for replay in &findings.replays {
        one(h, replay);
    }
    h.leaf("h3", &[], "As certified");
    h.tag("ul", &[], |h| {
        let noise = findings.noise.iter().map(noisy);
        noise.chain(findings.policies.iter().map(sentence)).for_each(|said| h.leaf("li", &[], &said));
    });
    Ok(())
}

fn one(h: &mut Html, replay: &Replay) {
    let [low, high] = replay.n;
    let n = if low == high { low.to_string() } else { format!("{low} to {high}") };
    h.tag("h3", &[], |h| {
        h.text(&format!("k = {} of {n} candidates", replay.k));
        h.leaf("small", &[], &format!("{} requests, alpha {}", grouped(replay.requests), percent(replay.alpha)));
    });
    for entry in [Tier::Edge, Tier::Region] {
        let shares = || replay.classes.iter().filter(move |c| c.entry == entry);
        if shares().next().is_none() {
            continue;
        }
        h.tag("div", &[("class", "entry")], |h| {
            h.leaf("span", &[], &format!("entering at the {}", entry.as_str()));
            h.tag("div", &[("class", "stack")], |h| {
                for share in shares() {
                    let style = format!("width:{:.3}%", 100.0 * share.share);
                    let title = format!("{}: {}", name(share.class).replace('_', " "), percent(share.share));
                    h.leaf("span", &[("class", name(share.class)), ("style", &style), ("title", &title)], "");
                }
            });
        });
    }
    let row = |c: &Share| {
        vec![
            Cell::Text(c.entry.as_str().to_owned()),
            Cell::Text(name(c.class).replace('_', " ")),
            Cell::Number(percent(c.share)),
            Cell::Number(grouped(c.answered)),
            Cell::Number(grouped(c.errors)),
            Cell::Noted(c.wrong.map_or("–".to_owned(), percent), c.interval.map_or(String::new(), span)),
        ]
    };
    let rows: Vec<Vec<Cell>> = replay.classes.iter().map(row).collect();
    table(h, &["enters at", "answered by", "share", "answers", "wrong", "of them"], &rows);
    if let Some(up) = &replay.upload {
        let said = format!(
            "What the edge does not answer sends up {:.1} of {:.0} candidates, {:.0} of {:.0} bytes, in the mean.",
            up.sent, up.candidates, up.bytes, up.bytes_whole
        );
        h.leaf("p", &[], &said);
    }
}

fn name(class: Option<Class>) -> &'static str {
    class.map_or("origin", Class::as_str)
}
