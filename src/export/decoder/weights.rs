//! Where the weights of a decoder come from, and random ones.

use std::collections::HashMap;

use super::{DecoderConfig, Projections};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Weights by the names that a checkpoint has, such as `model.layers.0.self_attn.q_proj.weight`. Weights of linear layers
/// are `[out, in]`.
///
/// A map of [`HostTensor`] is such a source, and with the feature `candle` a `VarBuilder` and a map of Candle's tensors.
///
/// ```
/// use std::collections::HashMap;
/// use accelerant::{HostTensor, generate::DecoderWeights};
///
/// let norm = HostTensor::from(ndarray::array![1.0f32, 1.0]);
/// let weights = HashMap::from([("model.norm.weight".to_owned(), norm)]);
/// assert!(weights.has("model.norm.weight"));
/// assert_eq!(weights.weight("model.norm.weight")?.shape(), [2]);
/// let missing = weights.weight("lm_head.weight").unwrap_err();
/// assert!(missing.to_string().contains("lm_head.weight"));
/// # Ok::<(), accelerant::Error>(())
/// ```
pub trait DecoderWeights {
    /// The weight of this name, in the floating point type that the source has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming a weight that is missing, or the error of reading.
    fn weight(&self, name: &str) -> Result<HostTensor>;

    /// Whether the source has a weight of this name.
    fn has(&self, name: &str) -> bool;
}

pub(super) fn missing(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "there is no weight of this name").on_tensor(name)
}

impl DecoderWeights for HashMap<String, HostTensor> {
    fn weight(&self, name: &str) -> Result<HostTensor> {
        self.get(name).cloned().ok_or_else(|| missing(name))
    }

    fn has(&self, name: &str) -> bool {
        self.contains_key(name)
    }
}

impl DecoderConfig {
    /// The names and sizes of all weights, as the family's checkpoints have them.
    pub fn weight_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let prefix = &self.prefix;
        let (hidden, inner, head) = (self.hidden, self.intermediate, self.head_size);
        let (queries, keys) = (self.heads * head, self.key_value_heads * head);
        let mut all =
            vec![(format!("{prefix}.embed_tokens.weight"), vec![self.vocabulary, hidden])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: Vec<usize>| {
                all.push((format!("{prefix}.layers.{layer}.{name}"), shape));
            };
            match self.projections {
                Projections::Apart => {
                    for (name, out) in [("q", queries), ("k", keys), ("v", keys)] {
                        add(&format!("self_attn.{name}_proj.weight"), vec![out, hidden]);
                        if self.query_bias {
                            add(&format!("self_attn.{name}_proj.bias"), vec![out]);
                        }
                    }
                    add("mlp.gate_proj.weight", vec![inner, hidden]);
                    add("mlp.up_proj.weight", vec![inner, hidden]);
                }
                Projections::Joined => {
                    add("self_attn.qkv_proj.weight", vec![queries + 2 * keys, hidden]);
                    if self.query_bias {
                        add("self_attn.qkv_proj.bias", vec![queries + 2 * keys]);
                    }
                    add("mlp.gate_up_proj.weight", vec![2 * inner, hidden]);
                }
            }
            add("self_attn.o_proj.weight", vec![hidden, queries]);
            if self.output_bias {
                add("self_attn.o_proj.bias", vec![hidden]);
            }
            add("mlp.down_proj.weight", vec![hidden, inner]);
            if self.head_norms {
                add("self_attn.q_norm.weight", vec![head]);
                add("self_attn.k_norm.weight", vec![head]);
            }
            add("input_layernorm.weight", vec![hidden]);
            add("post_attention_layernorm.weight", vec![hidden]);
            if self.norms_after {
                add("pre_feedforward_layernorm.weight", vec![hidden]);
                add("post_feedforward_layernorm.weight", vec![hidden]);
            }
        }
        all.push((format!("{prefix}.norm.weight"), vec![hidden]));
        if !self.tied_embeddings {
            all.push(("lm_head.weight".into(), vec![self.vocabulary, hidden]));
        }
        all
    }

    /// Weights by a seed, in f32, for tests and measurements: uniform numbers, those of linear layers with a variance
    /// of one over their inputs, those of norms about 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for sizes that no memory holds.
    pub fn random_weights(&self, seed: u64) -> Result<HashMap<String, HostTensor>> {
        random(self.weight_shapes(), 1.0 - self.norm_offset as f32, seed)
    }
}

/// Uniform numbers by a seed: those of linear layers with a variance of one over their inputs, those of norms about `norm`.
pub(super) fn random(
    shapes: Vec<(String, Vec<usize>)>,
    norm: f32,
    seed: u64,
) -> Result<HashMap<String, HostTensor>> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    // Source: Marsaglia, "Xorshift RNGs", Journal of Statistical Software, 2003.
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let is_table =
        |name: &str| ["embed", "shared", "relative"].iter().any(|part| name.contains(part));
    let weights = shapes.into_iter().map(|(name, shape)| {
        let count = shape.iter().product();
        let (scale, middle) = match shape[..] {
            [_, inputs] if !is_table(&name) => ((3.0 / inputs as f32).sqrt(), 0.0),
            [_, channels, width] => ((3.0 / (channels * width) as f32).sqrt(), 0.0),
            [_] if name.ends_with("norm.weight") => (0.3, norm),
            _ => (0.5, 0.0),
        };
        let values: Vec<f32> = (0..count).map(|_| middle + scale * uniform()).collect();
        Ok((name, HostTensor::from_vec(shape, values)?))
    });
    weights.collect()
}
