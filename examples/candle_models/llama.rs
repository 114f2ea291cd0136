//! A Llama-style decoder (Touvron et al., "LLaMA", 2023; grouped queries as in Llama 2): prefill, and
//! steps with the keys and values of what went before as inputs and outputs.

use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{
    Embedding, Linear, RmsNorm, VarBuilder, embedding, linear_no_bias as linear, rms_norm,
};

use super::transformer::{attend, causal_bias, split};

/// Sizes of a Llama.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of tokens there are.
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width inside each feed-forward network.
    pub intermediate: usize,
    /// The longest text, in tokens.
    pub positions: usize,
    /// Base of the rotary frequencies.
    pub theta: f32,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
    input_norm: RmsNorm,
    output_norm: RmsNorm,
    heads: usize,
    kv_heads: usize,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (hidden, attention, mlp) = (config.hidden, vb.pp("self_attn"), vb.pp("mlp"));
        let shared = hidden / config.heads * config.kv_heads;
        Ok(Self {
            query: linear(hidden, hidden, attention.pp("q_proj"))?,
            key: linear(hidden, shared, attention.pp("k_proj"))?,
            value: linear(hidden, shared, attention.pp("v_proj"))?,
            output: linear(hidden, hidden, attention.pp("o_proj"))?,
            gate: linear(hidden, config.intermediate, mlp.pp("gate_proj"))?,
            up: linear(hidden, config.intermediate, mlp.pp("up_proj"))?,
            down: linear(config.intermediate, hidden, mlp.pp("down_proj"))?,
            input_norm: rms_norm(hidden, 1e-5, vb.pp("input_layernorm"))?,
            output_norm: rms_norm(hidden, 1e-5, vb.pp("post_attention_layernorm"))?,
            heads: config.heads,
            kv_heads: config.kv_heads,
        })
    }
}

#[accelerant::trace]
impl Layer {
    /// Each head of keys or values serves several of queries.
    fn share(&self, xs: Tensor) -> Result<Tensor> {
        let (batch, heads, length, size) = xs.dims4()?;
        let times = self.heads / self.kv_heads;
        let xs = xs.unsqueeze(2)?.expand((batch, heads, times, length, size))?;
        xs.reshape((batch, self.heads, length, size))
    }

    /// The hidden states, and all keys and values up to here.
    fn run(
        &self,
        xs: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        bias: &Tensor,
        past: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let normed = xs.apply(&self.input_norm)?;
        let query = split(&normed.apply(&self.query)?, self.heads)?;
        let key = split(&normed.apply(&self.key)?, self.kv_heads)?;
        let value = split(&normed.apply(&self.value)?, self.kv_heads)?;
        let query = candle_nn::rotary_emb::rope(&query, cos, sin)?;
        let key = candle_nn::rotary_emb::rope(&key, cos, sin)?;
        let (key, value) = match past {
            Some((keys, values)) => {
                (Tensor::cat(&[keys, &key], 2)?, Tensor::cat(&[values, &value], 2)?)
            }
            None => (key, value),
        };
        let (keys, values) = (self.share(key.clone())?, self.share(value.clone())?);
        let mixed = attend(&query, &keys.contiguous()?, &values.contiguous()?, Some(bias))?;
        let xs = (xs + mixed.apply(&self.output)?)?;
        let normed = xs.apply(&self.output_norm)?;
        let inner = (normed.apply(&self.gate)?.silu()? * normed.apply(&self.up)?)?;
        Ok(((xs + inner.apply(&self.down)?)?, key, value))
    }
}

/// The decoder.
pub struct Llama {
    tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
    cos: Tensor,
    sin: Tensor,
}

impl Llama {
    /// The model with these sizes.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (model, hidden) = (vb.pp("model"), config.hidden);
        let half = hidden / config.heads / 2;
        let frequency = |i: usize| config.theta.powf(-(i as f32) / half as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let places = Tensor::arange(0f32, config.positions as f32, &Device::Cpu)?.unsqueeze(1)?;
        let angles = places.broadcast_mul(&Tensor::new(frequencies, &Device::Cpu)?)?;
        let angles = angles.to_device(vb.device())?;
        Ok(Self {
            tokens: embedding(config.vocabulary, hidden, model.pp("embed_tokens"))?,
            layers: (0..config.layers)
                .map(|i| Layer::new(config, model.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            norm: rms_norm(hidden, 1e-5, model.pp("norm"))?,
            head: linear(hidden, config.vocabulary, vb.pp("lm_head"))?,
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }
}

#[accelerant::trace]
impl Llama {
    /// `ids` `[batch, length]`, their `positions` `[length]` in the text, and the caches of keys and
    /// values that a call gave before, `[batch, kv_heads, past, size]` each, or none. Gives scores of
    /// the next token `[batch, vocabulary]`, and the caches.
    ///
    /// With caches, `length` is 1.
    pub fn forward(
        &self,
        ids: &Tensor,
        positions: &Tensor,
        cache: &[Tensor],
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let cos = self.cos.index_select(positions, 0)?;
        let sin = self.sin.index_select(positions, 0)?;
        let length = ids.dim(1)?;
        let bias = causal_bias(positions)?;
        let mut xs = self.tokens.forward(ids)?;
        let mut caches = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let past = cache.get(2 * i).zip(cache.get(2 * i + 1));
            let (ys, keys, values) = layer.run(&xs, &cos, &sin, &bias, past)?;
            xs = ys;
            caches.extend([keys, values]);
        }
        let last = xs.narrow(1, length - 1, 1)?.squeeze(1)?;
        Ok((last.apply(&self.norm)?.apply(&self.head)?, caches))
    }
}
