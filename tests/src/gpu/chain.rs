//! Whether f32 is f32: a chain of products, 512 wide, against f64. Operands rounded to TF32 would show.

use origin::executor::Batch;
use shared_model::encode::Data;
use shared_model::graph::{Builder, DType, Graph, Link, Op, Scope, Type};
use shared_model::tensor::Tensor;

use super::{Runs, ready};
use crate::client::Error;
use crate::rows::Row;

const WIDTH: usize = 512;
const LAYERS: usize = 4;
const ROWS: usize = 128;
/// IEEE f32 is below it, TF32 about a hundred times above.
const BAR: f64 = 1e-5;

/// The root mean square error of the chain's results, relative to theirs.
pub(super) fn row(runs: &Runs) -> Result<Row, Error> {
    let value = match &runs.device {
        None => None,
        Some(device) => {
            let (weights, x) = chain();
            let (graph, tensors) = graph(&weights);
            let batch = Batch { requests: 1, owner: vec![0; ROWS], inputs: vec![Data::F32(x.clone())] };
            let got = ready(&graph, &tensors, device)?.run(batch)?;
            Some(error(&got, &exact(&weights, &x)))
        }
    };
    let row = Row::new(&format!("{}_chain_error", runs.name), "512 wide", "1", value);
    Ok(if matches!(runs.name, "gpu_f32" | "cpu") { row.must_be_at_most(BAR) } else { row })
}

/// The layers' weights, `outputs × inputs`, and the rows that go in.
fn chain() -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut random = fastrand::Rng::with_seed(20);
    let mut centred = |n: usize, scale: f32| (0..n).map(|_| (random.f32() - 0.5) * scale).collect::<Vec<f32>>();
    // So scaled, results stay of order 1.
    let scale = (12.0 / WIDTH as f32).sqrt();
    let mut weights: Vec<Vec<f32>> = (0..LAYERS).map(|_| centred(WIDTH * WIDTH, scale)).collect();
    weights.push(centred(WIDTH, scale));
    (weights, centred(ROWS * WIDTH, 12f32.sqrt()))
}

fn graph(weights: &[Vec<f32>]) -> (Graph, std::collections::BTreeMap<String, Tensor>) {
    let mut b = Builder::new();
    let row = Type { dtype: DType::F32, shape: vec![WIDTH], scope: Scope::Item };
    let mut value = b.input("x", row).expect("an input");
    let mut tensors = std::collections::BTreeMap::new();
    for (i, data) in weights.iter().enumerate() {
        let (name, shape) = (format!("w{i}"), vec![data.len() / WIDTH, WIDTH]);
        let weight = b.constant(&name, DType::F32, &shape).expect("a constant");
        value = b.push("y", Op::Linear, &[value, weight]).expect("shapes that fit");
        tensors.insert(name, Tensor::F32 { shape, data: data.clone() });
    }
    let score = b.push("score", Op::Reshape { shape: vec![] }, &[value]).expect("one element");
    (b.finish(score, Link::Identity).expect("a graph"), tensors)
}

fn exact(weights: &[Vec<f32>], x: &[f32]) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = x.chunks(WIDTH).map(|row| row.iter().copied().map(f64::from).collect()).collect();
    for weight in weights {
        let product = |row: &[f64], w: &[f32]| row.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum();
        rows = rows.iter().map(|row| weight.chunks(WIDTH).map(|w| product(row, w)).collect()).collect();
    }
    rows.into_iter().flatten().collect()
}

fn error(got: &[f32], exact: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let off = square(&mut got.iter().zip(exact).map(|(g, e)| f64::from(*g) - e));
    (off / square(&mut exact.iter().copied())).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x`, as TF32 holds it: 10 bits of mantissa.
    fn rounded(x: f32) -> f32 {
        f32::from_bits((x.to_bits() + 0x1000) & !0x1fff)
    }

    #[test]
    fn tells_tf32_from_f32() {
        let (weights, x) = chain();
        let expected = exact(&weights, &x);
        let (graph, tensors) = graph(&weights);
        let batch = Batch { requests: 1, owner: vec![0; ROWS], inputs: vec![Data::F32(x.clone())] };
        let ieee = ready(&graph, &tensors, &origin::device::Device::cpu()).unwrap().run(batch).unwrap();
        assert!(error(&ieee, &expected) <= BAR, "{}", error(&ieee, &expected));

        let coarse = |values: &[f32]| values.iter().copied().map(rounded).collect::<Vec<f32>>();
        let tf32: Vec<Vec<f32>> = weights.iter().map(|w| coarse(w)).collect();
        let got: Vec<f32> = exact(&tf32, &coarse(&x)).into_iter().map(|v| v as f32).collect();
        assert!(error(&got, &expected) >= 20.0 * BAR, "{}", error(&got, &expected));
    }
}
