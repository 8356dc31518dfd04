//! How far a variant's scores are from the reference's. What is added to all scores of a request changes no ranking, so
//! the mean difference of each request is taken off.

use serde::Serialize;
use shared_model::variant::VariantName;

use crate::build::REFERENCE;
use crate::score::Scored;

/// Bins of the histogram; odd, so that one is around 0.
const BINS: usize = 61;
/// How far the bins reach to each side, in standard deviations.
const REACH: f64 = 4.0;

/// A histogram of differences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deviation {
    /// Whose.
    pub variant: VariantName,
    /// Candidates of all requests.
    pub candidates: u64,
    /// The root of the mean square.
    pub rms: f64,
    /// The largest, whatever its sign.
    pub largest: f64,
    /// The lower end of the first bin.
    pub from: f64,
    /// The width of a bin.
    pub width: f64,
    /// Candidates by bin.
    pub counts: Vec<u64>,
    /// Candidates below the first bin or above the last.
    pub outside: u64,
}

/// `None` where the scores are the reference's.
pub(super) fn deviation(requests: &[Scored], own: usize, variant: VariantName) -> Option<Deviation> {
    let all = || requests.iter().flat_map(move |r| centred(r, own));
    let (candidates, squares, largest) =
        all().fold((0u64, 0.0, 0.0f64), |(n, sum, most), d| (n + 1, sum + d * d, most.max(d.abs())));
    let rms = (squares / candidates.max(1) as f64).sqrt();
    if rms == 0.0 || !rms.is_finite() {
        return None;
    }
    let (from, width) = (-REACH * rms, 2.0 * REACH * rms / BINS as f64);
    let mut counts = vec![0; BINS];
    let mut outside = 0;
    for difference in all() {
        let bin = ((difference - from) / width).floor();
        match counts.get_mut(bin as usize).filter(|_| bin >= 0.0) {
            Some(count) => *count += 1,
            None => outside += 1,
        }
    }
    Some(Deviation { variant, candidates, rms, largest, from, width, counts, outside })
}

fn centred(request: &Scored, own: usize) -> impl Iterator<Item = f64> {
    let pairs = || request.scores[own].iter().zip(&request.scores[REFERENCE]);
    let difference = |(own, reference): (&f32, &f32)| f64::from(*own) - f64::from(*reference);
    let mean = pairs().map(difference).sum::<f64>() / request.n().max(1) as f64;
    pairs().map(move |pair| difference(pair) - mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(own: [f32; 4]) -> Scored {
        Scored { scores: vec![own.to_vec(), own.to_vec(), vec![0.0; 4]], ..Scored::default() }
    }

    #[test]
    fn what_is_added_to_all_scores_of_a_request_is_no_deviation() {
        assert_eq!(deviation(&[scored([5.0; 4])], 0, VariantName::W4), None);
        let d = deviation(&[scored([6.0, 4.0, 6.0, 4.0]), scored([0.0; 4])], 0, VariantName::W4).unwrap();
        assert_eq!((d.candidates, d.largest, d.rms), (8, 1.0, 0.5f64.sqrt()));
        assert_eq!((d.counts[BINS / 2], d.counts.iter().sum::<u64>(), d.outside), (4, 8, 0));
        assert_eq!(d.counts[..BINS / 2].iter().sum::<u64>(), 2);
    }

    #[test]
    fn what_no_bin_reaches_is_counted() {
        let mut requests = vec![scored([1.0, -1.0, 1.0, -1.0]); 100];
        requests.push(scored([50.0, -50.0, 0.0, 0.0]));
        let d = deviation(&requests, 0, VariantName::W8).unwrap();
        assert_eq!((d.outside, d.counts.iter().sum::<u64>(), d.largest), (2, 402, 50.0));
    }
}
