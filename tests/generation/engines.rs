//! Engines of TensorRT-RTX, which are built without a GPU.
#![cfg(feature = "tensorrt-rtx")]

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::{OnnxModel, Target};
use accelerant::generate::{
    AttentionForm, Decoder, DecoderConfig, DecoderOptions, EncoderDecoder, EncoderDecoderConfig,
    ProductForm, Tokens,
};
use accelerant::precision::{Precision, PrecisionOptions};
use accelerant::{DType, Result};

use crate::{TINY, tiny};

#[test]
fn caches_are_written_in_place_in_every_form() -> Result<()> {
    let backend = TensorRt::rtx();
    let decoder = tiny()?;
    for form in
        [ProductForm::Gemm, ProductForm::MatMul, ProductForm::Columns, ProductForm::Parts(2)]
    {
        for (tokens, dtype) in [(1, DType::F16), (8, DType::F16), (1, DType::BF16), (1, DType::F32)]
        {
            let options =
                DecoderOptions::new(32).form(form).dtype(dtype).tokens(Tokens::Fixed(tokens));
            let model = decoder.model(Target::tensorrt(), &options)?;
            let scatters = model.proto().graph.as_ref().map_or(0, |graph| {
                graph.node.iter().filter(|node| node.op_type() == "TensorScatter").count()
            });
            assert_eq!(scatters, 4);
            let engine = backend.build(&model)?;
            assert_eq!(engine.signature().outputs.len(), 3 + 4);
        }
    }
    Ok(())
}

#[test]
fn attention_is_built_in_every_form() -> Result<()> {
    let backend = TensorRt::rtx();
    let decoder = tiny()?;
    for form in [
        AttentionForm::Whole,
        AttentionForm::Parts(4),
        AttentionForm::Sums(4),
        AttentionForm::Columns(4),
    ] {
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            let options = DecoderOptions::new(32).attention(form).dtype(dtype);
            backend.build(&decoder.model(Target::tensorrt(), &options)?)?;
        }
    }
    Ok(())
}

/// TensorRT is told how much of the caches a pass over one token reads, where the capacity has whole blocks.
#[test]
fn a_pass_that_reads_a_part_of_the_caches_is_built() -> Result<()> {
    let backend = TensorRt::rtx();
    let config =
        DecoderConfig::from_json(&TINY.replace(": 64,\n    \"rope", ": 4096,\n    \"rope"))?;
    let decoder = Decoder::new(config.clone(), config.random_weights(3)?);
    for (capacity, tokens, told) in
        [(1024, 1, true), (1536, 1, true), (1024, 8, false), (512, 1, false), (1000, 1, false)]
    {
        let options = DecoderOptions::new(capacity).tokens(Tokens::Fixed(tokens)).dtype(DType::F16);
        for options in [options.clone(), options.attention(AttentionForm::Whole)] {
            let model = decoder.model(Target::tensorrt(), &options)?;
            let engine = backend.build(&model)?;
            let seen = engine.signature().inputs.iter().find(|input| input.name == "seen");
            let largest = seen.map(|seen| seen.shape.profile()[2].iter().product::<usize>());
            assert_eq!(largest, told.then_some(capacity), "{capacity} {tokens}");
            assert_eq!(in_place(&model), 4);
        }
    }
    let whole = DecoderOptions::new(1024).tokens(Tokens::Fixed(1)).part_of_cache(false);
    let model = decoder.model(Target::tensorrt(), &whole)?;
    assert!(model.signature().inputs.iter().all(|input| input.name != "seen"));
    Ok(())
}

#[test]
fn encoders_and_their_decoders_are_built() -> Result<()> {
    let backend = TensorRt::rtx();
    let t5 = crate::encoder_decoder::T5;
    let gated = format!("{t5}, \"feed_forward_proj\": \"gated-gelu\"}}");
    for json in [&*format!("{t5}}}"), &*gated, crate::encoder_decoder::WHISPER] {
        let config = EncoderDecoderConfig::from_json(json)?;
        let weights = config.random_weights(3)?;
        let model = EncoderDecoder::new(config, weights);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let options = DecoderOptions::new(32).source(24).dtype(dtype);
            let encoder = backend.build(&model.encoder(Target::tensorrt(), &options)?)?;
            for tokens in [1, 8] {
                let options = options.clone().tokens(Tokens::Fixed(tokens));
                let step = model.decoder(Target::tensorrt(), &options)?;
                let scatters = step.proto().graph.as_ref().map_or(0, |graph| {
                    graph.node.iter().filter(|node| node.op_type() == "TensorScatter").count()
                });
                assert_eq!(scatters, 6);
                let step = backend.build(&step)?;
                // What the encoder gives is what the decoder takes at its end.
                let given = &encoder.signature().outputs;
                let taken = &step.signature().inputs[step.signature().inputs.len() - given.len()..];
                for (given, taken) in given.iter().zip(taken) {
                    assert_eq!((&given.name, given.dtype), (&taken.name, taken.dtype));
                    assert_eq!(given.shape, taken.shape);
                }
            }
        }
    }
    Ok(())
}

/// The caches that a model writes in place: each is an input, and what is written is an output.
fn in_place(model: &OnnxModel) -> usize {
    let graph = model.proto().graph.as_ref().expect("a graph");
    let scatters = graph.node.iter().filter(|node| node.op_type() == "TensorScatter");
    let direct = scatters.filter(|node| {
        graph.input.iter().any(|input| input.name() == node.input[0])
            && graph.output.iter().any(|output| output.name() == node.output[0])
    });
    direct.count()
}

/// Weights in 4 bits in blocks, as the engine for single tokens and the one for prompts get them.
#[test]
fn decoders_have_weights_in_4_bits_and_write_their_caches_in_place() -> Result<()> {
    let backend = TensorRt::rtx();
    for (tokens, dtype) in [(1, DType::F16), (8, DType::F16), (1, DType::F32)] {
        let options = DecoderOptions::new(32).tokens(Tokens::Fixed(tokens)).dtype(dtype);
        let model = tiny()?.model(Target::tensorrt(), &options)?;
        let int4 = PrecisionOptions::new(Precision::Int4Weights).block(16);
        let model = model.with_precision(Target::tensorrt(), int4)?;
        let report = model.precision_report().expect("a report");
        let few = report.layers.iter().filter(|layer| layer.is_quantized()).count();
        // Query, key and value; output; gate and up; down: of two layers, and the head.
        assert_eq!(few, 9, "{dtype}, {report}");
        assert_eq!(in_place(&model), 4, "{dtype}");
        assert_eq!(backend.build(&model)?.signature().outputs.len(), 3 + 4);
    }
    Ok(())
}

/// A decoder in 32 bits that is compiled in 16 keeps its caches as they are.
#[test]
fn half_precision_leaves_caches_in_place() -> Result<()> {
    let backend = TensorRt::rtx();
    for precision in [Precision::Fp16, Precision::Bf16] {
        let model = tiny()?.model(Target::tensorrt(), &DecoderOptions::new(32))?;
        let model = model.with_precision(Target::tensorrt(), precision)?;
        assert_eq!(in_place(&model), 4, "{precision}");
        backend.build(&model)?;
    }
    Ok(())
}
