//! Elements moved to other places, in runs where they stay beside each other.

/// `out[i] = x[map[i]]`, by runs of consecutive elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gather {
    run: usize,
    starts: Vec<u32>,
}

impl Gather {
    pub(crate) fn new(map: Vec<u32>) -> Self {
        let breaks = (1..map.len()).filter(|&i| map[i] != map[i - 1] + 1);
        let run = breaks.fold(map.len(), gcd).max(1);
        Self { run, starts: if run == 1 { map } else { map.into_iter().step_by(run).collect() } }
    }

    pub(crate) fn table_len(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn run<T: Copy>(&self, x: &[T], out: &mut [T]) {
        match self.run {
            1 => out.iter_mut().zip(&self.starts).for_each(|(y, &i)| *y = x[i as usize]),
            4 => self.runs::<4, T>(x, out),
            8 => self.runs::<8, T>(x, out),
            16 => self.runs::<16, T>(x, out),
            32 => self.runs::<32, T>(x, out),
            run => {
                for (out, &start) in out.chunks_exact_mut(run).zip(&self.starts) {
                    copy(&x[start as usize..][..run], out);
                }
            }
        }
    }

    /// Runs of a length known here, which need no call to copy them.
    fn runs<const N: usize, T: Copy>(&self, x: &[T], out: &mut [T]) {
        for (out, &start) in out.chunks_exact_mut(N).zip(&self.starts) {
            copy_exactly::<N, T>(&x[start as usize..], out);
        }
    }
}

/// Copies a slice as long as `out`, of the usual widths without a call.
#[inline]
pub(crate) fn copy<T: Copy>(x: &[T], out: &mut [T]) {
    match out.len() {
        1 => out[0] = x[0],
        4 => copy_exactly::<4, T>(x, out),
        8 => copy_exactly::<8, T>(x, out),
        16 => copy_exactly::<16, T>(x, out),
        32 => copy_exactly::<32, T>(x, out),
        _ => out.copy_from_slice(x),
    }
}

#[inline(always)]
fn copy_exactly<const N: usize, T: Copy>(x: &[T], out: &mut [T]) {
    if let (Some(to), Some(from)) = (out.first_chunk_mut::<N>(), x.first_chunk()) {
        *to = *from;
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gather_follows_its_map() {
        let x: Vec<i32> = (0..300).collect();
        for run in [1, 2, 3, 4, 5, 8, 16, 31, 32, 64, 65] {
            let map: Vec<u32> = [3u32, 70, 0, 131, 199].iter().flat_map(|&s| (0..run).map(move |i| s + i)).collect();
            let gather = Gather::new(map.clone());
            assert_eq!(gather.run, run as usize);
            let mut out = vec![0; map.len()];
            gather.run(&x, &mut out);
            assert!(out.iter().zip(&map).all(|(&y, &i)| y == x[i as usize]), "runs of {run}");
        }
    }

    #[test]
    fn what_is_not_a_run_is_no_run() {
        assert_eq!(Gather::new(vec![0, 0, 0, 0]).run, 1);
        assert_eq!(Gather::new(vec![0, 1, 2, 5, 6]).run, 1);
        assert_eq!(Gather::new(vec![2, 3, 0, 1]), Gather { run: 2, starts: vec![2, 0] });
    }
}
