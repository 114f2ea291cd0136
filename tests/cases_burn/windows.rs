//! Pooling in all its forms, positions of maxima, columns of pictures.

use burn::nn::PaddingConfig1d;
use burn::nn::PaddingConfig2d;
use burn::nn::pool::{AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig};
use burn::tensor::module::{
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, max_pool1d_with_indices,
    max_pool2d_with_indices, unfold4d,
};
use burn::tensor::ops::{MaxPoolOptions, UnfoldOptions};

use crate::harness::*;

#[test]
fn pooling_of_rows() {
    let config =
        MaxPool1dConfig::new(3).with_stride(2).with_padding(PaddingConfig1d::Explicit(1, 1));
    case("max pool 1d", &config.init(), [3, 2, 9], |m, x: Tensor<3>| m.forward(x));
    let config = MaxPool1dConfig::new(3).with_stride(1).with_dilation(2);
    case("max pool 1d, dilated", &config.init(), [3, 2, 9], |m, x: Tensor<3>| m.forward(x));
    let config = MaxPool1dConfig::new(3).with_stride(2).with_ceil_mode(true);
    case("max pool 1d, ceil", &config.init(), [3, 2, 8], |m, x: Tensor<3>| m.forward(x));
    for count in [true, false] {
        let config = AvgPool1dConfig::new(3).with_stride(2).with_count_include_pad(count);
        let config = config.with_padding(PaddingConfig1d::Explicit(1, 1));
        case(
            &format!("average pool 1d, counted {count}"),
            &config.init(),
            [3, 2, 9],
            |m, x: Tensor<3>| m.forward(x),
        );
        let config = config.with_ceil_mode(true);
        case(
            &format!("average pool 1d, ceil, counted {count}"),
            &config.init(),
            [3, 2, 8],
            |m, x: Tensor<3>| m.forward(x),
        );
        let config = AvgPool2dConfig::new([3, 2]).with_strides([2, 3]).with_ceil_mode(true);
        let config = config
            .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0))
            .with_count_include_pad(count);
        case(
            &format!("average pool 2d, ceil, counted {count}"),
            &config.init(),
            [3, 2, 8, 7],
            |m, x: Tensor<4>| m.forward(x),
        );
    }
}

#[test]
fn positions_of_maxima() {
    let options = |ceil| MaxPoolOptions {
        kernel_size: [3, 2],
        stride: [2, 2],
        padding: [(1, 1), (0, 0)],
        dilation: [1, 1],
        ceil_mode: ceil,
    };
    for ceil in [false, true] {
        function(&format!("max pool 2d with indices, ceil {ceil}"), [3, 2, 8, 7], |x| {
            max_pool2d_with_indices(x, options(ceil))
        });
    }
    let dilated = MaxPoolOptions {
        kernel_size: [2, 2],
        stride: [1, 1],
        padding: [(0, 0), (1, 1)],
        dilation: [2, 3],
        ceil_mode: false,
    };
    function("max pool 2d with indices, dilated", [3, 2, 8, 7], |x| {
        max_pool2d_with_indices(x, dilated.clone())
    });
    let options = MaxPoolOptions {
        kernel_size: [3],
        stride: [2],
        padding: [(1, 1)],
        dilation: [1],
        ceil_mode: false,
    };
    function("max pool 1d with indices", [3, 2, 9], |x| {
        max_pool1d_with_indices(x, options.clone())
    });
}

#[test]
fn adaptive_windows() {
    function("adaptive pool 1d", [3, 2, 8], |x| {
        (adaptive_avg_pool1d(x.clone(), 4), adaptive_avg_pool1d(x, 3))
    });
    function("adaptive pool 2d, uneven", [3, 2, 7, 5], |x| adaptive_avg_pool2d(x, [3, 4]));
    function("adaptive pool 2d, larger", [3, 2, 3, 4], |x| adaptive_avg_pool2d(x, [5, 4]));
    function("adaptive pool 3d", [3, 2, 4, 6, 5], |x| {
        (adaptive_avg_pool3d(x.clone(), [2, 3, 1]), adaptive_avg_pool3d(x, [3, 4, 2]))
    });
}

#[test]
fn columns_of_pictures() {
    let options = UnfoldOptions::new([2, 1], [1, 0], [1, 2]);
    function("unfold 4d", [3, 2, 6, 7], |x| unfold4d(x, [3, 2], options.clone()));
}
