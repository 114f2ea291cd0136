//! Convolution in three dimensions, transposed and fused layers, normalization, recurrent layers.

use burn::nn::conv::{
    Conv3d, Conv3dConfig, ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose2d,
    ConvTranspose2dConfig, ConvTranspose3d, ConvTranspose3dConfig,
};
use burn::nn::{
    BiRnnConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNormConfig, LstmConfig,
    PaddingConfig3d, RmsNorm, RmsNormConfig, RnnConfig, gru::GruConfig,
};
use burn::tensor::activation;
use burn::tensor::module::{interpolate, layer_norm};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use crate::harness::*;

#[test]
fn in_three_dimensions() {
    let config = Conv3dConfig::new([2, 4], [3, 2, 1]).with_stride([1, 2, 1]);
    let layer =
        config.with_padding(PaddingConfig3d::Explicit(1, 0, 1)).with_groups(2).init(&device());
    case("conv3d", &layer, [3, 2, 4, 5, 3], |m: &Conv3d, x| m.forward(x));
    let layer =
        ConvTranspose3dConfig::new([2, 3], [2, 3, 2]).with_stride([2, 1, 1]).init(&device());
    case("transposed 3d", &layer, [3, 2, 3, 4, 3], |m: &ConvTranspose3d, x| m.forward(x));
}

#[test]
fn transposed_with_groups() {
    let rows = |m: &ConvTranspose1d, x: Tensor<3>| m.forward(x);
    let config = ConvTranspose1dConfig::new([4, 6], 3).with_stride(2).with_padding(1);
    let layer = config.clone().with_groups(2).with_padding_out(1).init(&device());
    case("transposed 1d, groups", &layer, [3, 4, 5], rows);
    case(
        "transposed 1d, dilated",
        &config.with_stride(1).with_dilation(2).init(&device()),
        [3, 4, 5],
        rows,
    );
    let pictures = |m: &ConvTranspose2d, x: Tensor<4>| m.forward(x);
    let config = ConvTranspose2dConfig::new([4, 6], [3, 2]).with_stride([2, 1]).with_bias(false);
    let layer = config.clone().with_groups(2).with_padding_out([1, 0]).init(&device());
    case("transposed 2d, groups", &layer, [3, 4, 5, 3], pictures);
    let dilated = config.clone().with_stride([1, 1]).with_dilation([1, 2]).init(&device());
    case("transposed 2d, dilated", &dilated, [3, 4, 5, 3], pictures);
    const DILATED: &[Gap] = &[Gap {
        runner: TensorRtRtx,
        reason: "TensorRT-RTX 1.6.1 transposes no convolution with strides and dilations",
    }];
    let layer = config.with_dilation([1, 2]).with_groups(2).init(&device());
    case_with(
        "transposed 2d, strided, dilated",
        BOTH.except(DILATED),
        &layer,
        [3, 4, 5, 3],
        pictures,
    );
}

#[test]
fn other_interpolation() {
    for corners in [false, true] {
        let options = InterpolateOptions::new(InterpolateMode::Lanczos3).with_output_size([9, 7]);
        let options = options.with_align_corners(corners);
        function(&format!("lanczos, corners {corners}"), [3, 2, 5, 8], |x| {
            interpolate(x, options.clone())
        });
    }
    for size in [[3, 2], [10, 15]] {
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size);
        function_with(&format!("nearest to {size:?}"), STATIC, [2, 3, 6, 5], |x| {
            interpolate(x, options.clone())
        });
        let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_output_size(size);
        function_with(&format!("bilinear to {size:?}"), STATIC, [2, 3, 6, 5], |x| {
            interpolate(x, options.clone())
        });
    }
}

/// Burn's own rounding, also where it falls below a whole multiple.
#[test]
fn nearest_of_any_size() {
    let pairs =
        [(28, 32), (28, 64), (14, 16), (21, 24), (21, 14), (28, 14), (2, 98), (5, 245), (3, 9)];
    for (from, to) in pairs {
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([to, 7]);
        function(&format!("nearest, {from} to {to}"), [3, 1, from, 5], |x| {
            interpolate(x, options.clone())
        });
    }
    for mode in [InterpolateMode::Bilinear, InterpolateMode::Bicubic] {
        let options = InterpolateOptions::new(mode.clone()).with_output_size([32, 14]);
        function(&format!("{mode:?}, 28 to 32"), [3, 1, 28, 21], |x| {
            interpolate(x, options.clone())
        });
    }
}

#[test]
fn a_picture_resized_by_a_module() {
    use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode as Mode};
    for mode in [Mode::Nearest, Mode::Linear, Mode::Cubic] {
        let config = Interpolate2dConfig::new().with_mode(mode.clone());
        let layer = config.clone().with_output_size(Some([9, 7])).init();
        let forward = |m: &Interpolate2d, x: Tensor<4>| m.forward(x);
        case(&format!("interpolate 2d, {mode:?}"), &layer, [3, 2, 6, 5], forward);
        let layer = config.with_scale_factor(Some([2.0, 3.0])).init();
        case(&format!("interpolate 2d, {mode:?}, scaled"), &layer, [3, 2, 6, 5], forward);
    }
}

#[test]
fn normalization() {
    let layer = GroupNormConfig::new(2, 6).init(&device());
    case("group norm", &layer, [3, 6, 5, 4], |m: &GroupNorm, x: Tensor<4>| m.forward(x));
    let layer = InstanceNormConfig::new(6).init(&device());
    case("instance norm", &layer, [3, 6, 5, 4], |m: &InstanceNorm, x: Tensor<4>| m.forward(x));
    let layer = RmsNormConfig::new(6).init(&device());
    case("rms norm", &layer, [3, 4, 6], |m: &RmsNorm, x: Tensor<3>| m.forward(x));
    let parameters =
        |batch, seed| (input([batch, 4, 6], seed), input([6], seed + 1), input([6], seed + 2));
    of("layer norm as a function", STATIC, parameters, |(x, gamma, beta)| {
        layer_norm(x, gamma, Some(beta), 1e-5)
    });
}

#[test]
fn recurrent_layers() {
    let lstm = LstmConfig::new(4, 5, true).init(&device());
    case("lstm", &lstm, [3, 6, 4], |m: &burn::nn::Lstm, x| m.forward(x, None).0);
    let rnn = RnnConfig::new(4, 5, true).init(&device());
    case("rnn", &rnn, [3, 3, 4], |m: &burn::nn::Rnn, x| m.forward(x, None).0);
    let rnn = BiRnnConfig::new(4, 5, true).init(&device());
    case("rnn in both directions", &rnn, [3, 3, 4], |m: &burn::nn::BiRnn, x| m.forward(x, None).0);
    let gru = GruConfig::new(4, 5, true).init(&device());
    case("gru", &gru, [3, 6, 4], |m: &burn::nn::gru::Gru, x| m.forward(x, None));
}

#[test]
fn more_activations() {
    function("softmin", [3, 4], |x| activation::softmin(x, 1));
    function("gelu by tanh", [3, 4], |x| activation::gelu_approximate(x * 3));
    function("mish", [3, 4], activation::mish);
    function("softplus", [3, 4], |x| activation::softplus(x * 20, 1.0));
    function("softsign", [3, 4], activation::softsign);
    function("elu", [3, 4], |x| activation::elu(x, 0.7));
    function("quiet softmax", [3, 4], |x| activation::quiet_softmax(x, 1));
    function("glu", [3, 4], |x| activation::glu(x, 1));
    function("hard swish", [3, 4], |x| activation::hard_swish(x * 5));
    function("silu of large numbers", [3, 4], |x| activation::silu(x * 100));
}
