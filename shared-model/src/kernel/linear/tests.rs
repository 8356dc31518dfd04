//! The layer against its definition, bit for bit, and what it means.

use super::*;
use crate::kernel::reference::{Numbers, assert_same};
use crate::kernel::{math, reference};

/// Rows, inputs and outputs around every border of a block, and a layer of a usual size.
fn shapes() -> impl Iterator<Item = [usize; 3]> {
    let small = (1..10).flat_map(|rows| {
        let inputs = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 70];
        inputs.into_iter().enumerate().flat_map(move |(i, inputs)| {
            let outputs = [1, 3, 4, 5, 8, 9, 12, 15, 16, 17, 24, 31, 32, 37];
            outputs.into_iter().skip((rows + i) % 3).step_by(3).map(move |outputs| [rows, inputs, outputs])
        })
    });
    small.chain([[100, 256, 256]])
}

#[test]
fn f32_has_the_bits_of_its_definition() {
    let mut numbers = Numbers::new();
    for [rows, inputs, outputs] in shapes() {
        let (weight, bias) = (numbers.any(outputs * inputs), numbers.any(outputs));
        let x = numbers.any(rows * inputs);
        for bias in [None, Some(&bias[..])] {
            let mut got = vec![0.0; rows * outputs];
            Linear::f32(inputs, outputs, &weight, bias).run(&x, [None; JOINS], &mut got, &mut Scratch::default());
            let want = reference::linear_f32(inputs, &weight, bias, &x);
            assert_same(&got, &want, &format!("{rows} x {inputs} x {outputs}"));
        }
    }
}

#[test]
fn int8_has_the_bits_of_its_definition() {
    let mut numbers = Numbers::new();
    for [rows, inputs, outputs] in shapes() {
        let q: Vec<i8> = (0..outputs * inputs).map(|_| numbers.bits() as i8).collect();
        let (scale, offset) = (numbers.usual(outputs), numbers.usual(outputs));
        let (bias, x) = (numbers.any(outputs), numbers.rows(rows, inputs));
        for bias in [None, Some(&bias[..])] {
            let mut got = vec![0.0; rows * outputs];
            Linear::int8(inputs, &q, &scale, &offset, Activations::Sixteen, bias).run(
                &x,
                [None; JOINS],
                &mut got,
                &mut Scratch::default(),
            );
            let want = reference::linear_int8(inputs, &q, &scale, &offset, bias, &x);
            assert_same(&got, &want, &format!("{rows} x {inputs} x {outputs}"));
        }
    }
}

#[test]
fn int8_beside_bytes_has_the_bits_of_its_definition() {
    let mut numbers = Numbers::new();
    for [rows, inputs, outputs] in shapes() {
        let q: Vec<i8> = (0..outputs * inputs).map(|_| numbers.bits() as i8).collect();
        let (scale, offset) = (numbers.usual(outputs), numbers.usual(outputs));
        let (bias, x) = (numbers.any(outputs), numbers.rows(rows, inputs));
        for bias in [None, Some(&bias[..])] {
            let mut got = vec![0.0; rows * outputs];
            let layer = Linear::int8(inputs, &q, &scale, &offset, Activations::Seven, bias);
            layer.run(&x, [None; JOINS], &mut got, &mut Scratch::default());
            let want = reference::linear_bytes(inputs, &q, &scale, &offset, bias, &x);
            assert_same(&got, &want, &format!("{rows} x {inputs} x {outputs}"));
        }
    }
}

#[test]
fn bytes_are_as_close_to_the_inputs_as_their_steps() {
    // A weight of 1, and one of nothing: the sum is the rounded input.
    let layer = Linear::int8(2, &[100, 0, 0, 100], &[0.01; 2], &[0.0; 2], Activations::Seven, None);
    for x in [[0.0f32, 127.0], [-3.0, 5.0], [0.2, 0.3], [7.0, 7.0], [-1e-3, 1e3], [0.0, 0.0]] {
        let mut out = [1.0; 2];
        layer.run(&x, [None; JOINS], &mut out, &mut Scratch::default());
        let step = (x[1] - x[0]) / 127.0;
        for (got, want) in out.iter().zip(x) {
            assert!((got - want).abs() <= 0.51 * step + 1e-6 * want.abs(), "{got} for {want}");
        }
    }
}

#[test]
fn no_sum_of_bytes_and_the_largest_weights_is_saturated() {
    for w in [i8::MIN, i8::MAX] {
        let (inputs, mut out) = (64, [0.0; 8]);
        let layer = Linear::int8(inputs, &vec![w; inputs * 8], &[1.0; 8], &[0.0; 8], Activations::Seven, None);
        let x: Vec<f32> = (0..inputs).map(|i| if i == 0 { 0.0 } else { 127.0 }).collect();
        layer.run(&x, [None; JOINS], &mut out, &mut Scratch::default());
        assert_eq!(out, [f32::from(w) * 127.0 * 63.0; 8]);
    }
}

#[test]
fn int4_has_the_bits_of_its_definition() {
    let mut numbers = Numbers::new();
    for [rows, inputs, outputs] in shapes() {
        let q: Vec<u8> = (0..outputs * inputs.div_ceil(2)).map(|_| numbers.bits() as u8).collect();
        let groups = outputs * inputs.div_ceil(GROUP);
        let [scale, min] =
            [(); 2].map(|()| -> Vec<f16> { numbers.usual(groups).into_iter().map(f16::from_f32).collect() });
        let (bias, x) = (numbers.any(outputs), numbers.rows(rows, inputs));
        for bias in [None, Some(&bias[..])] {
            let mut got = vec![0.0; rows * outputs];
            Linear::int4(inputs, outputs, &q, &scale, &min, bias).run(
                &x,
                [None; JOINS],
                &mut got,
                &mut Scratch::default(),
            );
            let want = reference::linear_int4(inputs, &q, &scale, &min, bias, &x);
            assert_same(&got, &want, &format!("{rows} x {inputs} x {outputs}"));
        }
    }
}

#[test]
fn scratch_of_a_larger_layer_is_no_trouble() {
    let (mut numbers, mut scratch) = (Numbers::new(), Scratch::default());
    for [rows, inputs] in [[9, 70], [3, 5], [4, 33], [1, 2]] {
        let q: Vec<i8> = (0..3 * inputs).map(|_| numbers.bits() as i8).collect();
        let x = numbers.rows(rows, inputs);
        let mut got = vec![0.0; rows * 3];
        Linear::int8(inputs, &q, &[1.0; 3], &[0.5; 3], Activations::Sixteen, None).run(
            &x,
            [None; JOINS],
            &mut got,
            &mut scratch,
        );
        assert_same(&got, &reference::linear_int8(inputs, &q, &[1.0; 3], &[0.5; 3], None, &x), "a reused scratch");
    }
}

#[test]
fn f32_sums_in_ascending_order_and_adds_the_bias_last() {
    let weight: Vec<f32> = (0..17 * 3).map(|i| (i as f32).sin()).collect();
    let (x, bias) = ([1e8f32, 1.0, -1e8], vec![0.25f32; 17]);
    let mut out = [0.0; 17];
    Linear::f32(3, 17, &weight, Some(&bias)).run(&x, [None; JOINS], &mut out, &mut Scratch::default());
    for (o, y) in out.iter().enumerate() {
        let mut sum = 0.0f32;
        for k in 0..3 {
            sum += x[k] * weight[o * 3 + k];
        }
        assert_eq!(y.to_bits(), (sum + 0.25).to_bits(), "output {o}");
    }
}

#[test]
fn int8_is_close_to_its_meaning() {
    let q: Vec<i8> = (0..40i16).map(|i| ((i * 37) % 255 - 127) as i8).collect();
    let (scale, offset) = ([0.01f32, 0.02], [0.3f32, -0.1]);
    let x: Vec<f32> = (0..20).map(|i| (i as f32 * 0.7).cos()).collect();
    let mut out = [0.0; 2];
    Linear::int8(20, &q, &scale, &offset, Activations::Sixteen, None).run(
        &x,
        [None; JOINS],
        &mut out,
        &mut Scratch::default(),
    );
    for o in 0..2 {
        let want: f32 = (0..20).map(|i| x[i] * (f32::from(q[o * 20 + i]) * scale[o] + offset[o])).sum();
        assert!((out[o] - want).abs() < 1e-4, "{} for {want}", out[o]);
    }
}

#[test]
fn int4_groups_have_their_own_scale() {
    let q = [0x21u8; 40 / 2].to_vec();
    let (scale, min) = ([1.0, 0.5].map(f16::from_f32), [0.0, -1.0].map(f16::from_f32));
    let mut out = [0.0];
    Linear::int4(40, 1, &q, &scale, &min, None).run(&[1.0; 40], [None; JOINS], &mut out, &mut Scratch::default());
    // 32 weights alternate 1, 2; 8 weights alternate -0.5, 0.
    assert!((out[0] - (48.0 - 2.0)).abs() < 1e-3, "{}", out[0]);
}

#[test]
fn heavy_weights_limit_the_activations_so_that_sums_stay_exact() {
    let q = vec![127i8; 4096];
    let mut out = [0.0];
    Linear::int8(4096, &q, &[1.0], &[0.0], Activations::Sixteen, None).run(
        &vec![1.0; 4096],
        [None; JOINS],
        &mut out,
        &mut Scratch::default(),
    );
    assert!((out[0] / (127.0 * 4096.0) - 1.0).abs() < 1e-3, "{}", out[0]);
}

#[test]
fn a_value_that_is_not_finite_gives_no_number() {
    let layer = Linear::int8(2, &[1, 1], &[1.0], &[0.5], Activations::Sixteen, None);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut out = [0.0];
        layer.run(&[bad, 1.0], [None; JOINS], &mut out, &mut Scratch::default());
        assert!(out[0].is_nan());
    }
}

#[test]
fn zeros_stay_zero() {
    let mut out = [1.0];
    Linear::int8(2, &[1, 1], &[1.0], &[0.5], Activations::Sixteen, None).run(
        &[0.0, -0.0],
        [None; JOINS],
        &mut out,
        &mut Scratch::default(),
    );
    assert_eq!(out, [0.0]);
}

#[test]
fn an_activation_has_the_bits_of_one_afterwards() {
    let mut numbers = Numbers::new();
    for (rows, outputs) in (1..7).flat_map(|rows| (1..19).map(move |outputs| (rows, outputs))) {
        let (weight, x) = (numbers.any(outputs * 9), numbers.any(rows * 9));
        let want = reference::linear_f32(9, &weight, None, &x);
        for activation in activations() {
            let mut got = vec![0.0; rows * outputs];
            let layer = Linear::f32(9, outputs, &weight, None).then(activation);
            layer.run(&x, [None; JOINS], &mut got, &mut Scratch::default());
            let want: Vec<f32> = want.iter().map(|&y| activated(activation, y)).collect();
            assert_same(&got, &want, &format!("{activation:?}, {rows} x {outputs}"));
        }
    }
}

/// All but Gelu, with slopes around each border.
fn activations() -> impl Iterator<Item = Activation> {
    let leaky = [-2.0, -0.0, 0.0, 0.3, 1.0, 1.5].map(Activation::Leaky);
    [Activation::None, Activation::Relu].into_iter().chain(leaky)
}

fn activated(activation: Activation, y: f32) -> f32 {
    match activation {
        Activation::None => y,
        Activation::Relu => {
            if y <= 0.0 {
                0.0
            } else {
                y
            }
        }
        Activation::Leaky(slope) => {
            if y < 0.0 {
                slope * y
            } else {
                y
            }
        }
        Activation::Gelu => math::gelu(y),
    }
}

#[test]
fn what_joins_has_the_bits_of_steps_afterwards() {
    let mut numbers = Numbers::new();
    for (rows, outputs) in
        [1, 2, 3, 4, 6, 9, 12].into_iter().flat_map(|rows| (1..19).chain([32, 67]).map(move |outputs| (rows, outputs)))
    {
        let (weight, x) = (numbers.usual(outputs * 9), numbers.usual(rows * 9));
        let sums = reference::linear_f32(9, &weight, None, &x);
        // A row each, one for every three, the same few over and over, one for all.
        for (rows_each, of) in [(1, rows), (3, rows.div_ceil(3)), (1, 3), (1, 1)] {
            let data = [(); 2].map(|()| numbers.any(of * outputs));
            let joins = [[Join::Add, Join::Add], [Join::Multiply, Join::Add], [Join::Add, Join::Multiply]];
            for (joins, activation) in joins.into_iter().flat_map(|joins| activations().map(move |of| (joins, of))) {
                for count in 1..=JOINS {
                    let operands =
                        from_fn(|i| (i < count).then(|| Operand { join: joins[i], data: &data[i], rows_each }));
                    let mut got = vec![0.0; rows * outputs];
                    let layer = Linear::f32(9, outputs, &weight, None).then(activation);
                    layer.run(&x, operands, &mut got, &mut Scratch::default());
                    let mut want = sums.clone();
                    for (i, want) in want.iter_mut().enumerate() {
                        for (join, data) in joins.iter().zip(&data).take(count) {
                            let other = data[i / outputs / rows_each % of * outputs + i % outputs];
                            *want = if *join == Join::Add { *want + other } else { *want * other };
                        }
                        *want = activated(activation, *want);
                    }
                    assert_same(&got, &want, &format!("{joins:?}, {activation:?}, {rows} x {outputs}, {of} rows"));
                }
            }
        }
    }
}

#[test]
fn gelu_has_the_bits_of_steps_afterwards() {
    let mut numbers = Numbers::new();
    for (rows, outputs) in [(1, 1), (3, 7), (4, 8), (5, 33), (9, 64)] {
        let (weight, x) = (numbers.any(outputs * 9), numbers.any(rows * 9));
        let mut got = vec![0.0; rows * outputs];
        let layer = Linear::f32(9, outputs, &weight, None).then(Activation::Gelu);
        layer.run(&x, [None; JOINS], &mut got, &mut Scratch::default());
        let sums = reference::linear_f32(9, &weight, None, &x);
        let want: Vec<f32> = sums.iter().map(|y| math::gelu(*y)).collect();
        assert_same(&got, &want, &format!("{rows} x {outputs}"));
    }
}

#[test]
fn the_largest_input_rounds_to_the_limit_and_no_further() {
    let mut numbers = Numbers::new();
    for case in 0..20_000 {
        let bits = numbers.bits() & 0x7fff_ffff;
        let largest = f32::from_bits(bits);
        if !largest.is_finite() || largest == 0.0 {
            continue;
        }
        // One weight of 1: the sum is the rounded input.
        let weight = [i8::MAX; 2].map(|w| if case % 2 == 0 { w } else { 1 });
        let mut got = [0.0; 2];
        let layer = Linear::int8(1, &weight, &[1.0; 2], &[0.0; 2], Activations::Sixteen, None);
        layer.run(&[-largest], [None; JOINS], &mut got, &mut Scratch::default());
        let want = reference::linear_int8(1, &weight, &[1.0; 2], &[0.0; 2], None, &[-largest]);
        assert_same(&got, &want, &format!("{largest:e}"));
    }
}
