//! Layers that multiply: linear, convolution, transposed convolution, embedding, and attention.

use accelerant::burn::export_onnx;
use burn::nn::conv::{Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};

use crate::harness::*;

#[test]
fn linear_layers() {
    let layer = LinearConfig::new(6, 4).init(&device());
    case("linear", &layer, [3, 6], |m: &Linear, x| m.forward(x));
    case("linear of rank 3", &layer, [3, 2, 6], |m: &Linear, x| m.forward(x));
    let layer = LinearConfig::new(6, 4).with_bias(false).init(&device());
    case("linear without bias", &layer, [3, 6], |m: &Linear, x| m.forward(x));
}

#[test]
fn convolutions() {
    let conv = |config: Conv2dConfig| config.init(&device());
    let forward = |m: &Conv2d, x: Tensor<4>| m.forward(x);
    case("conv2d", &conv(Conv2dConfig::new([3, 4], [3, 3])), [2, 3, 8, 7], forward);
    let same = PaddingConfig2d::Same;
    case(
        "conv2d, same",
        &conv(Conv2dConfig::new([3, 4], [3, 3]).with_padding(same)),
        [2, 3, 8, 7],
        forward,
    );
    let explicit = PaddingConfig2d::Explicit(1, 2, 1, 2);
    let config = Conv2dConfig::new([4, 6], [3, 2]).with_stride([2, 1]).with_padding(explicit);
    case("conv2d, stride, padding", &conv(config), [2, 4, 9, 8], forward);
    let config = Conv2dConfig::new([4, 8], [3, 3]).with_groups(4).with_dilation([2, 1]);
    case("conv2d, depthwise, dilated", &conv(config.with_bias(false)), [2, 4, 9, 8], forward);
    let layer = Conv1dConfig::new(3, 5, 3).with_stride(2).init(&device());
    case("conv1d", &layer, [2, 3, 11], |m: &burn::nn::conv::Conv1d, x| m.forward(x));
}

#[test]
fn embeddings() {
    use burn::nn::{Embedding, EmbeddingConfig};
    let layer = EmbeddingConfig::new(11, 5).init(&device());
    let ids = |batch, seed| ints([batch, 3], 0, 11, seed);
    run("embedding", BOTH, &layer, ids, |m: &Embedding, x| m.forward(x));
}

#[test]
fn layers_of_transformers() {
    use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
    use burn::nn::{LayerNorm, LayerNormConfig};
    let norm = LayerNormConfig::new(6).init(&device());
    case("layer norm", &norm, [3, 4, 6], |m: &LayerNorm, x| m.forward(x));
    let example = input([3, 4, 6], 1);
    let forward = |m: &LayerNorm, x: Tensor<3>| m.forward(x);
    let model = export_onnx(&norm, &example, forward, &OptimizeOptions::new()).unwrap();
    let nodes = model.proto().graph.as_ref().unwrap().node.iter().map(|n| n.op_type());
    assert_eq!(nodes.collect::<Vec<_>>(), ["LayerNormalization", "Identity"], "{model}");
    let attention = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.1).init(&device());
    case("self attention", &attention, [3, 4, 8], |m: &MultiHeadAttention, x| {
        m.forward(MhaInput::self_attn(x)).context
    });
}

#[test]
fn attention_as_one_operation() {
    use burn::tensor::module::attention;
    use burn::tensor::ops::AttentionModuleOptions;
    let run = |name: &str, options: AttentionModuleOptions, masked: bool| {
        function_with(name, STATIC, [2, 2, 4, 6], |x| {
            let mask =
                masked.then(|| x.clone().matmul(x.clone().swap_dims(2, 3)).greater_elem(0.5));
            attention(x.clone(), x.clone() * 0.5, x, mask, None, options)
        });
    };
    let plain = AttentionModuleOptions::default();
    run("attention", plain, false);
    run("attention, masked", plain, true);
    run("attention, causal", AttentionModuleOptions { is_causal: true, ..plain }, false);
    run("attention, capped", AttentionModuleOptions { softcap: Some(2.0), ..plain }, true);
    run("attention, scaled", AttentionModuleOptions { scale: Some(0.3), ..plain }, false);
}

/// What is hidden by a mask, a bias, or both: a row of which all is hidden gives zeros.
#[test]
fn attention_to_nothing() {
    use burn::tensor::module::attention;
    use burn::tensor::ops::AttentionModuleOptions;
    let plain = AttentionModuleOptions::default();
    let sizes = |batch, seed| input([batch, 2, 4, 6], seed);
    let hide = |scores: Tensor<4>, row: i64| {
        let rows = Tensor::<1, Int>::arange(0..4, &scores.device()).reshape([1, 1, 4, 1]);
        let rows = rows.equal_elem(row).expand(scores.dims());
        scores.greater_elem(0.1).bool_or(rows)
    };
    let scores = |x: &Tensor<4>| x.clone().matmul(x.clone().swap_dims(2, 3));
    of("attention, a row masked", STATIC, sizes, |x: Tensor<4>| {
        let mask = hide(scores(&x), 2);
        attention(x.clone(), x.clone(), x, Some(mask), None, plain)
    });
    of("attention, a row masked beside a bias", STATIC, sizes, |x: Tensor<4>| {
        let (mask, bias) = (hide(scores(&x), 2), scores(&x) * 3.0);
        attention(x.clone(), x.clone(), x, Some(mask), Some(bias), plain)
    });
    of("attention, a mask beside the lowest bias", STATIC, sizes, |x: Tensor<4>| {
        let mask = hide(scores(&x), 2);
        let bias = (scores(&x) * 0.0) + f32::MIN;
        attention(x.clone(), x.clone(), x, Some(mask), Some(bias), plain)
    });
    of("attention, an infinite bias", STATIC, sizes, |x: Tensor<4>| {
        let bias = (scores(&x) * 0.0).mask_fill(hide(scores(&x), 1), f32::NEG_INFINITY);
        attention(x.clone(), x.clone(), x, None, Some(bias), plain)
    });
    of("attention, low scores", STATIC, sizes, |x: Tensor<4>| {
        let (x, low) = (x.clone().abs() + 1.0, (x.abs() + 1.0) * -1e5);
        let mask = hide(scores(&x) - 12.0, 3);
        attention(low, x.clone(), x, Some(mask), None, plain)
    });
    let grouped = |batch, seed| (input([batch, 4, 5, 6], seed), input([batch, 2, 7, 6], seed + 1));
    of("attention, grouped", STATIC, grouped, |(q, k): (Tensor<4>, Tensor<4>)| {
        attention(q, k.clone() * 0.5, k, None, None, plain)
    });
}

/// tract takes a factor from before it was expanded.
#[test]
fn products_with_what_is_expanded() {
    let fixed = |shape: [usize; 2], device: &Device| -> Tensor<2> {
        let values = random(&shape, 9).into_raw_vec_and_offset().0;
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    function("zeros times a matrix", [3, 4], |x| {
        let weight = fixed([4, 5], &x.device());
        (x * 0.0).matmul(weight)
    });
    function("an expanded row times a matrix", [3, 4], |x| {
        let (rows, device) = (x.dims()[0], x.device());
        fixed([1, 4], &device).expand([rows, 4]).matmul(fixed([4, 5], &device)) + x.sum_dim(1)
    });
    function("a sum over what is expanded", [3, 4], |x| {
        let rows = x.clone().sum_dim(0).sum_dim(1).expand([4, 5]);
        x.matmul(rows)
    });
}
