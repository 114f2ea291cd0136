//! How likely a text is: against Candle in 32 bits, and in 16 bits.

use accelerant::cache::EngineCache;
use accelerant::export::Target;
use accelerant::generate::{
    Decoder, DecoderConfig, DecoderOptions, GenerateOptions, Tokens, perplexity,
};
use accelerant::precision::{Precision, PrecisionOptions};
use accelerant::{
    BackendKind, DType, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Result,
};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};

use crate::{TINY, compiled, runtimes, tiny};

fn text() -> Vec<u32> {
    (0..60).map(|i: u32| (i * i * 7 + 3 * i + 11) % 61).collect()
}

/// Candle's, in one pass over the text.
fn native(text: &[u32]) -> Result<Vec<f32>> {
    let weights = DecoderConfig::from_json(TINY)?.random_weights(3)?.into_iter();
    let tensor = |(name, tensor): (String, HostTensor)| {
        let values = tensor.to_vec::<f32>().expect("f32");
        (name, Tensor::from_vec(values, tensor.shape(), &Device::Cpu).expect("a tensor"))
    };
    let weights = weights.map(tensor).collect();
    let scores = || -> candle_core::Result<Vec<f32>> {
        let dtype = candle_core::DType::F32;
        let vb = VarBuilder::from_tensors(weights, dtype, &Device::Cpu);
        let config: LlamaConfig = serde_json::from_str(TINY).expect("a configuration");
        let config = config.into_config(false);
        let model = Llama::load(vb, &config)?;
        (1..text.len())
            .map(|at| {
                let mut cache = Cache::new(false, dtype, &config, &Device::Cpu)?;
                let before = Tensor::new(&text[..at], &Device::Cpu)?.unsqueeze(0)?;
                let logits = model.forward(&before, 0, &mut cache)?;
                let scores = candle_nn::ops::log_softmax(&logits, 1)?.flatten_all()?;
                scores.get(text[at] as usize)?.to_scalar::<f32>()
            })
            .collect()
    };
    Ok(scores().expect("Candle's scores"))
}

#[test]
fn scores_are_those_of_candle() -> Result<()> {
    let (text, expected) = (text(), native(&text())?);
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(64), kind.clone())?;
        let got = module.score(&text)?;
        assert_eq!(got.len(), 59);
        for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert!((got - expected).abs() < 1e-4, "{kind}, token {at}: {got} {expected}");
        }
        assert!(module.score(&text[..1])?.is_empty());
        assert_eq!(module.score(&[]).err().map(|e| e.kind()), Some(ErrorKind::InvalidArgument));
        assert_eq!(module.score(&[1; 65]).err().map(|e| e.kind()), Some(ErrorKind::OutOfProfile));
        assert_eq!(module.score(&text)?, got);
    }
    Ok(())
}

/// ONNX Runtime runs a graph in 16 bits, whose caches are in 16 bits too.
fn in_half(decoder: &Decoder, text: &[u32]) -> Result<Vec<f32>> {
    let options = DecoderOptions::new(64).dtype(DType::F16);
    let model = decoder.model(Target::portable(), &options)?;
    let compiling = OptimizeOptions::new().require(BackendKind::Ort).cache(EngineCache::off());
    let module = InferenceModule::compile(&model, &compiling)?;
    let caches = module.signature().inputs[2..].iter().map(|spec| {
        assert_eq!(spec.dtype, DType::F16);
        let shape = spec.shape.fixed().expect("fixed");
        HostTensor::from_vec(&shape[..], vec![half::f16::ZERO; shape.iter().product()])
    });
    let mut caches: Vec<HostTensor> = caches.collect::<Result<_>>()?;
    let mut scores = Vec::new();
    for at in 0..text.len() - 1 {
        let mut inputs = vec![
            HostTensor::from_vec([1, 1], vec![i64::from(text[at])])?,
            HostTensor::from_vec([1, 1], vec![at as i64])?,
        ];
        inputs.append(&mut caches);
        let mut outputs = module.run(&inputs)?;
        caches = outputs.split_off(3);
        let logits = outputs[2].to_vec::<f32>()?;
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        scores.push(logits[text[at + 1] as usize] - sum.ln());
    }
    Ok(scores)
}

#[test]
fn the_perplexity_of_a_text_is_the_same_in_16_bits() -> Result<()> {
    if !runtimes().contains(&BackendKind::Ort) {
        return Ok(());
    }
    let expected = native(&text())?;
    let got = in_half(&tiny()?, &text())?;
    // 16 bits were computed with.
    assert!(got.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-5));
    let (got, expected) = (perplexity(&got), perplexity(&expected));
    eprintln!("perplexity {got} in 16 bits, {expected} in 32");
    assert!((got / expected - 1.0).abs() < 1e-3, "{got} {expected}");
    Ok(())
}

#[test]
fn a_decoder_with_weights_in_4_bits_is_near_the_one_in_32() -> Result<()> {
    if !runtimes().contains(&BackendKind::Ort) {
        return Ok(());
    }
    let int4 = PrecisionOptions::new(Precision::Int4Weights).block(16);
    let compiling =
        OptimizeOptions::new().require(BackendKind::Ort).cache(EngineCache::off()).precision(int4);
    let options = DecoderOptions::new(64).tokens(Tokens::UpTo(8));
    let module = tiny()?.optimize_trt(&options, &compiling)?;
    let report = module.module().precision_report().expect("a report");
    assert_eq!(report.layers.iter().filter(|layer| layer.is_quantized()).count(), 9, "{report}");
    let (got, expected) = (module.score(&text())?, native(&text())?);
    let mean = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum::<f32>() / 59.0;
    eprintln!("a mean difference of {mean} in 4 bits");
    assert!(mean > 1e-4 && mean < 0.5, "{mean}");
    let tokens = module.generate(&[3, 1, 4], &GenerateOptions::new().max_tokens(9))?;
    assert_eq!(tokens.count(), 9);
    Ok(())
}
