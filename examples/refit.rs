//! A ResNet-50 gets other weights while threads run it: how long that takes, and that no request notices.
//!
//! `cargo run --release --features candle,tensorrt-rtx --example refit -- --threads 8 --exchanges 6`
//! runs on TensorRT-RTX, whose engine gets the weights in place. `--backend tract` and `--backend ort` build anew.

// As the other examples, of whose models this one has a part.
mod candle_models;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::cache::EngineCache;
use accelerant::candle::Trace;
use accelerant::export::{OnnxModel, Target};
use accelerant::{BackendKind, HostTensor, InferenceModule, OptimizeOptions, Registry};
use candle_core::{DType, Device, Tensor};
use candle_models::resnet::ResNet;
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Exchanges the weights of a ResNet-50 under load.
#[derive(Parser)]
struct Args {
    /// tensorrt-rtx, ort or tract.
    #[arg(long, default_value = "tensorrt-rtx")]
    backend: String,
    /// Threads that run the model.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// How often the weights change.
    #[arg(long, default_value_t = 6)]
    exchanges: usize,
    /// An engine that keeps its weights, for comparison.
    #[arg(long)]
    plain: bool,
}

/// A model of random weights.
struct Model(ResNet);

impl Model {
    fn new() -> Result<Self> {
        let weights = VarMap::new();
        let model =
            ResNet::new(50, 1000, VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu))?;
        Ok(Self(model))
    }

    fn export(&self, target: Target) -> accelerant::Result<OnnxModel> {
        let x = Tensor::zeros((1, 3, 224, 224), DType::F32, &Device::Cpu);
        let x =
            x.map_err(|e| accelerant::Error::new(accelerant::ErrorKind::Execution, e.to_string()))?;
        Trace::of(&self.0, &x, &OptimizeOptions::new())?.to_onnx(target)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let tensorrt = TensorRtOptions::default().refit(!args.plain);
    let mut registry = Registry::default();
    registry.push(TensorRt::rtx().with_options(tensorrt));
    let options = OptimizeOptions::new()
        .registry(registry)
        .cache(EngineCache::off())
        .require(BackendKind::from_name(&args.backend));
    let models = [Model::new()?, Model::new()?];
    let start = Instant::now();
    let module = InferenceModule::compile_with(|target| models[0].export(target), &options)?;
    println!("{}: compiled in {:.2} s", module.description(), start.elapsed().as_secs_f64());

    let values = (0..3 * 224 * 224).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0).collect();
    let x = [HostTensor::from_vec(&[1, 3, 224, 224][..], values)?];
    // What each set of weights gives, from a module of its own that is compiled once.
    let expected = [0, 1].map(|i| -> Result<HostTensor> {
        let alone = InferenceModule::compile_with(|target| models[i].export(target), &options)?;
        Ok(alone.run(&x)?.remove(0))
    });
    let [first, second] = expected;
    let expected = [first?, second?];

    let (done, wrong, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let exchanging = AtomicBool::new(false);
    let times = Mutex::new((Vec::new(), Vec::new()));
    thread::scope(|scope| -> Result<()> {
        for _ in 0..args.threads {
            scope.spawn(|| {
                let mut own = (Vec::new(), Vec::new());
                while !done.load(Ordering::Acquire) {
                    let during = exchanging.load(Ordering::Acquire);
                    let start = Instant::now();
                    match module.run(&x) {
                        Ok(outputs) if expected.iter().any(|e| near(e, &outputs[0])) => {
                            let list = if during { &mut own.1 } else { &mut own.0 };
                            list.push(start.elapsed());
                        }
                        Ok(_) => _ = wrong.fetch_add(1, Ordering::Relaxed),
                        Err(_) => _ = failed.fetch_add(1, Ordering::Relaxed),
                    }
                }
                let mut all = times.lock().expect("no thread panics");
                all.0.append(&mut own.0);
                all.1.append(&mut own.1);
            });
        }
        let exchanges = || -> Result<()> {
            for i in 1..=args.exchanges {
                thread::sleep(Duration::from_millis(500));
                exchanging.store(true, Ordering::Release);
                let start = Instant::now();
                let refit = module.refit_with(|target| models[i % 2].export(target))?;
                let took = start.elapsed().as_secs_f64();
                exchanging.store(false, Ordering::Release);
                let now = module.run(&x)?.remove(0);
                let right = near(&expected[i % 2], &now) && !near(&expected[(i + 1) % 2], &now);
                println!(
                    "exchange {i}: {took:.3} s, {refit:?}, then {}",
                    if right { "the new weights" } else { "WRONG" }
                );
                wrong.fetch_add(usize::from(!right), Ordering::Relaxed);
            }
            Ok(())
        };
        let result = exchanges();
        done.store(true, Ordering::Release);
        result
    })?;
    let mut all = times.into_inner()?;
    tell("between exchanges", &mut all.0);
    tell("during exchanges", &mut all.1);
    let (wrong, failed) = (wrong.into_inner(), failed.into_inner());
    println!("{wrong} wrong, {failed} failed");
    if wrong + failed > 0 { Err("a request was wrong or failed".into()) } else { Ok(()) }
}

fn near(expected: &HostTensor, got: &HostTensor) -> bool {
    let (Ok(expected), Ok(got)) = (expected.to_vec::<f32>(), got.to_vec::<f32>()) else {
        return false;
    };
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    expected.len() == got.len()
        && expected.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 5e-3 * largest)
}

fn tell(when: &str, times: &mut [Duration]) {
    times.sort();
    let at = |part: f64| {
        let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{when}: {} runs, p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
