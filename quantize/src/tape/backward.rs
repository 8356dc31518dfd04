//! Backwards: the derivative of each candidate's score by every value, from the score down.

use shared_model::graph::{Binary, Node, Op, Reduce, Unary};

use super::forward::{add_scaled, each_run, moments, pairs};
use super::maps::Maps;
use super::{Rows, Tape, Trace, Watch};

/// The derivatives by each value, `[candidates, ..]`, as far as they are known.
type Slopes = Vec<Option<Vec<f32>>>;

impl Tape<'_> {
    /// Tells of every weight that a score depends on.
    pub(crate) fn back(&self, trace: &Trace, watch: &mut impl Watch) {
        let score = self.graph.score().index();
        let mut slopes: Slopes = vec![None; self.graph.values().len()];
        if self.wanted[score] {
            slopes[score] = Some(vec![1.0; trace.candidates]);
        }
        for (n, node) in self.graph.nodes().iter().enumerate().rev() {
            let Some(slope) = slopes[node.output.index()].take() else { continue };
            match &node.op {
                Op::Linear => watch.linear(self.name(node, 1), self.floats(trace, node.inputs[0]), &slope),
                Op::Embedding => watch.lookup(self.lookup(n, node, trace), &slope),
                _ => {}
            }
            for i in 0..node.inputs.len() {
                self.step(n, i, trace, &slope, &mut slopes);
            }
        }
    }

    fn name(&self, node: &Node, i: usize) -> &str {
        &self.graph.value(node.inputs[i]).name
    }

    /// Adds what operand `i` of a node owes, if a weight is behind it.
    fn step(&self, n: usize, i: usize, trace: &Trace, slope: &[f32], slopes: &mut Slopes) {
        let node = &self.graph.nodes()[n];
        let id = node.inputs[i];
        if !self.wanted[id.index()] {
            return;
        }
        let (len, width) = (self.graph.value(id).ty.len(), self.graph.value(node.output).ty.len());
        let into = slopes[id.index()].get_or_insert_with(|| vec![0.0; trace.candidates * len]);
        for (r, (into, slope)) in into.chunks_exact_mut(len).zip(slope.chunks_exact(width)).enumerate() {
            self.step_of_row(n, i, trace, r, slope, into);
        }
    }

    fn step_of_row(&self, n: usize, i: usize, trace: &Trace, r: usize, slope: &[f32], into: &mut [f32]) {
        let node = &self.graph.nodes()[n];
        let rows = |i: usize| -> Rows<'_> { self.floats(trace, node.inputs[i]) };
        let x = |i: usize| rows(i).row(r);
        match (&node.op, &self.maps[n]) {
            (Op::Unary(f), _) => {
                for ((into, x), s) in into.iter_mut().zip(x(0)).zip(slope) {
                    *into += s * derivative(*f, *x);
                }
            }
            (Op::Clip { min, max }, _) => {
                for ((into, x), s) in into.iter_mut().zip(x(0)).zip(slope) {
                    if min.is_none_or(|min| *x >= min) && max.is_none_or(|max| *x <= max) {
                        *into += s;
                    }
                }
            }
            (Op::Binary(f), Maps::Operands(maps)) => {
                let (a, b) = (x(0), x(1));
                for ((p, q), s) in pairs(maps).zip(slope) {
                    let by = partial(*f, a[p as usize], b[q as usize]);
                    into[if i == 0 { p } else { q } as usize] += s * by[i];
                }
            }
            (Op::Where, Maps::Operands(maps)) => {
                for (e, s) in slope.iter().enumerate() {
                    if self.chosen(node, maps, trace, r, e) == i {
                        into[maps[i][e] as usize] += s;
                    }
                }
            }
            (Op::Linear, _) => {
                let w = rows(1).row(0);
                let outputs = self.outputs(node);
                for (into, slope) in into.chunks_exact_mut(w.len() / outputs).zip(slope.chunks_exact(outputs)) {
                    for (s, w) in slope.iter().zip(w.chunks_exact(into.len())) {
                        add_scaled(into, *s, w);
                    }
                }
            }
            (Op::MatMul, Maps::Products { pairs, m, k, n }) => {
                let other = x(1 - i);
                for ((p, q), slope) in pairs.iter().zip(slope.chunks_exact(m * n)) {
                    let (p, q) = (*p as usize * m * k, *q as usize * k * n);
                    if i == 0 {
                        by_left(&other[q..][..k * n], slope, [*k, *n], &mut into[p..][..m * k]);
                    } else {
                        by_right(&other[p..][..m * k], slope, [*k, *n], &mut into[q..][..k * n]);
                    }
                }
            }
            (Op::Reduce { kind, .. }, Maps::Targets(targets)) => by_reduced(*kind, targets, x(0), slope, into),
            (Op::Softmax { .. }, Maps::Runs { len, stride }) => {
                let y = self.floats(trace, node.output).row(r);
                each_run(*len, *stride, y.len(), |run| {
                    let mean: f32 = run.clone().map(|e| y[e] * slope[e]).sum();
                    run.for_each(|e| into[e] += y[e] * (slope[e] - mean));
                });
            }
            (Op::LayerNorm { epsilon }, _) => {
                let scale = rows(1).row(0);
                let len = scale.len();
                let runs = x(0).chunks_exact(len).zip(slope.chunks_exact(len)).zip(into.chunks_exact_mut(len));
                for ((x, s), into) in runs {
                    by_normalized(x, s, scale, *epsilon, into);
                }
            }
            (Op::Cast { .. }, _) => add_scaled(into, 1.0, slope),
            (_, Maps::Operands(maps)) => {
                for (&e, s) in maps[i].iter().zip(slope) {
                    into[e as usize] += s;
                }
            }
            (_, Maps::Pieces(pieces)) => {
                for (&(_, e), s) in pieces.iter().zip(slope).filter(|((operand, _), _)| *operand as usize == i) {
                    into[e as usize] += s;
                }
            }
            (op, _) => unreachable!("no float goes through `{}`", op.name()),
        }
    }
}

fn derivative(f: Unary, x: f32) -> f32 {
    let y = f.apply(x);
    match f {
        Unary::Neg => -1.0,
        Unary::Abs => {
            if x < 0.0 {
                -1.0
            } else {
                1.0
            }
        }
        Unary::Reciprocal => -y * y,
        Unary::Sqrt => 0.5 / y,
        Unary::Exp => y,
        Unary::Log => 1.0 / x,
        Unary::Erf => std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp(),
        Unary::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Unary::LeakyRelu(alpha) => {
            if x < 0.0 {
                alpha
            } else {
                1.0
            }
        }
        Unary::Sigmoid => y * (1.0 - y),
        Unary::Tanh => 1.0 - y * y,
        Unary::Softplus => Unary::Sigmoid.apply(x),
        Unary::Gelu => {
            let density =
                (-0.5 * x * x).exp() * std::f32::consts::FRAC_1_SQRT_2 * std::f32::consts::FRAC_2_SQRT_PI / 2.0;
            0.5 * (1.0 + Unary::Erf.apply(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
        }
        Unary::Not => unreachable!("not of floats"),
    }
}

/// By both operands.
fn partial(f: Binary, a: f32, b: f32) -> [f32; 2] {
    match f {
        Binary::Add => [1.0, 1.0],
        Binary::Sub => [1.0, -1.0],
        Binary::Mul => [b, a],
        Binary::Div => [1.0 / b, -a / (b * b)],
        Binary::Min => {
            if a <= b {
                [1.0, 0.0]
            } else {
                [0.0, 1.0]
            }
        }
        Binary::Max => {
            if a >= b {
                [1.0, 0.0]
            } else {
                [0.0, 1.0]
            }
        }
        Binary::PRelu => {
            if a < 0.0 {
                [b, a]
            } else {
                [1.0, 0.0]
            }
        }
    }
}

fn by_left(b: &[f32], slope: &[f32], [k, n]: [usize; 2], into: &mut [f32]) {
    for (into, slope) in into.chunks_exact_mut(k).zip(slope.chunks_exact(n)) {
        for (into, b) in into.iter_mut().zip(b.chunks_exact(n)) {
            *into += b.iter().zip(slope).map(|(b, s)| b * s).sum::<f32>();
        }
    }
}

fn by_right(a: &[f32], slope: &[f32], [k, n]: [usize; 2], into: &mut [f32]) {
    for (a, slope) in a.chunks_exact(k).zip(slope.chunks_exact(n)) {
        for (a, into) in a.iter().zip(into.chunks_exact_mut(n)) {
            add_scaled(into, *a, slope);
        }
    }
}

fn by_reduced(kind: Reduce, targets: &[u32], x: &[f32], slope: &[f32], into: &mut [f32]) {
    if matches!(kind, Reduce::Sum | Reduce::Mean) {
        let share = if kind == Reduce::Mean { slope.len() as f32 / x.len() as f32 } else { 1.0 };
        into.iter_mut().zip(targets).for_each(|(into, &to)| *into += slope[to as usize] * share);
        return;
    }
    let better = |a: f32, b: f32| if kind == Reduce::Min { a < b } else { a > b };
    let mut first: Vec<Option<usize>> = vec![None; slope.len()];
    for (e, &to) in targets.iter().enumerate() {
        let best = &mut first[to as usize];
        if best.is_none_or(|b| better(x[e], x[b])) {
            *best = Some(e);
        }
    }
    for (e, s) in first.iter().zip(slope).filter_map(|(e, s)| Some(((*e)?, s))) {
        into[e] += s;
    }
}

fn by_normalized(x: &[f32], slope: &[f32], scale: &[f32], epsilon: f32, into: &mut [f32]) {
    let (mean, inverse) = moments(x, epsilon);
    let n = x.len() as f32;
    let by_normal = || slope.iter().zip(scale).map(|(s, w)| s * w);
    let sum: f32 = by_normal().sum();
    let along: f32 = by_normal().zip(x).map(|(s, x)| s * (x - mean) * inverse).sum();
    for ((into, s), x) in into.iter_mut().zip(by_normal()).zip(x) {
        *into += inverse * (s - sum / n - (x - mean) * inverse * along / n);
    }
}
