//! How an element of a result finds its operand's: worked out once, when the plan is.

use crate::shape;

/// The way from an index of the result to one of an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The same index.
    Same,
    /// One element for all.
    Scalar,
    /// The operand over and over, so many elements each time.
    Repeat(usize),
    /// Each element so many times.
    Stretch(usize),
    /// By table.
    Map(Vec<u32>),
}

/// What an operand is over a run of a result's elements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run<'a, T> {
    /// As many elements.
    Each(&'a [T]),
    /// One for all of them.
    One(T),
}

impl Access {
    /// NumPy broadcasting of an operand's shape to the result's, which is at least as long.
    pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let count = from.iter().product::<usize>();
        if count == 1 {
            return if to.iter().product::<usize>() == 1 { Self::Same } else { Self::Scalar };
        }
        let padded: Vec<usize> = std::iter::repeat_n(1, to.len() - from.len()).chain(from.iter().copied()).collect();
        if padded == to {
            return Self::Same;
        }
        let leading = padded.iter().take_while(|&&d| d == 1).count();
        if padded[leading..] == to[leading..] {
            return Self::Repeat(count);
        }
        let trailing = padded.len() - padded.iter().rev().take_while(|&&d| d == 1).count();
        if padded[..trailing] == to[..trailing] {
            return Self::Stretch(to[trailing..].iter().product());
        }
        Self::Map(map(to, &shape::broadcast(from, to)))
    }

    pub(super) fn at(&self, i: usize) -> usize {
        match self {
            Self::Same => i,
            Self::Scalar => 0,
            Self::Repeat(n) => i % n,
            Self::Stretch(n) => i / n,
            Self::Map(map) => map[i] as usize,
        }
    }

    /// The runs of a result of `len` elements over which every operand is a [`Run`] that is one of these.
    pub(super) fn common_run<const N: usize>(all: [&Self; N], len: usize) -> usize {
        all.into_iter().fold(len, |run, access| match access {
            Self::Same | Self::Scalar => run,
            Self::Repeat(n) | Self::Stretch(n) => gcd(run, *n),
            Self::Map(_) => 1,
        })
    }

    /// The operand over the `n` elements from `start` on, which lie in a common run.
    pub(super) fn run<'a, T: Copy>(&self, x: &'a [T], start: usize, n: usize) -> Run<'a, T> {
        match self {
            Self::Same | Self::Repeat(_) => Run::Each(&x[self.at(start)..][..n]),
            Self::Scalar | Self::Stretch(_) | Self::Map(_) => Run::One(x[self.at(start)]),
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// For each element of a result of `shape`, in order, the operand's index, when its strides are these.
pub(super) fn map(shape: &[usize], strides: &[usize]) -> Vec<u32> {
    let index = |i| u32::try_from(i).expect("MAX_ROW_ELEMENTS fits u32");
    shape::walk(shape, strides).into_iter().map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_stretches_over_a_row() {
        assert_eq!(Access::broadcast(&[2, 1], &[2, 3]), Access::Stretch(3));
        assert_eq!(Access::broadcast(&[3], &[2, 3]), Access::Repeat(3));
        assert_eq!(Access::broadcast(&[1, 3], &[2, 3]), Access::Repeat(3));
        assert_eq!(Access::broadcast(&[2, 1, 2], &[2, 2, 2]), Access::Map(vec![0, 1, 0, 1, 2, 3, 2, 3]));
        assert_eq!(Access::broadcast(&[1, 2, 1], &[2, 2, 2]), Access::Map(vec![0, 0, 1, 1, 0, 0, 1, 1]));
    }

    #[test]
    fn every_way_is_that_of_its_strides() {
        let dims = || [1usize, 2, 3];
        for to in dims().into_iter().flat_map(|a| dims().into_iter().flat_map(move |b| dims().map(|c| [a, b, c]))) {
            for ones in 0..8 {
                let from: Vec<usize> = (0..3).map(|d| if ones >> d & 1 == 1 { 1 } else { to[d] }).collect();
                let map = map(&to, &shape::broadcast(&from, &to));
                let access = Access::broadcast(&from, &to);
                for (i, &want) in map.iter().enumerate() {
                    assert_eq!(access.at(i), want as usize, "{from:?} to {to:?}: {access:?}");
                }
            }
        }
    }

    #[test]
    fn equal_shapes_and_scalars_need_no_table() {
        assert_eq!(Access::broadcast(&[2, 3], &[2, 3]), Access::Same);
        assert_eq!(Access::broadcast(&[3], &[1, 3]), Access::Same);
        assert_eq!(Access::broadcast(&[], &[2, 3]), Access::Scalar);
        assert_eq!(Access::broadcast(&[1, 1], &[4]), Access::Scalar);
    }
}
