//! Row-major shapes: where an element lies.

/// The distance of neighbours along each axis.
#[must_use]
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// For each element of `shape`, in order, the position that these strides lead to.
#[must_use]
pub fn walk(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    shape.iter().zip(strides).fold(vec![0], |positions, (&len, &stride)| {
        positions.iter().flat_map(|base| (0..len).map(move |i| base + i * stride)).collect()
    })
}

/// The strides with which an array of shape `from` is read along `to`, which it broadcasts to as NumPy has it.
#[must_use]
pub fn broadcast(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from).into_iter().zip(from).map(|(stride, len)| if *len == 1 { 0 } else { stride });
    std::iter::repeat_n(0, to.len() - from.len()).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_with_permuted_strides_transposes() {
        assert_eq!(strides(&[2, 3]), [3, 1]);
        assert_eq!(walk(&[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(walk(&[], &[]), [0]);
    }

    #[test]
    fn what_is_broadcast_stands_still_along_an_axis_of_one_and_those_it_lacks() {
        assert_eq!(broadcast(&[2, 1, 3], &[4, 2, 5, 3]), [0, 3, 0, 1]);
        assert_eq!(walk(&[2, 2], &broadcast(&[2, 1], &[2, 2])), [0, 0, 1, 1]);
    }
}
