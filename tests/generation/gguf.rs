//! A GGUF file against the checkpoint that it was made of.

use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
use accelerant::{ErrorKind, Result};
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::{TINY, compiled, runtimes};

/// Rows of each head from halves apart to pairs side by side, as the converter of llama.cpp has them.
fn paired(weight: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    weight
        .reshape((heads, 2, rows / heads / 2, columns))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows, columns))
}

fn own_name(name: &str) -> String {
    let name = name.replace("model.layers.", "blk.").replace("model.embed_tokens", "token_embd");
    let name = name.replace("model.norm", "output_norm").replace("lm_head", "output");
    let name = name
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.", "attn_")
        .replace("mlp.", "ffn_");
    let name = name
        .replace("post_attention_layernorm", "ffn_norm")
        .replace("input_layernorm", "attn_norm");
    name.replace("_proj", "")
}

#[test]
fn a_file_generates_what_its_checkpoint_does() -> Result<()> {
    let config = DecoderConfig::from_json(TINY)?;
    let weights = config.random_weights(3)?;
    let file = |kind: GgmlDType| -> candle_core::Result<tempfile::NamedTempFile> {
        let mut tensors = Vec::new();
        for (name, tensor) in &weights {
            let values = tensor.to_vec::<f32>().map_err(candle_core::Error::wrap)?;
            let mut tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
            for (part, heads) in [("q_proj", 4), ("k_proj", 2)] {
                if name.contains(part) {
                    tensor = paired(&tensor, heads)?;
                }
            }
            let kind = if tensor.rank() == 2 && tensor.dims()[1] % 32 == 0 {
                kind
            } else {
                GgmlDType::F32
            };
            tensors.push((own_name(name), QTensor::quantize(&tensor, kind)?));
        }
        let number = |value: usize| Value::U32(value as u32);
        let metadata = [
            ("general.architecture", Value::String("llama".into())),
            ("llama.embedding_length", number(32)),
            ("llama.feed_forward_length", number(48)),
            ("llama.block_count", number(2)),
            ("llama.attention.head_count", number(4)),
            ("llama.attention.head_count_kv", number(2)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", number(8)),
            ("llama.context_length", number(64)),
            ("tokenizer.ggml.eos_token_id", number(60)),
        ];
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().map(|(name, value)| (*name, value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = tempfile::NamedTempFile::new()?;
        write(&mut file, &metadata, &tensors)?;
        Ok(file)
    };
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let options = GenerateOptions::new().max_tokens(16).stop_tokens([]);
    let generated = |decoder: &Decoder| -> Result<Vec<u32>> {
        compiled(decoder, DecoderOptions::new(32), kind.clone())?
            .generate(&[1, 2, 3], &options)?
            .collect()
    };
    let expected = generated(&Decoder::new(config.clone(), weights.clone()))?;
    let whole = file(GgmlDType::F32).expect("a file");
    let decoder = Decoder::from_gguf(whole.path())?;
    assert_eq!(decoder.config().end_tokens, [60]);
    assert!(decoder.config().rotary.interleaved);
    assert_eq!(generated(&decoder)?, expected);
    // Eight bits change tokens, and are read.
    let short = file(GgmlDType::Q8_0).expect("a file");
    assert_eq!(generated(&Decoder::from_gguf(short.path())?)?.len(), 16);
    Ok(())
}

#[test]
fn files_that_are_not_whole_are_refused() {
    let error = Decoder::from_gguf("/nowhere/model.gguf").expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Io);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), b"GGUF\x03\0\0\0").expect("written");
    let error = Decoder::from_gguf(file.path()).expect_err("no header");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
