//! The elementwise ops, on operands whose rows are aligned; the backend broadcasts.
//!
//! Where a primitive of the backend is only defined on equal shapes, the operands are expanded first, which is a view.

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{BoolDType, Dispatch, FloatDType, IntDType, TensorMetadata, get_device_settings};

use shared_model::graph::{Binary, Compare, DType, Logic, Unary};

use super::value::{Bool, Float, Value};

pub(super) fn unary(f: Unary, x: Value) -> Value {
    if f == Unary::Not {
        return Value::Bool(Dispatch::bool_not(x.bool()));
    }
    let x = x.f32();
    Value::F32(match f {
        Unary::Neg => Dispatch::float_neg(x),
        Unary::Abs => Dispatch::float_abs(x),
        Unary::Reciprocal => Dispatch::float_recip(x),
        Unary::Sqrt => Dispatch::float_sqrt(x),
        Unary::Exp => Dispatch::float_exp(x),
        Unary::Log => Dispatch::float_log(x),
        Unary::Erf => Dispatch::float_erf(x),
        Unary::Relu => Dispatch::relu(x),
        Unary::LeakyRelu(alpha) => Dispatch::leaky_relu(x, alpha.into()),
        Unary::Sigmoid => Dispatch::sigmoid(x),
        Unary::Tanh => Dispatch::float_tanh(x),
        Unary::Softplus => softplus(x),
        Unary::Gelu => Dispatch::gelu(x),
        Unary::Not => unreachable!("taken above"),
    })
}

/// `max(x, 0) + ln(1 + exp(-|x|))`: equal to `ln(1 + exp(x))`, and does not overflow.
fn softplus(x: Float) -> Float {
    let decay = Dispatch::float_exp(Dispatch::float_neg(Dispatch::float_abs(x.clone())));
    Dispatch::float_add(Dispatch::relu(x), Dispatch::float_log1p(decay))
}

pub(super) fn binary(f: Binary, a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => Value::F32(match f {
            Binary::Add => Dispatch::float_add(a, b),
            Binary::Sub => Dispatch::float_sub(a, b),
            Binary::Mul => Dispatch::float_mul(a, b),
            Binary::Div => Dispatch::float_div(a, b),
            Binary::Min | Binary::Max => {
                let [a, b] = equal_shapes([Value::F32(a), Value::F32(b)]).map(Value::f32);
                let flags = flags(&a);
                let first = match f {
                    Binary::Min => Dispatch::float_lower(a.clone(), b.clone(), flags),
                    _ => Dispatch::float_greater(a.clone(), b.clone(), flags),
                };
                Dispatch::float_mask_where(b, first, a)
            }
            Binary::PRelu => {
                let negative = Dispatch::float_lower_elem(a.clone(), 0f32.into(), flags(&a));
                let scaled = Dispatch::float_mul(a.clone(), b);
                select(negative, Value::F32(scaled), Value::F32(a)).f32()
            }
        }),
        (a, b) => {
            let (a, b) = (a.i32(), b.i32());
            Value::I32(match f {
                Binary::Add => Dispatch::int_add(a, b),
                Binary::Sub => Dispatch::int_sub(a, b),
                Binary::Mul => Dispatch::int_mul(a, b),
                Binary::Min | Binary::Max => {
                    let [a, b] = equal_shapes([Value::I32(a), Value::I32(b)]).map(Value::i32);
                    let flags = flags(&a);
                    let first = match f {
                        Binary::Min => Dispatch::int_lower(a.clone(), b.clone(), flags),
                        _ => Dispatch::int_greater(a.clone(), b.clone(), flags),
                    };
                    Dispatch::int_mask_where(b, first, a)
                }
                Binary::Div | Binary::PRelu => unreachable!("the graph defines {f:?} on f32 alone"),
            })
        }
    }
}

pub(super) fn compare(f: Compare, a: Value, b: Value) -> Value {
    Value::Bool(match (a, b) {
        (Value::F32(a), Value::F32(b)) => {
            let flags = flags(&a);
            match f {
                Compare::Equal => Dispatch::float_equal(a, b, flags),
                Compare::Less => Dispatch::float_lower(a, b, flags),
                Compare::LessOrEqual => Dispatch::float_lower_equal(a, b, flags),
                Compare::Greater => Dispatch::float_greater(a, b, flags),
                Compare::GreaterOrEqual => Dispatch::float_greater_equal(a, b, flags),
            }
        }
        (a, b) => {
            let (a, b) = (a.i32(), b.i32());
            let flags = flags(&a);
            match f {
                Compare::Equal => Dispatch::int_equal(a, b, flags),
                Compare::Less => Dispatch::int_lower(a, b, flags),
                Compare::LessOrEqual => Dispatch::int_lower_equal(a, b, flags),
                Compare::Greater => Dispatch::int_greater(a, b, flags),
                Compare::GreaterOrEqual => Dispatch::int_greater_equal(a, b, flags),
            }
        }
    })
}

pub(super) fn logic(f: Logic, a: Value, b: Value) -> Value {
    let [a, b] = equal_shapes([a, b]).map(Value::bool);
    Value::Bool(match f {
        Logic::And => Dispatch::bool_and(a, b),
        Logic::Or => Dispatch::bool_or(a, b),
        Logic::Xor => Dispatch::bool_xor(a, b),
    })
}

/// `condition ? a : b`
pub(super) fn select(condition: Bool, a: Value, b: Value) -> Value {
    let [condition, a, b] = equal_shapes([Value::Bool(condition), a, b]);
    let condition = condition.bool();
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => Value::F32(Dispatch::float_mask_where(b, condition, a)),
        (a, b) => Value::I32(Dispatch::int_mask_where(b.i32(), condition, a.i32())),
    }
}

pub(super) fn clip(x: Value, min: Option<f32>, max: Option<f32>) -> Value {
    let mut x = x.f32();
    if let Some(min) = min {
        x = Dispatch::float_clamp_min(x, min.into());
    }
    if let Some(max) = max {
        x = Dispatch::float_clamp_max(x, max.into());
    }
    Value::F32(x)
}

pub(super) fn cast(x: Value, to: DType) -> Value {
    match (x, to) {
        (x, to) if x.dtype() == to => x,
        (Value::F32(x), DType::I32) => Value::I32(Dispatch::float_into_int(x, IntDType::I32)),
        (Value::F32(x), _) => {
            let flags = flags(&x);
            Value::Bool(Dispatch::float_not_equal_elem(x, 0f32.into(), flags))
        }
        (Value::I32(x), DType::F32) => Value::F32(Dispatch::int_into_float(x, FloatDType::F32)),
        (Value::I32(x), _) => {
            let flags = flags(&x);
            Value::Bool(Dispatch::int_not_equal_elem(x, 0i32.into(), flags))
        }
        (Value::Bool(x), DType::F32) => Value::F32(Dispatch::bool_into_float(x, FloatDType::F32)),
        (Value::Bool(x), _) => Value::I32(Dispatch::bool_into_int(x, IntDType::I32)),
    }
}

/// The operands, each expanded to the shape they broadcast to; their ranks are equal.
fn equal_shapes<const N: usize>(values: [Value; N]) -> [Value; N] {
    let mut wide = values[0].dims();
    for value in &values[1..] {
        for (d, len) in wide.iter_mut().zip(value.dims()) {
            if *d == 1 {
                *d = len;
            }
        }
    }
    values.map(|v| v.expand(wide.clone()))
}

/// How the device of `tensor` stores booleans.
fn flags(tensor: &impl TensorMetadata<Device = burn::backend::DispatchDevice>) -> BoolDType {
    get_device_settings::<Dispatch>(&tensor.device()).bool_dtype
}
