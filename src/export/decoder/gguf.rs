//! GGUF files, through Candle's reader: the configuration from their metadata, and weights that are widened from blocks
//! when they are asked for.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};

use super::weights::missing;
use super::{
    Activation, Decoder, DecoderConfig, DecoderWeights, Projections, Rotary, RotaryScaling,
};
use crate::error::{Error, ErrorKind, Result};
use crate::export::candle::to_host;
use crate::tensor::HostTensor;

impl Decoder {
    /// Reads a GGUF file of the architectures `llama` (Llama, Mistral, SmolLM), `qwen2` or `qwen3`. Weights in blocks of
    /// few bits become numbers of the type that the decoder is computed in.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] for a file that cannot be opened; [`ErrorKind::InvalidArgument`] for a file that is not whole, or of
    /// an unknown architecture.
    pub fn from_gguf(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let at = |e: Error| e.in_operation(format!("read {}", path.display()));
        let mut file = File::open(path)
            .map_err(|e| at(Error::new(ErrorKind::Io, e.to_string()).with_source(e)))?;
        let content = Content::read(&mut file).map_err(|e| at(failed(e)))?;
        let weights = Gguf { content, file: Mutex::new(file) };
        let config = weights.config().map_err(at)?;
        Ok(Self::new(config, weights))
    }
}

struct Gguf {
    content: Content,
    file: Mutex<File>,
}

impl Gguf {
    fn config(&self) -> Result<DecoderConfig> {
        let arch = self.value("general.architecture")?.to_string().map_err(failed)?.clone();
        if !["llama", "qwen2", "qwen3"].contains(&arch.as_str()) {
            return Err(invalid(format!("the architecture `{arch}` is not known")));
        }
        let experts = self.content.metadata.get(&format!("{arch}.expert_count"));
        if experts.is_some_and(|experts| experts.to_u32().is_ok_and(|count| count > 0)) {
            return Err(invalid("mixtures of experts are not supported".into()));
        }
        let size = |name: &str| {
            let value = self.value(&format!("{arch}.{name}"))?;
            value.to_u32().map(|size| size as usize).map_err(failed)
        };
        let float = |name: &str| {
            let value = self.content.metadata.get(&format!("{arch}.{name}"));
            value.and_then(|value| value.to_f32().ok()).map(f64::from)
        };
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let embeddings = self.content.tensor_infos.get("token_embd.weight");
        let embeddings = embeddings.ok_or_else(|| missing("token_embd.weight"))?;
        let head_size = match size("attention.key_length") {
            Ok(size) => size,
            Err(_) => hidden.checked_div(heads).unwrap_or(0),
        };
        let mut rotary = Rotary::whole(float("rope.freq_base").unwrap_or(10_000.0), head_size);
        rotary.size = size("rope.dimension_count").unwrap_or(head_size);
        // Rows of query and key are in the order of pairs side by side.
        rotary.interleaved = arch == "llama";
        rotary.scaling = self.scaling(&arch)?;
        if self.has_own("rope_freqs.weight") {
            let divisors = self.read("rope_freqs.weight")?.to_vec::<f32>()?;
            let divisors = divisors.into_iter().map(f64::from).collect();
            rotary.scaling = Some(RotaryScaling::Each(divisors));
        }
        // A text, and a part of a chat.
        let ends = ["eos", "eot"].map(|name| format!("tokenizer.ggml.{name}_token_id"));
        let ends = ends.iter().filter_map(|name| self.content.metadata.get(name)?.to_u32().ok());
        let mut end_tokens: Vec<u32> = ends.collect();
        end_tokens.dedup();
        let config = DecoderConfig {
            vocabulary: embeddings.shape.dims().first().copied().unwrap_or(0),
            hidden,
            intermediate: size("feed_forward_length")?,
            layers: size("block_count")?,
            heads,
            key_value_heads: size("attention.head_count_kv").unwrap_or(heads),
            head_size,
            norm_epsilon: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            norm_offset: 0.0,
            head_norms: self.has_own("blk.0.attn_q_norm.weight"),
            norms_after: false,
            rotary,
            window_rotary: None,
            no_rotary: Vec::new(),
            window: None,
            attention_scale: 1.0 / (head_size as f64).sqrt(),
            attention_cap: None,
            logit_cap: None,
            embedding_scale: 1.0,
            tied_embeddings: !self.has_own("output.weight"),
            query_bias: self.has_own("blk.0.attn_q.bias"),
            output_bias: self.has_own("blk.0.attn_output.bias"),
            activation: Activation::Silu,
            projections: Projections::Apart,
            positions: size("context_length").unwrap_or(2048),
            end_tokens,
            prefix: "model".into(),
        };
        config.check()?;
        Ok(config)
    }

    /// What the metadata say of longer texts. `rope_freqs.weight` says it by itself.
    fn scaling(&self, arch: &str) -> Result<Option<RotaryScaling>> {
        let value = |name: &str| self.content.metadata.get(&format!("{arch}.rope.{name}"));
        let factor = value("scaling.factor").or_else(|| value("scale_linear"));
        let linear = || {
            let factor =
                factor.ok_or_else(|| invalid("`rope.scaling.factor` is missing".into()))?;
            factor.to_f32().map(|by| Some(RotaryScaling::Linear(by.into()))).map_err(failed)
        };
        match value("scaling.type").map(Value::to_string).transpose().map_err(failed)? {
            None if value("scale_linear").is_some() => linear(),
            None => Ok(None),
            Some(kind) => match kind.as_str() {
                "none" => Ok(None),
                "linear" => linear(),
                other => Err(invalid(format!("the rotary scaling `{other}` is not supported"))),
            },
        }
    }

    fn value(&self, name: &str) -> Result<&Value> {
        let none = || invalid(format!("`{name}` is missing"));
        self.content.metadata.get(name).ok_or_else(none)
    }

    fn has_own(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    fn read(&self, name: &str) -> Result<HostTensor> {
        if !self.has_own(name) {
            return Err(missing(name));
        }
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tensor = self.content.tensor(&mut *file, name, &Device::Cpu);
        let tensor = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu));
        to_host(&tensor.map_err(|e| failed(e).on_tensor(name))?)
    }
}

/// The name in a GGUF file of a weight that checkpoints name otherwise.
fn own_name(name: &str) -> Option<String> {
    let whole: HashMap<&str, &str> = HashMap::from([
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ]);
    if let Some(own) = whole.get(name) {
        return Some((*own).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let own = match part {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        _ => return None,
    };
    Some(format!("blk.{layer}.{own}.{kind}"))
}

impl DecoderWeights for Gguf {
    fn weight(&self, name: &str) -> Result<HostTensor> {
        self.read(&own_name(name).ok_or_else(|| missing(name))?)
    }

    fn has(&self, name: &str) -> bool {
        own_name(name).is_some_and(|own| self.has_own(&own))
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

fn failed(error: candle_core::Error) -> Error {
    invalid(error.to_string()).with_source(error)
}
