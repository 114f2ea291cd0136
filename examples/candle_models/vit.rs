//! Vision Transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020) with the head for
//! classification. Pictures `[batch, 3, size, size]` in, class scores `[batch, classes]` out.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, conv2d, layer_norm, linear};

use super::transformer::{Activation, Attention, Layer, Mlp};

/// Sizes of a Vision Transformer.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the tokens.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width inside each feed-forward network.
    pub intermediate: usize,
    /// Height and width of a picture.
    pub image: usize,
    /// Height and width of a patch.
    pub patch: usize,
}

impl Config {
    /// ViT-B/16 for pictures of 224 by 224.
    pub const BASE: Self =
        Self { hidden: 768, layers: 12, heads: 12, intermediate: 3072, image: 224, patch: 16 };
}

fn layer(config: &Config, vb: VarBuilder) -> Result<Layer> {
    let (hidden, attention) = (config.hidden, vb.pp("attention"));
    let projection = |name| linear(hidden, hidden, attention.pp("attention").pp(name));
    let output = linear(hidden, hidden, attention.pp("output").pp("dense"))?;
    let projections = [projection("query")?, projection("key")?, projection("value")?, output];
    let up = linear(hidden, config.intermediate, vb.pp("intermediate").pp("dense"))?;
    let down = linear(config.intermediate, hidden, vb.pp("output").pp("dense"))?;
    Ok(Layer {
        attention: Attention::new(config.heads, projections),
        attention_norm: layer_norm(hidden, 1e-12, vb.pp("layernorm_before"))?,
        mlp: Mlp::new(up, down, Activation::GeluErf),
        mlp_norm: layer_norm(hidden, 1e-12, vb.pp("layernorm_after"))?,
    })
}

/// A Vision Transformer.
pub struct Vit {
    class_token: Tensor,
    positions: Tensor,
    patches: Conv2d,
    layers: Vec<Layer>,
    norm: LayerNorm,
    classifier: Linear,
}

impl Vit {
    /// The model for pictures of the size in `config`.
    pub fn new(config: &Config, classes: usize, vb: VarBuilder) -> Result<Self> {
        let (vit, hidden) = (vb.pp("vit"), config.hidden);
        let embeddings = vit.pp("embeddings");
        let count = (config.image / config.patch).pow(2);
        let stride = Conv2dConfig { stride: config.patch, ..Default::default() };
        let projection = embeddings.pp("patch_embeddings").pp("projection");
        let layer = |i| layer(config, vit.pp("encoder").pp("layer").pp(i));
        Ok(Self {
            class_token: embeddings.get((1, 1, hidden), "cls_token")?,
            positions: embeddings.get((1, count + 1, hidden), "position_embeddings")?,
            patches: conv2d(3, hidden, config.patch, stride, projection)?,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            norm: layer_norm(hidden, 1e-12, vit.pp("layernorm"))?,
            classifier: linear(hidden, classes, vb.pp("classifier"))?,
        })
    }
}

#[accelerant::trace]
impl Module for Vit {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let tokens = xs.apply(&self.patches)?.flatten_from(2)?.transpose(1, 2)?;
        let (batch, _, width) = tokens.dims3()?;
        let class = self.class_token.expand((batch, 1, width))?;
        let mut xs = Tensor::cat(&[&class, &tokens], 1)?.broadcast_add(&self.positions)?;
        for layer in &self.layers {
            xs = layer.norm_first(&xs, None)?;
        }
        xs.narrow(1, 0, 1)?.squeeze(1)?.apply(&self.norm)?.apply(&self.classifier)
    }
}
