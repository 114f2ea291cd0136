//! Configurations from `config.json`, as checkpoints of Hugging Face have them.

use serde_json::{Map, Value};

use super::defaults::completed;
use super::positions::{SLIDING, WHOLE, rotary, window, without_positions};
use super::{Activation, DecoderConfig, Projections};
use crate::error::{Error, ErrorKind, Result};

impl DecoderConfig {
    /// Reads a `config.json`. The known model types are `llama` (Llama 1 to 3, SmolLM and SmolLM2), `mistral`, `qwen2`,
    /// `qwen3`, `phi3`, `gemma2`, `gemma3_text`, `gemma3` (the text part) and `smollm3`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the field that is missing or not known.
    pub fn from_json(text: &str) -> Result<Self> {
        let root = &object(text)?;
        let family = Fields(root).text("model_type")?;
        if family == "gemma3"
            && let Some(text) = root.get("text_config").and_then(Value::as_object)
        {
            refuse_what_is_not_read(&Fields(root))?;
            // What the whole model says of its text part.
            let mut text = text.clone();
            for name in ["eos_token_id", "tie_word_embeddings"] {
                if let Some(value) = Fields(root).get(name) {
                    text.insert(name.into(), value.clone());
                }
            }
            let mut config = read("gemma3_text", &Fields(&completed("gemma3_text", &text)))?;
            config.prefix = "language_model.model".into();
            return Ok(config);
        }
        read(family, &Fields(&completed(family, root)))
    }

    /// Takes the end tokens of a checkpoint's `generation_config.json`. This file can have more end tokens than `config.json`, for
    /// example the token that ends an answer in a chat. A file without end tokens changes nothing.
    ///
    /// ```
    /// # let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "eos_token_id": 2,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # use accelerant::generate::DecoderConfig;
    /// let config = DecoderConfig::from_json(text)?;
    /// assert_eq!(config.end_tokens, [2]);
    /// let config = config.with_generation_config(r#"{"eos_token_id": [2, 7], "temperature": 0.6}"#)?;
    /// assert_eq!(config.end_tokens, [2, 7]);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a text that is no JSON object, and end tokens that are no tokens.
    pub fn with_generation_config(mut self, text: &str) -> Result<Self> {
        let root = object(text)?;
        let end_tokens = Fields(&root).tokens("eos_token_id")?;
        if !end_tokens.is_empty() {
            self.end_tokens = end_tokens;
        }
        Ok(self)
    }
}

fn read(family: &str, fields: &Fields<'_>) -> Result<DecoderConfig> {
    let mut config = plain(fields)?;
    let layers = config.layers;
    refuse_what_is_not_read(fields)?;
    match family {
        "llama" => {
            config.query_bias = fields.flag("attention_bias", false);
            config.output_bias = config.query_bias;
        }
        "mistral" => config.window = window(fields, layers, |_| false)?,
        "qwen2" => {
            config.query_bias = true;
            qwen_window(&mut config, fields)?;
        }
        "qwen3" => {
            qwen_window(&mut config, fields)?;
            config.head_norms = true;
            config.query_bias = fields.flag("attention_bias", false);
            config.output_bias = config.query_bias;
        }
        "phi3" => {
            config.projections = Projections::Joined;
            config.window = window(fields, layers, |_| false)?;
        }
        "gemma2" => {
            gemma(&mut config, fields)?;
            config.window = window(fields, layers, |layer| layer % 2 == 1)?;
        }
        "gemma3_text" => {
            gemma(&mut config, fields)?;
            config.head_norms = true;
            let every = fields.number("sliding_window_pattern", 6)?;
            config.window = window(fields, layers, |layer| (layer + 1).is_multiple_of(every))?;
            config.window_rotary = Some(rotary(fields, SLIDING, config.head_size)?);
        }
        "smollm3" => {
            config.no_rotary = without_positions(fields, layers)?;
            if fields.flag("use_sliding_window", false) {
                let whole = |layer| !config.no_rotary.contains(&layer);
                config.window = window(fields, layers, whole)?;
            }
            config.query_bias = fields.flag("attention_bias", false);
            config.output_bias = config.query_bias;
        }
        other => return Err(invalid(format!("the model type `{other}` is not known"))),
    }
    config.check()?;
    Ok(config)
}

/// The fields of a JSON file.
pub(super) fn object(text: &str) -> Result<Map<String, Value>> {
    let root: Value = serde_json::from_str(text)
        .map_err(|e| invalid(format!("it is no JSON: {e}")).with_source(e))?;
    match root {
        Value::Object(fields) => Ok(fields),
        _ => Err(invalid("it is no object".into())),
    }
}

/// What all families share.
fn plain(fields: &Fields<'_>) -> Result<DecoderConfig> {
    let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let default_head = hidden.checked_div(heads).unwrap_or(0);
    let head_size = fields.number("head_dim", default_head)?;
    let positions = fields.number("max_position_embeddings", 2048)?;
    let rotary = rotary(fields, WHOLE, head_size)?;
    let activation = fields.0.get("hidden_activation").or_else(|| fields.0.get("hidden_act"));
    let activation = match activation.and_then(Value::as_str).unwrap_or("silu") {
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "relu" => Activation::Relu,
        "gelu_pytorch_tanh" | "gelu_new" => Activation::GeluTanh,
        other => return Err(invalid(format!("the activation `{other}` is not known"))),
    };
    Ok(DecoderConfig {
        vocabulary: fields.size("vocab_size")?,
        hidden,
        intermediate: fields.size("intermediate_size")?,
        layers: fields.size("num_hidden_layers")?,
        heads,
        key_value_heads: fields.number("num_key_value_heads", heads)?,
        head_size,
        norm_epsilon: fields.float("rms_norm_eps", 1e-6),
        norm_offset: 0.0,
        head_norms: false,
        norms_after: false,
        rotary,
        window_rotary: None,
        no_rotary: Vec::new(),
        window: None,
        attention_scale: 1.0 / (head_size as f64).sqrt(),
        attention_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        tied_embeddings: fields.flag("tie_word_embeddings", false),
        query_bias: false,
        output_bias: false,
        activation,
        projections: Projections::Apart,
        positions,
        end_tokens: fields.tokens("eos_token_id")?,
        prefix: "model".into(),
    })
}

/// Fields that change what a model computes, and that nothing here reads.
fn refuse_what_is_not_read(fields: &Fields<'_>) -> Result<()> {
    for (field, means) in [
        (
            "use_bidirectional_attention",
            "tokens see later tokens, which are not there in a generation",
        ),
        ("mlp_bias", "biases of feed-forward layers are not supported"),
    ] {
        if fields.flag(field, false) {
            return Err(invalid(format!("`{field}` is set: {means}")));
        }
    }
    let phi = fields.get("model_type").and_then(Value::as_str) == Some("phi3");
    let rotated = |of: &Value| of.get("partial_rotary_factor").and_then(Value::as_f64);
    let rope =
        fields.get("rope_parameters").or_else(|| fields.get("rope_scaling")).and_then(rotated);
    let rotated = rope.or_else(|| fields.optional("partial_rotary_factor"));
    if let Some(part) = rotated.filter(|part| *part != 1.0 && !phi) {
        return Err(invalid(format!(
            "`partial_rotary_factor` is {part}: heads that are rotated in part are supported for `phi3` alone"
        )));
    }
    if let Some(quantized) = fields.get("quantization_config") {
        let method = quantized.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
        return Err(invalid(format!(
            "`quantization_config` is there ({method}): use the checkpoint before its quantization, or a GGUF file"
        )));
    }
    Ok(())
}

/// The first layers see the whole text, where windows are used at all.
fn qwen_window(config: &mut DecoderConfig, fields: &Fields<'_>) -> Result<()> {
    if fields.flag("use_sliding_window", false) {
        let first = fields.number("max_window_layers", config.layers)?;
        config.window = window(fields, config.layers, |layer| layer < first)?;
    }
    Ok(())
}

/// What Gemma 2 and 3 share.
fn gemma(config: &mut DecoderConfig, fields: &Fields<'_>) -> Result<()> {
    config.norm_offset = 1.0;
    config.norms_after = true;
    config.embedding_scale = (config.hidden as f64).sqrt();
    let scalar = fields.float("query_pre_attn_scalar", config.head_size as f64);
    config.attention_scale = 1.0 / scalar.sqrt();
    config.attention_cap = fields.optional("attn_logit_softcapping");
    config.logit_cap = fields.optional("final_logit_softcapping");
    config.query_bias = fields.flag("attention_bias", false);
    config.output_bias = config.query_bias;
    if !fields.0.contains_key("hidden_activation") {
        config.activation = Activation::GeluTanh;
    }
    Ok(())
}

/// An object's fields. `null` counts as missing.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        self.get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| invalid(format!("`{name}` is missing")))
    }

    pub(super) fn size(&self, name: &str) -> Result<usize> {
        let value = self.get(name).ok_or_else(|| invalid(format!("`{name}` is missing")))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| invalid(format!("`{name}` is no size: {value}")))
    }

    pub(super) fn number(&self, name: &str, default: usize) -> Result<usize> {
        if self.get(name).is_some() { self.size(name) } else { Ok(default) }
    }

    pub(super) fn optional(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Value::as_f64)
    }

    pub(super) fn float(&self, name: &str, default: f64) -> f64 {
        self.optional(name).unwrap_or(default)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(super) fn tokens(&self, name: &str) -> Result<Vec<u32>> {
        let token = |value: &Value| {
            let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
            token.ok_or_else(|| invalid(format!("`{name}` is no token: {value}")))
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(tokens)) => tokens.iter().map(token).collect(),
            Some(one) => Ok(vec![token(one)?]),
        }
    }
}

pub(super) fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text).in_operation("read the configuration of a decoder")
}
