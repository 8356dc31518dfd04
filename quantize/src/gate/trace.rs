//! One gate request, reduced to what every policy on a grid of thresholds would make of it.
//!
//! A grid has thresholds for margins and widths of doubt, both geometric. Of each tier's scores it is enough to know
//! how many thresholds the margin reaches, whether the top-k set is the reference's, and from which width on every
//! misplaced candidate is in doubt. The region sees what the edge is in doubt about, so it has one look for each width.

use shared_model::gate::{Boundary, Scores, Thresholds, boundary, split};
use shared_model::topk::top;

use crate::score::Scored;

/// Thresholds grow by the eighth root of two.
const PER_OCTAVE: usize = 8;
/// From the smallest threshold above 0 to the largest.
const OCTAVES: usize = 12;
/// How many thresholds for margins there are: 0, and both ends of the octaves.
pub(super) const MARGINS: usize = 2 + PER_OCTAVE * OCTAVES;
/// How many widths of doubt there are; they grow by the square root of two.
pub(super) const WIDTHS: usize = 16;

/// Where policies may lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Ascending from 0.
    margins: Vec<f32>,
    /// Ascending, above 0.
    doubts: Vec<f32>,
}

/// A tier's thresholds as positions on a [`Grid`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Steps {
    pub(crate) margin: Option<usize>,
    pub(crate) doubt: Option<usize>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The edge, on all candidates.
    pub(crate) edge: Look,
    /// The region, on all candidates.
    pub(crate) region: Look,
    /// For each width of the edge's doubt: the region on the candidates within it, and their share of all.
    pub(crate) parts: Vec<(Look, f32)>,
}

/// What a tier's scores say of a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// How many thresholds the margin reaches: it is sure at those before.
    pub(crate) reached: u16,
    /// Whether its set is the reference's.
    pub(crate) agrees: bool,
    /// The first width at which all that it misplaces is in doubt.
    pub(crate) wide: u16,
}

impl Grid {
    /// A grid around the edge's margins.
    pub(crate) fn over(requests: &[&Scored], k: usize) -> Self {
        let mut margins: Vec<f32> = requests.iter().filter_map(|r| r.margin(0, k)).filter(|m| *m > 0.0).collect();
        margins.sort_by(f32::total_cmp);
        let median = margins.get(margins.len() / 2).copied().unwrap_or(1.0);
        let least = median.log2().floor().exp2() / 16.0;
        let grown = |step: usize, per_octave: f32| least * (step as f32 / per_octave).exp2();
        let margins = (0..MARGINS - 1).map(|i| grown(i, PER_OCTAVE as f32));
        let doubts = (0..WIDTHS).map(|i| 4.0 * grown(i, 2.0));
        Self { margins: std::iter::once(0.0).chain(margins).collect(), doubts: doubts.collect() }
    }

    /// The thresholds of edge and region.
    pub(crate) fn thresholds(&self, steps: [Steps; 2]) -> [Thresholds; 2] {
        steps.map(|s| Thresholds { margin: s.margin.map(|i| self.margins[i]), doubt: s.doubt.map(|i| self.doubts[i]) })
    }

    fn look(&self, scores: Scores<'_>, reference: &[bool], k: usize) -> (Look, Vec<usize>, Option<Boundary>) {
        let order = top(scores.values, scores.values.len());
        let Some(at) = boundary(scores.values, &order, k) else {
            // Everything is in the answer.
            let all = u16::try_from(self.margins.len()).unwrap_or(u16::MAX);
            return (Look { reached: all, agrees: true, wide: 0 }, order, None);
        };
        let agrees = order[..k].iter().all(|i| reference[*i]);
        // The two at the boundary are always in doubt.
        let wrongly_in = order[..k - 1].iter().filter(|i| !reference[**i]);
        let wrongly_out = order[k + 1..].iter().filter(|i| reference[**i]);
        let misplaced = wrongly_in.chain(wrongly_out).map(|i| scores.distance(at, *i)).fold(0.0, f32::max);
        let margin = scores.margin(at);
        let position = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let look = Look {
            reached: position(self.margins.partition_point(|t| margin >= *t)),
            agrees,
            wide: position(self.doubts.partition_point(|d| *d <= misplaced)),
        };
        (look, order, Some(at))
    }
}

impl Trace {
    /// Looks at a request with more than `k` candidates; its scores are those of edge, region and reference.
    pub(crate) fn new(request: &Scored, k: usize, grid: &Grid) -> Self {
        let [_, _, reference] = &request.scores[..] else { unreachable!("a request is scored by every variant") };
        let (edge_scores, region_scores) = (request.gated(0), request.gated(1));
        let mut is_in = vec![false; reference.len()];
        top(reference, k).into_iter().for_each(|i| is_in[i] = true);
        let (edge, order, at) = grid.look(edge_scores, &is_in, k);
        let (region, _, _) = grid.look(region_scores, &is_in, k);
        let part = |doubt: &f32| {
            let Some(at) = at else { return (region, 1.0) };
            let part = split(edge_scores, &order, k, at, *doubt);
            let of = |all: &[f32]| part.doubt.iter().map(|i| all[*i]).collect::<Vec<f32>>();
            let (values, noise) = (of(region_scores.values), of(region_scores.noise));
            // What the reference would choose of the part, which is all of its set only if the certain are right.
            let k = k - part.certain.len();
            let of_part = of(reference);
            let mut is_in = vec![false; of_part.len()];
            top(&of_part, k).into_iter().for_each(|i| is_in[i] = true);
            let look = grid.look(Scores { values: &values, noise: &noise }, &is_in, k).0;
            (look, part.doubt.len() as f32 / reference.len() as f32)
        };
        let parts = grid.doubts.iter().map(part).collect();
        Self { edge, region, parts }
    }
}
