//! Charts, drawn by plotters as SVG and given the page's colours.
//!
//! Plotters knows fixed colours alone. It is given one that stands for each of the page's, and what it has drawn gets the
//! names of those in their place: so a chart follows the reader's choice of light or dark.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use shared_model::variant::VariantName;
use thiserror::Error;

use crate::findings::{Curve, Deviation};
use crate::search::Tried;

/// Pixels are drawn this much finer than they are shown: plotters places everything on whole ones.
const FINE: u32 = 3;

/// Colours that stand for the page's.
const INK: RGBColor = RGBColor(1, 0, 0);
const FAINT: RGBColor = RGBColor(2, 0, 0);
const GRID: RGBColor = RGBColor(3, 0, 0);
const OF_VARIANT: [RGBColor; 3] = [RGBColor(4, 0, 0), RGBColor(5, 0, 0), RGBColor(6, 0, 0)];

/// What each is in the page.
const COLOURS: [(&str, &str); 6] = [
    ("#010000", "var(--ink)"),
    ("#020000", "var(--faint)"),
    ("#030000", "var(--line)"),
    ("#040000", "var(--w4)"),
    ("#050000", "var(--w8)"),
    ("#060000", "var(--f32)"),
];

/// A chart that could not be drawn.
#[derive(Debug, Error)]
#[error("a chart cannot be drawn: {0}")]
pub(crate) struct ChartError(String);

/// An SVG.
#[derive(Debug)]
pub(super) struct Drawing(String);

impl Drawing {
    pub(super) fn svg(&self) -> &str {
        &self.0
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// One line a variant.
pub(super) fn coverage(curves: &[Curve]) -> Result<Drawing, ChartError> {
    let lowest = curves.iter().flat_map(|c| &c.points).map(|p| p.agreement).fold(1.0, f64::min);
    // At most perfection, and never so near to it that noise looks like a cliff.
    let from = ((lowest - 0.01).min(0.95) * 20.0).floor().max(0.0) / 20.0;
    draw("Agreement against coverage", (1040, 400), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(px(10))
            .margin_right(px(24))
            .x_label_area_size(px(46))
            .y_label_area_size(px(64))
            .build_cartesian_2d(0.0..1.0, from..1.0)?;
        let axes = ["share of requests answered", "agreement among them"];
        mesh(&mut chart, axes, [11, 8], &|v| format!("{:.0} %", 100.0 * v))?;
        for curve in curves {
            let points = curve.points.iter().map(|p| (p.coverage, p.agreement));
            chart.draw_series(LineSeries::new(points, colour(curve.variant).stroke_width(2 * FINE)))?;
        }
        Ok(())
    })
}

/// Agreement by bytes, the one taken larger than the others.
pub(super) fn front(front: &[Tried]) -> Result<Drawing, ChartError> {
    let ends =
        |of: fn(&Tried) -> f64| front.iter().map(of).fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
    let (least, most) = ends(|t| t.share);
    let room = 0.04 * (most - least).max(0.01);
    let from = (ends(|t| t.agreement).0 * 20.0 - 0.2).floor().max(0.0) / 20.0;
    draw("Agreement against bytes", (1040, 360), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(px(10))
            .margin_right(px(24))
            .x_label_area_size(px(46))
            .y_label_area_size(px(64))
            .build_cartesian_2d(least - room..most + room, from..1.0)?;
        let axes = ["share of the full-precision bytes", "agreement on calibration requests"];
        mesh(&mut chart, axes, [11, 8], &|v| format!("{:.0} %", 100.0 * v))?;
        let line = colour(VariantName::W4);
        let points = || front.iter().map(|t| (t.share, t.agreement));
        chart.draw_series(LineSeries::new(points(), line.stroke_width(2 * FINE)))?;
        let dot = |(t, at): (&Tried, (f64, f64))| Circle::new(at, px(if t.taken { 7 } else { 3 }), line.filled());
        chart.draw_series(front.iter().zip(points()).map(dot))?;
        Ok(())
    })
}

/// Bars, one a bin.
pub(super) fn deviation(deviation: &Deviation) -> Result<Drawing, ChartError> {
    let Deviation { from, width, counts, candidates, .. } = deviation;
    let share = |count: u64| count as f64 / (*candidates).max(1) as f64;
    let highest = share(counts.iter().copied().max().unwrap_or(1)) * 1.05;
    let to = from + width * counts.len() as f64;
    let title = format!("Deviation of {} from f32", deviation.variant.as_str());
    draw(&title, (520, 280), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(px(10))
            .margin_right(px(20))
            .x_label_area_size(px(46))
            .y_label_area_size(px(60))
            .build_cartesian_2d(*from..to, 0.0..highest)?;
        let axes = ["score minus f32's, centred by request", "share of candidates"];
        mesh(&mut chart, axes, [7, 5], &|v| rounded(*v, to))?;
        let fill = colour(deviation.variant).filled();
        let bars = counts.iter().zip(0u32..).filter(|(count, _)| **count > 0).map(|(count, i)| {
            let left = from + width * f64::from(i);
            Rectangle::new([(left + 0.06 * width, 0.0), (left + 0.94 * width, share(*count))], fill)
        });
        chart.draw_series(bars)?;
        Ok(())
    })
}

type Cartesian<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Axes with these names and at most so many ticks, and a faint line at each share on the upright one.
fn mesh(chart: &mut Cartesian<'_, '_>, [x, y]: [&str; 2], ticks: [usize; 2], x_tick: &dyn Fn(&f64) -> String) -> Drawn {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(FINE))
        .axis_style(GRID.stroke_width(FINE))
        .set_all_tick_mark_size(px(4))
        .x_labels(ticks[0])
        .y_labels(ticks[1])
        .label_style(text(12, &FAINT))
        .axis_desc_style(text(13, &INK))
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&x_tick)
        .y_label_formatter(&|v| format!("{:.0} %", 100.0 * v))
        .draw()
}

/// As many digits as tell numbers of this size apart, as the ticks of an axis that reaches so far; no `-0`.
pub(super) fn rounded(v: f64, reach: f64) -> String {
    let decimals = (1.0 - reach.log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{v:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) { "0".to_owned() } else { text }
}

fn colour(variant: VariantName) -> RGBColor {
    let at = VariantName::ALL.iter().position(|v| *v == variant);
    OF_VARIANT[at.unwrap_or_default()]
}

fn px(shown: u32) -> u32 {
    shown * FINE
}

fn text(size: u32, colour: &RGBColor) -> TextStyle<'static> {
    // Plotters writes a font's size in points of a height that it takes for 1.24 times that.
    ("sans-serif", f64::from(px(size)) * 1.24).into_font().color(colour)
}

/// Draws onto an area of this size, as it is shown.
fn draw(
    title: &str,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<Drawing, ChartError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (px(width), px(height))).into_drawing_area();
    paint(&area).and_then(|()| area.present()).map_err(|e| ChartError(e.to_string()))?;
    drop(area);
    // The page decides on the size: plotters' own attributes would be pixels.
    let start = svg.find('>').map_or(0, |end| end + 1);
    let mut body = svg.split_off(start);
    for (stands_for, colour) in COLOURS {
        body = body.replace(stands_for, colour);
    }
    let title = super::html::escaped(title);
    Ok(Drawing(format!(
        "<svg viewBox=\"0 0 {} {}\" style=\"max-width:{width}px\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>{body}",
        px(width),
        px(height),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_an_axis_have_the_same_digits() {
        assert_eq!([rounded(-0.2, 0.28), rounded(0.1, 0.28), rounded(-1e-17, 0.28)], ["-0.20", "0.10", "0"]);
        assert_eq!([rounded(0.04, 0.05), rounded(2e-4, 3e-4), rounded(20.0, 30.0)], ["0.040", "0.00020", "20"]);
    }
}
