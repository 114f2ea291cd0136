//! Pooling, resizing and padding.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{
    AdaptiveAvgPool2dConfig, AvgPool1dConfig, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig,
};

use crate::harness::*;

#[test]
fn pooling() {
    case("max pool", &MaxPool2dConfig::new([2, 2]).init(), [2, 3, 8, 6], |m: &MaxPool2d, x| {
        m.forward(x)
    });
    let config = MaxPool2dConfig::new([3, 2])
        .with_strides([2, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0));
    case("max pool, stride, padding", &config.init(), [2, 3, 9, 6], |m: &MaxPool2d, x| {
        m.forward(x)
    });
    for count in [true, false] {
        let config = AvgPool2dConfig::new([3, 3]).with_strides([2, 2]);
        let layer = config
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_count_include_pad(count)
            .init();
        case(&format!("average pool, counted {count}"), &layer, [2, 3, 9, 7], |m, x| m.forward(x));
    }
    for size in [[1, 1], [4, 2]] {
        let layer = AdaptiveAvgPool2dConfig::new(size).init();
        case(&format!("adaptive pool to {size:?}"), &layer, [2, 3, 8, 6], |m, x| m.forward(x));
    }
}

#[test]
fn windows_that_hang_over_the_end() {
    let config = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_ceil_mode(true);
    case("max pool, ceil", &config.init(), [2, 3, 8, 6], |m: &MaxPool2d, x| m.forward(x));
}

#[test]
fn up_sampling() {
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    for (mode, size) in [(InterpolateMode::Nearest, [8, 10]), (InterpolateMode::Bilinear, [7, 9])] {
        let options = InterpolateOptions::new(mode).with_output_size(size);
        function("resize", [2, 3, 4, 5], |x| interpolate(x, options.clone()));
    }
    let config =
        ConvTranspose2dConfig::new([4, 3], [3, 2]).with_stride([2, 2]).with_padding([1, 0]);
    let layer = config.with_padding_out([1, 0]).init(&device());
    case("transposed", &layer, [2, 4, 5, 6], |m: &ConvTranspose2d, x| m.forward(x));
}

#[test]
fn up_sampling_follows_the_size() {
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    let pictures = |height, seed| input([height, 2, 3, 4], seed);
    for mode in [InterpolateMode::Nearest, InterpolateMode::Bilinear, InterpolateMode::Bicubic] {
        of(&format!("{mode:?} to twice the height"), DYNAMIC, pictures, |x| {
            let x: Tensor<4> = x.permute([1, 2, 0, 3]);
            let [_, _, height, _] = x.dims();
            interpolate(x, InterpolateOptions::new(mode.clone()).with_output_size([2 * height, 9]))
        });
    }
}

#[test]
fn other_forms_of_resize_and_pad() {
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions, PadMode};
    for (name, mode, corners) in [
        ("bicubic", InterpolateMode::Bicubic, false),
        ("bicubic, corners", InterpolateMode::Bicubic, true),
        ("bilinear, corners", InterpolateMode::Bilinear, true),
    ] {
        let options = InterpolateOptions::new(mode).with_output_size([7, 9]);
        let options = options.with_align_corners(corners);
        function(name, [2, 3, 4, 5], |x| interpolate(x, options.clone()));
    }
    function_with("reflect", STATIC, [2, 4, 5], |x| x.pad((1, 2, 0, 1), PadMode::Reflect));
    function_with("edge", STATIC, [2, 4, 5], |x| x.pad((1, 2, 0, 1), PadMode::Edge));
}

/// A stride longer than the kernel, where windows may begin behind the end.
#[test]
fn windows_with_gaps() {
    for count in [true, false] {
        for (size, kernel, stride) in [(8, 1, 5), (9, 2, 4), (10, 2, 4), (11, 2, 5), (7, 1, 3)] {
            let config = AvgPool1dConfig::new(kernel).with_stride(stride).with_ceil_mode(true);
            let layer = config.with_count_include_pad(count).init();
            let name = format!("average pool 1d, ceil, {size} by {stride}, counted {count}");
            case(&name, &layer, [3, 2, size], |m, x: Tensor<3>| m.forward(x));
        }
        let config = AvgPool2dConfig::new([2, 1]).with_strides([3, 4]).with_ceil_mode(true);
        let layer = config.with_count_include_pad(count).init();
        let name = format!("average pool 2d, ceil, with gaps, counted {count}");
        case(&name, &layer, [3, 2, 10, 9], |m, x: Tensor<4>| m.forward(x));
    }
}
