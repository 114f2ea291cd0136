//! Runs `.onnx` files on TensorRT-RTX, compares every output with the one that their framework computed, and times them.
//!
//! Beside `NAME.onnx` stands `NAME.safetensors` with the inputs as `in.INPUT` and the outputs as `out.OUTPUT`.
//! `benches/python/torch_files.py` writes such pairs with torch.
//! One line of JSON a file goes to stdout: the largest difference in parts of the output's largest value, and the
//! median device time of a call with CUDA graphs, by CUDA events, in milliseconds.
//!
//! `cargo run --release --features tensorrt-rtx --example against_torch -- models/*.onnx`

#[path = "shared/device.rs"]
mod device;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::export::OnnxModel;
use accelerant::{BackendKind, DType, HostTensor, InferenceModule, OptimizeOptions, Registry};
use clap::Parser;
use safetensors::SafeTensors;
use serde_json::json;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Compares .onnx files on TensorRT-RTX with outputs that are stored beside them")]
struct Args {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Ends with status 1 if an output differs by more than this part of its largest value.
    #[arg(long, default_value_t = f64::INFINITY)]
    tolerance: f64,
    /// Timed calls.
    #[arg(long, default_value_t = 300)]
    iterations: usize,
    /// TensorRT's CUDA device.
    #[arg(long, default_value_t = 0)]
    device: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut failed = false;
    for file in &args.files {
        match measure(file, &args) {
            Ok(difference) if difference <= args.tolerance => {}
            Ok(difference) => {
                eprintln!("{}: an output differs by {difference:.2e}", file.display());
                failed = true;
            }
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// The tensor `name` of a file of stored tensors.
fn stored(tensors: &SafeTensors<'_>, name: &str) -> Result<HostTensor> {
    let view = tensors.tensor(name).map_err(|error| format!("{name}: {error}"))?;
    let dtype = match view.dtype() {
        safetensors::Dtype::F32 => DType::F32,
        safetensors::Dtype::F16 => DType::F16,
        safetensors::Dtype::BF16 => DType::BF16,
        safetensors::Dtype::I64 => DType::I64,
        safetensors::Dtype::I32 => DType::I32,
        safetensors::Dtype::BOOL => DType::Bool,
        other => return Err(format!("{name}: {other:?} is not read").into()),
    };
    Ok(HostTensor::from_bytes(dtype, view.shape().to_vec(), view.data().to_vec())?)
}

/// The values as numbers of 64 bits.
fn numbers(tensor: &HostTensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::F16 => tensor.to_vec::<half::f16>()?.into_iter().map(f64::from).collect(),
        DType::BF16 => tensor.to_vec::<half::bf16>()?.into_iter().map(f64::from).collect(),
        DType::I64 => tensor.to_vec::<i64>()?.into_iter().map(|x| x as f64).collect(),
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::Bool => {
            tensor.to_vec::<bool>()?.into_iter().map(|x| f64::from(u8::from(x))).collect()
        }
        _ => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}

/// The largest difference in parts of the largest expected value. A NaN is infinitely far.
fn difference(expected: &HostTensor, got: &HostTensor) -> Result<f64> {
    if expected.shape() != got.shape() || expected.dtype() != got.dtype() {
        return Err(format!("{expected:?} was expected, the module gives {got:?}").into());
    }
    let (expected, got) = (numbers(expected)?, numbers(got)?);
    let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let furthest = expected.iter().zip(&got).map(|(x, y)| (x - y).abs());
    let furthest =
        furthest.fold(0.0, |most: f64, x| if x.is_nan() { f64::INFINITY } else { most.max(x) });
    Ok(if furthest == 0.0 { 0.0 } else { furthest / largest })
}

fn measure(file: &Path, args: &Args) -> Result<f64> {
    let bytes = std::fs::read(file.with_extension("safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let tensorrt = TensorRtOptions::default().device(args.device).cuda_graph(true);
    let registry = Registry::empty().with(TensorRt::rtx().with_options(tensorrt));
    let options = OptimizeOptions::new().registry(registry).require(BackendKind::TensorRtRtx);
    let start = Instant::now();
    let module = InferenceModule::compile(&OnnxModel::open(file)?, &options)?;
    let compiled = start.elapsed();

    let signature = module.signature();
    let inputs = signature.inputs.iter().map(|spec| stored(&tensors, &format!("in.{}", spec.name)));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let mut furthest = 0.0_f64;
    let outputs = module.run(&inputs)?;
    for (spec, got) in signature.outputs.iter().zip(&outputs) {
        let expected = stored(&tensors, &format!("out.{}", spec.name))?;
        let difference =
            difference(&expected, got).map_err(|error| format!("{}: {error}", spec.name))?;
        furthest = furthest.max(difference);
    }
    let time = device::median(&module, &inputs, args.device, args.iterations)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let line = json!({
        "file": name,
        "difference": furthest,
        "device_ms": time,
        "compile_s": compiled.as_secs_f64(),
        "backend": module.description(),
    });
    println!("{line}");
    Ok(furthest)
}
