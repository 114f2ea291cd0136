//! Whole Burn networks: static and with dynamic sizes, each against Burn's own result on the CPU,
//! through every consumer.
#![cfg(feature = "burn")]

mod common;
mod models;

use std::collections::HashSet;

use accelerant::burn::{BurnGraph, BurnTensors};
use accelerant::export::{Consumer, OnnxModel};
use accelerant::{BackendKind, Dim, HostTensor, OptimizeOptions};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{Sample, Tolerance, check_within, random, to_f64};
use models::weights::randomized;

fn device() -> Device {
    Device::flex()
}

/// Pixels or features in -1..1.
fn input<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Tokens of a vocabulary.
fn tokens(shape: [usize; 2], vocabulary: usize, seed: u64) -> Tensor<2, Int> {
    let values = random(&shape, seed);
    let token = |x: &f32| ((x + 1.0) / 2.0 * vocabulary as f32) as i64 % vocabulary as i64;
    Tensor::from_data(TensorData::new(values.iter().map(token).collect(), shape), &device())
}

fn host<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

/// Relative to the largest value of the output: rounding adds up over dozens of layers.
fn tolerance(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    let scale = to_f64(expected).into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let part = if backend == BackendKind::Ort { 1e-4 } else { 2e-2 };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

/// Exports with the sizes of the first input, and compares the results for all inputs.
fn compare<M: Module, I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    module: &M,
    forward: impl Fn(&M, I) -> O,
    options: &OptimizeOptions,
    inputs: &[I],
) {
    let start = std::time::Instant::now();
    let graph = BurnGraph::capture(module, &inputs[0], &forward, options);
    let graph = graph.unwrap_or_else(|e| panic!("{name}: {e}"));
    let sample = |x: &I| {
        let expected = host(forward(module, x.clone()));
        let inputs = host(x.clone());
        let shapes: Vec<_> = inputs.iter().map(|x| format!("{:?}", x.shape())).collect();
        Sample { name: shapes.join(", "), inputs, expected }
    };
    let samples: Vec<_> = inputs.iter().map(sample).collect();
    for Sample { name: sizes, expected, .. } in &samples {
        // Values that hardly differ would agree whatever the model did.
        let values = to_f64(&expected[0]);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = values.iter().map(|x| (x - mean).abs()).sum::<f64>() / values.len() as f64;
        assert!(spread > 0.01 * mean.abs() && spread > 1e-3, "{name}: {sizes}: spread {spread}");
    }
    check_within(name, |consumer| graph.to_onnx(consumer), &samples, tolerance);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

/// As [`compare`], once with the sizes fixed, and once with a dynamic batch of 1 to 4.
fn compare_both<M: Module, const D: usize, O: BurnTensors>(
    name: &str,
    module: &M,
    forward: impl Fn(&M, Tensor<D>) -> O,
    shape: [usize; D],
) {
    let with = |batch: usize, seed: u64| {
        let mut shape = shape;
        shape[0] = batch;
        input(shape, seed)
    };
    compare(name, module, &forward, &OptimizeOptions::new(), &[with(shape[0], 1)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4).expect("a valid range");
    let inputs = [with(shape[0], 2), with(1, 3), with(4, 4)];
    compare(&format!("{name}, dynamic batch"), module, &forward, &options, &inputs);
}

fn export<M: Module, I: BurnTensors, O: BurnTensors>(
    module: &M,
    example: &I,
    forward: impl Fn(&M, I) -> O,
    options: &OptimizeOptions,
) -> OnnxModel {
    let graph = BurnGraph::capture(module, example, forward, options).expect("it is captured");
    graph.to_onnx(Consumer::tensorrt()).expect("it is exported")
}

/// How many nodes of an operator there are.
fn count(model: &OnnxModel, operator: &str) -> usize {
    let graph = model.proto().graph.as_ref().expect("a model has a graph");
    graph.node.iter().filter(|node| node.op_type() == operator).count()
}

fn initializers(model: &OnnxModel) -> HashSet<&str> {
    let graph = model.proto().graph.as_ref().expect("a model has a graph");
    graph.initializer.iter().map(|tensor| tensor.name()).collect()
}

#[test]
fn resnet_18() {
    let model = randomized(models::resnet::ResNet::new_18(10, &device()));
    compare_both("ResNet-18", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
}

#[test]
fn resnet_50() {
    let model = randomized(models::resnet::ResNet::new_50(1000, &device()));
    compare_both("ResNet-50", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
    let images = [input([1, 3, 224, 224], 5)];
    compare("ResNet-50 at 224", &model, |m, x| m.forward(x), &OptimizeOptions::new(), &images);

    let onnx = export(&model, &images[0], |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "Conv"), 53, "{onnx}");
    assert_eq!(count(&onnx, "BatchNormalization"), 53, "{onnx}");
    assert_eq!(count(&onnx, "Transpose"), 0, "{onnx}");
    let names = initializers(&onnx);
    for name in ["stem.conv.weight", "layers.3.2.convs.1.norm.gamma", "fc.bias"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
}

#[test]
fn mobilenet_v2() {
    let model = randomized(models::mobilenet::MobileNetV2::new(100, &device()));
    compare_both("MobileNetV2", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
    let onnx =
        export(&model, &input([1, 3, 64, 64], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    // The stem, the last, and two or three in each of the 17 blocks: a depthwise one is no bundle of
    // small ones.
    assert_eq!(count(&onnx, "Conv"), 1 + 1 + 16 * 3 + 2, "{onnx}");
    assert_eq!(count(&onnx, "Clip"), 1 + 1 + 16 * 2 + 1, "{onnx}");
}

#[test]
fn unet() {
    let model = randomized(models::unet::UNet::new(16, 3, 2, &device()));
    compare_both("U-Net", &model, |m, x| m.forward(x), [2, 3, 32, 48]);
    let original = models::unet::UNet::new(64, 4, 2, &device());
    let image = input([1, 3, 64, 64], 1);
    let onnx = export(&original, &image, |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!((count(&onnx, "Conv"), count(&onnx, "ConvTranspose")), (19, 4), "{onnx}");
}

#[test]
fn convnext() {
    let model = randomized(models::convnext::ConvNextStage::new(32, 64, 2, &device()));
    compare_both("ConvNeXt", &model, |m, x| m.forward(x), [2, 32, 16, 20]);
    let onnx =
        export(&model, &input([1, 32, 16, 20], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "Conv"), 3, "{onnx}");
    assert_eq!(count(&onnx, "LayerNormalization"), 3, "{onnx}");
}

#[test]
fn vit_b_16() {
    use models::vit::VisionTransformer;
    let model = randomized(VisionTransformer::base_16(224, 1000, &device()));
    let image = [input([1, 3, 224, 224], 1)];
    compare("ViT-B/16", &model, |m, x| m.forward(x), &OptimizeOptions::new(), &image);
    let onnx = export(&model, &image[0], |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "LayerNormalization"), 25, "{onnx}");
    assert_eq!(count(&onnx, "Softmax"), 12, "{onnx}");
    // Two products and four layers for attention, two layers after it; the head.
    assert_eq!(count(&onnx, "MatMul") + count(&onnx, "Gemm"), 12 * 8 + 1, "{onnx}");
    let nodes = onnx.proto().graph.as_ref().map_or(0, |graph| graph.node.len());
    assert!(nodes <= 12 * 40 + 20, "{nodes} nodes\n{onnx}");
    assert!(initializers(&onnx).contains("encoder.layers.0.mha.query.weight"), "{onnx}");

    let small = randomized(VisionTransformer::base_16(48, 1000, &device()));
    compare_both("ViT-B/16 at 48", &small, |m, x| m.forward(x), [2, 3, 48, 48]);
}

/// Tokens, and a mask that ends each sentence at another length.
fn sentences(shape: [usize; 2], vocabulary: usize, seed: u64) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let [batch, length] = shape;
    let cell = |i: usize| i64::from(i % length < length - (i / length) % length);
    let mask = TensorData::new((0..batch * length).map(cell).collect(), shape);
    (tokens(shape, vocabulary, seed), Tensor::from_data(mask, &device()))
}

/// A dynamic batch, and a length under one name on axis 1 of each input.
fn dynamic_sequence(inputs: usize, longest: usize) -> OptimizeOptions {
    let length = Dim::dynamic("length", 2..=longest).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_batch(1..=4).expect("a valid range");
    (0..inputs).fold(options, |options, i| options.dynamic_axis(i, 1, length.clone()))
}

#[test]
fn bert() {
    use models::bert::{BASE, Bert, Sizes};
    type Pair = (Tensor<2, Int>, Tensor<2, Int>);
    let forward = |m: &Bert, (tokens, mask): Pair| m.forward(tokens, mask);
    let sizes = Sizes { layers: 2, vocabulary: 1000, ..BASE };
    let model = randomized(Bert::new(sizes, &device()));
    let text = |shape, seed| sentences(shape, sizes.vocabulary, seed);
    compare("BERT", &model, forward, &OptimizeOptions::new(), &[text([3, 16], 1)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4).expect("a valid range");
    let inputs = [text([3, 16], 1), text([1, 16], 2), text([4, 16], 3)];
    compare("BERT, dynamic batch", &model, forward, &options, &inputs);
    let inputs = [text([3, 16], 1), text([1, 2], 2), text([4, 64], 3), text([2, 33], 4)];
    let options = dynamic_sequence(2, 64);
    compare("BERT, dynamic batch and length", &model, forward, &options, &inputs);

    let base = Bert::new(BASE, &device());
    let onnx = export(&base, &text([1, 128], 1), forward, &OptimizeOptions::new());
    assert_eq!(count(&onnx, "LayerNormalization"), 25, "{onnx}");
    assert_eq!(count(&onnx, "MatMul") + count(&onnx, "Gemm"), 12 * 8, "{onnx}");
    let weights = onnx.split().weights;
    let count: usize =
        weights.iter().map(|(_, weight)| weight.shape().iter().product::<usize>()).sum();
    assert!((108_000_000..111_000_000).contains(&count), "{count} parameters");
}

#[test]
fn gpt() {
    use models::gpt::Gpt;
    let model = randomized(Gpt::new(1000, 64, 768, 12, 2, &device()));
    let forward = |m: &Gpt, x| m.forward(x);
    let text = |shape, seed| tokens(shape, 1000, seed);
    compare("GPT", &model, forward, &OptimizeOptions::new(), &[text([2, 16], 1)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4).expect("a valid range");
    let inputs = [text([2, 16], 1), text([1, 16], 2), text([4, 16], 3)];
    compare("GPT, dynamic batch", &model, forward, &options, &inputs);
    let inputs = [text([2, 16], 1), text([1, 2], 2), text([4, 64], 3), text([2, 33], 4)];
    let options = dynamic_sequence(1, 64);
    compare("GPT, dynamic batch and length", &model, forward, &options, &inputs);

    // The output layer is the embedding: one initializer, under its first name.
    let onnx = export(&model, &text([2, 16], 1), forward, &OptimizeOptions::new());
    let weights = onnx.split().weights;
    let large = weights.iter().filter(|(_, weight)| weight.shape().contains(&1000));
    assert_eq!(large.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["tokens.weight"]);
}
