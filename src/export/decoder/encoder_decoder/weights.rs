//! The names and sizes of the weights of encoder-decoders, and random ones.

use std::collections::HashMap;

use super::super::weights::random;
use super::{EncoderDecoderConfig, EncoderDecoderFamily};
use crate::error::Result;
use crate::tensor::HostTensor;

type Shapes = Vec<(String, Vec<usize>)>;

impl EncoderDecoderConfig {
    /// The names and sizes of all weights, as the family's checkpoints have them.
    pub fn weight_shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self.family {
            EncoderDecoderFamily::T5 { buckets, gated, tied_embeddings, .. } => {
                self.t5(buckets, gated, tied_embeddings)
            }
            EncoderDecoderFamily::Whisper { mel_bins, .. } => self.whisper(mel_bins),
        }
    }

    /// Weights by a seed, in f32, for tests and measurements, as
    /// [`DecoderConfig::random_weights`](super::super::DecoderConfig::random_weights) makes them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for sizes that no memory holds.
    pub fn random_weights(&self, seed: u64) -> Result<HashMap<String, HostTensor>> {
        random(self.weight_shapes(), 1.0, seed)
    }

    fn t5(&self, buckets: usize, gated: bool, tied: bool) -> Shapes {
        let (hidden, inner) = (self.hidden, self.intermediate);
        let heads = self.decoder_heads * self.head_size;
        let mut all = vec![("shared.weight".into(), vec![self.vocabulary, hidden])];
        let mut add = |name: String, shape: Vec<usize>| all.push((name, shape));
        for (side, layers) in [("encoder", self.encoder_layers), ("decoder", self.decoder_layers)] {
            for layer in 0..layers {
                let block = format!("{side}.block.{layer}.layer");
                let attentions: &[&str] = match side {
                    "encoder" => &["SelfAttention"],
                    _ => &["SelfAttention", "EncDecAttention"],
                };
                for (i, attention) in attentions.iter().enumerate() {
                    for part in ["q", "k", "v"] {
                        add(format!("{block}.{i}.{attention}.{part}.weight"), vec![heads, hidden]);
                    }
                    add(format!("{block}.{i}.{attention}.o.weight"), vec![hidden, heads]);
                    add(format!("{block}.{i}.layer_norm.weight"), vec![hidden]);
                }
                if layer == 0 {
                    let name = format!("{block}.0.SelfAttention.relative_attention_bias.weight");
                    add(name, vec![buckets, self.decoder_heads]);
                }
                let i = attentions.len();
                let inward: &[&str] = if gated { &["wi_0", "wi_1"] } else { &["wi"] };
                for part in inward {
                    add(format!("{block}.{i}.DenseReluDense.{part}.weight"), vec![inner, hidden]);
                }
                add(format!("{block}.{i}.DenseReluDense.wo.weight"), vec![hidden, inner]);
                add(format!("{block}.{i}.layer_norm.weight"), vec![hidden]);
            }
            add(format!("{side}.final_layer_norm.weight"), vec![hidden]);
        }
        if !tied {
            add("lm_head.weight".into(), vec![self.vocabulary, hidden]);
        }
        all
    }

    fn whisper(&self, mel_bins: usize) -> Shapes {
        let (hidden, inner) = (self.hidden, self.intermediate);
        let mut all: Shapes = Vec::new();
        let mut add = |name: String, shape: Vec<usize>| all.push((name, shape));
        for (name, channels) in [("conv1", mel_bins), ("conv2", hidden)] {
            add(format!("model.encoder.{name}.weight"), vec![hidden, channels, 3]);
            add(format!("model.encoder.{name}.bias"), vec![hidden]);
        }
        add("model.decoder.embed_tokens.weight".into(), vec![self.vocabulary, hidden]);
        add("model.decoder.embed_positions.weight".into(), vec![self.positions, hidden]);
        for (side, layers) in [("encoder", self.encoder_layers), ("decoder", self.decoder_layers)] {
            let mut norm = |name: String| {
                add(format!("{name}.weight"), vec![hidden]);
                add(format!("{name}.bias"), vec![hidden]);
            };
            norm(format!("model.{side}.layer_norm"));
            for layer in 0..layers {
                let name = format!("model.{side}.layers.{layer}");
                norm(format!("{name}.self_attn_layer_norm"));
                norm(format!("{name}.final_layer_norm"));
                if side == "decoder" {
                    norm(format!("{name}.encoder_attn_layer_norm"));
                }
            }
            for layer in 0..layers {
                let name = format!("model.{side}.layers.{layer}");
                let attentions: &[&str] = match side {
                    "encoder" => &["self_attn"],
                    _ => &["self_attn", "encoder_attn"],
                };
                for attention in attentions {
                    for part in ["q", "k", "v", "out"] {
                        let name = format!("{name}.{attention}.{part}_proj");
                        add(format!("{name}.weight"), vec![hidden, hidden]);
                        if part != "k" {
                            add(format!("{name}.bias"), vec![hidden]);
                        }
                    }
                }
                add(format!("{name}.fc1.weight"), vec![inner, hidden]);
                add(format!("{name}.fc1.bias"), vec![inner]);
                add(format!("{name}.fc2.weight"), vec![hidden, inner]);
                add(format!("{name}.fc2.bias"), vec![hidden]);
            }
        }
        all
    }
}
