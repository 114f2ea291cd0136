//! `.onnx` files and the same networks of Candle on TensorRT-RTX, timed in turns in one program.
//!
//! `cargo run --release --features candle,tensorrt-rtx --example file_beside_candle -- models/*.onnx`, where the names are
//! those that `benches/python/torch_files.py` gives: `resnet50_f32_8.onnx`, `vit-b16_f16_1.onnx`. `--half` has the files
//! of 32 bits run in half precision, beside Candle's networks of half precision.

mod candle_models;
#[path = "shared/device.rs"]
mod device;

use std::path::{Path, PathBuf};

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::cache::EngineCache;
use accelerant::candle::{OptimizeTrt, Traceable};
use accelerant::export::OnnxModel;
use accelerant::precision::Precision;
use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, Registry};
use candle_core::{Device, Tensor};
use candle_models::{resnet::ResNet, vit};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const ROUNDS: usize = 3;

/// Times files and networks of Candle in turns.
#[derive(Parser)]
struct Args {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Files of 32 bits in half precision.
    #[arg(long)]
    half: bool,
    /// Timed calls of a round.
    #[arg(long, default_value_t = 300)]
    iterations: usize,
}

fn options() -> OptimizeOptions {
    let tensorrt = TensorRt::rtx().with_options(TensorRtOptions::default().cuda_graph(true));
    OptimizeOptions::new().registry(Registry::empty().with(tensorrt)).cache(EngineCache::off())
}

/// The network of Candle that a file's name begins with.
fn of_candle(name: &str, dtype: candle_core::DType, batch: usize) -> Result<InferenceModule> {
    let weights = VarMap::new();
    let vb = VarBuilder::from_varmap(&weights, dtype, &Device::Cpu);
    let x = Tensor::zeros((batch, 3, 224, 224), dtype, &Device::Cpu)?;
    match name {
        "resnet50" => module(&ResNet::new(50, 1000, vb)?, &x),
        "vit-b16" => module(&vit::Vit::new(&vit::Config::BASE, 1000, vb)?, &x),
        other => Err(format!("no network of Candle here is called `{other}`").into()),
    }
}

fn module(model: &impl Traceable, x: &Tensor) -> Result<InferenceModule> {
    Ok(model.optimize_trt_with(x, &options())?.inference().clone())
}

fn inputs(module: &InferenceModule) -> Result<Vec<HostTensor>> {
    let input = |spec: &accelerant::TensorSpec| {
        let [_, shape, _] = spec.shape.profile();
        let len: usize = shape.iter().product();
        let values = (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0);
        match spec.dtype {
            DType::F16 => {
                let values: Vec<_> = values.map(half::f16::from_f32).collect();
                HostTensor::from_vec(shape, values)
            }
            _ => HostTensor::from_vec(shape, values.collect::<Vec<_>>()),
        }
    };
    Ok(module.signature().inputs.iter().map(input).collect::<accelerant::Result<_>>()?)
}

fn measure(file: &Path, args: &Args) -> Result<()> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let [network, dtype, batch] = *name.split('_').collect::<Vec<_>>() else {
        return Err(format!("`{name}` is not NETWORK_TYPE_BATCH").into());
    };
    let half = args.half || dtype == "f16";
    let wanted = match args.half && dtype == "f32" {
        true => options().precision(Precision::Fp16),
        false => options(),
    };
    let candle = if half { candle_core::DType::F16 } else { candle_core::DType::F32 };
    let modules = [
        InferenceModule::compile(&OnnxModel::open(file)?, &wanted)?,
        of_candle(network, candle, batch.parse()?)?,
    ];
    let inputs = [inputs(&modules[0])?, inputs(&modules[1])?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for i in 0..2 {
            times[i].push(device::median(&modules[i], &inputs[i], 0, args.iterations)?);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let [file_ms, candle_ms] = times.map(|times| times[times.len() / 2]);
    let line = serde_json::json!({
        "file": name,
        "half_by_precision": args.half && dtype == "f32",
        "file_ms": file_ms,
        "candle_ms": candle_ms,
        "ratio": file_ms / candle_ms,
    });
    println!("{line}");
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    args.files.iter().try_for_each(|file| measure(file, &args))
}
