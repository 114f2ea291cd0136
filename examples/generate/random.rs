//! Shapes of known models, and random weights that are made when they are asked for, the same each time.

use std::collections::HashMap;

use accelerant::generate::{DecoderConfig, DecoderWeights};
use accelerant::{DType, Error, ErrorKind, HostTensor};
use half::{bf16, f16};

/// The configuration of a known model.
pub(crate) fn shape(name: &str) -> Result<DecoderConfig, Error> {
    DecoderConfig::from_json(json(name)?)
}

/// The `config.json` of a known model.
pub(crate) fn json(name: &str) -> Result<&'static str, Error> {
    Ok(match name {
        "tiny" => {
            r#"{"model_type": "llama", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 4096}"#
        }
        "small" => {
            r#"{"model_type": "llama", "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1536,
                "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 4096}"#
        }
        "llama-1b" => {
            r#"{"model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
                "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
                "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072,
                "tie_word_embeddings": true, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
                "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}"#
        }
        other => {
            let text = format!("the shape `{other}` is none of tiny, small and llama-1b");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
    })
}

/// Weights by a seed that their name gives.
pub(crate) struct Random {
    shapes: HashMap<String, Vec<usize>>,
    dtype: DType,
}

impl Random {
    pub(crate) fn new(config: &DecoderConfig, dtype: DType) -> Self {
        Self { shapes: config.weight_shapes().into_iter().collect(), dtype }
    }

    /// The names of all weights.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }
}

impl DecoderWeights for Random {
    fn weight(&self, name: &str) -> Result<HostTensor, Error> {
        let missing = || Error::new(ErrorKind::InvalidArgument, "no such weight").on_tensor(name);
        let shape = self.shapes.get(name).ok_or_else(missing)?;
        let count: usize = shape.iter().product();
        let (scale, middle) = match shape[..] {
            [_, inputs] => ((3.0 / inputs as f32).sqrt(), 0.0),
            _ => (0.1, 1.0),
        };
        let mut state = name.bytes().fold(0x9E37_79B9_7F4A_7C15_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        }) | 1;
        let uniform = (0..count).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            middle + scale * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        });
        match self.dtype {
            DType::F16 => HostTensor::from_vec(shape.clone(), uniform.map(f16::from_f32).collect()),
            DType::BF16 => {
                HostTensor::from_vec(shape.clone(), uniform.map(bf16::from_f32).collect())
            }
            _ => HostTensor::from_vec(shape.clone(), uniform.collect()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }
}
