//! Checkpoints of safetensors files, in the types and parts that they come in, against the weights that they were made of.

use std::collections::HashMap;

use accelerant::Result;
use accelerant::generate::{
    Decoder, DecoderConfig, DecoderOptions, DecoderWeights, GenerateOptions,
};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use crate::{TINY, compiled, runtimes};

const ON: &Device = &Device::Cpu;

/// The tokens that a decoder of these weights writes, on each runtime.
fn written(weights: impl DecoderWeights + Send + Sync + 'static) -> Result<Vec<Vec<u32>>> {
    written_with(TINY, weights)
}

fn written_with(
    config: &str,
    weights: impl DecoderWeights + Send + Sync + 'static,
) -> Result<Vec<Vec<u32>>> {
    let decoder = Decoder::new(DecoderConfig::from_json(config)?, weights);
    let options = GenerateOptions::new().max_tokens(16);
    let write = |kind| {
        compiled(&decoder, DecoderOptions::new(48), kind)?.generate(&[5, 9, 2], &options)?.collect()
    };
    runtimes().into_iter().map(write).collect()
}

#[test]
fn a_checkpoint_generates_what_its_weights_do() -> Result<()> {
    let config = DecoderConfig::from_json(TINY)?;
    let folder = tempfile::tempdir().expect("a folder");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let tensor = |(name, tensor): (String, accelerant::HostTensor)| {
            let values = tensor.to_vec::<f32>()?;
            let tensor =
                Tensor::from_vec(values, tensor.shape(), ON).and_then(|t| t.to_dtype(dtype));
            Ok((name, tensor.expect("a tensor")))
        };
        let weights: HashMap<String, Tensor> =
            config.random_weights(3)?.into_iter().map(tensor).collect::<Result<_>>()?;
        let expected = written(weights.clone())?;

        // Large checkpoints come in parts.
        let (mut first, mut second) = (weights.clone(), weights);
        first.retain(|name, _| name.contains("layers.0"));
        second.retain(|name, _| !name.contains("layers.0"));
        let paths = [(first, "1"), (second, "2")].map(|(part, name)| {
            let path = folder.path().join(format!("{name}.safetensors"));
            candle_core::safetensors::save(&part, &path).expect("saved");
            path
        });

        let mut loaded = HashMap::new();
        for path in &paths {
            loaded.extend(candle_core::safetensors::load(path, ON).expect("loaded"));
        }
        assert_eq!(written(loaded)?, expected, "{dtype:?}");

        // SAFETY: nobody changes the files.
        let mapped = unsafe { VarBuilder::from_mmaped_safetensors(&paths, dtype, ON) };
        assert_eq!(written(mapped.expect("mapped"))?, expected, "{dtype:?}");

        let mut bytes = candle_core::safetensors::load(&paths[0], ON).expect("loaded");
        bytes.extend(candle_core::safetensors::load(&paths[1], ON).expect("loaded"));
        let head = Tensor::zeros((61, 32), DType::U8, ON).expect("a tensor");
        bytes.insert("lm_head.weight".into(), head);
        let error = written(bytes).expect_err("a weight of integers").to_string();
        assert!(error.contains("U8") && error.contains("lm_head.weight"), "{error}");

        // A file may have a last layer where its configuration says that embeddings are tied.
        let tied = TINY.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
        let mut parts = candle_core::safetensors::load(&paths[0], ON).expect("loaded");
        parts.extend(candle_core::safetensors::load(&paths[1], ON).expect("loaded"));
        assert_eq!(written_with(&tied, parts.clone())?, expected, "{dtype:?}");
        parts.remove("lm_head.weight").expect("a last layer");
        let of_embeddings = written_with(&tied, parts.clone())?;
        assert_ne!(of_embeddings, expected);
        parts.insert("lm_head.weight".into(), parts["model.embed_tokens.weight"].clone());
        assert_eq!(written_with(&tied, parts)?, of_embeddings);

        let half = candle_core::safetensors::load(&paths[0], ON).expect("loaded");
        let error = written(half).expect_err("a part is missing").to_string();
        assert!(error.contains("model.embed_tokens.weight"), "{error}");
    }
    Ok(())
}
