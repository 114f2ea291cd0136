//! From a trained model to TensorRT in one call, with Burn and with Candle: trains a small
//! convolutional network on the UCI digits with each, optimizes it, and compares the two.
//!
//! `cargo xtask demo` runs it with everything it needs.

#![allow(unreachable_pub)]

mod burn_net;
mod candle_net;
mod data;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use accelerant::burn::OptimizeTrt as _;
use accelerant::candle::{Forward as _, OptimizeTrt as _};
use accelerant::pipeline::{Pipeline, softmax, top_k};
use accelerant::{BackendKind, InferenceModule, OptimizeOptions};
use burn::tensor::Device;
use clap::Parser;
use ndarray::{Array2, Array4, ArrayView3, Axis, s};

use data::Digits;
use report::{Report, Timing};

const SEED: u64 = 42;
const BATCH: usize = 64;

/// Trains on the digits with Burn and Candle, and runs both on TensorRT or the portable backend.
#[derive(Parser)]
struct Arguments {
    /// Folder for the .onnx and .engine files.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
    /// Passes over the training set.
    #[arg(long, default_value_t = 8)]
    epochs: usize,
    /// Compares results only, not speed.
    #[arg(long)]
    no_timing: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.out)?;
    let (training, test) = data::load();
    println!("{} images to train, {} to test", training.len(), test.len());

    let start = Instant::now();
    let burn = burn_net::train(&training, SEED, arguments.epochs);
    println!("Burn: trained in {:.1?}", start.elapsed());
    let start = Instant::now();
    let (_, candle) = candle_net::train(&training, SEED, arguments.epochs)?;
    println!("Candle: trained in {:.1?}", start.elapsed());

    let reports = [with_burn(&burn, &test, &arguments)?, with_candle(&candle, &test, &arguments)?];
    println!("\n{}", report::table(&reports));
    for report in &reports {
        report.check()?;
    }
    println!("models and engines are in {}", arguments.out.display());
    Ok(())
}

/// The same options for both: any batch up to 64, and the files to look at.
fn options(out: &Path, name: &str) -> accelerant::Result<OptimizeOptions> {
    Ok(OptimizeOptions::new()
        .name(name)
        .dynamic_batch(1..=BATCH)
        .input_names(["pixels"])
        .output_names(["scores"])
        .save_onnx(out.join(format!("{name}.onnx")))
        .save_engine(out.join(format!("{name}.engine"))))
}

fn with_burn(
    net: &burn_net::Net,
    test: &Digits,
    arguments: &Arguments,
) -> Result<Report, Box<dyn Error>> {
    let device = Device::flex();
    let tensor = |images: &Array4<f32>| burn_net::tensor(images, &device);
    let example = tensor(&images(test, 1));
    let fast = net.optimize_trt_with(
        example,
        burn_net::Net::forward,
        &options(&arguments.out, "digits-burn")?,
    )?;

    let scores = |scores: burn::tensor::Tensor<2>| -> Result<Array2<f32>, Box<dyn Error>> {
        let [rows, columns] = scores.dims();
        Ok(Array2::from_shape_vec(
            (rows, columns),
            scores.into_data().try_to_vec::<f32>().map_err(|e| format!("{e:?}"))?,
        )?)
    };
    let native = by_batches(test, |images| scores(net.forward(tensor(images))))?;
    let optimized = by_batches(test, |images| scores(fast.try_forward(tensor(images))?))?;

    let (one, many) = (tensor(&images(test, 1)), tensor(&images(test, BATCH)));
    let native_time =
        |x: &burn::tensor::Tensor<4>| report::median(|| drop(net.forward(x.clone()).into_data()));
    let fast_time =
        |x: &burn::tensor::Tensor<4>| report::median(|| drop(fast.forward(x.clone()).into_data()));
    let timings = (!arguments.no_timing).then(|| {
        [
            Timing { latency: native_time(&one), batch: native_time(&many) },
            Timing { latency: fast_time(&one), batch: fast_time(&many) },
        ]
    });
    Ok(summary("Burn", fast.inference(), test, [&native, &optimized], timings))
}

fn with_candle(
    net: &candle_net::DigitsNet,
    test: &Digits,
    arguments: &Arguments,
) -> Result<Report, Box<dyn Error>> {
    let device = candle_core::Device::Cpu;
    let tensor = |images: &Array4<f32>| {
        let values: Vec<f32> = images.iter().copied().collect();
        candle_core::Tensor::from_vec(values, images.shape(), &device)
    };
    let example = tensor(&images(test, 1))?;
    let fast = net.optimize_trt_with(&example, &options(&arguments.out, "digits-candle")?)?;

    show(fast.inference(), test)?;

    let scores = |scores: candle_core::Tensor| -> Result<Array2<f32>, Box<dyn Error>> {
        let (rows, columns) = scores.dims2()?;
        Ok(Array2::from_shape_vec((rows, columns), scores.flatten_all()?.to_vec1()?)?)
    };
    let native = by_batches(test, |images| scores(net.forward(&tensor(images)?)?))?;
    let optimized = by_batches(test, |images| scores(fast.forward(&tensor(images)?)?))?;

    let (one, many) = (tensor(&images(test, 1))?, tensor(&images(test, BATCH))?);
    let native_time = |x: &candle_core::Tensor| report::median(|| drop(net.forward(x)));
    let fast_time = |x: &candle_core::Tensor| report::median(|| drop(fast.forward(x)));
    let timings = (!arguments.no_timing).then(|| {
        [
            Timing { latency: native_time(&one), batch: native_time(&many) },
            Timing { latency: fast_time(&one), batch: fast_time(&many) },
        ]
    });
    Ok(summary("Candle", fast.inference(), test, [&native, &optimized], timings))
}

/// Some images, one by one, each with its likeliest digits: a pipeline from an image to those.
fn show(module: &InferenceModule, test: &Digits) -> Result<(), Box<dyn Error>> {
    let read = Pipeline::new(module.clone())
        .pre(|image: &ArrayView3<f32>| image.to_owned())
        .post(|scores| top_k(&softmax(&scores[0], 0)?, 2));
    let images = test.images.outer_iter().step_by(100);
    for (label, best) in test.labels.iter().step_by(100).zip(read.run_batch(images)?) {
        let best = best.iter().map(|(digit, p)| format!("{digit} ({:.1} %)", 100.0 * p));
        println!("a {label}, read as {}", best.collect::<Vec<_>>().join(" or "));
    }
    Ok(())
}

fn images(digits: &Digits, count: usize) -> Array4<f32> {
    digits.images.slice(s![..count, .., .., ..]).to_owned()
}

/// Scores of all images, in batches of 64; the last one is smaller.
fn by_batches(
    digits: &Digits,
    mut run: impl FnMut(&Array4<f32>) -> Result<Array2<f32>, Box<dyn Error>>,
) -> Result<Array2<f32>, Box<dyn Error>> {
    let mut scores = Array2::zeros((0, 10));
    for batch in digits.images.axis_chunks_iter(Axis(0), BATCH) {
        scores.append(Axis(0), run(&batch.to_owned())?.view())?;
    }
    Ok(scores)
}

fn summary(
    framework: &'static str,
    inference: &InferenceModule,
    test: &Digits,
    [native, optimized]: [&Array2<f32>; 2],
    timings: Option<[Timing; 2]>,
) -> Report {
    let difference = native.iter().zip(optimized).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // TF32 has 10 bits of mantissa, and the network is four products deep.
    let tolerance = if matches!(inference.backend(), BackendKind::Ort | BackendKind::Tract) {
        1e-5
    } else {
        5e-3
    };
    // The file that was loaded is of no interest here.
    let description = inference.description();
    let backend = description.split(" from ").next().unwrap_or_default().to_owned();
    let reasons = inference.rejected().iter().map(ToString::to_string);
    Report {
        framework,
        backend,
        reasons: reasons.collect(),
        native_accuracy: report::accuracy(native, &test.labels),
        optimized_accuracy: report::accuracy(optimized, &test.labels),
        difference,
        largest: native.iter().fold(0.0, |max, score| score.abs().max(max)),
        tolerance,
        engine_size: inference.engine().plan().len(),
        engine_by: inference.engine().library().to_owned(),
        build_time: inference.engine().build_time(),
        timings,
        batch: BATCH,
    }
}
