//! BERT's encoder (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018), as
//! in all-MiniLM-L6-v2. Tokens, their types and a mask `[batch, length]` in, hidden states `[batch,
//! length, hidden]` out.

use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, VarBuilder, embedding, layer_norm, linear};

use super::transformer::{Activation, Attention, Layer, Mlp};

/// Sizes of a BERT.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of tokens there are.
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width inside each feed-forward network.
    pub intermediate: usize,
    /// The longest text, in tokens.
    pub positions: usize,
}

impl Config {
    /// all-MiniLM-L6-v2.
    pub const MINILM: Self = Self {
        vocabulary: 30522,
        hidden: 384,
        layers: 6,
        heads: 12,
        intermediate: 1536,
        positions: 512,
    };
}

fn layer(config: &Config, vb: VarBuilder) -> Result<Layer> {
    let (hidden, attention) = (config.hidden, vb.pp("attention"));
    let (around, output) = (attention.pp("output"), vb.pp("output"));
    let projection = |name| linear(hidden, hidden, attention.pp("self").pp(name));
    let dense = linear(hidden, hidden, around.pp("dense"))?;
    let projections = [projection("query")?, projection("key")?, projection("value")?, dense];
    let up = linear(hidden, config.intermediate, vb.pp("intermediate").pp("dense"))?;
    let down = linear(config.intermediate, hidden, output.pp("dense"))?;
    Ok(Layer {
        attention: Attention::new(config.heads, projections),
        attention_norm: layer_norm(hidden, 1e-12, around.pp("LayerNorm"))?,
        mlp: Mlp::new(up, down, Activation::GeluErf),
        mlp_norm: layer_norm(hidden, 1e-12, output.pp("LayerNorm"))?,
    })
}

/// What is added to the scores of attention: nothing for a token, the least number for padding.
/// `[batch, length]`, 1 or 0, to `[batch, 1, 1, length]`.
#[accelerant::trace]
pub fn padding_bias(mask: &Tensor) -> Result<Tensor> {
    let mask = mask.unsqueeze(1)?.unsqueeze(1)?.to_dtype(DType::F32)?;
    (1.0 - mask)? * f64::from(f32::MIN)
}

/// The encoder.
pub struct Bert {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    /// The model with these sizes.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (embeddings, encoder) = (vb.pp("embeddings"), vb.pp("encoder").pp("layer"));
        let table = |count, name| embedding(count, config.hidden, embeddings.pp(name));
        Ok(Self {
            words: table(config.vocabulary, "word_embeddings")?,
            positions: table(config.positions, "position_embeddings")?,
            types: table(2, "token_type_embeddings")?,
            norm: layer_norm(config.hidden, 1e-12, embeddings.pp("LayerNorm"))?,
            layers: (0..config.layers)
                .map(|i| layer(config, encoder.pp(i)))
                .collect::<Result<_>>()?,
        })
    }
}

#[accelerant::trace]
impl Bert {
    /// Hidden states. The mask is 1 for a token, and 0 for padding.
    pub fn forward(&self, ids: &Tensor, types: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let positions = Tensor::arange(0u32, ids.dim(1)? as u32, ids.device())?;
        let xs = (self.words.forward(ids)? + self.types.forward(types)?)?;
        let xs = xs.broadcast_add(&self.positions.forward(&positions)?)?;
        let bias = padding_bias(mask)?;
        let mut xs = self.norm.forward(&xs)?;
        for layer in &self.layers {
            xs = layer.norm_last(&xs, Some(&bias))?;
        }
        Ok(xs)
    }
}

/// A sentence encoder: one unit vector for each text.
pub struct SentenceEncoder(pub Bert);

#[accelerant::trace]
impl SentenceEncoder {
    /// The means of the hidden states of each text, at length 1: `[batch, hidden]`.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let hidden = self.0.forward(ids, &ids.zeros_like()?, mask)?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sum = hidden.broadcast_mul(&mask)?.sum(1)?;
        let mean = sum.broadcast_div(&mask.sum(1)?)?;
        mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)
    }
}
