//! Models from `.onnx` files in several precisions: how long each takes on a GPU, how large its plan is, how long it
//! takes to build, and how far its results are from those of 32 bits. One line of JSON a precision goes to stdout; a
//! precision that is refused has its error there. Without a GPU all is built, runs on ONNX Runtime and is not timed.
//!
//! `cargo run --release --features tensorrt-rtx,ort --example precision -- model.onnx --precisions mixed fp16 int8 --bind n=8`

#[path = "../shared/device.rs"]
mod device;
mod difference;
mod measure;
mod samples;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use accelerant::export::OnnxModel;
use accelerant::precision::{Auto, Method, Precision, PrecisionOptions};
use accelerant::{Dim, Registry, TimeLimit};
use clap::Parser;
use serde_json::json;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Measures .onnx models in several precisions on TensorRT-RTX")]
pub(crate) struct Args {
    /// The models.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Which precisions, after fp32.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["tf32", "mixed", "fp16", "bf16", "int8", "fp8", "int4-weights"])]
    precisions: Vec<Precision>,
    /// Sizes of symbols, such as `n=8`; of others, those of axis 0 are bound to 1, and the rest to 128.
    #[arg(long, num_args = 1..)]
    bind: Vec<String>,
    /// The seed of the random inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Integer inputs are below this, but for those whose name has `mask` in it, which are 1.
    #[arg(long, default_value_t = 1000)]
    tokens: u64,
    /// The keys that masks of integers show, of each row; all otherwise.
    #[arg(long)]
    keys: Option<usize>,
    /// Calls of which the median is taken.
    #[arg(long, default_value_t = 300)]
    iterations: usize,
    /// The CUDA device.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Random samples that ranges are measured on, counted along axis 0; 0 measures none.
    #[arg(long, default_value_t = 32)]
    calibrate: usize,
    /// How ranges are found: mse, entropy, min-max, or a percentile such as 0.9999.
    #[arg(long, default_value = "mse", value_parser = method)]
    method: Method,
    /// Batches that ranges are measured on at the same time.
    #[arg(long)]
    at_once: Option<usize>,
    /// Builds in the forms for compute capability 9.0, also where no GPU is.
    #[arg(long)]
    hopper: bool,
    /// Measures ranges with TensorRT-RTX rather than on the CPU.
    #[arg(long)]
    calibrate_on_gpu: bool,
    /// Ranges that were measured before, on real inputs. For one model.
    #[arg(long)]
    ranges: Option<PathBuf>,
    /// Layers that stay in 32 bits.
    #[arg(long, num_args = 1..)]
    keep: Vec<String>,
    /// Has `Auto` choose the fastest precision whose results lose no more than this, as cosines count it.
    #[arg(long)]
    auto: Option<f64>,
    /// Seconds after which `Auto` tries no more.
    #[arg(long)]
    auto_limit: Option<u64>,
    /// Writes the report of each precision to this folder.
    #[arg(long)]
    reports: Option<PathBuf>,
}

fn method(text: &str) -> Result<Method, String> {
    Ok(match text {
        "mse" => Method::Mse,
        "entropy" => Method::Entropy,
        "min-max" => Method::MinMax,
        _ => Method::Percentile(text.parse().map_err(|_| format!("no method is called {text}"))?),
    })
}

fn main() -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args = Args::parse();
    let bench = measure::Bench::new(&args);
    for path in &args.models {
        if let Err(error) = all(path, &bench, &args) {
            println!("{}", json!({ "model": name(path), "error": told(&*error) }));
        }
    }
    Ok(())
}

/// One model in all precisions.
fn all(path: &Path, bench: &measure::Bench, args: &Args) -> Result<()> {
    let model = bound(OnnxModel::open(path)?, args)?;
    let inputs = samples::inputs(&model, args, args.seed)?;
    let expected = bench.expected(&model, &inputs)?;
    let ranged = |precision: &Precision| {
        !matches!(precision, Precision::Fp32 | Precision::Tf32 | Precision::Mixed)
    };
    let ranges = match args.auto.is_some() || args.precisions.iter().any(ranged) {
        true => samples::ranges(path, &model, args)?,
        false => None,
    };
    let asked = args.precisions.iter().copied().filter(|p| *p != Precision::Fp32);
    if let Some(max_drop) = args.auto {
        let auto = ranges.into_iter().fold(Auto::new(max_drop), Auto::ranges);
        let limit = args.auto_limit.map(|seconds| TimeLimit::of(Duration::from_secs(seconds)));
        let auto = limit.iter().fold(auto, Auto::time_limit);
        return bench.chosen(&model, &name(path), &auto, inputs);
    }
    let mut expected = expected;
    for precision in std::iter::once(Precision::Fp32).chain(asked) {
        let mut wanted = PrecisionOptions::new(precision);
        if !matches!(precision, Precision::Fp32 | Precision::Tf32) {
            wanted = wanted.keep(args.keep.clone());
            if let Some(ranges) = &ranges {
                wanted = wanted.ranges(ranges.clone());
            }
        }
        let mut line = match bench.measured(&model, &name(path), wanted, &inputs, &mut expected) {
            Ok(line) => line,
            Err(error) => json!({ "error": told(&*error) }),
        };
        line["model"] = name(path).into();
        line["precision"] = precision.name().into();
        line["batch"] = inputs.first().and_then(|input| input.shape().first().copied()).into();
        println!("{line}");
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// An error with its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The model with one size for each symbol.
fn bound(model: OnnxModel, args: &Args) -> Result<OnnxModel> {
    let signature = model.signature().clone();
    let mut bound = model;
    let mut done = Vec::new();
    for (axis, dim) in signature.inputs.iter().flat_map(|spec| spec.shape.dims().iter().enumerate())
    {
        let Dim::Symbol(symbol) = dim else { continue };
        let symbol = symbol.name().to_owned();
        if done.contains(&symbol) {
            continue;
        }
        let stated = args.bind.iter().filter_map(|size| size.split_once('='));
        let stated = stated.filter(|(name, _)| *name == symbol).map(|(_, size)| size).next();
        let size = match stated {
            Some(size) => size.parse()?,
            None if axis == 0 => 1,
            None => 128,
        };
        bound = bound.bind(&symbol, size..=size)?;
        done.push(symbol);
    }
    Ok(bound)
}

/// The runtimes of the CPU.
pub(crate) fn portable() -> Registry {
    #[allow(unused_mut, reason = "without its feature ONNX Runtime is not added")]
    let mut portable = Registry::empty();
    #[cfg(feature = "ort")]
    portable.push(accelerant::backend::ort::Ort);
    portable.push(accelerant::backend::tract::Tract);
    portable
}
