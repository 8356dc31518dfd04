//! Passes over elements side by side, in blocks: an engine may look at its clock once a turn of a loop.

/// Elements of a turn: a few registers.
const BLOCK: usize = 32;

/// `out[i] = f(x[i])`
pub(crate) fn each<T: Copy, U>(x: &[T], out: &mut [U], f: impl Fn(T) -> U) {
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<BLOCK>(), out.as_chunks_mut::<BLOCK>());
    for (out, x) in out.iter_mut().zip(x) {
        for (y, &x) in out.iter_mut().zip(x) {
            *y = f(x);
        }
    }
    for (y, &x) in out_rest.iter_mut().zip(x_rest) {
        *y = f(x);
    }
}

/// `out[i] = f(a[i], b[i])`
pub(crate) fn each_two<T: Copy, U>(a: &[T], b: &[T], out: &mut [U], f: impl Fn(T, T) -> U) {
    let (a, a_rest) = a.as_chunks::<BLOCK>();
    let (b, b_rest) = b.as_chunks::<BLOCK>();
    let (out, out_rest) = out.as_chunks_mut::<BLOCK>();
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *y = f(a, b);
        }
    }
    for ((y, &a), &b) in out_rest.iter_mut().zip(a_rest).zip(b_rest) {
        *y = f(a, b);
    }
}

/// `out[i] = f(out[i], x[i])`
pub(super) fn onto(x: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let ((x, x_rest), (blocks, rest)) = (x.as_chunks::<BLOCK>(), out.as_chunks_mut::<BLOCK>());
    for (out, x) in blocks.iter_mut().zip(x) {
        out.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x));
    }
    rest.iter_mut().zip(x_rest).for_each(|(y, &x)| *y = f(*y, x));
}

/// `out[i] = f(out[i], a[i], b[i])`
pub(super) fn onto_two(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32, f32) -> f32) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<BLOCK>(), b.as_chunks::<BLOCK>());
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for ((out, a), b) in blocks.iter_mut().zip(a).zip(b) {
        out.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(*y, a, b));
    }
    rest.iter_mut().zip(a_rest).zip(b_rest).for_each(|((y, &a), &b)| *y = f(*y, a, b));
}

/// `out[i] = f(out[i])`
pub(super) fn in_place(out: &mut [f32], f: impl Fn(f32) -> f32) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for out in blocks {
        out.iter_mut().for_each(|y| *y = f(*y));
    }
    rest.iter_mut().for_each(|y| *y = f(*y));
}
