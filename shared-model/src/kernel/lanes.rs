//! Four f32, four i32, eight i16 or sixteen i8 side by side: what the loops of the kernels are written over.
//!
//! In WASM each is one SIMD register; elsewhere it is an array, which the compiler makes a register where it can. Both
//! have the same operations, and every operation gives the same bits in both. Floats are never added across lanes.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[path = "lanes/array.rs"]
mod backend;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[path = "lanes/wasm.rs"]
mod backend;
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
#[path = "lanes/relaxed.rs"]
mod bytes;
#[cfg(not(all(target_arch = "wasm32", target_feature = "relaxed-simd")))]
#[path = "lanes/widened.rs"]
mod bytes;

pub(crate) use backend::{F32x4, I16x8, I32x4};
pub(crate) use bytes::I8x16;

/// The lanes of [`F32x4`] and [`I32x4`].
pub(crate) const LANES: usize = 4;

impl F32x4 {
    pub(crate) const fn zero() -> Self {
        Self::splat(0.0)
    }

    /// The lanes that `x` has, zeros after them.
    #[inline(always)]
    pub(crate) fn load_first(x: &[f32]) -> Self {
        // One by one: a loop would become a call that copies memory.
        Self::load(&std::array::from_fn(|i| x.get(i).copied().unwrap_or(0.0)))
    }

    /// Writes the lanes that `out` has room for.
    #[inline(always)]
    pub(crate) fn store_first(self, out: &mut [f32]) {
        let [a, b, c, d] = self.to_array();
        match out {
            [] => {}
            [x] => *x = a,
            [x, y] => (*x, *y) = (a, b),
            [x, y, z] => (*x, *y, *z) = (a, b, c),
            [x, y, z, w, ..] => (*x, *y, *z, *w) = (a, b, c, d),
        }
    }
}

/// Lane `j` of vector `i` becomes lane `i` of vector `j`.
#[inline(always)]
pub(crate) fn transpose(rows: [F32x4; LANES]) -> [F32x4; LANES] {
    let [a, b, c, d] = rows;
    let ((p, q), (r, s)) = (a.zip(c), b.zip(d));
    let ((w, x), (y, z)) = (p.zip(r), q.zip(s));
    [w, x, y, z]
}
