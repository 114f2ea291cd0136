//! A GGUF file against the checkpoint that it was made of.

use std::collections::HashMap;

use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
use accelerant::{BackendKind, ErrorKind, HostTensor, Result};
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

type Weights = HashMap<String, HostTensor>;

/// The weights in blocks of `kind`, with the metadata of [`TINY`] and `more`.
fn file(
    weights: &Weights,
    kind: GgmlDType,
    more: &[(&str, Value)],
) -> candle_core::Result<tempfile::NamedTempFile> {
    let mut tensors = Vec::new();
    for (name, tensor) in weights {
        let values = tensor.to_vec::<f32>().map_err(candle_core::Error::wrap)?;
        let mut tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
        for (part, heads) in [("q_proj", 4), ("k_proj", 2)] {
            if name.contains(part) {
                tensor = paired(&tensor, heads)?;
            }
        }
        let blocks = tensor.rank() == 2 && tensor.dims()[1] % 32 == 0;
        let kind = if blocks { kind } else { GgmlDType::F32 };
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
        metadata.iter().chain(more).map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = tempfile::NamedTempFile::new()?;
    write(&mut file, &metadata, &tensors)?;
    Ok(file)
}

fn generated(decoder: &Decoder, kind: &BackendKind) -> Result<Vec<u32>> {
    let options = GenerateOptions::new().max_tokens(16).stop_tokens([]);
    let module = compiled(decoder, DecoderOptions::new(32), kind.clone())?;
    module.generate(&[1, 2, 3], &options)?.collect()
}

#[test]
fn a_file_generates_what_its_checkpoint_does() -> Result<()> {
    let config = DecoderConfig::from_json(TINY)?;
    let weights = config.random_weights(3)?;
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let expected = generated(&Decoder::new(config, weights.clone()), &kind)?;
    let whole = file(&weights, GgmlDType::F32, &[]).expect("a file");
    let decoder = Decoder::from_gguf(whole.path())?;
    assert_eq!(decoder.config().end_tokens, [60]);
    assert!(decoder.config().rotary.interleaved);
    assert_eq!(generated(&decoder, &kind)?, expected);
    let more = [("tokenizer.ggml.eot_token_id", Value::U32(58))];
    let chat = file(&weights, GgmlDType::F32, &more).expect("a file");
    assert_eq!(Decoder::from_gguf(chat.path())?.config().end_tokens, [60, 58]);
    // Eight bits change tokens, and are read.
    let short = file(&weights, GgmlDType::Q8_0, &[]).expect("a file");
    assert_eq!(generated(&Decoder::from_gguf(short.path())?, &kind)?.len(), 16);
    Ok(())
}

#[test]
fn longer_texts_have_the_frequencies_that_a_file_states() -> Result<()> {
    let config = TINY.replace(
        "\"rope_theta\"",
        "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, \"rope_theta\"",
    );
    let config = DecoderConfig::from_json(&config)?;
    let weights = config.random_weights(3)?;
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let of = |more: &[(&str, Value)]| {
        Decoder::from_gguf(file(&weights, GgmlDType::F32, more).expect("a file").path())
    };
    let plain = generated(&of(&[])?, &kind)?;
    let expected = generated(&Decoder::new(config, weights.clone()), &kind)?;
    assert_ne!(plain, expected);
    let text = |text: &str| Value::String(text.into());
    let factor = ("llama.rope.scaling.factor", Value::F32(4.0));
    for more in [
        vec![("llama.rope.scaling.type", text("linear")), factor.clone()],
        vec![("llama.rope.scale_linear", Value::F32(4.0))],
    ] {
        assert_eq!(generated(&of(&more)?, &kind)?, expected, "{more:?}");
    }
    assert_eq!(generated(&of(&[("llama.rope.scaling.type", text("none"))])?, &kind)?, plain);
    for (more, named) in [
        (vec![("llama.rope.scaling.type", text("yarn")), factor], "yarn"),
        (vec![("llama.rope.scaling.type", text("linear"))], "factor"),
        (vec![("llama.expert_count", Value::U32(8))], "experts"),
    ] {
        let error = of(&more).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{error}");
    }
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
