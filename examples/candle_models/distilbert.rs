//! DistilBERT (Sanh et al., "DistilBERT, a distilled version of BERT", 2019). Tokens and a mask
//! `[batch, length]` in, hidden states `[batch, length, hidden]` out.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, VarBuilder, embedding, layer_norm, linear};

use super::bert::{Config, padding_bias};
use super::transformer::{Activation, Attention, Layer, Mlp};

fn layer(config: &Config, vb: VarBuilder) -> Result<Layer> {
    let (hidden, attention, mlp) = (config.hidden, vb.pp("attention"), vb.pp("ffn"));
    let projection = |name| linear(hidden, hidden, attention.pp(name));
    let names = ["q_lin", "k_lin", "v_lin", "out_lin"];
    let [query, key, value, output] = names.map(projection);
    let up = linear(hidden, config.intermediate, mlp.pp("lin1"))?;
    let down = linear(config.intermediate, hidden, mlp.pp("lin2"))?;
    Ok(Layer {
        attention: Attention::new(config.heads, [query?, key?, value?, output?]),
        attention_norm: layer_norm(hidden, 1e-12, vb.pp("sa_layer_norm"))?,
        mlp: Mlp::new(up, down, Activation::GeluTanh),
        mlp_norm: layer_norm(hidden, 1e-12, vb.pp("output_layer_norm"))?,
    })
}

/// The encoder.
pub struct DistilBert {
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl DistilBert {
    /// The model with these sizes.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (embeddings, layers) = (vb.pp("embeddings"), vb.pp("transformer").pp("layer"));
        let table = |count, name| embedding(count, config.hidden, embeddings.pp(name));
        Ok(Self {
            words: table(config.vocabulary, "word_embeddings")?,
            positions: table(config.positions, "position_embeddings")?,
            norm: layer_norm(config.hidden, 1e-12, embeddings.pp("LayerNorm"))?,
            layers: (0..config.layers)
                .map(|i| layer(config, layers.pp(i)))
                .collect::<Result<_>>()?,
        })
    }
}

#[accelerant::trace]
impl DistilBert {
    /// Hidden states. The mask is 1 for a token, and 0 for padding.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let positions = Tensor::arange(0u32, ids.dim(1)? as u32, ids.device())?;
        let positions = self.positions.forward(&positions)?;
        let xs = self.words.forward(ids)?.broadcast_add(&positions)?;
        let mut xs = self.norm.forward(&xs)?;
        let bias = padding_bias(mask)?;
        for layer in &self.layers {
            xs = layer.norm_last(&xs, Some(&bias))?;
        }
        Ok(xs)
    }
}
