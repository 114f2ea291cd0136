//! `candle_nn::moe` and `candle_nn::sampling`: what has no form in ONNX, on tensors that are known.

use candle_core::quantized::QTensor;
use candle_core::shape::Dim;
use candle_core::{DType, Error, Result};

use crate::export::candle::traced::Traced;

const CUDA: &str = "is a kernel of Candle's CUDA backend, which has no form in ONNX";

/// As `candle_nn::moe::moe_gemm`, which Candle has on CUDA alone.
///
/// # Errors
/// Always.
pub fn moe_gemm(
    _input: &Traced,
    _weights: &Traced,
    _topk_weights: &Option<Traced>,
    _sorted_token_ids: &Traced,
    _experts_ids: &Traced,
    _topk: usize,
    _is_prefill: bool,
) -> Result<Traced> {
    Err(Error::Msg(format!("moe_gemm {CUDA}")))
}

/// As `candle_nn::moe::moe_gemm_gguf`, which Candle has on CUDA alone.
///
/// # Errors
/// Always.
#[allow(clippy::too_many_arguments, reason = "candle's")]
pub fn moe_gemm_gguf(
    _input: &Traced,
    _weights: &QTensor,
    _topk_weights: &Option<Traced>,
    _sorted_token_ids: &Traced,
    _experts_ids: &Traced,
    _topk: usize,
    _is_prefill: bool,
    _dtype: DType,
) -> Result<Traced> {
    Err(Error::Msg(format!("moe_gemm_gguf {CUDA}")))
}

/// As `candle_nn::sampling::gumbel_softmax`, outside of a trace.
///
/// # Errors
/// Candle's own, and for a tensor that is traced.
pub fn gumbel_softmax<D: Dim>(logits: &Traced, temperature: f64, dim: D) -> Result<Traced> {
    let logits = logits.known().ok_or_else(|| {
        Error::Msg(
            "gumbel_softmax generates random numbers: pass the numbers to the forward as an input"
                .into(),
        )
    })?;
    candle_nn::sampling::gumbel_softmax(logits, temperature, dim).map(Traced::from_tensor)
}
