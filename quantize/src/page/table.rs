//! Tables, whose cells may hold a bar or an interval beside their number.

use super::format::{percent, span};
use super::html::Html;
use crate::evaluate::Ratio;
use crate::ranker::Ranker;

/// A cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// Words.
    Text(String),
    /// Words with a smaller remark after them.
    Remarked(String, String),
    /// A name that a machine gave.
    Name(String),
    /// Digits, to the right.
    Number(String),
    /// A variant or a peer, by its colour.
    Ranker(Ranker),
    /// A number with a smaller remark after it.
    Noted(String, String),
    /// Bars of these shares of the column, each with the class that gives its colour.
    Bars(Vec<(f64, &'static str)>),
    /// Items, each with a smaller remark.
    Items(Vec<(String, String)>),
    /// A share of f32's mean with its interval, on the scale of its column.
    Ratio(Option<Ratio>, Scale),
}

/// The range of a column of the variants' ratios; 1 is always in it. A peer's may be beyond: were it as wide as that needs,
/// nothing could be seen of the variants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    pub(super) fn of(ratios: impl Iterator<Item = (Ranker, Option<Ratio>)>) -> Self {
        let ours = ratios.filter_map(|(ranker, ratio)| ratio.filter(|_| !ranker.is_peer()));
        let ends = ours.flat_map(|r| r.interval.unwrap_or([r.ratio; 2]));
        let (low, high) = ends.fold((1.0f64, 1.0f64), |(low, high), end| (low.min(end), high.max(end)));
        let room = (0.06 * (high - low)).max(1e-4);
        Self { low: low - room, high: high + room }
    }

    /// In hundredths of the width; at its end, if it is beyond.
    fn at(self, ratio: f64) -> f64 {
        100.0 * ((ratio - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// A table with these heads.
pub(super) fn table(h: &mut Html, heads: &[&str], rows: &[Vec<Cell>]) {
    h.tag("div", &[("class", "scroll")], |h| {
        h.tag("table", &[], |h| {
            h.tag("thead", &[], |h| {
                h.tag("tr", &[], |h| {
                    for (i, head) in heads.iter().enumerate() {
                        h.leaf("th", &[("class", rows.first().map_or("", |row| class(&row[i])))], head);
                    }
                });
            });
            h.tag("tbody", &[], |h| {
                for row in rows {
                    h.tag("tr", &[], |h| row.iter().for_each(|cell| write(h, cell)));
                }
            });
        });
    });
}

fn class(cell: &Cell) -> &'static str {
    match cell {
        Cell::Text(_) | Cell::Remarked(..) | Cell::Name(_) | Cell::Ranker(_) => "",
        Cell::Items(_) => "items",
        Cell::Number(_) | Cell::Noted(..) => "number",
        Cell::Bars(_) => "bars",
        Cell::Ratio(..) => "ratio",
    }
}

fn write(h: &mut Html, cell: &Cell) {
    h.tag("td", &[("class", class(cell))], |h| match cell {
        Cell::Text(text) | Cell::Number(text) => h.text(text),
        Cell::Name(name) => h.leaf("code", &[], name),
        Cell::Ranker(ranker) => swatch(h, *ranker),
        Cell::Remarked(said, note) | Cell::Noted(said, note) => {
            h.text(said);
            h.leaf("small", &[], note);
        }
        Cell::Bars(bars) => {
            for (share, colour) in bars {
                let style = format!("width:{:.2}%", 100.0 * share.clamp(0.0, 1.0));
                h.leaf("span", &[("class", &format!("bar {colour}")), ("style", &style)], "");
            }
        }
        Cell::Items(items) => {
            for (item, note) in items {
                h.tag("span", &[], |h| {
                    h.leaf("code", &[], item);
                    h.leaf("small", &[], note);
                });
            }
        }
        Cell::Ratio(None, _) => h.text("–"),
        Cell::Ratio(Some(ratio), scale) => interval(h, *ratio, *scale),
    });
}

/// A name behind its colour.
pub(super) fn swatch(h: &mut Html, ranker: impl Into<Ranker>) {
    let ranker = ranker.into();
    h.leaf("i", &[("class", &format!("swatch {}", ranker.colour()))], "");
    h.text(ranker.as_str());
}

/// The number, and below it a whisker beside the line of f32.
fn interval(h: &mut Html, Ratio { ratio, interval }: Ratio, scale: Scale) {
    h.text(&percent(ratio));
    let worse = interval.is_some_and(|[_, high]| high < 1.0);
    let class = if worse { "whisker worse" } else { "whisker" };
    let left = |at: f64| format!("left:{:.2}%", scale.at(at));
    let title = interval.map_or(String::new(), span);
    h.tag("span", &[("class", class), ("title", &title)], |h| {
        h.leaf("i", &[("class", "one"), ("style", &left(1.0))], "");
        if let Some([low, high]) = interval {
            let style = format!("{};right:{:.2}%", left(low), 100.0 - scale.at(high));
            h.leaf("i", &[("class", "line"), ("style", &style)], "");
        }
        h.leaf("i", &[("class", "dot"), ("style", &left(ratio))], "");
    });
    h.leaf("small", &[], &title);
}
