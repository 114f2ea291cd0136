//! BERT's encoder (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018), as
//! in all-MiniLM-L6-v2. Tokens, their types and a mask `[batch, length]` in, hidden states `[batch,
//! length, hidden]` out.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear};

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

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    output_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (hidden, attention) = (config.hidden, vb.pp("attention"));
        let projection = |name| linear(hidden, hidden, attention.pp("self").pp(name));
        let (around, output) = (attention.pp("output"), vb.pp("output"));
        Ok(Self {
            query: projection("query")?,
            key: projection("key")?,
            value: projection("value")?,
            output: linear(hidden, hidden, around.pp("dense"))?,
            output_norm: layer_norm(hidden, 1e-12, around.pp("LayerNorm"))?,
            up: linear(hidden, config.intermediate, vb.pp("intermediate").pp("dense"))?,
            down: linear(config.intermediate, hidden, output.pp("dense"))?,
            norm: layer_norm(hidden, 1e-12, output.pp("LayerNorm"))?,
            heads: config.heads,
        })
    }
}

#[accelerant::trace]
impl Layer {
    fn split(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, length, width) = xs.dims3()?;
        xs.reshape((batch, length, self.heads, width / self.heads))?.transpose(1, 2)?.contiguous()
    }

    fn attention(&self, xs: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let query = self.split(&xs.apply(&self.query)?)?;
        let key = self.split(&xs.apply(&self.key)?)?;
        let value = self.split(&xs.apply(&self.value)?)?;
        let scores = (query.matmul(&key.t()?)? / (query.dim(D::Minus1)? as f64).sqrt())?;
        let weights = candle_nn::ops::softmax(&scores.broadcast_add(bias)?, D::Minus1)?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?;
        mixed.flatten_from(D::Minus2)?.apply(&self.output)
    }

    fn run(&self, xs: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let xs = (self.attention(xs, bias)? + xs)?.apply(&self.output_norm)?;
        let ys = xs.apply(&self.up)?.gelu_erf()?.apply(&self.down)?;
        (ys + xs)?.apply(&self.norm)
    }
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
                .map(|i| Layer::new(config, encoder.pp(i)))
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
        let mask = mask.unsqueeze(1)?.unsqueeze(1)?.to_dtype(DType::F32)?;
        let bias = ((1.0 - mask)? * f64::from(f32::MIN))?;
        let mut xs = self.norm.forward(&xs)?;
        for layer in &self.layers {
            xs = layer.run(&xs, &bias)?;
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
