//! candle-transformers' own Llama of the same shape and weights, to compare with.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use accelerant::generate::{DecoderConfig, DecoderWeights as _};
use accelerant::{DType, HostTensor};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};

use crate::random::{self, Random};
use crate::{Options, Result, median, prompts, tell_times};

/// Generates greedily as the others do, and prints the times.
pub(crate) fn measure(config: &DecoderConfig, dtype: DType, options: &Options) -> Result<()> {
    let device = Device::cuda_if_available(0)?;
    let mut read: LlamaConfig = serde_json::from_str(random::json(&options.shape)?)?;
    read.num_hidden_layers = config.layers;
    let written = read.into_config(false);
    let weights = Random::new(config, dtype);
    let dtype = match dtype {
        DType::F16 => candle_core::DType::F16,
        DType::BF16 => candle_core::DType::BF16,
        _ => candle_core::DType::F32,
    };
    let tensors: HashMap<String, Tensor> = weights
        .names()
        .map(|name| Ok((name.to_owned(), tensor(&weights.weight(name)?, dtype, &device)?)))
        .collect::<Result<_>>()?;
    let model = Llama::load(VarBuilder::from_tensors(tensors, dtype, &device), &written)?;
    let prompts: Vec<Tensor> = prompts(config, options)
        .into_iter()
        .map(|prompt| Tensor::new(prompt, &device))
        .collect::<candle_core::Result<_>>()?;
    let prompts = Tensor::stack(&prompts, 0)?;
    let (mut firsts, mut steps) = (Vec::new(), Vec::new());
    for run in 0..=options.runs {
        let mut cache = Cache::new(true, dtype, &written, &device)?;
        let (first, step) = time(&model, &mut cache, &prompts, options.tokens)?;
        if run > 0 {
            firsts.push(first);
            steps.push(step);
        }
    }
    let name = format!("candle on {:?}", device.location());
    tell_times(&name, median(&mut firsts), median(&mut steps), options);
    Ok(())
}

fn tensor(host: &HostTensor, dtype: candle_core::DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_raw_buffer(host.bytes(), dtype, host.shape(), device)?)
}

/// The time to the first token, and of each step after it. Each token is read, as whoever prints it does.
fn time(
    model: &Llama,
    cache: &mut Cache,
    prompts: &Tensor,
    tokens: usize,
) -> Result<(Duration, Duration)> {
    let (_, length) = prompts.dims2()?;
    let choose = |logits: Tensor| -> Result<Tensor> {
        let token = logits.argmax(1)?;
        token.to_vec1::<u32>()?;
        Ok(token.unsqueeze(1)?)
    };
    let start = Instant::now();
    let mut token = choose(model.forward(prompts, 0, cache)?)?;
    let first = start.elapsed();
    let start = Instant::now();
    for step in 1..tokens {
        token = choose(model.forward(&token, length + step - 1, cache)?)?;
    }
    Ok((first, start.elapsed() / (tokens.max(2) - 1) as u32))
}
