//! Candle forwards through every backend, against Candle's own results on the CPU: methods and
//! layers with their attributes, static and dynamic. Tracing errors and whole models are in
//! `candle_models`.

#![cfg(feature = "candle")]

mod common;

use accelerant::candle::{Forward, TensorOps, Trace, ops};
use accelerant::{HostTensor, OptimizeOptions};
use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{
    Activation, BatchNorm, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Dropout, Embedding,
    LayerNorm, Linear, PReLU, RmsNorm,
};
use common::{Sample, check_all, random};

/// Values in -1..1.
fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A weight of a layer.
fn weight(shape: &[usize], seed: u64) -> Tensor {
    tensor(shape, 1000 + seed)
}

fn host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::F32 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<f32>().unwrap()),
        DType::F64 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<f64>().unwrap()),
        DType::U8 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<u8>().unwrap()),
        DType::I64 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<i64>().unwrap()),
        DType::U32 => {
            let flat = flat.to_dtype(DType::I64).unwrap();
            HostTensor::from_vec(tensor.dims(), flat.to_vec1::<i64>().unwrap())
        }
        other => panic!("no cast from {other:?}"),
    }
    .unwrap()
}

/// Runs a model on `x` in Candle and through every backend: with the shape as it is, and with a
/// symbolic batch at sizes 1, that of `x` and the largest.
fn case(name: &str, model: &impl Forward, x: &Tensor, dynamic: bool) {
    let sample = |name: &str, x: &Tensor| {
        let y = model.forward(x).unwrap_or_else(|e| panic!("{name}: candle: {e}"));
        Sample { name: name.into(), inputs: vec![host(x)], expected: vec![host(&y)] }
    };
    let trace = |options| Trace::of(model, x, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    let fixed = trace(OptimizeOptions::new());
    check_all(&format!("{name}, static"), |c| fixed.to_onnx(c), &[sample("as it is", x)]);
    if !dynamic {
        return;
    }
    let largest = x.dim(0).unwrap() + 3;
    let one = x.narrow(0, 0, 1).unwrap();
    let most = Tensor::cat(&[x, x, x, x], 0).unwrap().narrow(0, 0, largest).unwrap();
    let samples = [sample("as it is", x), sample("batch of 1", &one), sample("largest", &most)];
    let dynamic = trace(OptimizeOptions::new().dynamic_batch(1..=largest).unwrap());
    check_all(&format!("{name}, dynamic"), |c| dynamic.to_onnx(c), &samples);
}

/// A table of cases: name, whether the batch may be dynamic, input shape, forward.
macro_rules! cases {
    ($($test:ident { $($name:literal, $dynamic:literal, [$($size:expr),*], |$xs:ident| $body:expr;)* })*) => {$(
        #[test]
        fn $test() {
            let mut seed = 0;
            $({
                struct Model;
                impl Forward for Model {
                    fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                        $body
                    }
                }
                seed += 1;
                case($name, &Model, &tensor(&[$($size),*], seed), $dynamic);
            })*
        }
    )*};
}

cases! {
    elementwise {
        "abs", true, [2, 3, 5], |xs| xs.abs();
        "ceil", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.ceil();
        "cos", true, [2, 3, 5], |xs| xs.cos();
        "erf", true, [2, 3, 5], |xs| xs.erf();
        "exp", true, [2, 3, 5], |xs| xs.exp();
        "floor", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.floor();
        "gelu", true, [2, 3, 5], |xs| xs.affine(3.0, 0.0)?.gelu();
        "gelu_erf", true, [2, 3, 5], |xs| xs.affine(3.0, 0.0)?.gelu_erf();
        "log", true, [2, 3, 5], |xs| xs.affine(0.25, 1.5)?.log();
        "neg", true, [2, 3, 5], |xs| xs.neg();
        "recip", true, [2, 3, 5], |xs| xs.affine(1.0, 3.0)?.recip();
        "relu", true, [2, 3, 5], |xs| xs.relu();
        "round", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.round();
        "round halves", true, [2, 3, 5], |xs| xs.affine(8.0, 0.0)?.floor()?.affine(0.5, 0.0)?.round();
        "sign", true, [2, 3, 5], |xs| xs.sign();
        "silu", true, [2, 3, 5], |xs| xs.silu();
        "sin", true, [2, 3, 5], |xs| xs.sin();
        "sqr", true, [2, 3, 5], |xs| xs.sqr();
        "sqrt", true, [2, 3, 5], |xs| xs.abs()?.sqrt();
        "tanh", true, [2, 3, 5], |xs| xs.tanh();
        "sigmoid", true, [2, 3, 5], |xs| xs.sigmoid();
        "hard_sigmoid", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.hard_sigmoid();
        "mish", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.mish();
        "leaky_relu", true, [2, 3, 5], |xs| xs.leaky_relu(0.1);
        "swiglu", true, [2, 3, 6], |xs| xs.swiglu();
        "elu", true, [2, 3, 5], |xs| xs.elu(0.7);
        "affine", true, [2, 3, 5], |xs| xs.affine(-1.5, 0.25);
        "affine, nothing", true, [2, 3, 5], |xs| xs.affine(1.0, 0.0);
        "powf", true, [2, 3, 5], |xs| xs.abs()?.powf(1.7);
        "powf 2", true, [2, 3, 5], |xs| xs.powf(2.0);
        "clamp", true, [2, 3, 5], |xs| xs.clamp(-0.5f32, 0.25);
        "maximum", true, [2, 3, 5], |xs| xs.maximum(&xs.neg()?);
        "maximum of a number", true, [2, 3, 5], |xs| xs.maximum(0.25);
        "minimum", true, [2, 3, 5], |xs| xs.minimum(&xs.neg()?);
        "minimum of a number", true, [2, 3, 5], |xs| xs.minimum(0.25f32);
        "functions", true, [2, 3, 5], |xs| ops::leaky_relu(&ops::sigmoid(&ops::silu(xs)?)?, 0.5);
    }

    arithmetic {
        "add", true, [2, 3, 5], |xs| xs.add(&xs.sqr()?);
        "sub", true, [2, 3, 5], |xs| xs.sub(&xs.sqr()?);
        "mul", true, [2, 3, 5], |xs| xs.mul(&xs.sqr()?);
        "div", true, [2, 3, 5], |xs| xs.div(&xs.sqr()?.affine(1.0, 1.0)?);
        "operators", true, [2, 3, 5], |xs| {
            let ys = (xs.sqr() + xs)?;
            let zs = ((&ys * xs)? - xs.abs())?;
            let sum = ((ys + zs)? * 0.5)?;
            let quotient = (xs / (1.0 + (sum.sqr() * &sum.sqr()?)?)?)?;
            let inverse = (1.0 / (quotient.exp()? + 0.5)?)?;
            let rest = (2.0 - (inverse.clone() - 0.25)?)?;
            (3.0 * &rest)? / (&inverse / 4.0)?
        };
        "operators on owned tensors", true, [2, 3, 5], |xs| {
            let ys = xs.relu()?;
            let sum = (ys.clone() + ys)?;
            (sum.clone() * sum)? - (xs.abs()? / 3.0)?
        };
        "broadcast_add", true, [2, 3, 5], |xs| xs.broadcast_add(&T::constant(&weight(&[3, 1], 1)));
        "broadcast_sub", true, [2, 3, 5], |xs| xs.broadcast_sub(&xs.mean_keepdim(2)?);
        "broadcast_mul", true, [2, 3, 5], |xs| T::constant(&weight(&[1, 3, 5], 1)).broadcast_mul(xs);
        "broadcast_div", true, [2, 3, 5], |xs| xs.broadcast_div(&T::constant(&weight(&[5], 1).exp()?));
        "broadcast_maximum", true, [2, 3, 5], |xs| xs.broadcast_maximum(&T::constant(&weight(&[5], 1)));
        "broadcast_minimum", true, [2, 3, 5], |xs| xs.broadcast_minimum(&T::constant(&weight(&[5], 1)));
        "broadcast of both", true, [2, 3, 5], |xs| xs.unsqueeze(3)?.broadcast_mul(&xs.unsqueeze(2)?);
        "folded constants", true, [2, 5], |xs| {
            let w = T::constant(&weight(&[3, 5], 1)).affine(2.0, 1.0)?.t()?;
            xs.matmul(&w)
        };
        "matmul", false, [4, 6], |xs| xs.matmul(&T::constant(&weight(&[6, 3], 1)));
        "batched matmul", true, [2, 3, 4, 5], |xs| xs.matmul(&xs.transpose(2, 3)?);
        "broadcast_matmul", true, [2, 4, 6], |xs| xs.broadcast_matmul(&T::constant(&weight(&[6, 3], 1)));
        "broadcast_matmul, left", true, [2, 4, 6], |xs| T::constant(&weight(&[3, 4], 1)).broadcast_matmul(xs);
        "where_cond", true, [2, 3, 5], |xs| xs.gt(0.1)?.where_cond(xs, &xs.affine(0.5, 1.0)?);
        "masks", true, [2, 3, 5], |xs| {
            let mask = xs.gt(-0.5)?.mul(&xs.lt(0.5)?)?.maximum(&xs.gt(0.9)?)?;
            mask.narrow(1, 0, 1)?.broadcast_as(xs.shape())?.where_cond(xs, &xs.neg()?)
        };
        "comparisons", true, [2, 3, 5], |xs| {
            let y = xs.neg()?.clamp(-0.3, 0.3)?;
            let results = [xs.eq(&y)?, xs.ne(&y)?, xs.lt(&y)?, xs.gt(&y)?, xs.ge(&y)?, xs.le(&y)?];
            T::stack(&results, 0)?.to_dtype(DType::F32)?.sum(0)
        };
        "to_dtype", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.to_dtype(DType::I64)?.to_dtype(DType::F32);
    }

    reductions {
        "sum", true, [2, 3, 5], |xs| xs.sum(1);
        "sum of two", true, [2, 3, 5], |xs| xs.sum((1, 2));
        "sum of none", true, [2, 3, 5], |xs| xs.sum(());
        "sum over the batch", true, [2, 3, 5], |xs| xs.sum(0);
        "sum_keepdim", true, [2, 3, 5], |xs| xs.sum_keepdim((1, D::Minus1));
        "mean", true, [2, 3, 5], |xs| xs.mean(D::Minus1);
        "mean over the batch", true, [2, 3, 5], |xs| xs.mean_keepdim(0);
        "mean_keepdim", true, [2, 3, 5], |xs| xs.mean_keepdim((1, 2));
        "max", true, [2, 3, 5], |xs| xs.max(1);
        "max_keepdim", true, [2, 3, 5], |xs| xs.max_keepdim(2);
        "min", true, [2, 3, 5], |xs| xs.min(D::Minus2);
        "min_keepdim", true, [2, 3, 5], |xs| xs.min_keepdim(1);
        "argmax", true, [2, 3, 5], |xs| xs.argmax(D::Minus1);
        "argmax_keepdim", true, [2, 3, 5], |xs| xs.argmax_keepdim(1);
        "argmin", true, [2, 3, 5], |xs| xs.argmin(2);
        "argmin_keepdim", true, [2, 3, 5], |xs| xs.argmin_keepdim(2);
        "sum_all", true, [2, 3, 5], |xs| xs.sum_all();
        "mean_all", true, [2, 3, 5], |xs| xs.mean_all();
        "max_all", true, [2, 3, 5], |xs| xs.max_all();
        "min_all", true, [2, 3, 5], |xs| xs.min_all();
        "softmax", true, [2, 3, 5], |xs| xs.softmax(1);
        "softmax of the last", true, [2, 3, 5], |xs| ops::softmax(xs, D::Minus1);
        "softmax_last_dim", true, [2, 3, 5], |xs| xs.softmax_last_dim();
        "log_softmax", true, [2, 3, 5], |xs| ops::log_softmax(xs, D::Minus1);
    }

    windows {
        "conv1d", true, [2, 3, 9], |xs| xs.conv1d(&T::constant(&weight(&[4, 3, 3], 1)), 0, 1, 1, 1);
        "conv1d, all", true, [2, 4, 11], |xs| xs.conv1d(&T::constant(&weight(&[6, 2, 3], 1)), 2, 2, 2, 2);
        "conv2d", true, [2, 3, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[4, 3, 3, 2], 1)), 0, 1, 1, 1);
        "conv2d, padding", true, [2, 3, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[4, 3, 3, 3], 1)), 1, 1, 1, 1);
        "conv2d, stride", true, [2, 3, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[4, 3, 3, 3], 1)), 1, 2, 1, 1);
        "conv2d, dilation", true, [2, 3, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[4, 3, 3, 3], 1)), 2, 1, 2, 1);
        "conv2d, groups", true, [2, 4, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[6, 2, 3, 3], 1)), 1, 1, 1, 2);
        "conv2d, depthwise", true, [2, 4, 7, 6], |xs| xs.conv2d(&T::constant(&weight(&[4, 1, 3, 3], 1)), 1, 1, 1, 4);
        "avg_pool2d", true, [2, 3, 8, 6], |xs| xs.avg_pool2d(2);
        "avg_pool2d, ragged", true, [2, 3, 7, 5], |xs| xs.avg_pool2d((3, 2));
        "avg_pool2d_with_stride", true, [2, 3, 8, 7], |xs| xs.avg_pool2d_with_stride((3, 2), (2, 1));
        "max_pool2d", true, [2, 3, 8, 6], |xs| xs.max_pool2d(2);
        "max_pool2d, ragged", true, [2, 3, 7, 5], |xs| xs.max_pool2d((3, 2));
        "max_pool2d_with_stride", true, [2, 3, 8, 7], |xs| xs.max_pool2d_with_stride(3, 2);
        "upsample_nearest2d", true, [2, 3, 4, 5], |xs| xs.upsample_nearest2d(8, 15);
        "upsample_nearest2d, ragged", true, [2, 3, 4, 5], |xs| xs.upsample_nearest2d(7, 3);
        "interpolate2d", true, [2, 3, 4, 5], |xs| xs.interpolate2d(4, 10);
    }

    shapes {
        "reshape to the batch", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)?, 12));
        "reshape with a hole", true, [2, 3, 4], |xs| xs.reshape(((), 12));
        "reshape with a hole behind", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)?, 2, ()));
        "reshape of all", true, [2, 3, 4], |xs| xs.reshape(xs.elem_count());
        "reshape to more", true, [2, 12], |xs| xs.reshape((xs.dim(0)?, 3, 2, 2));
        "reshape with the batch behind", true, [2, 3, 4], |xs| xs.reshape((12, xs.dim(0)?));
        "reshape of batch and axis", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)? * 3, 4));
        "reshape there and back", true, [2, 3, 4], |xs| {
            let (b, n, d) = xs.dims3()?;
            let rows = xs.reshape((b * n, d))?.relu()?;
            rows.reshape((b, n, d))?.add(xs)
        };
        "reshape to a fixed front", true, [2, 3, 4], |xs| xs.reshape((4, ()));
        "reshape twice the batch", true, [2, 4], |xs| xs.reshape((xs.dim(0)? * 2, 2));
        "flatten", true, [2, 3, 4, 5], |xs| xs.flatten(1, 2);
        "flatten_from", true, [2, 3, 4, 5], |xs| xs.flatten_from(1);
        "flatten_to", true, [2, 3, 4, 5], |xs| xs.flatten_to(1);
        "flatten_all", true, [2, 3, 4], |xs| xs.flatten_all();
        "t", true, [2, 3, 4], |xs| xs.t();
        "t of a matrix", true, [2, 3], |xs| xs.t();
        "transpose", true, [2, 3, 4], |xs| xs.transpose(0, D::Minus1)?.contiguous();
        "permute", true, [2, 3, 4], |xs| xs.permute((1, 2, 0));
        "squeeze", true, [2, 1, 4], |xs| xs.squeeze(1);
        "squeeze of another size", true, [2, 3, 4], |xs| xs.squeeze(1);
        "unsqueeze", true, [2, 3, 4], |xs| xs.unsqueeze(1);
        "unsqueeze of the last", true, [2, 3, 4], |xs| xs.unsqueeze(D::Minus1);
        "narrow", true, [2, 5, 4], |xs| xs.narrow(1, 1, 3);
        "narrow of all", true, [2, 5, 4], |xs| xs.narrow(0, 0, xs.dim(0)?);
        "narrow to the first", true, [2, 5, 4], |xs| xs.narrow(0, 0, 1);
        "narrow to the last", true, [2, 5, 4], |xs| xs.narrow(0, xs.dim(0)? - 1, 1);
        "get", true, [2, 5, 4], |xs| xs.get(0);
        "chunk", true, [2, 6, 4], |xs| Ok(xs.chunk(3, 1)?.swap_remove(1));
        "chunk, ragged", true, [2, 5, 4], |xs| {
            let parts = xs.chunk(3, 1)?;
            T::cat(&[&parts[2], &parts[0]], 1)
        };
        "cat", true, [2, 3, 4], |xs| T::cat(&[xs, &xs.neg()?], D::Minus1);
        "cat along the batch", true, [2, 3, 4], |xs| T::cat(&[xs, &xs.neg()?], 0);
        "cat with a constant", true, [2, 3], |xs| T::cat(&[xs, &T::constant(&weight(&[1, 3], 1))], 0);
        "stack", true, [2, 3, 4], |xs| T::stack(&[xs, &xs.neg()?], 1);
        "pad_with_zeros", true, [2, 3, 4], |xs| xs.pad_with_zeros(2, 1, 2);
        "pad_with_zeros in front", true, [2, 3, 4], |xs| xs.pad_with_zeros(D::Minus2, 2, 0);
        "broadcast_as", true, [2, 1, 4], |xs| xs.broadcast_as((xs.dim(0)?, 3, 4));
        "broadcast_as to the batch", true, [2, 3], |xs| {
            T::constant(&weight(&[1, 3], 1)).broadcast_mul(&xs.sum_keepdim(0)?)?.broadcast_as(xs.shape())
        };
        "expand in front", true, [2, 3], |xs| xs.expand((4, xs.dim(0)?, 3));
    }
}

#[test]
fn linear_layers() {
    for (i, shape) in [&[2, 6][..], &[2, 3, 6], &[2, 3, 2, 6]].into_iter().enumerate() {
        let layer = Linear::new(weight(&[4, 6], 1), Some(weight(&[4], 2)));
        case("linear", &layer, &tensor(shape, i as u64), true);
        case(
            "linear without bias",
            &Linear::new(weight(&[4, 6], 3), None),
            &tensor(shape, i as u64),
            true,
        );
    }
}

#[test]
fn convolution_layers() {
    let x = tensor(&[2, 4, 9], 1);
    for (i, (padding, stride, dilation, groups)) in
        [(0, 1, 1, 1), (1, 1, 1, 2), (2, 2, 2, 4), (1, 3, 1, 1)].into_iter().enumerate()
    {
        let config = Conv1dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let kernel = weight(&[8, 4 / groups, 3], i as u64);
        case("conv1d", &Conv1d::new(kernel.clone(), None, config), &x, true);
        case("conv1d with bias", &Conv1d::new(kernel, Some(weight(&[8], 9)), config), &x, true);
    }
    let x = tensor(&[2, 4, 7, 8], 1);
    for (i, (padding, stride, dilation, groups)) in
        [(0, 1, 1, 1), (1, 1, 1, 2), (2, 2, 2, 4), (1, 3, 1, 1)].into_iter().enumerate()
    {
        let config = Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let kernel = weight(&[8, 4 / groups, 3, 3], i as u64);
        case("conv2d", &Conv2d::new(kernel.clone(), None, config), &x, true);
        case("conv2d with bias", &Conv2d::new(kernel, Some(weight(&[8], 9)), config), &x, true);
    }
}

#[test]
fn normalization_layers() {
    let positive = |seed| weight(&[6], seed).sqr().unwrap().affine(1.0, 0.1).unwrap();
    for shape in [&[2, 6][..], &[2, 6, 5], &[2, 6, 4, 3]] {
        let x = tensor(shape, 1);
        let layer =
            BatchNorm::new(6, weight(&[6], 1), positive(2), weight(&[6], 3), weight(&[6], 4), 1e-3)
                .unwrap();
        case("batch_norm", &layer, &x, true);
        let layer = BatchNorm::new_no_bias(6, weight(&[6], 1), positive(2), 1e-5).unwrap();
        case("batch_norm without weights", &layer, &x, true);
    }
    for shape in [&[2, 6][..], &[2, 5, 6], &[2, 4, 3, 6]] {
        let x = tensor(shape, 1);
        case("layer_norm", &LayerNorm::new(weight(&[6], 1), weight(&[6], 2), 1e-5), &x, true);
        case("layer_norm without bias", &LayerNorm::new_no_bias(weight(&[6], 1), 1e-3), &x, true);
        case("layer_norm without mean", &LayerNorm::rms_norm(weight(&[6], 1), 1e-5), &x, true);
        case("rms_norm", &RmsNorm::new(weight(&[6], 1), 1e-6), &x, true);
    }
}

#[test]
fn activation_layers() {
    let activations = [
        Activation::Gelu,
        Activation::NewGelu,
        Activation::Relu,
        Activation::Relu2,
        Activation::Relu6,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::Swiglu,
        Activation::Swish,
        Activation::Mish,
        Activation::HardSwish,
        Activation::Elu(1.0),
        Activation::Elu(0.5),
        Activation::LeakyRelu(0.2),
        Activation::GeluPytorchTanh,
    ];
    let x = tensor(&[2, 3, 6], 1).affine(7.0, 0.0).unwrap();
    for activation in activations {
        case(&format!("{activation:?}"), &activation, &x, true);
    }
    for shape in [&[2, 6][..], &[2, 6, 3], &[2, 6, 3, 4]] {
        let x = tensor(shape, 2);
        case("prelu of channels", &PReLU::new(weight(&[6], 1), false), &x, true);
        case("prelu of one", &PReLU::new(weight(&[1], 1), true), &x, true);
    }
    case("prelu of a row", &PReLU::new(weight(&[6], 1), false), &tensor(&[6], 2), false);
    case("dropout", &Dropout::new(0.5), &x, true);
}

#[test]
fn embedding_layers() {
    let layer = Embedding::new(weight(&[11, 4], 1), 4);
    for shape in [&[3][..], &[2, 5]] {
        let ids = tensor(shape, 1).affine(5.4, 5.5).unwrap();
        for dtype in [DType::U32, DType::I64, DType::U8] {
            case("embedding", &layer, &ids.to_dtype(dtype).unwrap(), true);
        }
    }
}
