//! A model from an `.onnx` file in several precisions: how long each takes on a GPU, how large its plan is, and how far
//! its results are from those of 32 bits. One line of JSON a precision goes to stdout. Without a GPU all is built and
//! nothing is timed.
//!
//! `cargo run --release --features tensorrt-rtx --example precision -- model.onnx --precisions mixed fp16 int8`

#[path = "../shared/device.rs"]
mod device;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::export::OnnxModel;
use accelerant::precision::{
    Calibration, Method, Precision, PrecisionOptions, PrecisionReport, Ranges,
};
use accelerant::{BackendKind, DType, Dim, HostTensor, InferenceModule, OptimizeOptions, Registry};
use clap::Parser;
use ndarray::ArrayD;
use serde_json::{Value, json};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Measures an .onnx model in several precisions on TensorRT-RTX")]
struct Args {
    /// The model.
    model: PathBuf,
    /// Which precisions, after fp32, with which all are compared.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["tf32", "mixed", "fp16", "bf16", "int8", "fp8", "int4-weights"])]
    precisions: Vec<Precision>,
    /// The size of axis 0 of every input that has one to be bound.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Sizes of other symbols, such as `length=128`; those that are not named are bound to 128.
    #[arg(long, num_args = 1..)]
    sizes: Vec<String>,
    /// The seed of the random inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Integer inputs are below this, but for those whose name has `mask` in it, which are 1.
    #[arg(long, default_value_t = 1000)]
    tokens: u64,
    /// Calls of which the median is taken.
    #[arg(long, default_value_t = 300)]
    iterations: usize,
    /// The CUDA device.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Batches of random inputs that ranges are measured on; 0 measures none.
    #[arg(long, default_value_t = 8)]
    samples: usize,
    /// Ranges that were measured before, on real inputs.
    #[arg(long)]
    ranges: Option<PathBuf>,
    /// Layers that stay in 32 bits.
    #[arg(long, num_args = 1..)]
    keep: Vec<String>,
    /// Writes the report of each precision to this folder.
    #[arg(long)]
    reports: Option<PathBuf>,
}

fn main() -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args = Args::parse();
    let model = bound(OnnxModel::open(&args.model)?, &args)?;
    let options = TensorRtOptions::default().device(args.device).cuda_graph(true);
    let backend = TensorRt::rtx().with_options(options);
    let runs = match backend.probe() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("nothing is timed: {reason}");
            false
        }
    };
    let inputs = inputs(&model, &args, args.seed)?;
    let ranges = ranges(&model, &args)?;
    let all = std::iter::once(Precision::Fp32);
    let asked = args.precisions.iter().copied().filter(|p| *p != Precision::Fp32);
    let mut expected = None;
    for precision in all.chain(asked) {
        let mut wanted = PrecisionOptions::new(precision);
        if !matches!(precision, Precision::Fp32 | Precision::Tf32) {
            wanted = wanted.keep(args.keep.clone());
            if let Some(ranges) = &ranges {
                wanted = wanted.ranges(ranges.clone());
            }
        }
        let mut line = match measured(&backend, &model, wanted, runs, &inputs, &args, &mut expected)
        {
            Ok(line) => line,
            Err(error) => json!({ "error": error.to_string() }),
        };
        line["model"] = args.model.file_stem().map(|name| name.to_string_lossy()).into();
        line["precision"] = precision.name().into();
        line["batch"] = args.batch.into();
        println!("{line}");
    }
    Ok(())
}

/// One precision: what it came to, and where a GPU is, how long it took.
fn measured(
    backend: &TensorRt,
    model: &OnnxModel,
    wanted: PrecisionOptions,
    runs: bool,
    inputs: &[HostTensor],
    args: &Args,
    expected: &mut Option<Vec<HostTensor>>,
) -> Result<Value> {
    let precision = wanted.precision();
    let start = Instant::now();
    if !runs {
        let model = model.with_precision(backend.target(), wanted)?;
        let engine = backend.build(&model)?;
        let report = model.precision_report().ok_or("a precision was asked for")?;
        save(report, args.reports.as_deref())?;
        return Ok(json!({
            "plan_bytes": engine.plan().len(),
            "build_s": start.elapsed().as_secs_f64(),
            "layers": counts(report),
        }));
    }
    let registry = Registry::empty().with(backend.clone()).require(BackendKind::TensorRtRtx);
    let options = OptimizeOptions::new().registry(registry).precision(wanted);
    let module = InferenceModule::compile(model, &options)?;
    let build = start.elapsed().as_secs_f64();
    let report = module.precision_report().ok_or("a precision was asked for")?;
    save(report, args.reports.as_deref())?;
    let outputs = module.run(inputs)?;
    let latency = device::median(&module, inputs, args.device, args.iterations)?;
    let mut line = json!({
        "plan_bytes": module.engine().plan().len(),
        "build_s": build,
        "layers": counts(report),
        "latency_ms": latency,
        "iterations": args.iterations,
    });
    match expected {
        None if precision == Precision::Fp32 => *expected = Some(outputs),
        None => {}
        Some(expected) => line["differs"] = difference(&outputs, expected)?,
    }
    Ok(line)
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
        let stated = args.sizes.iter().filter_map(|size| size.split_once('='));
        let stated = stated.filter(|(name, _)| *name == symbol).map(|(_, size)| size).next();
        let size = match stated {
            Some(size) => size.parse()?,
            None if axis == 0 => args.batch,
            None => 128,
        };
        bound = bound.bind(&symbol, size..=size)?;
        done.push(symbol);
    }
    Ok(bound)
}

/// Random inputs: numbers of -1..1, and integers below a number.
fn inputs(model: &OnnxModel, args: &Args, seed: u64) -> Result<Vec<HostTensor>> {
    let mut state = seed;
    let mut next = move || {
        // splitmix64
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut inputs = Vec::new();
    for spec in &model.signature().inputs {
        let shape = spec.shape.fixed().ok_or_else(|| format!("{spec} has a size of its own"))?;
        let whole = spec.name.contains("mask");
        let mut integer = || if whole { 1 } else { next() % args.tokens.max(1) };
        inputs.push(match spec.dtype {
            DType::I64 => ArrayD::from_shape_simple_fn(shape, || integer() as i64).into(),
            DType::I32 => ArrayD::from_shape_simple_fn(shape, || integer() as i32).into(),
            DType::Bool => ArrayD::from_elem(shape, true).into(),
            DType::F32 if whole => ArrayD::from_elem(shape, 1f32).into(),
            DType::F32 => ArrayD::from_shape_simple_fn(shape, || {
                (next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .into(),
            other => return Err(format!("`{}` is {other}: no numbers for it", spec.name).into()),
        });
    }
    Ok(inputs)
}

/// What was measured before, or on random inputs now, on the CPU.
fn ranges(model: &OnnxModel, args: &Args) -> Result<Option<Ranges>> {
    if let Some(path) = &args.ranges {
        return Ok(Some(Ranges::open(path)?));
    }
    if args.samples == 0 {
        return Ok(None);
    }
    let start = Instant::now();
    let seeds = (0..args.samples as u64).map(|i| args.seed + 1000 + i);
    let batches = seeds.map(|seed| inputs(model, args, seed)).collect::<Result<Vec<_>>>()?;
    #[allow(unused_mut, reason = "without its feature ONNX Runtime is not added")]
    let mut portable = Registry::empty();
    #[cfg(feature = "ort")]
    portable.push(accelerant::backend::ort::Ort);
    portable.push(accelerant::backend::tract::Tract);
    let calibration = Calibration::new(Method::Mse).least_samples(1);
    let ranges = calibration.run(model, &portable, batches)?;
    eprintln!("ranges of {} samples in {:.1?}", ranges.samples(), start.elapsed());
    Ok(Some(ranges))
}

/// How many layers have which type.
fn counts(report: &PrecisionReport) -> Value {
    let mut counts = std::collections::BTreeMap::new();
    for layer in &report.layers {
        *counts.entry(layer.precision.as_str()).or_insert(0) += 1;
    }
    json!(counts)
}

fn save(report: &PrecisionReport, folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    Ok(report.save(folder.join(format!("{}.json", report.precision)))?)
}

/// The largest difference of an output as a part of its largest value, and the least cosine.
fn difference(outputs: &[HostTensor], expected: &[HostTensor]) -> Result<Value> {
    let (mut part, mut cosine) = (0f64, 1f64);
    for (got, expected) in outputs.iter().zip(expected) {
        if got.dtype() != DType::F32 {
            continue;
        }
        let (got, expected) = (got.to_vec::<f32>()?, expected.to_vec::<f32>()?);
        let pairs = || got.iter().zip(&expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let largest = pairs().fold(0f64, |most, (_, b)| most.max(b.abs()));
        let apart = pairs()
            .fold(0f64, |most, (a, b)| if a.is_nan() { f64::NAN } else { most.max((a - b).abs()) });
        let sum = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
        part = part.max(apart / largest);
        cosine =
            cosine.min(sum(|(a, b)| a * b) / (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt());
    }
    Ok(json!({ "part_of_largest": part, "cosine": cosine }))
}
