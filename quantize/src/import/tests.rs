//! Small models, written as protobuf here: what is imported runs as tract runs it, what cannot be is refused by name.

mod tiny;

use shared_model::graph::{Link, Op};

use super::import;
use tiny::Attr::{F, I, Is};
use tiny::{Tiny, import_bytes, value_info};

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 29 % 17) as f32 - 8.0) / 7.0).collect()
}

#[test]
fn elementwise_operators_run_as_tract_runs_them() {
    for op in [
        "Neg",
        "Abs",
        "Exp",
        "Erf",
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "HardSigmoid",
        "Elu",
        "Softsign",
        "HardSwish",
    ] {
        Tiny::new().node(op, &["x"], "y", &[]).summed("y").agrees();
    }
    for op in ["Sqrt", "Log", "Reciprocal"] {
        Tiny::new()
            .floats("shift", &[1], &[2.5])
            .node("Add", &["x", "shift"], "positive", &[])
            .node(op, &["positive"], "y", &[])
            .summed("y")
            .agrees();
    }
    for op in ["Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu"] {
        Tiny::new().floats("c", &[1, 4], &[0.5, -1.5, 2.0, 0.25]).node(op, &["x", "c"], "y", &[]).summed("y").agrees();
    }
    Tiny::new().floats("two", &[], &[2.0]).node("Pow", &["x", "two"], "y", &[]).summed("y").agrees();
}

#[test]
fn masks_run_as_tract_runs_them() {
    Tiny::new()
        .ints("zero", &[], &[0])
        .floats("low", &[], &[-9.0])
        .floats("c", &[3, 4], &ramp(12))
        .ints("one", &[1], &[1])
        .node("Greater", &["h", "zero"], "real", &[])
        .node("Unsqueeze", &["x", "one"], "column", &[])
        .node("Mul", &["column", "c"], "wide", &[])
        .ints("two", &[1], &[2])
        .node("ReduceMean", &["wide", "two"], "mean", &[I("keepdims", 0)])
        .node("Where", &["real", "mean", "low"], "masked", &[])
        .node("Softmax", &["masked"], "soft", &[I("axis", 1)])
        .node("Mul", &["soft", "mean"], "y", &[])
        .summed("y")
        .agrees();
}

#[test]
fn a_look_up_is_an_embedding_and_a_link_is_left_off() {
    let imported = Tiny::new()
        .floats("table", &[5, 2], &ramp(10))
        .floats("w", &[6, 1], &ramp(6))
        .floats("b", &[1], &[0.5])
        .node("Gather", &["table", "id"], "e", &[I("axis", 0)])
        .node("Concat", &["x", "e"], "both", &[I("axis", 1)])
        .node("MatMul", &["both", "w"], "product", &[])
        .node("Add", &["product", "b"], "logit", &[])
        .node("Sigmoid", &["logit"], "p", &[])
        .ints("one", &[1], &[1])
        .node("Squeeze", &["p", "one"], "score", &[])
        .output("score")
        .agrees();
    assert_eq!((imported.score_name.as_str(), imported.graph.link()), ("logit", Link::Sigmoid));
    let linears: Vec<usize> =
        imported.graph.nodes().iter().filter(|n| n.op == Op::Linear).map(|n| n.inputs.len()).collect();
    assert_eq!(linears, [3], "the bias is the linear's");
}

#[test]
fn a_bias_stays_apart_when_the_product_is_used_twice() {
    let imported = Tiny::new()
        .floats("w", &[4, 4], &ramp(16))
        .floats("b", &[4], &ramp(4))
        .node("MatMul", &["x", "w"], "product", &[])
        .node("Add", &["product", "b"], "shifted", &[])
        .node("Mul", &["product", "shifted"], "y", &[])
        .summed("y")
        .agrees();
    assert!(imported.graph.nodes().iter().all(|n| n.op != Op::Linear || n.inputs.len() == 2));
}

#[test]
fn gemm_in_all_its_forms() {
    for trans in [0, 1] {
        let dims = if trans == 0 { [4, 2] } else { [2, 4] };
        Tiny::new()
            .floats("w", &dims, &ramp(8))
            .floats("c", &[1, 2], &[1.0, -2.0])
            .node("Gemm", &["x", "w", "c"], "y", &[I("transB", trans), F("alpha", 0.5), F("beta", 3.0)])
            .summed("y")
            .agrees();
    }
}

#[test]
fn follows_the_candidates_to_another_axis_and_back() {
    Tiny::new()
        .ints("picked", &[3, 1], &[2, 0, 3])
        .ints("minus", &[], &[-1])
        .node("Transpose", &["x"], "t", &[Is("perm", &[1, 0])])
        .node("GatherND", &["t", "picked"], "g", &[])
        .node("Transpose", &["g"], "back", &[Is("perm", &[1, 0])])
        .node("Gather", &["back", "minus"], "picked_last", &[I("axis", 1)])
        .ints("one", &[1], &[1])
        .node("Unsqueeze", &["picked_last", "one"], "y", &[])
        .summed("y")
        .agrees();
}

#[test]
fn splits_heads_as_attention_does() {
    Tiny::new()
        .ints("heads", &[4], &[-1, 1, 2, 2])
        .ints("at0", &[1], &[0])
        .ints("at1", &[1], &[1])
        .ints("at2", &[1], &[2])
        .node("Reshape", &["x", "heads"], "r", &[])
        .node("Transpose", &["r"], "t", &[Is("perm", &[2, 0, 1, 3])])
        .node("Slice", &["t", "at0", "at1", "at0"], "q", &[])
        .node("Squeeze", &["q", "at0"], "query", &[])
        .node("Slice", &["t", "at1", "at2", "at0"], "k", &[])
        .node("Squeeze", &["k", "at0"], "key", &[])
        .node("Transpose", &["key"], "key_t", &[Is("perm", &[0, 2, 1])])
        .node("MatMul", &["query", "key_t"], "product", &[])
        .summed("product")
        .agrees();
}

#[test]
fn carries_the_number_of_candidates_through_shapes() {
    Tiny::new()
        .floats("fill", &[], &[0.25])
        .node("Shape", &["x"], "shape", &[])
        .node("Expand", &["fill", "shape"], "full", &[])
        .node("Mul", &["x", "full"], "y", &[])
        .summed("y")
        .agrees();
}

#[test]
fn normalizations_run_as_tract_runs_them() {
    let tiny = || Tiny::new().floats("s", &[4], &[1.0, 2.0, 0.5, 1.5]).floats("b", &[4], &ramp(4));
    tiny().node("LayerNormalization", &["x", "s", "b"], "y", &[F("epsilon", 1e-5)]).summed("y").agrees();
    tiny()
        .floats("mean", &[4], &ramp(4))
        .floats("var", &[4], &[1.0, 0.5, 2.0, 3.0])
        .node("BatchNormalization", &["x", "s", "b", "mean", "var"], "y", &[])
        .summed("y")
        .agrees();
}

#[test]
fn refuses_what_mixes_candidates_and_names_the_node() {
    let said = Tiny::new().node("Softmax", &["x"], "soft", &[I("axis", 0)]).summed("soft").refusal();
    assert!(said.starts_with("node `Softmax_soft` (Softmax) mixes candidates: it works along axis 0"), "{said}");
    let mixing = [
        Tiny::new().ints("zero", &[1], &[0]).node("ReduceMean", &["x", "zero"], "m", &[]).node(
            "Sub",
            &["x", "m"],
            "y",
            &[],
        ),
        Tiny::new().node("Transpose", &["x"], "t", &[Is("perm", &[1, 0])]).node("MatMul", &["x", "t"], "y", &[]),
        Tiny::new().ints("flip", &[2], &[4, -1]).node("Reshape", &["x", "flip"], "y", &[]),
        Tiny::new().ints("join", &[2], &[-1, 2]).node("Reshape", &["x", "join"], "y", &[]),
        Tiny::new().ints("first", &[], &[0]).node("Gather", &["x", "first"], "y", &[I("axis", 0)]),
        Tiny::new().ints("at", &[1], &[0]).ints("end", &[1], &[2]).node("Slice", &["x", "at", "end", "at"], "y", &[]),
        Tiny::new().ints("one", &[1], &[1]).node("Unsqueeze", &["x", "one"], "c", &[]).node(
            "Sub",
            &["x", "c"],
            "y",
            &[],
        ),
        Tiny::new().floats("two", &[2, 4], &ramp(8)).node("Add", &["x", "two"], "y", &[]),
        Tiny::new().node("Concat", &["x", "x"], "y", &[I("axis", 0)]),
    ];
    for (i, tiny) in mixing.into_iter().enumerate() {
        let said = tiny.summed("y").refusal();
        assert!(said.contains("mixes candidates"), "{i}: {said}");
    }
}

#[test]
fn refuses_a_score_that_depends_on_how_many_candidates_there_are() {
    let said = Tiny::new()
        .node("Shape", &["x"], "shape", &[])
        .ints("zero", &[], &[0])
        .node("Gather", &["shape", "zero"], "n", &[])
        .node("Cast", &["n"], "nf", &[I("to", 1)])
        .node("Div", &["x", "nf"], "y", &[])
        .summed("y")
        .refusal();
    assert!(said.contains("Cast_nf") && said.contains("number of candidates"), "{said}");
}

#[test]
fn refuses_an_operator_it_does_not_know_and_says_which() {
    let said = Tiny::new().node("TopK", &["x"], "y", &[]).summed("y").refusal();
    assert!(said.starts_with("node `TopK_y` (TopK, domain `ai.onnx`, opset 18) cannot be imported"), "{said}");
}

#[test]
fn refuses_a_value_that_is_defined_twice() {
    let said = Tiny::new().node("Neg", &["x"], "y", &[]).node("Abs", &["x"], "y", &[]).summed("y").refusal();
    assert!(said.contains("node `Abs_y`") && said.contains("`y` is defined twice"), "{said}");
}

#[test]
fn refuses_inputs_that_do_not_fit_the_schema() {
    let mut tiny = Tiny::new();
    tiny.input("age", 1, &[]);
    let said = tiny.node("Add", &["x", "age"], "y", &[]).summed("y").refusal();
    assert!(said.starts_with("input `age`: the model needs it"), "{said}");
    let mut tiny = Tiny::new().summed("x");
    tiny.graph().input[0] = value_info("x", 1, &[5]);
    assert!(tiny.refusal().contains("input `x`: the model takes [5] a candidate, features.toml feeds 4"));
    tiny.graph().input[0] = value_info("x", 7, &[4]);
    assert!(tiny.refusal().contains("input `x`: the model takes int64, features.toml feeds floats"));
    tiny.graph().input.remove(0);
    assert!(
        tiny.refusal().contains("input `x`: features.toml feeds it, but the model has no such input (it has: h, id)")
    );
}

#[test]
fn refuses_a_fixed_number_of_candidates() {
    let mut tiny = Tiny::new().summed("x");
    let mut fixed = value_info("x", 1, &[4]);
    fixed.type_.mut_or_insert_default().mut_tensor_type().shape.mut_or_insert_default().dim[0].set_dim_value(8);
    tiny.graph().input[0] = fixed;
    assert!(tiny.refusal().contains("dynamic batch dimension"));
}

#[test]
fn refuses_damaged_bytes_without_a_panic() {
    let whole = Tiny::new()
        .floats("w", &[4, 4], &ramp(16))
        .ints("heads", &[3], &[-1, 2, 2])
        .node("MatMul", &["x", "w"], "m", &[])
        .node("Reshape", &["m", "heads"], "r", &[])
        .node("Softmax", &["r"], "s", &[I("axis", -1)])
        .summed("s");
    whole.agrees();
    let bytes = whole.bytes();
    // What is cut off may be no more than a default.
    let cut = (0..bytes.len()).filter(|&cut| import_bytes(&bytes[..cut]).is_err()).count();
    assert!(cut + 8 > bytes.len(), "{cut} of {}", bytes.len());
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            refused += usize::from(import_bytes(&damaged).is_err());
        }
    }
    assert!(refused > bytes.len() / 2, "{refused} of {}", 3 * bytes.len());
    assert!(import(b"not a model", &[]).unwrap_err().to_string().contains("not a usable ONNX model"));
}

#[test]
fn refuses_a_tensor_whose_shape_lies() {
    let lies =
        |dims: &[i64]| Tiny::new().floats("w", dims, &ramp(4)).node("Add", &["x", "w"], "y", &[]).summed("y").refusal();
    assert!(lies(&[5]).contains("tensor `w`: shape [5] but 4 elements"));
    assert!(lies(&[-1]).contains("tensor `w`: impossible shape"));
    assert!(lies(&[i64::MAX, i64::MAX]).contains("more than"));
    assert!(lies(&[1 << 40, 0]).contains("more than"));
}

#[test]
fn refuses_constants_that_would_fill_the_memory() {
    let huge = [
        Tiny::new().ints("one", &[1], &[7]).ints("n", &[1], &[i64::MAX]).node("Tile", &["one", "n"], "y", &[]),
        Tiny::new().ints("from", &[], &[0]).ints("to", &[], &[1 << 29]).ints("by", &[], &[1]).node(
            "Range",
            &["from", "to", "by"],
            "y",
            &[],
        ),
        Tiny::new().ints("from", &[], &[0]).ints("to", &[], &[i64::MIN]).ints("by", &[], &[-1]).node(
            "Range",
            &["from", "to", "by"],
            "y",
            &[],
        ),
        Tiny::new().ints("none", &[1 << 20, 0], &[]).ints("n", &[2], &[1 << 20, 1]).node(
            "Tile",
            &["none", "n"],
            "y",
            &[],
        ),
        Tiny::new().ints("dims", &[2], &[1 << 20, 1 << 20]).node("ConstantOfShape", &["dims"], "y", &[]),
    ];
    for tiny in huge {
        let said =
            tiny.node("Cast", &["y"], "z", &[I("to", 1)]).node("Add", &["x", "z"], "s", &[]).summed("s").refusal();
        assert!(said.contains("elements"), "{said}");
    }
}

#[test]
fn refuses_many_constants_that_would_fill_the_memory_together() {
    let mut tiny = Tiny::new().ints("dims", &[1], &[1 << 20]);
    for i in 0..65 {
        tiny = tiny.node("ConstantOfShape", &["dims"], &format!("c{i}"), &[]);
    }
    let said = tiny.summed("x").refusal();
    assert!(said.contains("node `ConstantOfShape_c64`") && said.contains("too many elements"), "{said}");
}

#[test]
fn refuses_a_slice_that_names_an_axis_twice() {
    let said = Tiny::new()
        .floats("c", &[4], &ramp(4))
        .ints("from", &[2], &[0, 2])
        .ints("to", &[2], &[1, 4])
        .ints("axes", &[2], &[0, 0])
        .node("Slice", &["c", "from", "to", "axes"], "y", &[])
        .node("Add", &["x", "y"], "s", &[])
        .summed("s")
        .refusal();
    assert!(said.contains("node `Slice_y`") && said.contains("name an axis twice"), "{said}");
}
