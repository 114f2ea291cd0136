//! CLIP's two encoders (Radford et al., "Learning Transferable Visual Models From Natural Language
//! Supervision", 2021): tokens `[batch, length]` or pictures `[batch, 3, size, size]` in, vectors
//! `[batch, projection]` of one space out.

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear, VarBuilder, conv2d_no_bias, embedding,
    layer_norm, linear, linear_no_bias,
};

use super::transformer::{Activation, Attention, Layer, Mlp, causal_bias};

/// Sizes of the transformer in an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width inside each feed-forward network.
    pub intermediate: usize,
    /// Width of the space that texts and pictures share.
    pub projection: usize,
}

impl Config {
    /// The texts of ViT-B/32.
    pub const TEXT: Self =
        Self { hidden: 512, layers: 12, heads: 8, intermediate: 2048, projection: 512 };
    /// The pictures of ViT-B/32.
    pub const VISION: Self =
        Self { hidden: 768, layers: 12, heads: 12, intermediate: 3072, projection: 512 };
}

fn layer(config: &Config, vb: VarBuilder) -> Result<Layer> {
    let (hidden, attention, mlp) = (config.hidden, vb.pp("self_attn"), vb.pp("mlp"));
    let projection = |name| linear(hidden, hidden, attention.pp(name));
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
    let [query, key, value, output] = names.map(projection);
    let up = linear(hidden, config.intermediate, mlp.pp("fc1"))?;
    let down = linear(config.intermediate, hidden, mlp.pp("fc2"))?;
    Ok(Layer {
        attention: Attention::new(config.heads, [query?, key?, value?, output?]),
        attention_norm: layer_norm(hidden, 1e-5, vb.pp("layer_norm1"))?,
        mlp: Mlp::new(up, down, Activation::QuickGelu),
        mlp_norm: layer_norm(hidden, 1e-5, vb.pp("layer_norm2"))?,
    })
}

fn layers(config: &Config, vb: VarBuilder) -> Result<Vec<Layer>> {
    let vb = vb.pp("encoder").pp("layers");
    (0..config.layers).map(|i| layer(config, vb.pp(i))).collect()
}

/// The encoder of texts.
pub struct TextEncoder {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Linear,
}

impl TextEncoder {
    /// For texts of up to `positions` tokens out of `vocabulary`: 77 out of 49408 in ViT-B/32.
    pub fn new(
        config: &Config,
        vocabulary: usize,
        positions: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (text, hidden) = (vb.pp("text_model"), config.hidden);
        let embeddings = text.pp("embeddings");
        Ok(Self {
            tokens: embedding(vocabulary, hidden, embeddings.pp("token_embedding"))?,
            positions: embedding(positions, hidden, embeddings.pp("position_embedding"))?,
            layers: layers(config, text.clone())?,
            norm: layer_norm(hidden, 1e-5, text.pp("final_layer_norm"))?,
            projection: linear_no_bias(hidden, config.projection, vb.pp("text_projection"))?,
        })
    }
}

#[accelerant::trace]
impl TextEncoder {
    /// The vector of a text is read at its last token, which has the largest number.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let positions = Tensor::arange(0u32, length as u32, ids.device())?;
        let bias = causal_bias(&positions)?;
        let positions = self.positions.forward(&positions)?;
        let mut xs = self.tokens.forward(ids)?.broadcast_add(&positions)?;
        for layer in &self.layers {
            xs = layer.norm_first(&xs, Some(&bias))?;
        }
        let xs = self.norm.forward(&xs)?;
        let width = xs.dim(D::Minus1)?;
        let last = ids.argmax_keepdim(1)?.unsqueeze(2)?.expand((batch, 1, width))?;
        xs.gather(&last.contiguous()?, 1)?.squeeze(1)?.apply(&self.projection)
    }
}

/// The encoder of pictures.
pub struct VisionEncoder {
    class: Tensor,
    patches: Conv2d,
    positions: Embedding,
    first_norm: LayerNorm,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Linear,
}

impl VisionEncoder {
    /// For pictures of `image` by `image` in patches of `patch`: 224 and 32 in ViT-B/32.
    pub fn new(config: &Config, image: usize, patch: usize, vb: VarBuilder) -> Result<Self> {
        let (vision, hidden) = (vb.pp("vision_model"), config.hidden);
        let embeddings = vision.pp("embeddings");
        let count = (image / patch).pow(2) + 1;
        let stride = Conv2dConfig { stride: patch, ..Default::default() };
        let patches = embeddings.pp("patch_embedding");
        Ok(Self {
            class: embeddings.get(hidden, "class_embedding")?,
            patches: conv2d_no_bias(3, hidden, patch, stride, patches)?,
            positions: embedding(count, hidden, embeddings.pp("position_embedding"))?,
            // So it is called in the checkpoints.
            first_norm: layer_norm(hidden, 1e-5, vision.pp("pre_layrnorm"))?,
            layers: layers(config, vision.clone())?,
            norm: layer_norm(hidden, 1e-5, vision.pp("post_layernorm"))?,
            projection: linear_no_bias(hidden, config.projection, vb.pp("visual_projection"))?,
        })
    }
}

#[accelerant::trace]
impl Module for VisionEncoder {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let patches = xs.apply(&self.patches)?.flatten_from(2)?.transpose(1, 2)?;
        let (batch, _, width) = patches.dims3()?;
        let class = self.class.expand((batch, 1, width))?;
        let xs = Tensor::cat(&[&class, &patches], 1)?;
        let positions = self.positions.embeddings().narrow(0, 0, xs.dim(1)?)?;
        let mut xs = xs.broadcast_add(&positions)?.apply(&self.first_norm)?;
        for layer in &self.layers {
            xs = layer.norm_first(&xs, None)?;
        }
        xs.narrow(1, 0, 1)?.squeeze(1)?.apply(&self.norm)?.apply(&self.projection)
    }
}
