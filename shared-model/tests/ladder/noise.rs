//! What a tier makes of noisy candidates: those whose rows have fewer bits than others.

use half::f16;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::graph::{Builder, DType, Link, Op, Scope, Type};
use shared_model::ladder::{Ladder, Outcome, Parts, TierLimits};
use shared_model::schema::Schema;
use shared_model::tensor::{RowBits, Tensor};
use shared_model::variant::{RowNoise, Variant, VariantName};
use shared_model::wire::{Answer, Ranked, Reason, Reply, Tier, Why};

use crate::toy::{answered, call, escalated, ids, request, toy};

const SCHEMA: &str = r#"{"schema_version":1,"model":"toy","feature":[
  {"name":"shelf","kind":"categorical","scope":"item","field":"shelf"}]}"#;
const BITS: [u8; 6] = [8, 8, 8, 4, 4, 8];

/// An edge that scores an item by the row of its shelf: 9, 5, 1, in 4 bits, which are four times as noisy, 1 and 15, and -9.
fn edge() -> Ladder {
    let mut builder = Builder::new();
    let shelf = builder.input("shelf", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
    let table = builder.constant("table", DType::F32, &[6, 1]).unwrap();
    let row = builder.push("row", Op::Embedding, &[table, shelf]).unwrap();
    let score = builder.push("score", Op::Reshape { shape: vec![] }, &[row]).unwrap();
    let graph = builder.finish(score, Link::Identity).unwrap();
    let min = [9.0, 5.0, 1.0, 1.0, 15.0, -9.0].map(f16::from_f32).to_vec();
    let bits = RowBits::new(1, &BITS).unwrap();
    let table = Tensor::TableMixed { bits, q: vec![0; 6], scale: vec![f16::ONE; 6], min };
    let noise = RowNoise { input: "shelf".into(), table: "table".into(), by_bits: [4.0, 1.0, 4.0] };
    let tensors = [("table".to_owned(), table)].into();
    let variant = Variant { name: VariantName::W4, graph, tensors, noise: Some(noise) }.to_bytes().unwrap();
    let schema = Schema::from_json(SCHEMA.as_bytes()).unwrap();
    let items = (0..6).map(|i| item_from_json(&format!(r#"{{"id":"i{i}","shelf":{i}}}"#)).unwrap());
    let catalog = Catalog::build(&schema, items).unwrap().to_safetensors(&schema);
    let (manifest, schema) = (toy().manifest, schema.to_json());
    let parts = Parts { manifest: &manifest, schema: &schema, variant: &variant, catalog: &catalog };
    Ladder::load(Tier::Edge, TierLimits { max_candidates: 10, max_k: 5, item_table_bytes: 1 << 20 }, parts).unwrap()
}

/// A request for the best two: the policy wants a margin of 1.5.
fn asked(candidates: &str) -> String {
    format!(r#"{{"model":"toy","k":2,"explain":true,"candidates":[{candidates}]}}"#)
}

#[test]
fn a_candidate_whose_row_has_fewer_bits_makes_the_edge_unsure() {
    let sure = answered(edge().rank(&call(request(&asked(r#""i0","i1","i2""#)))));
    assert_eq!((sure.reason, sure.agreement.unwrap().margin), (Reason::Sure, Some(4.0)));
    let (_, message) = escalated(edge().rank(&call(request(&asked(r#""i0","i1","i3""#)))));
    assert_eq!(message.why, Why::Unsure, "it is 2 from the boundary, and may be off by four times as much");
}

#[test]
fn a_candidate_that_the_request_describes_is_as_noisy_as_any() {
    let body = asked(r#""i0","i1",{"id":"new","shelf":2}"#);
    let (_, message) = escalated(edge().rank(&call(request(&body))));
    assert_eq!(message.why, Why::Unsure);
}

#[test]
fn a_noisy_candidate_in_doubt_may_rank_above_a_certain_one() {
    // 15, 9, 5 | 1, -9: the middle is 3, and 15 in 4 bits is nearer to it than 9 in 8.
    let body = asked(r#""i0","i1","i3","i4","i5""#).replace("\"k\":2", "\"k\":3");
    let mut edge = edge();
    let (held, message) = escalated(edge.rank(&call(request(&body))));
    let sent: Vec<&str> = message.request.candidates.iter().map(|c| c.id.as_str()).collect();
    assert_eq!((sent, message.request.k), (vec!["i1", "i3", "i4"], 2));
    let above = |chosen: [(&str, f32); 2]| {
        let entry = |(id, score): (&str, f32)| Ranked { id: id.to_owned(), score: Some(score), by: Tier::Origin };
        let blank = answered(self::edge().rank(&call(request(&asked("")))));
        let (tier, reason, stamp) = (Tier::Origin, Reason::Reference, Some(message.stamp));
        let ranked = chosen.map(entry).to_vec();
        Outcome::Reply(Reply::Answer(Box::new(Answer { tier, reason, stamp, ranked, agreement: None, ..blank })))
    };
    let answer = answered(edge.resume(&held, above([("i4", 14.0), ("i1", 6.0)])));
    assert_eq!((ids(&answer), answer.reason), (vec!["i4", "i0", "i1"], Reason::Merged));
    let answer = answered(edge.resume(&held, above([("i1", 8.0), ("i3", 7.0)])));
    assert_eq!(ids(&answer), ["i0", "i1", "i3"]);
}

#[test]
fn an_explanation_tells_how_noisy_each_is() {
    let body = asked(r#""i1","i2","i3""#).replace("\"explain\"", "\"tier\":\"edge\",\"explain\"");
    let answer = answered(edge().rank(&call(request(&body))));
    let explained: serde_json::Value = serde_json::from_str(&answer.explanation.unwrap()).unwrap();
    // 5, 1 and 1: the boundary is between equals.
    assert_eq!((explained["margin"].as_f64(), explained["boundary"].as_f64()), (Some(0.0), Some(1.0)));
    let noise = |i: usize| (explained["ranked"][i]["id"].as_str().unwrap(), explained["ranked"][i]["noise"].as_f64());
    assert_eq!([noise(0), noise(1), noise(2)], [("i1", Some(1.0)), ("i2", Some(1.0)), ("i3", Some(4.0))]);
}
