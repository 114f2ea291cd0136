//! Weights through Candle's readers: safetensors by `VarBuilder`, maps of tensors, and GGUF files.

use std::collections::HashMap;

use candle_core::{DType as CandleDType, Tensor};
use candle_nn::VarBuilder;

use super::DecoderWeights;
use super::weights::missing;
use crate::error::{Error, ErrorKind, Result};
use crate::export::candle::to_host;
use crate::tensor::HostTensor;

fn read(tensor: &Tensor, name: &str) -> Result<HostTensor> {
    let tensor = match tensor.dtype() {
        CandleDType::F32 | CandleDType::F16 | CandleDType::BF16 => tensor.clone(),
        CandleDType::F64 => tensor.to_dtype(CandleDType::F32).map_err(|e| failed(e, name))?,
        // What is quantized has scales beside it, under other names.
        other => {
            let text = format!("the weight is {other:?}, and weights are f32, f16, bf16 or f64");
            return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name));
        }
    };
    to_host(&tensor).map_err(|e| e.on_tensor(name))
}

fn failed(error: candle_core::Error, name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, error.to_string()).on_tensor(name).with_source(error)
}

impl DecoderWeights for HashMap<String, Tensor> {
    fn weight(&self, name: &str) -> Result<HostTensor> {
        read(self.get(name).ok_or_else(|| missing(name))?, name)
    }

    fn has(&self, name: &str) -> bool {
        self.contains_key(name)
    }
}

impl DecoderWeights for VarBuilder<'static> {
    fn weight(&self, name: &str) -> Result<HostTensor> {
        read(&self.get_unchecked(name).map_err(|e| failed(e, name))?, name)
    }

    fn has(&self, name: &str) -> bool {
        self.contains_tensor(name)
    }
}
