//! Engines of TensorRT-RTX, which are built without a GPU.
#![cfg(feature = "tensorrt-rtx")]

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::Target;
use accelerant::generate::{AttentionForm, DecoderOptions, ProductForm, Tokens};
use accelerant::{DType, Result};

use crate::tiny;

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
