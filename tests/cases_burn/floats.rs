//! Functions of floats, at their edges too.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{DeformConv2d, DeformConv2dConfig};
use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};

use crate::harness::*;

fn pair(batch: usize, seed: u64) -> (Tensor<2>, Tensor<2>) {
    (input([batch, 4], seed) * 5, input([batch, 4], seed + 100) * 3)
}

/// Numbers that functions treat in their own way, one row a batch.
fn edges(batch: usize, _seed: u64) -> Tensor<2> {
    let row = [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-8, -1e-8, 2.5, -2.5, 3.5, 0.5];
    let values = row.repeat(batch);
    Tensor::from_data(TensorData::new(values, [batch, row.len()]), &device())
}

#[test]
fn at_the_edges() {
    of("rounding at the edges", BOTH, edges, |x| {
        (x.clone().floor(), x.clone().ceil(), x.clone().round(), x.trunc())
    });
    of("functions at the edges", BOTH, edges, |x| {
        (x.clone().exp(), x.clone().tanh(), x.clone().atan(), x.clone().erf(), x.clone().log1p())
    });
    of("tests at the edges", BOTH, edges, |x| {
        (x.clone().is_nan(), x.clone().is_inf(), x.clone().is_finite(), x.sign())
    });
    of("angles of all quarters", BOTH, edges, |x| {
        let y = x.clone().flip([1]);
        (x.clone().atan2(y.clone()), y.atan2(x))
    });
    of("small numbers keep their digits", BOTH, edges, |x| x.clamp(-1e-3, 1e-3).log1p() * 1e6);
}

#[test]
fn of_two() {
    of("atan2", BOTH, pair, |(x, y)| x.atan2(y));
    of("hypot", BOTH, pair, |(x, y)| x.hypot(y));
    of("hypot of large numbers", BOTH, pair, |(x, y)| (x * 1e30).hypot(y * 1e30) / 1e30);
    of("the remainder of floats", BOTH, pair, |(x, y)| {
        (x.clone().remainder(y), x.clone().remainder_scalar(1.5), x.remainder_scalar(-0.7))
    });
    of("fmod", BOTH, pair, |(x, y)| x.fmod(y));
    of("powers of floats", BOTH, pair, |(x, y)| {
        (x.clone().powi(y.clone().round()), x.abs().powf(y))
    });
    function("constant powers", [3, 4], |x| {
        let y = x.clone() + 2;
        (
            x.clone().powi_scalar(2),
            x.clone().powi_scalar(3),
            x.clone().powi_scalar(5),
            y.clone().powf_scalar(-1),
            y.powf_scalar(0.5),
        )
    });
    let threes = |batch, seed| (input([batch, 3, 2], seed), input([batch, 3, 2], seed + 1));
    of("cross product", BOTH, threes, |(a, b)| a.cross(b, 1));
    of("pairs of extremes", BOTH, pair, |(x, y)| (x.clone().max_pair(y.clone()), x.min_pair(y)));
}

#[test]
fn statistics() {
    function("variance", [3, 4, 5], |x| {
        let (variance, mean) = x.clone().var_mean(2);
        (variance, mean, x.clone().var_bias(1), x.var(1))
    });
    function("extremes of magnitude", [3, 4, 5], |x| (x.clone().max_abs_dim(1), x.max_abs()));
    function("extremes of all", [3, 4], |x| (x.clone().max(), x.clone().min(), x.prod()));
    function("sums over no axes", [3, 4, 5], |x| x.sum_dims::<i32>(&[]));
    function("sums over several axes", [3, 4, 5], |x| x.sum_dims(&[1, 2]));
    function("smallest with indices", [3, 4, 5], |x| x.min_dim_with_indices(2));
    function("degrees", [3, 4], |x| (x.clone().deg2rad(), x.rad2deg()));
    function("reciprocal", [3, 4], |x| (x + 2).recip());
    function("squares", [3, 4], |x| x.square());
}

#[test]
fn deformable_convolutions() {
    // Stride, padding, dilation, groups of weights and of offsets.
    for (i, (stride, padding, dilation, groups)) in [
        ([1, 1], [0, 0], [1, 1], [1, 1]),
        ([2, 1], [1, 2], [1, 1], [1, 2]),
        ([1, 2], [2, 1], [2, 1], [2, 4]),
        ([1, 1], [1, 1], [1, 1], [4, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let kernel = [3, 2];
        let out: [usize; 2] = std::array::from_fn(|axis| {
            let reach = dilation[axis] * (kernel[axis] - 1) + 1;
            ([7, 6][axis] + 2 * padding[axis] - reach) / stride[axis] + 1
        });
        let samples = groups[1] * kernel[0] * kernel[1];
        let inputs = move |batch, seed| {
            let x = input([batch, 4, 7, 6], seed);
            // Some samples lie outside of the picture.
            let offset = input([batch, 2 * samples, out[0], out[1]], seed + 1) * 2.5;
            (x, offset, input([batch, samples, out[0], out[1]], seed + 2))
        };
        let [top, left] = padding;
        let layer = DeformConv2dConfig::new([4, 8], kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig2d::Explicit(top, left, top, left))
            .with_dilation(dilation)
            .with_weight_groups(groups[0])
            .with_offset_groups(groups[1])
            .with_bias(i % 2 == 1)
            .init(&device());
        let forward = |layer: &DeformConv2d, (x, offset, mask)| {
            layer.forward(x, offset, (i % 2 == 1).then_some(mask))
        };
        run(&format!("deformable convolution {i}"), BOTH, &layer, inputs, forward);
    }
}

#[test]
fn grid_samples() {
    let inputs =
        |batch, seed| (input([batch, 2, 5, 6], seed), input([batch, 3, 4, 2], seed + 1) * 1.4);
    for mode in [InterpolateMode::Bilinear, InterpolateMode::Nearest] {
        for padding in [
            GridSamplePaddingMode::Zeros,
            GridSamplePaddingMode::Border,
            GridSamplePaddingMode::Reflection,
        ] {
            for corners in [false, true] {
                let options = GridSampleOptions {
                    mode: mode.clone(),
                    padding_mode: padding,
                    align_corners: corners,
                };
                let name = format!("grid sample, {mode:?}, {padding:?}, corners {corners}");
                of(&name, BOTH, inputs, |(x, grid)| x.grid_sample_2d(grid, options.clone()));
            }
        }
    }
}
