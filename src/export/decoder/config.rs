//! A language model as numbers and choices. No file format and no graph.

use std::f64::consts::PI;

use crate::error::{Error, ErrorKind, Result};

/// A decoder of the Llama family: attention with rotary positions and gated feed-forward layers, both behind root mean
/// square norms. [`from_json`](Self::from_json) reads a configuration from a checkpoint's `config.json`.
///
/// ```
/// use accelerant::generate::DecoderConfig;
///
/// let config = DecoderConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
///         "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#,
/// )?;
/// assert_eq!((config.layers, config.heads, config.head_size), (1, 2, 4));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoderConfig {
    /// The size of the vocabulary.
    pub vocabulary: usize,
    /// The width of the hidden states.
    pub hidden: usize,
    /// The inner width of the feed-forward layers.
    pub intermediate: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads, which divides the number of query heads.
    pub key_value_heads: usize,
    /// The width of a head.
    pub head_size: usize,
    /// The epsilon of the norms.
    pub norm_epsilon: f64,
    /// A number that is added to the weight of each norm: 1 for Gemma.
    pub norm_offset: f64,
    /// Whether query and key heads are normalized before the rotation.
    pub head_norms: bool,
    /// Whether the results of attention and feed-forward layers are normalized before the residual addition.
    pub norms_after: bool,
    /// The rotary positions of layers that see all tokens.
    pub rotary: Rotary,
    /// The rotary positions of layers with a window, if they differ.
    pub window_rotary: Option<Rotary>,
    /// The layers without positions, counted from 0.
    pub no_rotary: Vec<usize>,
    /// The sliding window.
    pub window: Option<Window>,
    /// The scale of the attention scores.
    pub attention_scale: f64,
    /// Scores become `cap * tanh(score / cap)`.
    pub attention_cap: Option<f64>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_cap: Option<f64>,
    /// The scale of the embeddings.
    pub embedding_scale: f64,
    /// Whether the last layer shares the weight of the embeddings. A stored weight of the last layer takes precedence.
    pub tied_embeddings: bool,
    /// Whether query, key and value have biases.
    pub query_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub output_bias: bool,
    /// The activation of the feed-forward layers.
    pub activation: Activation,
    /// Whether the checkpoint stores some projections as one weight.
    pub projections: Projections,
    /// The largest number of positions of the model.
    pub positions: usize,
    /// The end tokens.
    pub end_tokens: Vec<u32>,
    /// The prefix of the names of the weights: `model`, and `language_model.model` for `gemma3`.
    pub prefix: String,
}

/// Rotary position embeddings (Su et al., 2021).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rotary {
    /// The base of the frequencies (`rope_theta`).
    pub theta: f64,
    /// The number of values of a head that are rotated, from the first value on.
    pub size: usize,
    /// Whether the two values of a pair are neighbors, as in GGUF files of Llama, or half a head apart.
    pub interleaved: bool,
    /// The scaling of the frequencies for longer sequences.
    pub scaling: Option<RotaryScaling>,
}

/// The scaling of rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RotaryScaling {
    /// All frequencies are divided by a number.
    Linear(f64),
    /// Low frequencies are divided and high frequencies are unchanged, as in Llama 3.1.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Where low frequencies begin, as a part of the trained length.
        low: f64,
        /// Where high frequencies begin.
        high: f64,
        /// The length that the model was trained with before.
        trained: usize,
    },
    /// Each frequency is divided by a number of its own.
    Each(Vec<f64>),
    /// Each frequency is divided by a number of its own, which depends on the length (Ding et al., 2024, "LongRoPE").
    LongRope {
        /// One divisor a frequency, for caches of at most `trained` tokens.
        short: Vec<f64>,
        /// One divisor a frequency, for longer caches.
        long: Vec<f64>,
        /// The length that the model was trained with before.
        trained: usize,
        /// The factor of sine and cosine.
        attention: f64,
    },
}

/// Layers in which a token sees a window of tokens alone, with the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// The number of tokens.
    pub size: usize,
    /// The layers without a window, counted from 0.
    pub whole: Vec<usize>,
}

/// The activation that gates a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The exact form.
    Gelu,
    /// The form with a hyperbolic tangent.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// The layers that a checkpoint keeps as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Projections {
    /// `q_proj`, `k_proj`, `v_proj`, `gate_proj` and `up_proj`.
    Apart,
    /// `qkv_proj` and `gate_up_proj`, as Phi-3 has them.
    Joined,
}

impl DecoderConfig {
    /// Whether a layer, counted from 0, has a window, and which.
    pub(super) fn window_of(&self, layer: usize) -> Option<usize> {
        let window = self.window.as_ref()?;
        (!window.whole.contains(&layer)).then_some(window.size)
    }

    /// The positions of a layer, counted from 0.
    pub(super) fn rotary_of(&self, layer: usize) -> Option<&Rotary> {
        if self.no_rotary.contains(&layer) {
            return None;
        }
        match &self.window_rotary {
            Some(own) if self.window_of(layer).is_some() => Some(own),
            _ => Some(&self.rotary),
        }
    }

    /// Query heads for each key and value head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the number.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("hidden", self.hidden),
            ("intermediate", self.intermediate),
            ("layers", self.layers),
            ("heads", self.heads),
            ("key_value_heads", self.key_value_heads),
            ("head_size", self.head_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(invalid(format!("`{name}` is 0")));
        }
        if !self.heads.is_multiple_of(self.key_value_heads) {
            let (heads, groups) = (self.heads, self.key_value_heads);
            return Err(invalid(format!(
                "{groups} key and value heads do not divide {heads} heads"
            )));
        }
        for rotary in [Some(&self.rotary), self.window_rotary.as_ref()].into_iter().flatten() {
            if !rotary.size.is_multiple_of(2) || rotary.size > self.head_size {
                let (size, head) = (rotary.size, self.head_size);
                return Err(invalid(format!(
                    "{size} of {head} values of a head cannot be rotated"
                )));
            }
            let divisors = match &rotary.scaling {
                Some(RotaryScaling::Each(divisors)) => vec![divisors],
                Some(RotaryScaling::LongRope { short, long, .. }) => vec![short, long],
                _ => Vec::new(),
            };
            let wanted = rotary.size / 2;
            if let Some(wrong) = divisors.iter().find(|divisors| divisors.len() != wanted) {
                let got = wrong.len();
                return Err(invalid(format!("{got} divisors for {wanted} rotary frequencies")));
            }
        }
        if self.window.as_ref().is_some_and(|window| window.size == 0) {
            return Err(invalid("a window is 0".into()));
        }
        Ok(())
    }
}

impl Rotary {
    /// All values of a head rotated, with this base.
    pub(super) fn whole(theta: f64, head_size: usize) -> Self {
        Self { theta, size: head_size, interleaved: false, scaling: None }
    }

    /// The angle that one position adds, for each pair of values, and what sine and cosine are multiplied by, where texts
    /// have at most `capacity` tokens.
    pub(super) fn frequencies(&self, capacity: usize) -> (Vec<f64>, f64) {
        let plain =
            (0..self.size / 2).map(|i| self.theta.powf(-((2 * i) as f64) / self.size as f64));
        let plain: Vec<f64> = plain.collect();
        match &self.scaling {
            None => (plain, 1.0),
            Some(RotaryScaling::Linear(factor)) => {
                (plain.iter().map(|frequency| frequency / factor).collect(), 1.0)
            }
            Some(RotaryScaling::Llama3 { factor, low, high, trained }) => {
                let scaled = |frequency: &f64| {
                    let length = 2.0 * PI / frequency;
                    let trained = *trained as f64;
                    if length < trained / high {
                        *frequency
                    } else if length > trained / low {
                        frequency / factor
                    } else {
                        let smooth = (trained / length - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (plain.iter().map(scaled).collect(), 1.0)
            }
            Some(RotaryScaling::Each(divisors)) => (divided(&plain, divisors), 1.0),
            Some(RotaryScaling::LongRope { short, long, trained, attention }) => {
                let divisors = if capacity > *trained { long } else { short };
                (divided(&plain, divisors), *attention)
            }
        }
    }
}

fn divided(frequencies: &[f64], divisors: &[f64]) -> Vec<f64> {
    frequencies.iter().zip(divisors).map(|(frequency, by)| frequency / by).collect()
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text).in_operation("decoder configuration")
}
