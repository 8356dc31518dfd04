//! Agreement against coverage: were a variant to answer alone from some margin on, how much would it answer, and how well?

use serde::Serialize;
use shared_model::variant::VariantName;

use crate::build::REFERENCE;
use crate::evaluate::Look;
use crate::score::Scored;

/// Points of a curve: more than a chart can show apart.
const POINTS: usize = 200;

/// Agreement against coverage, for one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Whose.
    pub variant: VariantName,
    /// From the largest margin, which few requests reach, to all of them.
    pub points: Vec<Point>,
}

/// What a threshold on the margin does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The threshold.
    pub margin: f32,
    /// The share of requests whose margin reaches it.
    pub coverage: f64,
    /// The share of those with the reference's top-k set.
    pub agreement: f64,
}

pub(super) fn curve(requests: &[Scored], own: usize, variant: VariantName, k: usize) -> Curve {
    let look = |r: &Scored| Some((r.margin(own, k)?, Look::new(r, own, REFERENCE, k).set?.agrees));
    let mut looks: Vec<(f32, bool)> = requests.iter().filter_map(look).collect();
    looks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n = looks.len();
    let step = n.div_ceil(POINTS).max(1);
    let (mut agreed, mut points, mut due) = (0, Vec::new(), step);
    for (i, (margin, agrees)) in looks.iter().enumerate() {
        let answered = i + 1;
        agreed += usize::from(*agrees);
        // A threshold takes all that have its margin.
        let last = looks.get(answered).is_none_or(|(next, _)| next < margin);
        if last && (answered >= due || answered == n) {
            let (coverage, agreement) = (answered as f64 / n as f64, agreed as f64 / answered as f64);
            points.push(Point { margin: *margin, coverage, agreement });
            due = answered + step;
        }
    }
    Curve { variant, points }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(margin: f32, agrees: bool) -> Scored {
        let own = vec![margin, 0.0];
        let reference = if agrees { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
        Scored { scores: vec![own.clone(), own, reference], noise: vec![vec![1.0; 2]; 3], ..Scored::default() }
    }

    #[test]
    fn a_threshold_takes_all_that_reach_it() {
        let requests = [scored(1.0, false), scored(3.0, true), scored(1.0, true), scored(2.0, true)];
        let points = curve(&requests, 0, VariantName::W4, 1).points;
        let point = |margin, coverage, agreement| Point { margin, coverage, agreement };
        assert_eq!(points, [point(3.0, 0.25, 1.0), point(2.0, 0.5, 1.0), point(1.0, 1.0, 0.75)]);
    }

    #[test]
    fn a_long_curve_is_thinned_and_ends_with_all() {
        let requests: Vec<Scored> = (0..1001u16).map(|i| scored(f32::from(i) + 1.0, true)).collect();
        let points = curve(&requests, 0, VariantName::W4, 1).points;
        assert!(points.len() <= POINTS, "{}", points.len());
        assert_eq!(points.last().map(|p| (p.coverage, p.agreement)), Some((1.0, 1.0)));
        assert_eq!(curve(&requests, 0, VariantName::W4, 2).points, [], "both are in every answer");
    }
}
