//! A product of two matrices of a row.

/// `out[m, n] = Σ_k a[m, k] · b[k, n]`, ascending k.
pub(crate) fn matmul(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    for (a, out) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        out.fill(0.0);
        for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (y, b) in out.iter_mut().zip(b) {
                *y += a * b;
            }
        }
    }
}
