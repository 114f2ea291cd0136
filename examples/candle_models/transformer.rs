//! What the transformers here share: attention of several heads (Vaswani et al., "Attention Is All
//! You Need", 2017), the network behind it, and a layer of the two.

use candle_core::{D, Result, Tensor};
use candle_nn::{LayerNorm, Linear};

/// `[batch, length, heads * size]` to `[batch, heads, length, size]`.
#[accelerant::trace]
pub fn split(xs: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, width) = xs.dims3()?;
    xs.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// The values of all places, mixed for each by how its query fits their keys; `bias` is added to the
/// scores. `[batch, heads, length, size]` in, `[batch, length, heads * size]` out.
#[accelerant::trace]
pub fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let scores = (query.matmul(&key.t()?)? / (query.dim(D::Minus1)? as f64).sqrt())?;
    let scores = match bias {
        Some(bias) => scores.broadcast_add(bias)?,
        None => scores,
    };
    let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(value)?;
    mixed.transpose(1, 2)?.contiguous()?.flatten_from(D::Minus2)
}

/// What is added to the scores so that a token sees those up to itself: `[length, length]`.
///
/// `positions` `[length]` are the places of the tokens in the text.
#[accelerant::trace]
pub fn causal_bias(positions: &Tensor) -> Result<Tensor> {
    let seen = positions.unsqueeze(0)?.broadcast_le(&positions.unsqueeze(1)?)?;
    (seen.to_dtype(candle_core::DType::F32)? - 1.0)? * 1e9
}

/// Attention of a sequence to itself.
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    /// With these projections.
    pub fn new(heads: usize, [query, key, value, output]: [Linear; 4]) -> Self {
        Self { query, key, value, output, heads }
    }
}

#[accelerant::trace]
impl Attention {
    /// `[batch, length, width]` in and out.
    pub fn run(&self, xs: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let query = split(&xs.apply(&self.query)?, self.heads)?;
        let key = split(&xs.apply(&self.key)?, self.heads)?;
        let value = split(&xs.apply(&self.value)?, self.heads)?;
        attend(&query, &key, &value, bias)?.apply(&self.output)
    }
}

/// The nonlinearity of a [`Mlp`].
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    /// `x * normal_cdf(x)`.
    GeluErf,
    /// The same, approximated with tanh.
    GeluTanh,
    /// The same, approximated as `x * sigmoid(1.702 * x)`.
    QuickGelu,
}

/// Two layers with a nonlinearity between them.
pub struct Mlp {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// With these layers.
    pub fn new(up: Linear, down: Linear, activation: Activation) -> Self {
        Self { up, down, activation }
    }
}

#[accelerant::trace]
impl Mlp {
    /// Along the last axis.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = xs.apply(&self.up)?;
        let xs = match self.activation {
            Activation::GeluErf => xs.gelu_erf()?,
            Activation::GeluTanh => xs.gelu()?,
            Activation::QuickGelu => (candle_nn::ops::sigmoid(&(&xs * 1.702)?)? * xs)?,
        };
        xs.apply(&self.down)
    }
}

/// Attention and a [`Mlp`], each with a way around it and a normalization.
pub struct Layer {
    pub attention: Attention,
    pub attention_norm: LayerNorm,
    pub mlp: Mlp,
    pub mlp_norm: LayerNorm,
}

#[accelerant::trace]
impl Layer {
    /// Normalized before each part, as in vision transformers.
    pub fn norm_first(&self, xs: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let xs = (self.attention.run(&xs.apply(&self.attention_norm)?, bias)? + xs)?;
        self.mlp.forward(&xs.apply(&self.mlp_norm)?)? + xs
    }

    /// Normalized after each part, as in BERT.
    pub fn norm_last(&self, xs: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let xs = (self.attention.run(xs, bias)? + xs)?.apply(&self.attention_norm)?;
        (self.mlp.forward(&xs)? + xs)?.apply(&self.mlp_norm)
    }
}
