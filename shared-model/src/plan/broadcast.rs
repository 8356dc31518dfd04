//! How an element of a result finds its operand's: maps made once, when the plan is.

/// The way from an index of the result to one of an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The same index.
    Same,
    /// One element for all.
    Scalar,
    /// By table.
    Map(Vec<u32>),
}

impl Access {
    /// NumPy broadcasting of an operand's shape to the result's, which is at least as long.
    pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Self {
        if from.iter().product::<usize>() == 1 {
            return if to.iter().product::<usize>() == 1 { Self::Same } else { Self::Scalar };
        }
        let padded: Vec<usize> = std::iter::repeat_n(1, to.len() - from.len()).chain(from.iter().copied()).collect();
        if padded == to {
            return Self::Same;
        }
        let strides = strides(&padded);
        let stretched: Vec<usize> = padded.iter().zip(strides).map(|(&d, s)| if d == 1 { 0 } else { s }).collect();
        Self::Map(walk(to, &stretched))
    }

    pub(super) fn at(&self, i: usize) -> usize {
        match self {
            Self::Same => i,
            Self::Scalar => 0,
            Self::Map(map) => map[i] as usize,
        }
    }
}

/// For each element of a result of `shape`, in order, the operand's index, when its strides are these.
pub(super) fn walk(shape: &[usize], strides: &[usize]) -> Vec<u32> {
    let mut map = vec![0u32];
    for (&len, &stride) in shape.iter().zip(strides) {
        let step = |base: &u32| {
            let base = *base;
            (0..len).map(move |i| base + u32::try_from(i * stride).expect("MAX_ROW_ELEMENTS fits u32"))
        };
        map = map.iter().flat_map(step).collect();
    }
    map
}

/// Row-major strides.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_stretches_over_a_row() {
        assert_eq!(Access::broadcast(&[2, 1], &[2, 3]), Access::Map(vec![0, 0, 0, 1, 1, 1]));
        assert_eq!(Access::broadcast(&[3], &[2, 3]), Access::Map(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(Access::broadcast(&[1, 3], &[2, 3]), Access::Map(vec![0, 1, 2, 0, 1, 2]));
    }

    #[test]
    fn equal_shapes_and_scalars_need_no_table() {
        assert_eq!(Access::broadcast(&[2, 3], &[2, 3]), Access::Same);
        assert_eq!(Access::broadcast(&[3], &[1, 3]), Access::Same);
        assert_eq!(Access::broadcast(&[], &[2, 3]), Access::Scalar);
        assert_eq!(Access::broadcast(&[1, 1], &[4]), Access::Scalar);
    }

    #[test]
    fn a_walk_with_permuted_strides_transposes() {
        assert_eq!(walk(&[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
    }
}
