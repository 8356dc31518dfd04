//! Gives every value a place: values that are not alive at once may share memory.

use std::ops::RangeInclusive;

/// A value to be placed: so many elements, alive over these times.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) elements: usize,
    pub(super) alive: RangeInclusive<usize>,
}

/// The offset of each span and the total; first fit in order of birth.
pub(super) fn place(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| *spans[i].alive.start());
    let mut offsets = vec![0; spans.len()];
    let mut total = 0;
    // What is placed and alive, by offset.
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        placed.retain(|&p| spans[p].alive.end() >= spans[i].alive.start());
        let mut offset = 0;
        let mut slot = placed.len();
        for (s, &p) in placed.iter().enumerate() {
            if offset + spans[i].elements <= offsets[p] {
                slot = s;
                break;
            }
            offset = offset.max(offsets[p] + spans[p].elements);
        }
        offsets[i] = offset;
        total = total.max(offset + spans[i].elements);
        placed.insert(slot, i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(elements: usize, alive: RangeInclusive<usize>) -> Span {
        Span { elements, alive }
    }

    #[test]
    fn values_that_are_not_alive_at_once_share_memory() {
        let (offsets, total) = place(&[span(10, 0..=1), span(10, 1..=2), span(10, 2..=3)]);
        assert_eq!((offsets, total), (vec![0, 10, 0], 20));
    }

    #[test]
    fn values_alive_at_once_never_overlap() {
        let spans: Vec<Span> = (0..200usize)
            .map(|i| {
                let start = (i * 37) % 100;
                span((i * 13) % 17 + 1, start..=start + (i * 7) % 23)
            })
            .collect();
        let (offsets, total) = place(&spans);
        for a in 0..spans.len() {
            assert!(offsets[a] + spans[a].elements <= total);
            for b in 0..a {
                let alive =
                    spans[a].alive.start() <= spans[b].alive.end() && spans[b].alive.start() <= spans[a].alive.end();
                let apart =
                    offsets[a] + spans[a].elements <= offsets[b] || offsets[b] + spans[b].elements <= offsets[a];
                assert!(!alive || apart, "{a} and {b}");
            }
        }
    }
}
