//! Convolution, pooling, up-sampling.

use crate::harness::cases;

cases! {
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
        "conv1d_with_algo", true, [2, 3, 9], |xs| xs.conv1d_with_algo(&T::constant(&weight(&[4, 3, 3], 1)), 1, 1, 1, 1, None);
        "conv2d_with_algo", true, [2, 3, 7, 6], |xs| xs.conv2d_with_algo(&T::constant(&weight(&[4, 3, 3, 2], 1)), 1, 1, 1, 1, None);
        "conv_transpose1d", false, [1, 4, 7], |xs| xs.conv_transpose1d(&T::constant(&weight(&[4, 3, 3], 1)), 0, 0, 1, 1, 1);
        "conv_transpose1d, stride", true, [2, 4, 7], |xs| xs.conv_transpose1d(&T::constant(&weight(&[4, 3, 3], 1)), 1, 1, 2, 1, 1);
        "conv_transpose1d, groups", true, [2, 4, 7], |xs| xs.conv_transpose1d(&T::constant(&weight(&[4, 3, 3], 1)), 1, 0, 2, 1, 2);
        "conv_transpose1d, dilation", true, [2, 4, 7], |xs| xs.conv_transpose1d(&T::constant(&weight(&[4, 3, 3], 1)), 1, 0, 1, 2, 1);
        "conv_transpose2d", true, [2, 4, 5, 6], |xs| xs.conv_transpose2d(&T::constant(&weight(&[4, 3, 3, 2], 1)), 0, 0, 1, 1);
        "conv_transpose2d, stride", true, [2, 4, 5, 6], |xs| xs.conv_transpose2d(&T::constant(&weight(&[4, 3, 3, 3], 1)), 1, 1, 2, 1);
        "conv_transpose2d, dilation", true, [2, 4, 5, 6], |xs| xs.conv_transpose2d(&T::constant(&weight(&[4, 3, 3, 3], 1)), 1, 0, 1, 2);
        "upsample_nearest1d", true, [2, 3, 4], |xs| xs.upsample_nearest1d(8);
        "upsample_nearest1d, below a whole multiple", true, [1, 1, 2], |xs| xs.upsample_nearest1d(98);
        "upsample_nearest1d, smaller", true, [2, 3, 28], |xs| xs.upsample_nearest1d(21);
        "upsample_nearest1d, ragged", true, [2, 3, 4], |xs| xs.upsample_nearest1d(7);
        "interpolate1d", true, [2, 3, 4], |xs| xs.interpolate1d(12);
        "upsample_bilinear2d", true, [2, 3, 4, 5], |xs| xs.upsample_bilinear2d(8, 15, false);
        "upsample_bilinear2d, ragged", true, [2, 3, 4, 5], |xs| xs.upsample_bilinear2d(7, 8, false);
        "upsample_bilinear2d, smaller", true, [2, 3, 6, 8], |xs| xs.upsample_bilinear2d(3, 5, false);
        "upsample_bilinear2d, aligned", true, [2, 3, 4, 5], |xs| xs.upsample_bilinear2d(7, 10, true);
        "upsample_bilinear2d_with_scale", true, [2, 3, 4, 6], |xs| xs.upsample_bilinear2d_with_scale(2.0, 1.5, false);
        "upsample_bilinear2d_with_scale, aligned", true, [2, 3, 4, 6], |xs| xs.upsample_bilinear2d_with_scale(2.0, 1.5, true);
        "upsample_bilinear2d_with_scale, ragged", true, [2, 3, 5, 7], |xs| xs.upsample_bilinear2d_with_scale(1.5, 1.3, false);
    }
}
