//! Forwards: each op on each row.

use shared_model::graph::{Binary, Compare, DType, Logic, Node, Op, Reduce, Unary};

use super::maps::Maps;
use super::{Elements, Rows, Tape, Trace, View};

impl Tape<'_> {
    pub(super) fn forward(&self, n: usize, node: &Node, trace: &Trace) -> Elements {
        let out = &self.graph.value(node.output).ty;
        let rows = if out.scope.per_candidate() { trace.candidates } else { 1 };
        let floats = |i: usize| self.floats(trace, node.inputs[i]);
        if out.dtype == DType::F32 {
            let mut result = vec![0.0; rows * out.len()];
            for (r, y) in result.chunks_exact_mut(out.len().max(1)).enumerate() {
                self.floats_of_row(n, node, trace, r, y);
            }
            return Elements::F32(result);
        }
        let mut result = Vec::with_capacity(rows * out.len());
        for r in 0..rows {
            let int = |i: usize, e: u32| {
                let (data, len, shared) = self.ints(trace, node.inputs[i]);
                data[if shared { 0 } else { r * len } + e as usize]
            };
            let of_floats = |i: usize| self.graph.value(node.inputs[i]).ty.dtype == DType::F32;
            match (&node.op, &self.maps[n]) {
                (Op::Compare(f), Maps::Operands(maps)) if of_floats(0) => {
                    let (a, b) = (floats(0).row(r), floats(1).row(r));
                    result.extend(pairs(maps).map(|(i, j)| i32::from(holds(*f, &a[i as usize], &b[j as usize]))));
                }
                (Op::Compare(f), Maps::Operands(maps)) => {
                    result.extend(pairs(maps).map(|(i, j)| i32::from(holds(*f, &int(0, i), &int(1, j)))));
                }
                (Op::Logic(f), Maps::Operands(maps)) => result.extend(pairs(maps).map(|(i, j)| {
                    let (a, b) = (int(0, i), int(1, j));
                    match f {
                        Logic::And => a & b,
                        Logic::Or => a | b,
                        Logic::Xor => a ^ b,
                    }
                })),
                (Op::Cast { to }, Maps::Operands(maps)) if of_floats(0) => {
                    let x = floats(0).row(r);
                    let cast = |x: f32| if *to == DType::Bool { i32::from(x != 0.0) } else { x as i32 };
                    result.extend(maps[0].iter().map(|&i| cast(x[i as usize])));
                }
                (Op::Cast { to }, Maps::Operands(maps)) => result.extend(maps[0].iter().map(|&i| match to {
                    DType::Bool => i32::from(int(0, i) != 0),
                    _ => int(0, i),
                })),
                (Op::Unary(Unary::Not), Maps::Operands(maps)) => {
                    result.extend(maps[0].iter().map(|&i| 1 - int(0, i)));
                }
                (Op::Binary(f), Maps::Operands(maps)) => {
                    result.extend(pairs(maps).map(|(i, j)| of_ints(*f, int(0, i), int(1, j))));
                }
                (Op::Where, Maps::Operands(maps)) => result.extend((0..out.len()).map(|e| {
                    let which = if int(0, maps[0][e]) != 0 { 1 } else { 2 };
                    int(which, maps[which][e])
                })),
                (_, Maps::Operands(maps)) => result.extend(maps[0].iter().map(|&i| int(0, i))),
                (_, Maps::Pieces(pieces)) => result.extend(pieces.iter().map(|&(i, e)| int(i as usize, e))),
                (Op::Reduce { kind, .. }, Maps::Targets(targets)) => {
                    let mut folded: Vec<Option<i32>> = vec![None; out.len()];
                    for (e, &to) in (0u32..).zip(targets) {
                        let (x, y) = (int(0, e), &mut folded[to as usize]);
                        *y = Some(y.map_or(x, |y| if *kind == Reduce::Min { y.min(x) } else { y.max(x) }));
                    }
                    result.extend(folded.into_iter().flatten());
                }
                (op, _) => unreachable!("`{}` gives no integers", op.name()),
            }
        }
        Elements::I32(result)
    }

    fn floats_of_row(&self, n: usize, node: &Node, trace: &Trace, r: usize, y: &mut [f32]) {
        let x = |i: usize| self.floats(trace, node.inputs[i]).row(r);
        match (&node.op, &self.maps[n]) {
            (Op::Unary(f), _) => zip(y, x(0), |x| f.apply(x)),
            (Op::Clip { min, max }, _) => {
                zip(y, x(0), |x| x.max(min.unwrap_or(f32::NEG_INFINITY)).min(max.unwrap_or(f32::INFINITY)));
            }
            (Op::Binary(f), Maps::Operands(maps)) => {
                let (a, b) = (x(0), x(1));
                for (y, (i, j)) in y.iter_mut().zip(pairs(maps)) {
                    *y = of_floats(*f, a[i as usize], b[j as usize]);
                }
            }
            (Op::Where, Maps::Operands(maps)) => {
                for (e, y) in y.iter_mut().enumerate() {
                    let which = self.chosen(node, maps, trace, r, e);
                    *y = x(which)[maps[which][e] as usize];
                }
            }
            (Op::Cast { .. }, _) => match self.value(trace, node.inputs[0]) {
                View::F32(_) => y.copy_from_slice(x(0)),
                View::I32(_) => {
                    let (data, len, shared) = self.ints(trace, node.inputs[0]);
                    let row = &data[if shared { 0 } else { r * len }..][..len];
                    y.iter_mut().zip(row).for_each(|(y, x)| *y = *x as f32);
                }
            },
            (Op::Linear, _) => {
                let bias = node.inputs.get(2).map(|_| x(2));
                let (x, outputs) = (x(0), self.outputs(node));
                let w = &self.transposed[n];
                for (x, y) in x.chunks_exact(w.len() / outputs).zip(y.chunks_exact_mut(outputs)) {
                    if let Some(bias) = bias {
                        y.copy_from_slice(bias);
                    }
                    for (x, w) in x.iter().zip(w.chunks_exact(outputs)) {
                        add_scaled(y, *x, w);
                    }
                }
            }
            (Op::Embedding, _) => {
                let (ids, len, shared) = self.ints(trace, node.inputs[1]);
                let ids = &ids[if shared { 0 } else { r * len }..][..len];
                let (table, width) = (self.floats(trace, node.inputs[0]), y.len() / len.max(1));
                for (id, y) in ids.iter().zip(y.chunks_exact_mut(width)) {
                    // What a model that is in use is asked for has been checked.
                    let start = usize::try_from(*id).unwrap_or(0) * width;
                    y.copy_from_slice(&table.data[start..][..width]);
                }
            }
            (Op::MatMul, Maps::Products { pairs, m, k, n }) => {
                let (a, b) = (x(0), x(1));
                for ((i, j), y) in pairs.iter().zip(y.chunks_exact_mut(m * n)) {
                    let (a, b) = (&a[*i as usize * m * k..][..m * k], &b[*j as usize * k * n..][..k * n]);
                    for (a, y) in a.chunks_exact(*k).zip(y.chunks_exact_mut(*n)) {
                        for (a, b) in a.iter().zip(b.chunks_exact(*n)) {
                            add_scaled(y, *a, b);
                        }
                    }
                }
            }
            (Op::Reduce { kind, .. }, Maps::Targets(targets)) => reduce(*kind, targets, x(0), y),
            (Op::Softmax { .. }, Maps::Runs { len, stride }) => {
                let x = x(0);
                each_run(*len, *stride, x.len(), |run| {
                    let most = run.clone().fold(f32::NEG_INFINITY, |m, i| m.max(x[i]));
                    run.clone().for_each(|i| y[i] = (x[i] - most).exp());
                    let sum: f32 = run.clone().map(|i| y[i]).sum();
                    run.for_each(|i| y[i] /= sum);
                });
            }
            (Op::LayerNorm { epsilon }, _) => {
                let (scale, bias) = (x(1), node.inputs.get(2).map(|_| x(2)));
                for (x, y) in x(0).chunks_exact(scale.len()).zip(y.chunks_exact_mut(scale.len())) {
                    let (mean, inverse) = moments(x, *epsilon);
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = (x[i] - mean) * inverse * scale[i] + bias.map_or(0.0, |b| b[i]);
                    }
                }
            }
            (_, Maps::Operands(maps)) => {
                let x = x(0);
                y.iter_mut().zip(&maps[0]).for_each(|(y, &i)| *y = x[i as usize]);
            }
            (_, Maps::Pieces(pieces)) => {
                let operands: Vec<&[f32]> = (0..node.inputs.len()).map(x).collect();
                y.iter_mut().zip(pieces).for_each(|(y, &(i, e))| *y = operands[i as usize][e as usize]);
            }
            (op, _) => unreachable!("`{}` gives no floats", op.name()),
        }
    }

    /// Which operand of a `where` an element is.
    pub(super) fn chosen(&self, node: &Node, maps: &[Vec<u32>], trace: &Trace, r: usize, e: usize) -> usize {
        let (data, len, shared) = self.ints(trace, node.inputs[0]);
        let at = if shared { 0 } else { r * len } + maps[0][e] as usize;
        if data[at] != 0 { 1 } else { 2 }
    }

    pub(super) fn outputs(&self, node: &Node) -> usize {
        self.graph.value(node.inputs[1]).ty.shape[0]
    }
}

pub(super) fn pairs(maps: &[Vec<u32>]) -> impl Iterator<Item = (u32, u32)> {
    maps[0].iter().copied().zip(maps[1].iter().copied())
}

fn zip(y: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
}

/// `y += a · x`
pub(super) fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

fn holds<T: PartialOrd>(f: Compare, a: &T, b: &T) -> bool {
    match f {
        Compare::Equal => a == b,
        Compare::Less => a < b,
        Compare::LessOrEqual => a <= b,
        Compare::Greater => a > b,
        Compare::GreaterOrEqual => a >= b,
    }
}

fn of_floats(f: Binary, a: f32, b: f32) -> f32 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }
}

fn of_ints(f: Binary, a: i32, b: i32) -> i32 {
    match f {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Div | Binary::PRelu => unreachable!("not of integers"),
    }
}

fn reduce(kind: Reduce, targets: &[u32], x: &[f32], y: &mut [f32]) {
    y.fill(match kind {
        Reduce::Sum | Reduce::Mean => 0.0,
        Reduce::Min => f32::INFINITY,
        Reduce::Max => f32::NEG_INFINITY,
    });
    let share = if kind == Reduce::Mean { y.len() as f32 / x.len() as f32 } else { 1.0 };
    for (x, &to) in x.iter().zip(targets) {
        let y = &mut y[to as usize];
        match kind {
            Reduce::Sum | Reduce::Mean => *y += x * share,
            Reduce::Min => *y = y.min(*x),
            Reduce::Max => *y = y.max(*x),
        }
    }
}

/// The positions of each run, of `total` elements in all.
pub(super) fn each_run(
    len: usize,
    stride: usize,
    total: usize,
    mut f: impl FnMut(std::iter::StepBy<std::ops::Range<usize>>),
) {
    for outer in (0..total).step_by(len * stride) {
        for inner in 0..stride {
            let first = outer + inner;
            f((first..first + len * stride).step_by(stride));
        }
    }
}

/// The mean, and one over the standard deviation.
pub(super) fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// The whole of a row's rows.
impl Rows<'_> {
    /// The elements of a row.
    pub(crate) fn len(self) -> usize {
        self.len
    }
}
