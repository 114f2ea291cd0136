//! Inputs that are no numbers: what the portable backend and ONNX Runtime make of a NaN among numbers
//! and infinities. Where one of them does not agree with Burn, that is on record here, and fails when
//! it does. What TensorRT makes of a NaN is not compared.

use accelerant::BackendKind;
use accelerant::burn::OptimizeTrt as _;
use burn::nn::pool::MaxPool1dConfig;
use burn::tensor::activation::{gelu, leaky_relu, relu, sigmoid, softmax};
use burn::tensor::ops::PadMode;

use crate::common::{F32, Runner, compare, portable};
use crate::harness::*;

/// A row with a NaN first, between and last, beside infinities; and a row of numbers.
fn inputs() -> (Tensor<2>, Tensor<2>) {
    let row = [f32::NAN, 1.0, -2.0, f32::INFINITY, f32::NAN, -0.5, f32::NEG_INFINITY, f32::NAN];
    (Tensor::from_data(TensorData::new(row.to_vec(), [1, row.len()]), &device()), input([1, 8], 1))
}

/// Compares with Burn's result, which the runners in `others` must not agree with. tract may refuse the request instead,
/// where it would lose a NaN.
fn agree<O: BurnTensors>(name: &str, others: &[Runner], f: impl Fn(Tensor<2>, Tensor<2>) -> O) {
    let runner = if portable() == BackendKind::Tract { Tract } else { OnnxRuntime };
    let options = OptimizeOptions::new().require(portable());
    let forward = |_: &Nothing, (x, y)| f(x, y);
    let fast = Nothing::default().optimize_trt_with(inputs(), forward, &options);
    let fast = fast.unwrap_or_else(|e| panic!("{name}: {e}"));
    let got = match fast.try_forward(inputs()) {
        Ok(got) => host(got),
        Err(e) => {
            let refused = e.to_string().contains("an input has a NaN, which tract would lose here");
            assert!(refused && runner == Tract && others.contains(&runner), "{name}: {e}");
            return;
        }
    };
    let expected = host(forward(&Nothing::default(), inputs()));
    let mut pairs = got.iter().zip(&expected);
    let difference = pairs.find_map(|(got, expected)| compare(got, expected, F32).err());
    assert_eq!(difference.is_some(), others.contains(&runner), "{name}: {difference:?}");
}

#[test]
fn stay_in_arithmetic() {
    agree("four operations", &[], |x, y| {
        (x.clone() + y.clone(), x.clone() - y.clone(), x.clone() * y.clone(), x / y)
    });
    agree("functions", &[], |x, _| {
        (x.clone().abs(), x.clone().neg().exp(), x.clone().sqrt(), x.log())
    });
    agree("rounding", &[], |x, _| (x.clone().round(), x.clone().floor(), x.ceil()));
    agree("remainder", &[], |x, _| x.remainder_scalar(1.5));
    agree("sums and means", &[], |x, _| (x.clone().sum_dim(1), x.clone().mean_dim(1), x.cumsum(1)));
    agree("softmax", &[], |x, _| softmax(x, 1));
    agree("activations", &[], |x, _| (leaky_relu(x.clone(), 0.1), gelu(x)));
    agree("extremes of two", &[], |x, y| {
        (x.clone().max_pair(y.clone()), y.clone().max_pair(x.clone()), x.min_pair(y))
    });
}

#[test]
fn compare_and_select_like_no_number() {
    agree("with tensors", &[], |x, y| {
        let less = (x.clone().lower(y.clone()), x.clone().lower_equal(y.clone()));
        let more = (x.clone().greater(y.clone()), x.clone().greater_equal(y.clone()));
        (less, more, x.clone().equal(y.clone()), x.not_equal(y))
    });
    agree("with a number", &[], |x, _| {
        let less = (x.clone().lower_elem(0.0), x.clone().lower_equal_elem(0.0));
        let more = (x.clone().greater_elem(0.0), x.clone().greater_equal_elem(0.0));
        (less, more, x.clone().equal_elem(1.0), x.not_equal_elem(1.0))
    });
    agree("with themselves", &[], |x, _| (x.clone().equal(x.clone()), x.clone().not_equal(x)));
    agree("tests", &[], |x, _| {
        (x.clone().is_nan(), x.clone().is_inf(), x.clone().is_finite(), x.contains_nan())
    });
    agree("masks", &[], |x, y| {
        let mask = x.clone().is_nan();
        (x.clone().mask_fill(mask.clone(), 0.0), x.clone().mask_where(mask, y), x.bool())
    });
}

#[test]
fn are_numbers_that_an_operation_may_have() {
    agree("filled", &[], |x, y| {
        let masked = y.clone().mask_fill(y.clone().greater_elem(0.0), f32::NAN);
        (masked, x.pad((1, 2, 0, 0), PadMode::Constant(f32::NAN)), y.full_like(f32::NAN))
    });
    agree("added", &[], |_, y| y + f32::NAN);
}

/// tract 0.23 takes extremes and these functions of the numbers beside the NaN, or of a bound. Most are refused then.
#[test]
fn are_lost_by_tract() {
    const TRACT: &[Runner] = &[Tract];
    agree("relu", TRACT, |x, _| relu(x));
    agree("sigmoid", TRACT, |x, _| sigmoid(x));
    agree("tanh", TRACT, |x, _| x.tanh());
    agree("hypot", TRACT, |x, y| x.hypot(y));
    agree("atan2", TRACT, |x, y| x.atan2(y));
    // Of the infinities here.
    agree("powers", TRACT, |x, _| x.powf_scalar(0.5));
    agree("clamp", TRACT, |x, _| x.clamp(-1.0, 1.0));
    agree("clamp from below", TRACT, |x, _| x.clamp_min(-1.0));
    agree("clamp from above", TRACT, |x, _| x.clamp_max(1.0));
    agree("the largest", TRACT, |x, _| x.max_dim(1));
    agree("the smallest", TRACT, |x, _| x.min_dim(1));
    agree("the largest of all", TRACT, |x, _| x.max());
    agree("the smallest of all", TRACT, |x, _| x.min());
    agree("the largest magnitude", TRACT, |x, _| x.max_abs_dim(1));
    agree("where the largest is", TRACT, |x, _| x.argmax(1));
    agree("where the smallest is", TRACT, |x, _| x.argmin(1));
    agree("the largest, and where", TRACT, |x, _| x.max_dim_with_indices(1));
    agree("running maximum", TRACT, |x, _| x.cummax(1));
    agree("running minimum", TRACT, |x, _| x.cummin(1));
}

/// A NaN is 0 as an integer, and numbers beyond the range of integers go to its end.
#[test]
fn are_integers_as_in_burn() {
    agree("integers", &[], |x, _| x.int());
    agree("numbers beyond the range of integers", &[], |_, y| (y * 1e30).int());
}

/// ONNX leaves open where a NaN goes in an order. Burn takes it for the largest number.
#[test]
fn are_left_open_by_onnx() {
    const BOTH: &[Runner] = &[Tract, OnnxRuntime];
    agree("sort", BOTH, |x, _| x.sort(1));
    agree("sort, descending", BOTH, |x, _| x.sort_descending(1));
    agree("argsort", BOTH, |x, _| x.argsort(1));
    agree("topk", BOTH, |x, _| x.topk(3, 1));
    agree("argtopk", BOTH, |x, _| x.argtopk(3, 1));
    agree("sign", BOTH, |x, _| x.sign());
    agree("max pool", BOTH, |x, _| MaxPool1dConfig::new(2).init().forward(x.unsqueeze::<3>()));
}
