//! Whisper's encoder (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision",
//! 2022). Log-mel spectrograms `[batch, bins, frames]` in, hidden states `[batch, frames / 2, hidden]`
//! out.

use candle_core::{Module, Result, Tensor};
use candle_nn::{
    Conv1d, Conv1dConfig, LayerNorm, VarBuilder, conv1d, layer_norm, linear, linear_no_bias,
};

use super::transformer::{Activation, Attention, Layer, Mlp};

/// Sizes of the encoder.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bins of a spectrogram.
    pub bins: usize,
    /// The most hidden states: half of the frames.
    pub positions: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
}

impl Config {
    /// Whisper-tiny.
    pub const TINY: Self = Self { bins: 80, positions: 1500, hidden: 384, layers: 4, heads: 6 };
}

fn layer(config: &Config, vb: VarBuilder) -> Result<Layer> {
    let (hidden, attention) = (config.hidden, vb.pp("self_attn"));
    let projection = |name| linear(hidden, hidden, attention.pp(name));
    let key = linear_no_bias(hidden, hidden, attention.pp("k_proj"))?;
    let projections = [projection("q_proj")?, key, projection("v_proj")?, projection("out_proj")?];
    let up = linear(hidden, 4 * hidden, vb.pp("fc1"))?;
    let down = linear(4 * hidden, hidden, vb.pp("fc2"))?;
    Ok(Layer {
        attention: Attention::new(config.heads, projections),
        attention_norm: layer_norm(hidden, 1e-5, vb.pp("self_attn_layer_norm"))?,
        mlp: Mlp::new(up, down, Activation::GeluTanh),
        mlp_norm: layer_norm(hidden, 1e-5, vb.pp("final_layer_norm"))?,
    })
}

/// Sines and cosines of falling frequencies: `[positions, width]`.
fn sinusoids(positions: usize, width: usize, vb: &VarBuilder) -> Result<Tensor> {
    let (half, device) = (width / 2, vb.device());
    let step = 10_000f32.ln() / (half - 1) as f32;
    let frequencies: Vec<f32> = (0..half).map(|i| (-step * i as f32).exp()).collect();
    let places = Tensor::arange(0f32, positions as f32, device)?.unsqueeze(1)?;
    let angles = places.broadcast_mul(&Tensor::new(frequencies, device)?)?;
    Tensor::cat(&[angles.sin()?, angles.cos()?], 1)
}

/// The encoder.
pub struct Whisper {
    first: Conv1d,
    second: Conv1d,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

impl Whisper {
    /// The encoder with these sizes.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (vb, hidden) = (vb.pp("model").pp("encoder"), config.hidden);
        let conv = |inputs, stride, name| {
            let config = Conv1dConfig { padding: 1, stride, ..Default::default() };
            conv1d(inputs, hidden, 3, config, vb.pp(name))
        };
        let layers = vb.pp("layers");
        Ok(Self {
            first: conv(config.bins, 1, "conv1")?,
            second: conv(hidden, 2, "conv2")?,
            positions: sinusoids(config.positions, hidden, &vb)?,
            layers: (0..config.layers)
                .map(|i| layer(config, layers.pp(i)))
                .collect::<Result<_>>()?,
            norm: layer_norm(hidden, 1e-5, vb.pp("layer_norm"))?,
        })
    }
}

#[accelerant::trace]
impl Module for Whisper {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = xs.apply(&self.first)?.gelu()?.apply(&self.second)?.gelu()?;
        let xs = xs.transpose(1, 2)?;
        let mut xs = xs.broadcast_add(&self.positions.narrow(0, 0, xs.dim(1)?)?)?;
        for layer in &self.layers {
            xs = layer.norm_first(&xs, None)?;
        }
        xs.apply(&self.norm)
    }
}
