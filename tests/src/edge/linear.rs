//! How fast one int8 linear is: 100 rows of 256 by 256, in the guest, and in onnxruntime-web in the same engine.
//!
//! A call does more than multiply, so two graphs are timed that differ in nothing but how many such layers they have; the
//! difference is that many layers, with what belongs to one: its rows are rounded before it, its sums scaled after it.
//! The rows are of pair scope, as no linear could be left out of that is computed once a request or once an item. Inputs
//! have 16 bits, or 7 for relaxed SIMD. The peer's have 8: its model is the same chain as its own tool quantizes it, with
//! DynamicQuantizeLinear and MatMulInteger in every layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quantize::round::linear8;
use serde_json::json;
use shared_model::bundle::Manifest;
use shared_model::catalog::Catalog;
use shared_model::graph::{Binary, Builder, DType, Graph, Link, Op, Reduce, Scope, Type, Unary};
use shared_model::schema::Schema;
use shared_model::tensor::{Activations, Tensor};
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{Candidate, RankRequest, Raw, Record, TierChoice};

use super::Bench;
use super::export;
use super::guest::Timed;
use super::model::{Bytes, TIER, call};
use super::peer::Peer;
use super::speed::{load_guest, ratio};
use super::turns::{Samples, Subject};
use crate::client::Error;
use crate::rows::{Bar, Row};

const ROWS: usize = 100;
const WIDTH: usize = 256;
/// The layers of the two graphs.
const LAYERS: [usize; 2] = [4, 12];
const NAME: &str = "int8_linear_100x256x256";

pub(super) fn rows(bench: &Bench<'_>) -> Result<Vec<Row>, Error> {
    eprintln!("measuring one int8 linear");
    let wasmtime = |activations| -> Result<[Timed; 2], Error> {
        let [short, long] = LAYERS.map(|layers| in_wasmtime(bench, layers, activations));
        Ok([short?, long?])
    };
    let (mut sixteen, mut seven) = (wasmtime(Activations::Sixteen)?, wasmtime(Activations::Seven)?);
    let mut node = both(|layers| in_node(bench, layers, Activations::Sixteen));
    let mut node_seven = both(|layers| in_node(bench, layers, Activations::Seven));
    let mut web = both(|layers| in_ort_web(bench, layers));
    let of_wasmtime = sixteen.iter_mut().chain(&mut seven);
    let mut subjects: Vec<&mut dyn Subject> = of_wasmtime.map(|timed| timed as &mut dyn Subject).collect();
    for pair in [&mut node, &mut node_seven, &mut web].into_iter().flatten() {
        for subject in pair {
            subjects.push(subject.as_mut());
        }
    }
    let taken = bench.turns.take(&mut subjects)?;
    let mut speeds = taken.chunks_exact(2).map(|pair| gmacs(&pair[0], &pair[1]));
    let [sixteen, seven] = [speeds.next(), speeds.next()].map(|speed| speed.ok_or("nothing was measured"));
    let node = node.map(|_| speeds.next().unwrap_or(f64::NAN));
    let node_seven = node_seven.map(|_| speeds.next().unwrap_or(f64::NAN));
    let web = web.map(|_| speeds.next().unwrap_or(f64::NAN));
    let row = |name: &str, subject: &str, value: Result<f64, String>| {
        let row = Row::new(&format!("{NAME}_{name}"), subject, "GMAC/s", value.as_ref().ok().copied());
        row.because(value.err())
    };
    let over = |ours: &Result<f64, String>| Ok(ours.clone()? / web.clone()?);
    let (bars, with) = ((Some(Bar::AtLeast(1.5)), Some(Bar::AtLeast(3.0))), format!("{NAME}_over_ort_web"));
    Ok(vec![
        ratio(&format!("{with}_of_7_bits"), "node", over(&node_seven)).held_to(bars.0, bars.1),
        ratio(&with, "node", over(&node)).held_to(bars.0, bars.1),
        row("gmacs", "wasmtime", Ok(sixteen?)),
        row("gmacs_of_7_bits", "wasmtime", Ok(seven?)),
        row("gmacs", "node", node),
        row("gmacs_of_7_bits", "node", node_seven),
        row("gmacs_ort_web", "node", web),
    ])
}

/// Billions of multiply-adds a second, of the layers that one graph has more than the other.
fn gmacs(short: &Samples, long: &Samples) -> f64 {
    let more = ((LAYERS[1] - LAYERS[0]) * ROWS * WIDTH * WIDTH) as f64;
    long.beside(short, |long, short| more / (long - short) / 1e9)
}

type Pair = [Box<dyn Subject>; 2];

fn both(load: impl Fn(usize) -> Result<Box<dyn Subject>, Error>) -> Result<Pair, String> {
    let load = |layers| load(layers).map_err(|e| e.to_string());
    Ok([load(LAYERS[0])?, load(LAYERS[1])?])
}

fn in_wasmtime(bench: &Bench<'_>, layers: usize, activations: Activations) -> Result<Timed, Error> {
    Timed::start(&bench.worker, TIER, &bytes(layers, activations)?, vec![asked()])
}

fn in_node(bench: &Bench<'_>, layers: usize, activations: Activations) -> Result<Box<dyn Subject>, Error> {
    let node = peer(&bench.node)?;
    let name = format!("linear-{layers}-{activations:?}");
    let folder = bench.options.work.join(&name);
    let parts = export::parts(&folder, &bytes(layers, activations)?)?;
    let calls = std::path::absolute(folder.join("calls"))?;
    export::messages(&calls, &[asked()])?;
    Ok(Box::new(load_guest(node, &name, bench.node_worker, &parts, &calls)?))
}

fn in_ort_web(bench: &Bench<'_>, layers: usize) -> Result<Box<dyn Subject>, Error> {
    let (native, node) = (peer(&bench.native)?, peer(&bench.node)?);
    let folder = bench.options.work.join(format!("linear-{layers}"));
    let inputs = export::rows(&folder, "x", [ROWS, WIDTH], &values())?;
    let model = std::path::absolute(folder.join("chain.onnx"))?;
    native.ask(&json!({"do": "chain", "layers": layers, "width": WIDTH, "out": model}))?;
    let name = format!("chain-{layers}");
    node.ask(&json!({"do": "load", "name": name, "model": model, "inputs": inputs}))?;
    Ok(Box::new(node.named(&name)))
}

fn peer(peer: &Result<Peer, String>) -> Result<&Peer, Error> {
    peer.as_ref().map_err(|why| why.as_str().into())
}

/// What goes into the first layer, of order 1.
fn values() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(20);
    (0..ROWS * WIDTH).map(|_| random.f32() - 0.5).collect()
}

/// A bundle of so many layers, with items that are its rows.
fn bytes(layers: usize, activations: Activations) -> Result<Bytes, Error> {
    let schema = schema()?;
    let values = values();
    let items = values.chunks(WIDTH).enumerate().map(|(row, values)| {
        let id = [("id".to_owned(), Raw::Text(format!("m{row}")))];
        let features = values.iter().enumerate().map(|(i, v)| (format!("x{i}"), Raw::Float(f64::from(*v))));
        Record(id.into_iter().chain(features).collect())
    });
    let items: Vec<Record> = items.collect();
    let (graph, tensors) = chain(layers, activations)?;
    let variant = Variant { name: VariantName::of(TIER), graph, tensors, noise: None };
    Ok(Bytes {
        manifest: Manifest::new("linear", "1", 1, b"").to_bytes(),
        schema: schema.to_json(),
        variant: variant.to_bytes()?,
        catalog: Catalog::build(&schema, items)?.to_safetensors(&schema),
    })
}

fn schema() -> Result<Schema, Error> {
    let mut text = "schema_version = 1\nmodel = \"linear\"\n".to_owned();
    writeln!(text, "[[feature]]\nname = \"weight\"\nkind = \"numeric\"\nscope = \"request\"\nfield = \"user.weight\"")?;
    for i in 0..WIDTH {
        write!(text, "[[feature]]\nname = \"x{i}\"\nkind = \"numeric\"\nscope = \"item\"\n")?;
        writeln!(text, "input = \"x\"\ncolumn = {i}")?;
    }
    Ok(Schema::from_toml(&text)?)
}

fn chain(layers: usize, inputs: Activations) -> Result<(Graph, BTreeMap<String, Tensor>), Error> {
    let mut b = Builder::new();
    let ty = |shape, scope| Type { dtype: DType::F32, shape, scope };
    let weight = b.input("weight", ty(vec![], Scope::Request))?;
    let x = b.input("x", ty(vec![WIDTH], Scope::Item))?;
    let name = |layer| format!("w{layer}");
    let layer = |layer| b.constant(&name(layer), DType::F32, &[WIDTH, WIDTH]);
    let constants = (0..layers).map(layer).collect::<Result<Vec<_>, _>>()?;
    let weighted = b.push("weighted", Op::Binary(Binary::Mul), &[x, weight])?;
    let mut value = b.push("positive", Op::Unary(Unary::Relu), &[weighted])?;
    for constant in constants {
        value = b.push("y", Op::Linear, &[value, constant])?;
    }
    let sum = Op::Reduce { kind: Reduce::Sum, axes: vec![0], keep: false };
    let score = b.push("score", sum, &[value])?;
    // So scaled, every layer's results are of the order of its inputs.
    let (mut random, scale) = (fastrand::Rng::with_seed(21), (12.0 / WIDTH as f32).sqrt());
    let mut tensor = |layer| {
        let weights: Vec<f32> = (0..WIDTH * WIDTH).map(|_| (random.f32() - 0.5) * scale).collect();
        let mut tensor = linear8(WIDTH, WIDTH, &weights);
        if let Tensor::Linear8 { activations, .. } = &mut tensor {
            *activations = inputs;
        }
        (name(layer), tensor)
    };
    let tensors = (0..layers).map(&mut tensor).collect();
    Ok((b.finish(score, Link::Identity)?, tensors))
}

/// All rows are asked for.
fn asked() -> Vec<u8> {
    let candidates = (0..ROWS).map(|row| Candidate { id: format!("m{row}"), features: None }).collect();
    let request = RankRequest {
        model: "linear".to_owned(),
        k: 10,
        user: Record(vec![("weight".to_owned(), Raw::Float(1.0))]),
        context: Record::default(),
        candidates,
        exclude: Vec::new(),
        timeout_ms: None,
        tier: TierChoice::Region,
        explain: false,
    };
    call(&request, TIER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::guest::answered;
    use crate::edge::model::LIMITS;
    use shared_model::ladder::Ladder;
    use shared_model::wire::{from_cbor, to_cbor};

    #[test]
    fn the_speed_is_that_of_the_layers_that_one_graph_has_more() {
        let samples = |seconds| Samples::new(&[vec![seconds]]).unwrap();
        let more = (LAYERS[1] - LAYERS[0]) as f64 * 6.5536e6;
        assert!((gmacs(&samples(5.0), &samples(5.5)) - more / 0.5e9).abs() < 1e-9);
    }

    #[test]
    fn its_bundle_ranks_rows_that_are_not_all_alike() {
        for activations in [Activations::Sixteen, Activations::Seven] {
            let bytes = bytes(2, activations).unwrap();
            let mut ladder = Ladder::load(TIER, LIMITS, bytes.parts()).unwrap();
            let step = ladder.rank(&from_cbor(&asked()).unwrap());
            let ranked = answered(&to_cbor(&step)).unwrap();
            assert_eq!(ranked.len(), 10);
            assert!(ranked[0].1 > ranked[9].1);
        }
    }
}
