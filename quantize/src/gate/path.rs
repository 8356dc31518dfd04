//! The path of policies to test, from the tuning users alone: safest first, each the cheapest of those that are so likely to
//! pass.

use std::collections::BTreeMap;

use super::outlook::Outlook;
use super::tally::Count;
use super::trace::{Look, MARGINS, Steps, Trace, WIDTHS};

/// How likely every class of a policy must be to pass. The first are all but sure, so that the sequence does not end
/// before it began; the last may be lucky.
const CHANCES: [f64; 16] = [0.9999, 0.999, 0.99, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05];

/// How many margins for the edge are looked at from the boldest on, every second on the grid: an edge that leaves easy
/// requests to the region may let it answer what it would not else.
const SAFER: usize = 10;

/// What it costs to ask the region, and the origin after it. All candidates cost as much again.
///
/// The origin is farther and there are fewer of it; but a tier that answers less so that the next is surer, and the origin
/// is spared a little, gives away what it is there for.
const TO_REGION: f64 = 1.0;
const TO_ORIGIN: f64 = 3.0;

/// The sequence to test.
pub(super) fn path(traces: &[&Trace], outlook: &Outlook) -> Vec<[Steps; 2]> {
    let mut looks = Looks {
        edge: Histogram::new(traces.iter().map(|t| (t.edge, false))),
        region: Histogram::new(traces.iter().map(|t| (t.region, false))),
        sent: BTreeMap::new(),
        traces,
    };
    let mut path: Vec<[Steps; 2]> = Vec::new();
    for least in CHANCES {
        if let Some(steps) = looks.cheapest(&|count| outlook.chance(count) >= least)
            && path.last() != Some(&steps)
        {
            path.push(steps);
        }
    }
    path
}

/// The tuning requests, counted.
struct Looks<'a> {
    traces: &'a [&'a Trace],
    edge: Histogram,
    region: Histogram,
    /// By the edge's steps: the policies of a path share most of them.
    sent: BTreeMap<Steps, Sent>,
}

/// What the region sees of what an edge sends up.
struct Sent {
    looks: Histogram,
    /// In requests' worth.
    candidates: f64,
}

impl Looks<'_> {
    /// The cheapest policy whose classes all pass.
    fn cheapest(&mut self, passes: &impl Fn(Count) -> bool) -> Option<[Steps; 2]> {
        let boldest = (0..MARGINS).find(|i| passes(self.edge.sure(*i)));
        let near = boldest.into_iter().flat_map(|boldest| (boldest..MARGINS).step_by(2).take(SAFER));
        let margins: Vec<_> = near.filter(|i| passes(self.edge.sure(*i))).map(Some).chain([None]).collect();
        let doubts = || (0..WIDTHS).map(Some).chain([None]);
        let edges = margins.into_iter().flat_map(|margin| doubts().map(move |doubt| Steps { margin, doubt }));
        let policies = edges.flat_map(|edge| self.regions(edge, passes));
        policies.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, steps)| steps)
    }

    /// What the region can do with what an edge sends up, with the cost of all of it; nothing if no tier does anything.
    fn regions(&mut self, edge: Steps, passes: &impl Fn(Count) -> bool) -> Vec<(f64, [Steps; 2])> {
        let Self { traces, region, sent, .. } = self;
        let Sent { looks: sent, candidates } = sent.entry(edge).or_insert_with(|| Sent::by(edge, traces));
        let boldest = (0..MARGINS).find(|i| passes(sent.sure(*i)) && passes(region.sure(*i)));
        let mut found = Vec::new();
        for margin in [boldest, None].into_iter().take(1 + usize::from(boldest.is_some())) {
            let narrowest = (0..WIDTHS).find(|w| passes(sent.unsure(margin, *w)) && passes(region.unsure(margin, *w)));
            for doubt in [narrowest, None].into_iter().take(1 + usize::from(narrowest.is_some())) {
                let steps = Steps { margin, doubt };
                if steps == Steps::default() && (edge.doubt.is_some() || edge == Steps::default()) {
                    continue;
                }
                let n = sent.all as f64;
                let onward = sent.unsure(margin, 0).answered as f64;
                let to_origin = match (doubt, edge.doubt) {
                    (Some(_), _) => onward * TO_ORIGIN + onward / n.max(1.0) * *candidates * TO_ORIGIN,
                    (None, None) => onward * 2.0 * TO_ORIGIN,
                    // The region asks the edge for the whole request first.
                    (None, Some(_)) => onward * 2.0 * (TO_REGION + TO_ORIGIN),
                };
                found.push(((n + *candidates) * TO_REGION + to_origin, [edge, steps]));
            }
        }
        found
    }
}

impl Sent {
    fn by(edge: Steps, traces: &[&Trace]) -> Self {
        let sent = traces.iter().filter(|t| edge.margin.is_none_or(|i| usize::from(t.edge.reached) <= i));
        let look = |t: &&&Trace| match edge.doubt {
            Some(width) => (t.parts[width].0, usize::from(t.edge.wide) > width),
            None => (t.region, false),
        };
        let share = |t: &&&Trace| edge.doubt.map_or(1.0, |width| f64::from(t.parts[width].1));
        Self { candidates: sent.clone().map(|t| share(&t)).sum(), looks: Histogram::new(sent.map(|t| look(&t))) }
    }
}

/// Looks by what their margins reach, summed up so that any threshold's counts are a difference.
struct Histogram {
    all: u64,
    /// At `i`: those that reach more than `i` thresholds.
    sure: Vec<Count>,
    /// At `i` and `w`: those that reach at most `i`, wrong if a width of `w` is too narrow; the last `i` is everything.
    unsure: Vec<Vec<Count>>,
}

impl Histogram {
    /// `looks` come with whether a candidate was lost before.
    fn new(looks: impl Iterator<Item = (Look, bool)>) -> Self {
        let mut sure = vec![Count::default(); MARGINS + 1];
        let mut unsure = vec![vec![Count::default(); WIDTHS]; MARGINS + 1];
        let mut all = 0;
        for (look, lost) in looks {
            let reached = usize::from(look.reached);
            all += 1;
            sure[reached].answered += 1;
            sure[reached].errors += u64::from(lost || !look.agrees);
            for (width, count) in unsure[reached].iter_mut().enumerate() {
                count.answered += 1;
                count.errors += u64::from(lost || usize::from(look.wide) > width);
            }
        }
        for i in (1..MARGINS).rev() {
            let above = sure[i + 1];
            sure[i].answered += above.answered;
            sure[i].errors += above.errors;
        }
        sure.remove(0);
        for i in 1..=MARGINS {
            let (below, from) = unsure.split_at_mut(i);
            for (count, below) in from[0].iter_mut().zip(&below[i - 1]) {
                count.answered += below.answered;
                count.errors += below.errors;
            }
        }
        Self { all, sure, unsure }
    }

    fn sure(&self, margin: usize) -> Count {
        self.sure[margin]
    }

    fn unsure(&self, margin: Option<usize>, width: usize) -> Count {
        self.unsure[margin.unwrap_or(self.unsure.len() - 1)][width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_on_both_sides_of_a_threshold() {
        let look = |reached, agrees, wide| (Look { reached, agrees, wide }, false);
        let looks = [look(0, false, 1), look(1, true, 0), look(2, false, 2), look(3, true, 0)];
        let h = Histogram::new(looks.into_iter());
        let count = |answered, errors| Count { answered, errors };
        assert_eq!([h.sure(0), h.sure(1), h.sure(2)], [count(3, 1), count(2, 1), count(1, 0)]);
        assert_eq!((h.unsure(Some(0), 0), h.unsure(Some(0), 1)), (count(1, 1), count(1, 0)));
        assert_eq!((h.unsure(Some(2), 1), h.unsure(None, 1)), (count(3, 1), count(4, 1)));
        let lost = Histogram::new([(looks[3].0, true)].into_iter());
        assert_eq!((lost.sure(0), lost.unsure(None, 1)), (count(1, 1), count(1, 1)));
    }
}
