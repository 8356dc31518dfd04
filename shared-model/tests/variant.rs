//! A variant's file: what is written is read, and what is not a variant is refused by name.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::collections::BTreeMap;

use half::f16;
use proptest::prelude::*;
use shared_model::graph::{Builder, DType, Link, Op, Scope, Type};
use shared_model::tensor::{Activations, RowBits, Tensor};
use shared_model::variant::{RowNoise, Variant, VariantError, VariantName};

fn variant() -> Variant {
    let mut builder = Builder::new();
    let id = builder.input("id", Type { dtype: DType::I32, shape: vec![], scope: Scope::Item }).unwrap();
    let table = builder.constant("table", DType::F32, &[3, 4]).unwrap();
    let weight = builder.constant("weight", DType::F32, &[2, 4]).unwrap();
    let out = builder.constant("out", DType::F32, &[1, 2]).unwrap();
    let row = builder.push("row", Op::Embedding, &[table, id]).unwrap();
    let hidden = builder.push("hidden", Op::Linear, &[row, weight]).unwrap();
    let score = builder.push("score", Op::Linear, &[hidden, out]).unwrap();
    let halves = |n| vec![f16::from_f32(0.5); n];
    let tensors = BTreeMap::from([
        ("table".into(), Tensor::Table4 { rows: 3, width: 4, q: vec![0x21; 6], scale: halves(3), min: halves(3) }),
        (
            "weight".into(),
            Tensor::Linear8 {
                outputs: 2,
                inputs: 4,
                q: vec![-127; 8],
                scale: vec![0.1, 0.2],
                offset: vec![0.0, 0.5],
                activations: Activations::Seven,
            },
        ),
        ("out".into(), Tensor::F32 { shape: vec![1, 2], data: vec![1.5, f32::MIN_POSITIVE] }),
    ]);
    Variant { name: VariantName::W4, graph: builder.finish(score, Link::Sigmoid).unwrap(), tensors, noise: None }
}

#[test]
fn reads_what_it_wrote_and_writes_the_same_bytes() {
    let variant = variant();
    let bytes = variant.to_bytes().unwrap();
    assert_eq!(Variant::from_bytes(&bytes).unwrap(), variant);
    assert_eq!(variant.to_bytes().unwrap(), bytes);
}

/// The same with a table of rows that differ, and what they are.
fn mixed(q: Vec<u8>) -> Variant {
    let mut variant = variant();
    let (bits, halves) = (RowBits::new(4, &[16, 4, 8]).unwrap(), vec![f16::ONE; 3]);
    variant.tensors.insert("table".into(), Tensor::TableMixed { bits, q, scale: halves.clone(), min: halves });
    variant
}

#[test]
fn reads_a_table_whose_rows_have_different_bits() {
    let variant = mixed((0..14).collect());
    let bytes = variant.to_bytes().unwrap();
    assert_eq!(Variant::from_bytes(&bytes).unwrap(), variant);
    for (q, what) in [(vec![0; 13], "the graph wants"), (vec![0x7c; 14], "not finite")] {
        let error = Variant::from_bytes(&mixed(q).to_bytes().unwrap()).unwrap_err();
        assert!(
            matches!(&error, VariantError::Tensor { name, what: said } if name == "table" && said.contains(what)),
            "{error}"
        );
    }
}

#[test]
fn reads_how_noisy_rows_are_and_rejects_what_no_noise_is() {
    let noisy = |input: &str, table: &str, four: f32| {
        let noise = RowNoise { input: input.into(), table: table.into(), by_bits: [four, 1.0, 1.0] };
        Variant { noise: Some(noise), ..mixed((0..14).collect()) }
    };
    let variant = noisy("id", "table", 6.5);
    assert_eq!(Variant::from_bytes(&variant.to_bytes().unwrap()).unwrap(), variant);
    for (input, table, four, wrong) in [
        ("id", "table", 0.5, "from 1 to"),
        ("id", "table", -1.0, "from 1 to"),
        ("id", "table", 1e30, "from 1 to"),
        ("id", "out", 6.5, "no rows of different bits"),
        ("id", "nowhere", 6.5, "no rows of different bits"),
        ("nowhere", "table", 6.5, "`nowhere`, which is no index of an item"),
    ] {
        let error = Variant::from_bytes(&noisy(input, table, four).to_bytes().unwrap()).unwrap_err();
        assert!(
            matches!(&error, VariantError::Tensor { name, what } if name == table && what.contains(wrong)),
            "{error}"
        );
    }
}

#[test]
fn rejects_a_file_of_another_kind() {
    assert!(matches!(Variant::from_bytes(b"GGUF"), Err(VariantError::Container(_))));
    let plain = safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView)>::new(), None).unwrap();
    assert!(matches!(Variant::from_bytes(&plain), Err(VariantError::NoGraph)));
}

#[test]
fn rejects_every_truncation() {
    let bytes = variant().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(Variant::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn names_the_tensor_that_is_missing_or_misshapen() {
    let mut broken = variant();
    broken.tensors.remove("out");
    let error = Variant::from_bytes(&broken.to_bytes().unwrap()).unwrap_err();
    assert!(matches!(&error, VariantError::Tensor { name, .. } if name == "out"), "{error}");
    broken.tensors.insert("out".into(), Tensor::F32 { shape: vec![2, 1], data: vec![0.0; 2] });
    let error = Variant::from_bytes(&broken.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("`out` is F32 [2, 1], the graph wants F32 [1, 2]"), "{error}");
}

#[test]
fn rejects_a_scale_that_is_not_finite() {
    let mut broken = variant();
    let scale = vec![f16::NAN; 3];
    broken
        .tensors
        .insert("table".into(), Tensor::Table4 { rows: 3, width: 4, q: vec![0; 6], scale, min: vec![f16::ONE; 3] });
    let error = Variant::from_bytes(&broken.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("tensor `table`: a scale or minimum is not finite"), "{error}");
}

proptest! {
    #[test]
    fn survives_any_change_of_one_byte(at in 0usize..4096, to: u8) {
        let mut bytes = variant().to_bytes().unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = Variant::from_bytes(&bytes);
    }

    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Variant::from_bytes(&bytes);
    }
}
