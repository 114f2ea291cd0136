//! What a program does between its start and its first result when the engine is in the cache, phase by phase.
//!
//! `cargo run --release --features tensorrt-rtx --example warm_start -- model.onnx other.onnx`
//!
//! Each start is a process of its own. The first builds the engine into a cache of this example's own. Without a GPU, a
//! start ends where the engine would be loaded.

use std::{env, path::Path, process::Command, time::Instant};

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::export::OnnxModel;
use accelerant::{BackendKind, HostTensor, InferenceModule, OptimizeOptions, Registry, Result};

/// Where a start finds its cache.
const CACHE: &str = "ACCELERANT_WARM_START_CACHE";

/// How often each model is started.
const STARTS: usize = 4;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let models: Vec<_> = env::args_os().skip(1).collect();
    if let (Some(cache), [model]) = (env::var_os(CACHE), &*models) {
        println!("{}", started(model.as_ref(), cache.as_ref(), start)?);
        return Ok(());
    }
    if models.is_empty() {
        println!("which models? warm_start model.onnx …");
    }
    for model in &models {
        println!("{}", Path::new(model).display());
        let folder = tempfile::tempdir()?;
        for number in 0..STARTS {
            let mut command = Command::new(env::current_exe()?);
            let asked = Instant::now();
            let output = command.arg(model).env(CACHE, folder.path().join("engines")).output()?;
            let whole = asked.elapsed().as_secs_f64();
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            let told = String::from_utf8_lossy(&output.stdout);
            let what = if number == 0 { "builds" } else { "warm" };
            println!("  {what:<7} {whole:.3} s with the process: {}", told.trim());
        }
    }
    Ok(())
}

/// One start: the seconds of each phase.
fn started(path: &Path, cache: &Path, start: Instant) -> Result<String> {
    let model = OnnxModel::open(path)?;
    let opened = start.elapsed();
    // The forms for compute capability 9.0 cost most: weights of linear layers are turned.
    let rtx = TensorRt::rtx().with_options(TensorRtOptions::default().hopper_forms(true));
    let options = OptimizeOptions::new().cache(cache).registry(Registry::default().with(rtx));
    let options = options.require(BackendKind::TensorRtRtx);
    let module = InferenceModule::compile(&model, &options);
    let report = match module {
        Ok(module) => {
            let inputs = module.signature().inputs.iter().map(|spec| {
                let [_, shape, _] = spec.shape.profile();
                let bytes = vec![0u8; shape.iter().product::<usize>() * spec.dtype.size()];
                HostTensor::from_bytes(spec.dtype, shape, bytes)
            });
            module.run(&inputs.collect::<Result<Vec<_>>>()?)?;
            module.report()
        }
        Err(reason) => {
            eprintln!("nothing is loaded: {reason}");
            InferenceModule::build(&model, &options)?.1
        }
    };
    let ready = start.elapsed();
    let mut told = format!("open {:.3}", opened.as_secs_f64());
    for phase in &report.phases {
        told += &format!(", {} {:.3}", phase.phase, phase.time.as_secs_f64());
    }
    if let Some(run) = report.first_run {
        told += &format!(", first run {:.3}", run.as_secs_f64());
    }
    Ok(format!("{told}; all {:.3}, cache {}", ready.as_secs_f64(), report.cache))
}
