//! An encoder-decoder as numbers and choices, and its `config.json`.

use serde_json::Value;

use super::super::Activation;
use super::super::families::{Fields, invalid, object};
use crate::error::Result;

/// A model of an encoder and a decoder. [`from_json`](Self::from_json) reads the configuration from a checkpoint's
/// `config.json`.
///
/// ```
/// use accelerant::generate::{EncoderDecoderConfig, EncoderDecoderFamily};
///
/// let config = EncoderDecoderConfig::from_json(
///     r#"{"model_type": "whisper", "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
///         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 80, "max_source_positions": 1500,
///         "max_target_positions": 448, "decoder_start_token_id": 3, "eos_token_id": 2}"#,
/// )?;
/// assert!(matches!(config.family, EncoderDecoderFamily::Whisper { mel_bins: 80, .. }));
/// assert_eq!((config.head_size, config.start_token), (8, 3));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EncoderDecoderConfig {
    /// What is particular to the family.
    pub family: EncoderDecoderFamily,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Width of the states between layers.
    pub hidden: usize,
    /// Width within the feed-forward layers.
    pub intermediate: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of the encoder.
    pub encoder_heads: usize,
    /// Heads of the decoder.
    pub decoder_heads: usize,
    /// Width of a head of the decoder.
    pub head_size: usize,
    /// The number that is added to a variance or mean square before the root.
    pub norm_epsilon: f64,
    /// The most tokens that the decoder writes; `usize::MAX` where positions are relative.
    pub positions: usize,
    /// The token that a text begins with.
    pub start_token: u32,
    /// Tokens that end a text.
    pub end_tokens: Vec<u32>,
}

/// What families of encoder-decoders differ in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EncoderDecoderFamily {
    /// Text to text (Raffel et al., 2019), also T5 1.1, Flan-T5, mT5 and MADLAD.
    T5 {
        /// The number of distances that attention tells apart.
        buckets: usize,
        /// The distance from which all distances are one bucket.
        farthest: usize,
        /// Whether the feed-forward layers have a gate.
        gated: bool,
        /// The activation of the feed-forward layers.
        activation: Activation,
        /// Whether the last layer has the weight of the embeddings. A source with a weight of the last layer decides otherwise.
        tied_embeddings: bool,
        /// Whether the last states are divided by the root of their width.
        scaled_states: bool,
    },
    /// Sound to text (Radford et al., 2022).
    Whisper {
        /// The number of frequencies that features have.
        mel_bins: usize,
        /// The positions of a stretch of sound behind the convolutions.
        source_positions: usize,
        /// Tokens that are never written, which [`WhisperRules`](crate::generate::WhisperRules) takes.
        suppressed: Vec<u32>,
    },
}

impl EncoderDecoderConfig {
    /// Reads a `config.json`. The known model types are `t5`, `mt5` and `whisper`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) naming the field that is missing or not known.
    pub fn from_json(text: &str) -> Result<Self> {
        let root = object(text)?;
        let fields = Fields(&root);
        let config = match fields.text("model_type")? {
            family @ ("t5" | "mt5") => t5(family, &fields)?,
            "whisper" => whisper(&fields)?,
            other => return Err(invalid(format!("the model type `{other}` is not known"))),
        };
        config.check()?;
        Ok(config)
    }

    /// Takes the end tokens, the first token and the tokens that are never written of a checkpoint's `generation_config.json`.
    /// transformers writes them there, and old versions wrote them into `config.json`. What the file leaves out stays.
    ///
    /// ```
    /// # use accelerant::generate::{EncoderDecoderConfig, EncoderDecoderFamily};
    /// # let text = r#"{"model_type": "whisper", "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    /// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 3, "eos_token_id": 2}"#;
    /// let config = EncoderDecoderConfig::from_json(text)?;
    /// let config = config.with_generation_config(r#"{"suppress_tokens": [1, 7]}"#)?;
    /// assert!(matches!(config.family, EncoderDecoderFamily::Whisper { suppressed, .. } if suppressed == [1, 7]));
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a text that is no JSON object, and tokens that
    /// the model does not have.
    pub fn with_generation_config(mut self, text: &str) -> Result<Self> {
        let root = object(text)?;
        let fields = Fields(&root);
        let end_tokens = fields.tokens("eos_token_id")?;
        if !end_tokens.is_empty() {
            self.end_tokens = end_tokens;
        }
        self.start_token = start(&fields, self.start_token)?;
        if let EncoderDecoderFamily::Whisper { suppressed, .. } = &mut self.family
            && fields.get("suppress_tokens").is_some()
        {
            *suppressed = fields.tokens("suppress_tokens")?;
        }
        self.check()?;
        Ok(self)
    }

    /// The most positions of a source, of those that the options ask for.
    pub(crate) fn source(&self, asked: usize) -> usize {
        match self.family {
            EncoderDecoderFamily::T5 { .. } => asked,
            EncoderDecoderFamily::Whisper { source_positions, .. } => source_positions,
        }
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) naming the number.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("hidden", self.hidden),
            ("intermediate", self.intermediate),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("encoder_heads", self.encoder_heads),
            ("decoder_heads", self.decoder_heads),
            ("head_size", self.head_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(invalid(format!("`{name}` is 0")));
        }
        match self.family {
            EncoderDecoderFamily::T5 { buckets, farthest, .. } => {
                if buckets < 4 || !buckets.is_multiple_of(4) || farthest <= buckets / 2 {
                    return Err(invalid(format!(
                        "distances up to {farthest} are not divided into {buckets} buckets"
                    )));
                }
            }
            EncoderDecoderFamily::Whisper { mel_bins, source_positions, .. } => {
                if mel_bins == 0 || source_positions == 0 {
                    return Err(invalid("`mel_bins` or `source_positions` is 0".into()));
                }
                let heads = [self.encoder_heads, self.decoder_heads];
                if let Some(heads) = heads.iter().find(|heads| !self.hidden.is_multiple_of(**heads))
                {
                    let hidden = self.hidden;
                    return Err(invalid(format!("{heads} heads do not divide {hidden} values")));
                }
                if !self.hidden.is_multiple_of(2) || self.hidden < 4 {
                    let hidden = self.hidden;
                    return Err(invalid(format!(
                        "{hidden} values are not half sines, half cosines"
                    )));
                }
            }
        }
        let tokens = self.end_tokens.iter().chain([&self.start_token]);
        if let Some(token) = tokens.into_iter().find(|token| **token as usize >= self.vocabulary) {
            let size = self.vocabulary;
            return Err(invalid(format!("token {token} is beyond the vocabulary of {size}")));
        }
        Ok(())
    }
}

fn start(fields: &Fields<'_>, default: u32) -> Result<u32> {
    Ok(fields.tokens("decoder_start_token_id")?.first().copied().unwrap_or(default))
}

fn t5(family: &str, fields: &Fields<'_>) -> Result<EncoderDecoderConfig> {
    let (first, usual) = (family == "t5", if family == "t5" { "relu" } else { "gated-gelu" });
    let named = fields.get("feed_forward_proj").and_then(Value::as_str).unwrap_or(usual);
    let tied_embeddings = fields.flag("tie_word_embeddings", first);
    // transformers 5 always writes that embeddings are tied, and writes apart what that meant before.
    let scaled_states = first && fields.flag("scale_decoder_outputs", tied_embeddings);
    let (gated, activation) = match named {
        "relu" => (false, Activation::Relu),
        "gated-gelu" => (true, Activation::GeluTanh),
        "gated-silu" => (true, Activation::Silu),
        other => return Err(invalid(format!("the feed-forward layer `{other}` is not known"))),
    };
    let (layers, heads) = (fields.size("num_layers")?, fields.size("num_heads")?);
    let end_tokens = match fields.tokens("eos_token_id")? {
        none if none.is_empty() => vec![1],
        some => some,
    };
    Ok(EncoderDecoderConfig {
        family: EncoderDecoderFamily::T5 {
            buckets: fields.number("relative_attention_num_buckets", 32)?,
            farthest: fields.number("relative_attention_max_distance", 128)?,
            gated,
            activation,
            tied_embeddings,
            scaled_states,
        },
        vocabulary: fields.size("vocab_size")?,
        hidden: fields.size("d_model")?,
        intermediate: fields.size("d_ff")?,
        encoder_layers: layers,
        decoder_layers: fields.number("num_decoder_layers", layers)?,
        encoder_heads: heads,
        decoder_heads: heads,
        head_size: fields.size("d_kv")?,
        norm_epsilon: fields.float("layer_norm_epsilon", 1e-6),
        positions: usize::MAX,
        start_token: start(fields, 0)?,
        end_tokens,
    })
}

fn whisper(fields: &Fields<'_>) -> Result<EncoderDecoderConfig> {
    let hidden = fields.size("d_model")?;
    let heads = fields.size("decoder_attention_heads")?;
    let activation = fields.get("activation_function").and_then(Value::as_str).unwrap_or("gelu");
    if activation != "gelu" {
        return Err(invalid(format!("the activation `{activation}` is not known")));
    }
    for side in ["encoder", "decoder"] {
        let width = fields.number(&format!("{side}_ffn_dim"), 4 * hidden)?;
        if width != 4 * hidden {
            return Err(invalid(format!("`{side}_ffn_dim` is {width} for {hidden} values")));
        }
    }
    Ok(EncoderDecoderConfig {
        family: EncoderDecoderFamily::Whisper {
            mel_bins: fields.number("num_mel_bins", 80)?,
            source_positions: fields.number("max_source_positions", 1500)?,
            suppressed: fields.tokens("suppress_tokens")?,
        },
        vocabulary: fields.size("vocab_size")?,
        hidden,
        intermediate: 4 * hidden,
        encoder_layers: fields.size("encoder_layers")?,
        decoder_layers: fields.size("decoder_layers")?,
        encoder_heads: fields.size("encoder_attention_heads")?,
        decoder_heads: heads,
        head_size: hidden.checked_div(heads).unwrap_or(0),
        norm_epsilon: 1e-5,
        positions: fields.number("max_target_positions", 448)?,
        start_token: start(fields, 50257)?,
        end_tokens: fields.tokens("eos_token_id")?,
    })
}
