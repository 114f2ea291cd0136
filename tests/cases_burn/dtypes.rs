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
fn double_precision_narrowed() {
    let options = || OptimizeOptions::new().narrow_f64(true);
    let layer = LinearConfig::new(4, 3).init(&device());
    let layer = layer.map(&mut To(DType::F64));
    let forward = |m: &burn::nn::Linear, x: Tensor<2>| {
        let x = x * 0.5 + Tensor::<2>::ones([1, 4], (&device_of(m), DType::F64));
        (m.forward(x.clone()), x.greater_elem(1.0))
    };
    let inputs = floats(DType::F64);
    // Other consumers compute in 64 bits, whether or not TensorRT may narrow them.
    run_with("f64 narrowed", BOTH, options, &layer, inputs, forward);
}

fn device_of(layer: &burn::nn::Linear) -> Device {
    layer.weight.val().device()
}

/// Parameters in another type.
struct To(DType);

impl burn::module::ModuleMapper for To {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<D>>,
    ) -> burn::module::Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// Layers whose parameters, inputs and outputs are 16-bit floats.
#[test]
fn layers_in_sixteen_bits() {
    const TRACT: Gap = Gap { runner: Tract, reason: "tract 0.23 has no bfloat16" };
    const ORT: Gap = Gap { runner: OnnxRuntime, reason: "its CPU has no bfloat16 arithmetic" };
    for (name, dtype, gaps) in
        [("f16", DType::F16, &[][..]), ("bf16", DType::BF16, &[TRACT, ORT][..])]
    {
        let linear = LinearConfig::new(4, 8).init(&device()).map(&mut To(dtype));
        let how = How { sizes: Sizes::Both, gaps };
        let forward = |m: &burn::nn::Linear, x: Tensor<2>| activation::gelu(m.forward(x));
        run(&format!("a linear layer in {name}"), how, &linear, floats(dtype), forward);
        let norm = burn::nn::LayerNormConfig::new(4).init(&device()).map(&mut To(dtype));
        let forward = |m: &burn::nn::LayerNorm, x: Tensor<2>| m.forward(x);
        run(&format!("layer normalization in {name}"), how, &norm, floats(dtype), forward);
    }
}

/// Values in the lower part of a type's range and near both of its ends.
fn whole(dtype: DType, batch: usize, seed: u64) -> Tensor<2, Int> {
    let (low, high) = match dtype {
        DType::I8 => (-128, 128),
        DType::U8 => (0, 256),
        DType::I16 => (-32768, 32768),
        DType::U16 => (0, 65536),
        DType::U32 => (0, 1 << 32),
        DType::U64 => (0, 1 << 40),
        _ => (-1 << 31, 1 << 31),
    };
    ints([batch, 6], low, high, seed).cast(dtype)
}

const NARROW: [DType; 5] = [DType::I8, DType::U8, DType::I16, DType::U16, DType::U32];

/// Integers of every width go in and come out; between, they are moved, compared and ordered.
#[test]
fn integers_of_every_width_at_the_interface() {
    for dtype in [&NARROW[..], &[DType::I32, DType::I64]].concat() {
        let inputs = move |batch, seed| (whole(dtype, batch, seed), whole(dtype, batch, seed + 9));
        of(&format!("{dtype:?} in and out"), BOTH, inputs, |(x, y)| {
            let mask = x.clone().greater(y.clone());
            let both = Tensor::cat(vec![x.clone(), y.clone()], 1).slice([0..1, 2..9]);
            (x.clone(), mask.clone(), x.mask_where(mask, y), both)
        });
    }
    // Of the widest, backends have few operators.
    let inputs = |batch, seed| (whole(DType::U64, batch, seed), whole(DType::U64, batch, seed + 9));
    of("U64 in and out", BOTH, inputs, |(x, y)| {
        (x.clone(), x.clone().greater(y.clone()), Tensor::cat(vec![x, y], 1).slice([0..1, 2..9]))
    });
}

const WRONG: &[Gap] = &[Gap {
    runner: OnnxRuntime,
    reason: "ONNX Runtime 1.29 compares only the low halves of 64-bit integers in Min, Max and maxima",
}];

#[test]
fn the_largest_of_wide_integers() {
    let how = STATIC.except(WRONG);
    let inputs = |batch, seed| whole(DType::U32, batch, seed).cast(DType::I64);
    of("the largest of large I64", how, inputs, |x: Tensor<2, Int>| x.max_dim(1));
    of("the largest of large U32", how, |b, s| whole(DType::U32, b, s), |x| x.max_dim(1));
}

fn dtype_of_int(dtype: DType) -> burn::tensor::IntDType {
    dtype.into()
}

/// Arithmetic on narrow integers wraps where Burn's does, though it is computed in wider ones.
#[test]
fn narrow_integers_wrap() {
    for dtype in NARROW {
        let inputs = move |batch, seed| (whole(dtype, batch, seed), whole(dtype, batch, seed + 9));
        of(&format!("{dtype:?} arithmetic"), STATIC, inputs, |(x, y)| {
            (
                x.clone() + y.clone(),
                x.clone() * y.clone(),
                x.clone() - y.clone(),
                x.clone() * 3 + 100,
                x.clone().bitwise_not(),
                x.bitwise_and(y),
            )
        });
        let inputs = move |batch, seed| whole(dtype, batch, seed);
        of(&format!("{dtype:?} sums and shifts"), STATIC, inputs, |x| {
            (x.clone().sum_dim(1), x.clone().bitwise_left_shift_scalar(3), x / 7)
        });
        let inputs = |batch, seed| input([batch, 6], seed) * 5e9;
        of(&format!("floats to {dtype:?}"), STATIC, inputs, move |x: Tensor<2>| {
            (x.clone().cast(dtype_of_int(dtype)), (x / 2e7).cast(dtype_of_int(dtype)))
        });
        let inputs = move |batch, seed| ints([batch, 6], -70000, 70000, seed);
        of(&format!("64-bit integers to {dtype:?}"), STATIC, inputs, move |x| x.cast(dtype));
    }
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
