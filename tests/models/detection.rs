//! A single-stage detection head, as in FCOS (Tian et al., 2019): per cell a score for each class and
//! the distances to the sides of a box; the best cells of each image are taken out. No suppression
//! of overlaps.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Int, Tensor};

#[derive(Module, Debug)]
pub struct DetectionHead {
    tower: Vec<Conv2d>,
    norms: Vec<GroupNorm>,
    scores: Conv2d,
    sides: Conv2d,
    /// How many boxes an image gives.
    keep: usize,
}

impl DetectionHead {
    pub fn new(channels: usize, classes: usize, keep: usize, device: &Device) -> Self {
        let conv = |to| {
            Conv2dConfig::new([channels, to], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        let norm = || GroupNormConfig::new(4, channels).init(device);
        Self {
            tower: vec![conv(channels), conv(channels)],
            norms: vec![norm(), norm()],
            scores: conv(classes),
            sides: conv(4),
            keep,
        }
    }

    /// Features `[batch, channels, height, width]` to boxes `[batch, keep, 4]` as left, top, right
    /// and bottom in cells, their scores `[batch, keep]`, and their classes `[batch, keep]`.
    pub fn forward(&self, features: Tensor<4>) -> (Tensor<3>, Tensor<2>, Tensor<2, Int>) {
        let [_, _, height, width] = features.dims();
        let device = features.device();
        let mut x = features;
        for (conv, norm) in self.tower.iter().zip(&self.norms) {
            x = relu(norm.forward(conv.forward(x)));
        }
        // Cells in a row, `[batch, cells, …]`.
        let scores: Tensor<3> =
            sigmoid(self.scores.forward(x.clone())).flatten(2, 3).swap_dims(1, 2);
        let sides: Tensor<3> = self.sides.forward(x).exp().flatten(2, 3).swap_dims(1, 2);

        let (best, classes) = scores.max_dim_with_indices(2);
        let (best, cells) = best.squeeze_dim::<2>(2).topk_with_indices(self.keep, 1);
        let classes = classes.squeeze_dim::<2>(2).gather(1, cells.clone());

        let row = Tensor::<1, Int>::arange(0..height as i64, &device).float() + 0.5;
        let column = Tensor::<1, Int>::arange(0..width as i64, &device).float() + 0.5;
        let rows = row.reshape([height, 1]).repeat_dim(1, width).reshape([1, height * width, 1]);
        let columns = column.reshape([1, width]).repeat_dim(0, height);
        let columns = columns.reshape([1, height * width, 1]);
        let near = Tensor::cat(vec![columns.clone(), rows.clone()], 2);
        let boxes = Tensor::cat(
            vec![near.clone() - sides.clone().narrow(2, 0, 2), near + sides.narrow(2, 2, 2)],
            2,
        );
        let cells = cells.unsqueeze_dim::<3>(2).repeat_dim(2, 4);
        (boxes.gather(1, cells), best, classes)
    }
}
