//! Constants of an ONNX model on the host: what weights, indices and shape arithmetic are while a model is imported.
//!
//! Integers may stand for the number of candidates ([`Int::Rows`]), which is unknown until a request comes: exporters
//! compute shapes from it. It can be carried about but not computed with, so no score can depend on it.

use shared_model::limits;
use shared_model::shape::{self, strides, walk};

/// A named constant; data is row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    /// The ONNX value it came from.
    pub(crate) name: String,
    /// The dimensions.
    pub(crate) shape: Vec<usize>,
    /// The elements.
    pub(crate) data: Data,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    F32(Vec<f32>),
    Int(Vec<Int>),
    Bool(Vec<bool>),
}

/// An integer of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    /// A number.
    Known(i64),
    /// The number of candidates of the request.
    Rows,
}

impl Array {
    pub(crate) fn ints(name: &str, values: impl IntoIterator<Item = Int>) -> Self {
        let values: Vec<Int> = values.into_iter().collect();
        Self { name: name.to_owned(), shape: vec![values.len()], data: Data::Int(values) }
    }

    pub(crate) fn scalar(name: &str, data: Data) -> Self {
        Self { name: name.to_owned(), shape: Vec::new(), data }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.len(),
            Data::Int(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    pub(crate) fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same elements in another shape of as many.
    pub(crate) fn reshaped(&self, shape: Vec<usize>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.len());
        Self { name: self.name.clone(), shape, data: self.data.clone() }
    }

    /// The elements at `indices`, in that order, as an array of `shape`.
    pub(crate) fn pick(&self, shape: Vec<usize>, indices: &[usize]) -> Self {
        let data = match &self.data {
            Data::F32(v) => Data::F32(indices.iter().map(|&i| v[i]).collect()),
            Data::Int(v) => Data::Int(indices.iter().map(|&i| v[i]).collect()),
            Data::Bool(v) => Data::Bool(indices.iter().map(|&i| v[i]).collect()),
        };
        Self { name: self.name.clone(), shape, data }
    }

    /// NumPy broadcasting to a shape it fits.
    pub(crate) fn broadcast(&self, shape: &[usize]) -> Result<Self, String> {
        Ok(self.pick(shape.to_vec(), &broadcast_indices(&self.shape, shape)?))
    }

    pub(crate) fn transposed(&self, perm: &[usize]) -> Self {
        let strides = strides(&self.shape);
        let shape: Vec<usize> = perm.iter().map(|&p| self.shape[p]).collect();
        let stepped: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
        self.pick(shape.clone(), &walk(&shape, &stepped))
    }

    /// Along `axis`, the slices at `indices`, which are in range.
    pub(crate) fn select(&self, axis: usize, indices: &[usize]) -> Self {
        let (outer, len, inner) = around(&self.shape, axis);
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        let flat: Vec<usize> = (0..outer)
            .flat_map(|o| indices.iter().flat_map(move |&i| (0..inner).map(move |e| (o * len + i) * inner + e)))
            .collect();
        self.pick(shape, &flat)
    }

    pub(crate) fn as_f32(&self) -> Option<&[f32]> {
        if let Data::F32(v) = &self.data { Some(v) } else { None }
    }

    pub(crate) fn as_ints(&self) -> Option<&[Int]> {
        if let Data::Int(v) = &self.data { Some(v) } else { None }
    }

    /// Its elements as plain integers.
    pub(crate) fn known_ints(&self) -> Option<Vec<i64>> {
        self.as_ints()?.iter().map(|i| if let Int::Known(v) = i { Some(*v) } else { None }).collect()
    }

    /// Its one element.
    pub(crate) fn f32_scalar(&self) -> Option<f32> {
        if let Some([v]) = self.as_f32() { Some(*v) } else { None }
    }
}

/// The number of elements of `shape`, if a constant may have that many.
///
/// An axis of length 0 does not make the others free: positions are listed along each of them.
pub(crate) fn bounded_len(shape: &[usize]) -> Result<usize, String> {
    let most = if shape.contains(&0) { limits::MAX_ROW_ELEMENTS } else { limits::MAX_TENSOR_ELEMENTS };
    let extent = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    if extent.is_none_or(|n| n > most) {
        return Err(format!("shape {shape:?} spans more than {most} elements"));
    }
    Ok(shape.iter().product())
}

/// The flat positions in an array of shape `from` of the elements of its broadcast to `to`.
pub(crate) fn broadcast_indices(from: &[usize], to: &[usize]) -> Result<Vec<usize>, String> {
    let fits = from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1);
    if !fits {
        return Err(format!("{from:?} does not broadcast to {to:?}"));
    }
    if bounded_len(to)? > limits::MAX_ROW_ELEMENTS.max(from.iter().product()) {
        return Err(format!("{from:?} broadcast to {to:?} has more than {} elements", limits::MAX_ROW_ELEMENTS));
    }
    Ok(walk(to, &shape::broadcast(from, to)))
}

/// The shape two or more shapes broadcast to.
pub(crate) fn broadcast_shape(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut wide = vec![1; rank];
    for shape in shapes {
        for (w, &d) in wide[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*w, d) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *w = b,
                _ => return Err(format!("{shapes:?} do not broadcast")),
            }
        }
    }
    Ok(wide)
}

/// Elements before, of, and after `axis`.
pub(crate) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Array {
        Array { name: "m".into(), shape: vec![2, 3], data: Data::F32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]) }
    }

    #[test]
    fn transposes() {
        let t = matrix().transposed(&[1, 0]);
        assert_eq!((t.shape.as_slice(), t.as_f32()), (&[3, 2][..], Some(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])));
    }

    #[test]
    fn broadcasts_from_the_right() {
        let row = Array { name: "r".into(), shape: vec![3], data: Data::Int([7, 8, 9].map(Int::Known).to_vec()) };
        assert_eq!(row.broadcast(&[2, 3]).unwrap().known_ints(), Some(vec![7, 8, 9, 7, 8, 9]));
        assert!(row.broadcast(&[3, 2]).unwrap_err().contains("does not broadcast"));
    }

    #[test]
    fn selects_along_an_axis() {
        let s = matrix().select(1, &[2, 0]);
        assert_eq!((s.shape.as_slice(), s.as_f32()), (&[2, 2][..], Some(&[2.0, 0.0, 5.0, 3.0][..])));
    }

    #[test]
    fn refuses_a_broadcast_above_the_limit() {
        let one = Array::scalar("s", Data::Bool(vec![true]));
        assert!(one.broadcast(&[1 << 12, 1 << 12]).unwrap_err().contains("more than"));
        assert!(one.broadcast(&[usize::MAX, 2]).unwrap_err().contains("more than"));
    }

    #[test]
    fn refuses_a_long_axis_beside_an_empty_one() {
        assert_eq!(bounded_len(&[3, 0]), Ok(0));
        assert!(bounded_len(&[1 << 40, 0]).unwrap_err().contains("more than"));
        assert!(bounded_len(&[0, usize::MAX, usize::MAX]).unwrap_err().contains("more than"));
    }
}
