//! A vision transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020).

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
pub struct VisionTransformer {
    patches: Conv2d,
    class_token: Param<Tensor<3>>,
    positions: Param<Tensor<3>>,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl VisionTransformer {
    /// ViT-B/16 for square images of `size` pixels: 86 million parameters.
    pub fn base_16(size: usize, classes: usize, device: &Device) -> Self {
        Self::new(size, 16, TransformerEncoderConfig::new(768, 3072, 12, 12), classes, device)
    }

    pub fn new(
        size: usize,
        patch: usize,
        encoder: TransformerEncoderConfig,
        classes: usize,
        device: &Device,
    ) -> Self {
        let width = encoder.d_model;
        let patches = Conv2dConfig::new([3, width], [patch, patch]).with_stride([patch, patch]);
        let count = (size / patch) * (size / patch);
        let norm_first = encoder.with_norm_first(true).with_layer_norm_eps(1e-6);
        Self {
            patches: patches.init(device),
            class_token: Param::from_tensor(Tensor::zeros([1, 1, width], device)),
            positions: Param::from_tensor(Tensor::zeros([1, count + 1, width], device)),
            encoder: norm_first.init(device),
            norm: LayerNormConfig::new(width).with_epsilon(1e-6).init(device),
            head: LinearConfig::new(width, classes).init(device),
        }
    }

    /// `[batch, 3, size, size]` to `[batch, classes]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, ..] = images.dims();
        let patches: Tensor<3> = self.patches.forward(images).flatten(2, 3).swap_dims(1, 2);
        let class = self.class_token.val().repeat_dim(0, batch);
        let x = Tensor::cat(vec![class, patches], 1) + self.positions.val();
        let x = self.norm.forward(self.encoder.forward(TransformerEncoderInput::new(x)));
        self.head.forward(x.narrow(1, 0, 1).squeeze_dim::<2>(1))
    }
}
