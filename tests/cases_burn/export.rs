//! What surrounds the operations: names, modules, errors.

use accelerant::burn::{OptimizeTrt, export_onnx};
use accelerant::export::Target;
use accelerant::{Dim, ErrorKind, HostTensor};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Distribution, activation};

use crate::common;
use crate::harness::*;

#[test]
fn integers_come_back_in_the_devices_own_type() {
    let forward = |_: &Nothing, x: Tensor<2>| (x.clone().argmax(1), x.greater_elem(0.0));
    let (module, x) = (Nothing::default(), input([3, 4], 1));
    let fast = module.optimize_trt(x.clone(), forward).unwrap();
    let (indices, mask) = fast.forward(x.clone());
    let native = forward(&module, x);
    assert_eq!(indices.into_data(), native.0.into_data());
    assert_eq!(mask.into_data(), native.1.into_data());
}

#[derive(Module, Debug)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    pool: MaxPool2d,
    fc: Linear,
    other: Linear,
}

impl Net {
    fn new() -> Self {
        let fc: Linear = LinearConfig::new(4 * 4 * 4, 10).init(&device());
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(&device()),
            norm: BatchNormConfig::new(4).init(&device()),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            other: fc.clone(),
            fc,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.norm.forward(self.conv.forward(x))));
        let x: Tensor<2> = x.flatten(1, 3);
        self.fc.forward(x.clone()) + self.other.forward(x)
    }
}

#[test]
fn parameters_have_the_modules_paths() {
    let model = export_onnx(
        &Net::new(),
        &input([1, 1, 8, 8], 1),
        Net::forward,
        &OptimizeOptions::new().name("net").input_names(["pixels"]).output_names(["scores"]),
    );
    let model = model.unwrap();
    let mut names: Vec<_> = model
        .proto()
        .graph
        .as_ref()
        .unwrap()
        .initializer
        .iter()
        .map(|t| t.name().to_owned())
        .collect();
    names.retain(|name| name.contains('.'));
    names.sort();
    // `other` is a clone of `fc`: parameters that are the same one have one name.
    let paths = [
        "conv.bias",
        "conv.weight",
        "fc.bias",
        "fc.weight",
        "norm.beta",
        "norm.gamma",
        "norm.running_mean",
        "norm.running_var",
    ];
    assert_eq!(names, paths);
    assert_eq!(
        model.signature().to_string(),
        "(pixels: f32 [1, 1, 8, 8]) -> (scores: f32 [1, 10])"
    );
    assert!(
        model.to_string().contains("conv/Conv = Conv(pixels, conv.weight, conv.bias)"),
        "{model}"
    );
}

/// Burn hands out a copy of a parameter when a capture reads it. All models made of the capture have
/// those bytes.
#[test]
fn parameters_are_read_once() {
    let layer = LinearConfig::new(32, 64).init(&device());
    let forward = |m: &Linear, x: Tensor<2>| m.forward(x);
    let graph = BurnGraph::capture(&layer, &input([1, 32], 1), forward, &OptimizeOptions::new());
    let graph = graph.unwrap();
    let weight = |target| {
        let split = graph.to_onnx(target).unwrap().split();
        let weight = split.weights.into_iter().find(|(name, _)| name == "weight");
        weight.expect("it is an initializer").1
    };
    let (first, second) = (weight(Target::portable()), weight(Target::onnx_runtime()));
    assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
    assert_eq!(first, host(layer.weight.val()).remove(0));
}

#[test]
fn one_call_gives_a_module_like_the_original() {
    let net = Net::new();
    let options = OptimizeOptions::new().dynamic_batch(1..=8);
    for options in [options, OptimizeOptions::new().batch_sizes([8, 1])] {
        let fast = net.optimize_trt_with(input([2, 1, 8, 8], 1), Net::forward, &options).unwrap();
        let on = fast.inference().backend().clone();
        let tolerance = if common::is_portable(&on) { common::F32 } else { common::TF32 };
        for batch in [1, 3, 8] {
            let x = input([batch, 1, 8, 8], 3);
            let (expected, got) = (net.forward(x.clone()), fast.forward(x));
            let place = format!("batch {batch} on {on}");
            common::assert_close(&place, &host(got)[0], &host(expected)[0], tolerance);
        }
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (fast, net) = (fast.clone(), &net);
                scope.spawn(move || {
                    let x = input([2, 1, 8, 8], seed);
                    let (expected, got) = (net.forward(x.clone()), fast.forward(x));
                    common::assert_close("threads", &host(got)[0], &host(expected)[0], tolerance);
                });
            }
        });
    }
}

#[test]
fn bad_inputs_are_typed_errors() {
    let options = OptimizeOptions::new().dynamic_batch(1..=8).input_names(["pixels"]);
    let fast =
        Net::new().optimize_trt_with(input([2, 1, 8, 8], 1), Net::forward, &options).unwrap();
    let error = fast.try_forward(input([9, 1, 8, 8], 1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::OutOfProfile, Some("pixels"), Some(0))
    );
    let error = fast.try_forward(input([2, 1, 8, 9], 1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::ShapeMismatch, Some("pixels"), Some(3))
    );
    let text = error.to_string();
    assert!(text.starts_with("run: tensor `pixels`, axis 3: expected 8, got 9: "), "{text}");
    assert!(text.contains("`OptimizeOptions::dynamic_axis`"), "{text}");
    let error = fast.inference().run(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch);
    let error = fast.inference().run(&[HostTensor::from(random(&[2, 64], 1))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
    let ids = HostTensor::from(ndarray::Array4::<i64>::zeros((1, 1, 8, 8)));
    assert_eq!(fast.inference().run(&[ids]).unwrap_err().kind(), ErrorKind::DTypeMismatch);
    let empty = HostTensor::from(ndarray::Array4::<f32>::zeros((0, 1, 8, 8)));
    assert_eq!(fast.inference().run(&[empty]).unwrap_err().kind(), ErrorKind::OutOfProfile);

    let error =
        Net::new().optimize_trt_with(input([9, 1, 8, 8], 1), Net::forward, &options).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::OutOfProfile,
        "the example lies outside the range: {error}"
    );
    let error = Net::new()
        .optimize_trt_with(
            input([2, 1, 8, 8], 1),
            Net::forward,
            &OptimizeOptions::new().dynamic_axis(1, 0, Dim::Fixed(1)),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_cannot_be_exported_is_listed_whole() {
    let forward = |_: &Nothing, x: Tensor<2>| {
        let noise = Tensor::<2, Int>::random([2, 3], Distribution::Default, &x.device());
        (x.random_like(Distribution::Default), noise, x.exp())
    };
    let module = Nothing::default();
    let error = module.optimize_trt(input([2, 3], 1), forward).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    let text = error.to_string();
    for name in ["Random", "IntRandom"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_size_that_steers_the_forward_is_refused_when_dynamic() {
    let forward = |_: &Nothing, x: Tensor<2>| {
        let scale = x.dims()[0] as f32;
        x * scale
    };
    let module = Nothing::default();
    let branch = |_: &Nothing, x: Tensor<2>| if x.dims()[0] > 50 { x * 2 } else { x };
    let wide = OptimizeOptions::new().dynamic_batch(1..=64);
    let error = module.optimize_trt_with(input([2, 3], 1), branch, &wide).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let dynamic = OptimizeOptions::new().dynamic_batch(1..=8);
    assert!(module.optimize_trt(input([2, 3], 1), forward).is_ok());
    let error = module.optimize_trt_with(input([2, 3], 1), forward, &dynamic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("MulScalar"), "{error}");
}

/// A parameter has its own name, unless an input or output has it.
#[test]
fn inputs_and_outputs_named_as_parameters() {
    let layer: Linear = LinearConfig::new(3, 4).init(&device());
    let x = input([2, 3], 1);
    let options = OptimizeOptions::new().input_names(["weight"]).output_names(["bias"]);
    let forward = |m: &Linear, x: Tensor<2>| m.forward(x);
    let graph = BurnGraph::capture(&layer, &x, forward, &options).unwrap();
    let model = graph.to_onnx(Target::portable()).unwrap();
    assert_eq!(model.signature().inputs[0].name, "weight");
    assert_eq!(model.signature().outputs[0].name, "bias");
    check("names of parameters", |c| graph.to_onnx(c), &host(x.clone()), &host(layer.forward(x)));
}

#[test]
fn names_that_no_runtime_takes() {
    let layer: Linear = LinearConfig::new(3, 4).init(&device());
    let forward = |m: &Linear, x: Tensor<2>| m.forward(x);
    for (name, word) in [("a\0b".to_owned(), "NUL"), ("a".repeat(5000), "5000 bytes")] {
        let options = OptimizeOptions::new().input_names([name.clone()]);
        let error = export_onnx(&layer, &input([2, 3], 1), forward, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        let options = OptimizeOptions::new().output_names([name]);
        let error = export_onnx(&layer, &input([2, 3], 1), forward, &options).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
