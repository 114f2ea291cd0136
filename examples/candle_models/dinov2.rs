//! DINOv2 (Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023) with its
//! linear classifier. Pictures `[batch, 3, height, width]` in, class scores `[batch, classes]` out.

use candle_core::{D, IndexOp, Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, conv2d, layer_norm, linear};

use super::transformer::{Activation, Mlp, attend};

/// Sizes of a DINOv2.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the tokens.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
}

impl Config {
    /// ViT-S/14.
    pub const SMALL: Self = Self { hidden: 384, layers: 12, heads: 6 };
    /// ViT-B/14.
    pub const BASE: Self = Self { hidden: 768, layers: 12, heads: 12 };
}

/// Height and width of a patch.
const PATCH: usize = 14;
/// Patches along each side of the pictures it was trained with, of 518 by 518.
const SIDE: usize = 37;

struct Layer {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    scale1: Tensor,
    norm2: LayerNorm,
    mlp: Mlp,
    scale2: Tensor,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (hidden, attention, mlp) = (config.hidden, vb.pp("attn"), vb.pp("mlp"));
        let up = linear(hidden, 4 * hidden, mlp.pp("fc1"))?;
        let down = linear(4 * hidden, hidden, mlp.pp("fc2"))?;
        Ok(Self {
            norm1: layer_norm(hidden, 1e-5, vb.pp("norm1"))?,
            qkv: linear(hidden, 3 * hidden, attention.pp("qkv"))?,
            proj: linear(hidden, hidden, attention.pp("proj"))?,
            scale1: vb.pp("ls1").get(hidden, "gamma")?,
            norm2: layer_norm(hidden, 1e-5, vb.pp("norm2"))?,
            mlp: Mlp::new(up, down, Activation::GeluTanh),
            scale2: vb.pp("ls2").get(hidden, "gamma")?,
            heads: config.heads,
        })
    }
}

#[accelerant::trace]
impl Layer {
    /// Queries, keys and values are parts of one product.
    fn attention(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, length, width) = xs.dims3()?;
        let parts = xs.apply(&self.qkv)?;
        let parts = parts.reshape((batch, length, 3, self.heads, width / self.heads))?;
        let parts = parts.permute((2, 0, 3, 1, 4))?.contiguous()?;
        attend(&parts.i(0)?, &parts.i(1)?, &parts.i(2)?, None)?.apply(&self.proj)
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.attention(&xs.apply(&self.norm1)?)?.broadcast_mul(&self.scale1)?;
        let xs = (ys + xs)?;
        let ys = self.mlp.forward(&xs.apply(&self.norm2)?)?.broadcast_mul(&self.scale2)?;
        ys + xs
    }
}

/// A DINOv2.
pub struct DinoV2 {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
}

impl DinoV2 {
    /// The model with these sizes.
    pub fn new(config: &Config, classes: usize, vb: VarBuilder) -> Result<Self> {
        let (hidden, layers) = (config.hidden, vb.pp("blocks"));
        let stride = Conv2dConfig { stride: PATCH, ..Default::default() };
        Ok(Self {
            patches: conv2d(3, hidden, PATCH, stride, vb.pp("patch_embed").pp("proj"))?,
            class: vb.get((1, 1, hidden), "cls_token")?,
            positions: vb.get((1, SIDE * SIDE + 1, hidden), "pos_embed")?,
            layers: (0..config.layers)
                .map(|i| Layer::new(config, layers.pp(i)))
                .collect::<Result<_>>()?,
            norm: layer_norm(hidden, 1e-5, vb.pp("norm"))?,
            head: linear(2 * hidden, classes, vb.pp("head"))?,
        })
    }
}

#[accelerant::trace]
impl DinoV2 {
    /// The positions of the patches, stretched over a picture of other sizes: `[1, patches, hidden]`.
    fn places(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, width, height, breadth) = xs.dims4()?;
        let trained = self.positions.narrow(1, 1, SIDE * SIDE)?;
        if (height, breadth) == (SIDE, SIDE) {
            return Ok(trained);
        }
        let trained = trained.transpose(1, 2)?.reshape((1, width, SIDE, SIDE))?;
        trained.upsample_nearest2d(height, breadth)?.flatten_from(2)?.transpose(1, 2)
    }
}

#[accelerant::trace]
impl Module for DinoV2 {
    /// Class scores, from the token of the class and the mean of the others.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let patches = xs.apply(&self.patches)?;
        let places = self.places(&patches)?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?.broadcast_add(&places)?;
        let (batch, count, width) = patches.dims3()?;
        let class = (self.class.detach() + self.positions.narrow(1, 0, 1)?)?;
        let class = class.expand((batch, 1, width))?;
        let mut xs = Tensor::cat(&[&class, &patches], 1)?;
        for layer in &self.layers {
            xs = layer.forward(&xs)?;
        }
        let xs = xs.apply(&self.norm)?;
        let class = xs.narrow(1, 0, 1)?.squeeze(1)?;
        let mean = xs.narrow(1, 1, count)?.mean(1)?;
        Tensor::cat(&[class, mean], D::Minus1)?.apply(&self.head)
    }
}
