//! Transformers, with dynamic lengths where they take sequences.

use accelerant::burn::BurnGraph;
use accelerant::export::Target;
use accelerant::{Dim, OptimizeOptions};
use burn::tensor::{Int, Tensor, TensorData};

use crate::{
    compare, compare_both, count, device, export, initializers, input, models, randomized, tokens,
};

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
    // The module's path.
    let weight = "encoder.layers.0.mha.query.weight";
    assert!(initializers(&onnx).contains(weight), "{onnx}");

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
pub(crate) fn dynamic_sequence(inputs: usize, longest: usize) -> OptimizeOptions {
    let length = Dim::dynamic("length", 1..=longest).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_batch(1..=4);
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
    let options = OptimizeOptions::new().dynamic_batch(1..=4);
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
    let parameters: usize =
        weights.iter().map(|(_, weight)| weight.shape().iter().product::<usize>()).sum();
    assert!((108_000_000..111_000_000).contains(&parameters), "{parameters} parameters");

    // Query, key and value are one product, divided into heads as one; the networks are in parts.
    let graph = BurnGraph::capture(&base, &text([1, 128], 1), forward, &OptimizeOptions::new());
    let batched = Target::tensorrt().for_compute_capability(Some(90));
    let onnx = graph.expect("it is captured").to_onnx(batched).expect("it is exported");
    assert_eq!(count(&onnx, "MatMul") + count(&onnx, "Gemm"), 12 * 6, "{onnx}");
    let parts = ["Split", "Squeeze", "ReduceSum"].map(|op| count(&onnx, op));
    assert_eq!(parts, [12, 36, 12], "{onnx}");
}

#[test]
fn gpt() {
    use models::gpt::Gpt;
    let model = randomized(Gpt::new(1000, 64, 768, 12, 2, &device()));
    let forward = |m: &Gpt, x| m.forward(x);
    let text = |shape, seed| tokens(shape, 1000, seed);
    compare("GPT", &model, forward, &OptimizeOptions::new(), &[text([2, 16], 1)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4);
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
