//! Reductions: every result is folded from its elements in ascending order.

use super::across;
use super::lanes::{F32x4, LANES};
use super::row::{maximum, minimum};
use crate::graph::Reduce;

/// Which elements fold into which result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    /// `[.., len, inner]` to `[.., inner]`.
    Axis { len: usize, inner: usize },
    /// Element `i` of a row into result `map[i]`.
    Map(Vec<u32>),
}

/// Reduces rows, contiguous in `x`, to `width` results each; a mean divides by `count` last.
pub(crate) fn f32(kind: Reduce, targets: &Targets, count: usize, width: usize, x: &[f32], out: &mut [f32]) {
    match targets {
        Targets::Axis { len, inner } => match kind {
            Reduce::Sum | Reduce::Mean => axis(*len, *inner, 0.0, |a, b| a + b, x, out),
            Reduce::Min => axis(*len, *inner, f32::INFINITY, F32x4::minimum, x, out),
            Reduce::Max => axis(*len, *inner, f32::NEG_INFINITY, F32x4::maximum, x, out),
        },
        Targets::Map(map) => match kind {
            Reduce::Sum | Reduce::Mean => by_map(map, 0.0, |a, b| a + b, width, x, out),
            Reduce::Min => by_map(map, f32::INFINITY, minimum, width, x, out),
            Reduce::Max => by_map(map, f32::NEG_INFINITY, maximum, width, x, out),
        },
    }
    if kind == Reduce::Mean {
        let count = count as f32;
        out.iter_mut().for_each(|y| *y /= count);
    }
}

/// The same for integers, of which only the order is used.
pub(crate) fn i32(kind: Reduce, map: &[u32], width: usize, x: &[i32], out: &mut [i32]) {
    match kind {
        Reduce::Min => by_map(map, i32::MAX, Ord::min, width, x, out),
        Reduce::Max | Reduce::Sum | Reduce::Mean => by_map(map, i32::MIN, Ord::max, width, x, out),
    }
}

fn by_map<T: Copy>(map: &[u32], start: T, f: impl Fn(T, T) -> T, width: usize, x: &[T], out: &mut [T]) {
    out.fill(start);
    if x.is_empty() {
        return;
    }
    for (x, out) in x.chunks_exact(map.len()).zip(out.chunks_exact_mut(width)) {
        for (&t, &x) in map.iter().zip(x) {
            let y = &mut out[t as usize];
            *y = f(*y, x);
        }
    }
}

fn axis(len: usize, inner: usize, start: f32, f: impl Fn(F32x4, F32x4) -> F32x4, x: &[f32], out: &mut [f32]) {
    if x.is_empty() {
        return out.fill(start);
    }
    if inner == 1 {
        let mut outs = out.chunks_mut(across::ROWS);
        across::rows(len, x, |rows| {
            let folded = across::numbers(across::fold(rows, start, |_, a, b, _| f(a, b)));
            for (y, folded) in outs.next().into_iter().flatten().zip(folded) {
                *y = folded;
            }
        });
        return;
    }
    let start = F32x4::splat(start);
    for (x, out) in x.chunks_exact(len * inner).zip(out.chunks_exact_mut(inner)) {
        let (whole, rest) = out.as_chunks_mut::<LANES>();
        let columns = whole.len() * LANES;
        for (c, out) in whole.iter_mut().enumerate() {
            let column = x.chunks_exact(inner).filter_map(|x| x[c * LANES..].first_chunk());
            *out = column.fold(start, |a, x| f(a, F32x4::load(x))).to_array();
        }
        if !rest.is_empty() {
            let column = x.chunks_exact(inner).map(|x| F32x4::load_first(&x[columns..]));
            column.fold(start, &f).store_first(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::reference::{self, Numbers, assert_same};

    #[test]
    fn an_axis_has_the_bits_of_its_definition() {
        let mut numbers = Numbers::new();
        for (outer, len, inner) in (1..7).flat_map(|o| (1..9).flat_map(move |l| (1..19).map(move |i| (o, l, i)))) {
            let map: Vec<u32> = (0..len * inner).map(|i| (i % inner) as u32).collect();
            for kind in [Reduce::Sum, Reduce::Mean, Reduce::Min, Reduce::Max] {
                let x = numbers.any(outer * len * inner);
                let [mut got, mut want] = [(); 2].map(|()| vec![0.0; outer * inner]);
                f32(kind, &Targets::Axis { len, inner }, len, inner, &x, &mut got);
                for (x, want) in x.chunks_exact(len * inner).zip(want.chunks_exact_mut(inner)) {
                    reference::reduce_f32(kind, &map, len, x, want);
                }
                assert_same(&got, &want, &format!("{kind:?} of {outer} x {len} x {inner}"));
            }
        }
    }

    #[test]
    fn an_empty_axis_gives_what_a_fold_begins_with() {
        for targets in [Targets::Axis { len: 0, inner: 2 }, Targets::Map(Vec::new())] {
            let mut out = [1.0; 2];
            f32(Reduce::Sum, &targets, 0, 2, &[], &mut out);
            assert_eq!(out, [0.0; 2]);
        }
    }

    #[test]
    fn reductions_follow_their_targets() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let mut out = [0.0; 2];
        f32(Reduce::Sum, &Targets::Map(vec![0, 1, 0, 1]), 2, 2, &x, &mut out);
        assert_eq!(out, [4.0, 6.0]);
        f32(Reduce::Mean, &Targets::Map(vec![0, 0, 1, 1]), 2, 2, &x, &mut out);
        assert_eq!(out, [1.5, 3.5]);
        f32(Reduce::Max, &Targets::Map(vec![0, 0, 1, 1]), 2, 2, &x, &mut out);
        assert_eq!(out, [2.0, 4.0]);
        let mut ints = [0];
        i32(Reduce::Min, &[0, 0], 1, &[-3, 7], &mut ints);
        assert_eq!(ints, [-3]);
    }
}
