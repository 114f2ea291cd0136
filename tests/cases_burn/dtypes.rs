//! Element types: the same functions in other floats, and integers of other widths.

use burn::nn::LinearConfig;
use burn::tensor::{DType, activation};

use crate::harness::*;

fn floats(dtype: DType) -> impl Fn(usize, u64) -> Tensor<2> {
    move |batch, seed| input([batch, 4], seed).cast(dtype)
}

fn check_floats(name: &str, dtype: DType, gaps: &'static [Gap], moved: &'static [Gap]) {
    let inputs = floats(dtype);
    let how = BOTH.except(gaps);
    let of = |what: &str, f: fn(Tensor<2>) -> Tensor<2>| {
        of(&format!("{what} in {name}"), how, &inputs, f)
    };
    of("arithmetic", |x| (x.clone() * 2.5 + 1.25) / (x.abs() + 1.0));
    of("functions", |x| x.clone().exp() + x.tanh());
    of("a product of matrices", |x| x.clone().matmul(x.transpose()));
    of("softmax", |x| activation::softmax(x, 1));
    of("reductions", |x| x.clone().sum_dim(1) + x.max_dim(1));
    of("masks", |x| x.clone().mask_fill(x.greater_elem(0.25), -2.0));
    super::harness::of(&format!("slices in {name}"), BOTH.except(moved), &inputs, |x| {
        Tensor::cat(vec![x.clone().slice([0..1, 1..3]), x.slice([0..1, 0..2])], 1)
    });
}

#[test]
fn half_precision() {
    check_floats("f16", DType::F16, &[], &[]);
}

#[test]
fn bfloat16() {
    const TRACT: Gap = Gap { runner: Tract, reason: "tract 0.23 has no bfloat16" };
    const ORT: Gap = Gap { runner: OnnxRuntime, reason: "its CPU has no bfloat16 arithmetic" };
    check_floats("bf16", DType::BF16, &[TRACT, ORT], &[TRACT]);
}

#[test]
fn double_precision() {
    const RTX: Gap = Gap { runner: TensorRtRtx, reason: "TensorRT has no f64" };
    check_floats("f64", DType::F64, &[RTX], &[RTX]);
}

#[test]
fn mixed_precision() {
    let layer = LinearConfig::new(4, 3).init(&device());
    case("a layer in f32 between f16", &layer, [3, 4], |m: &burn::nn::Linear, x: Tensor<2>| {
        let x = x.cast(DType::F16) * 2;
        activation::relu(m.forward(x.cast(DType::F32)).cast(DType::F16))
    });
}

#[test]
fn integers_of_other_widths() {
    let narrow = |batch, seed| ints([batch, 4], -20, 20, seed).cast(DType::I32);
    of("32-bit integers", BOTH, narrow, |x| {
        (
            x.clone() * 3 + 1,
            x.clone() / 4,
            x.clone().remainder_scalar(5),
            x.clone().max_dim(1),
            x.greater_elem(2),
        )
    });
    let bytes = |batch, seed| ints([batch, 4], 0, 200, seed).cast(DType::U8);
    of("bytes to floats", BOTH, bytes, |x| x.float() / 255);
    let bytes = |batch, seed| ints([batch, 4], -100, 100, seed).cast(DType::I8);
    of("signed bytes to floats", BOTH, bytes, |x| x.float() / 127);
}
