//! A case in a process of its own: this test binary, asked for one test.

use std::{env, fmt, path::PathBuf, process::Command};

use accelerant::cache::EngineCache;
use accelerant::candle::{OptimizeTrt, Trace};
use accelerant::export::{OnnxModel, Target};
use accelerant::{BackendKind, InferenceModule, OptimizeOptions, Registry};
use candle_core::{DType, Device, Tensor};

use super::{common, models};

const CASE: &str = "ACCELERANT_LARGE_MODEL";

/// Where the weights are before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum From {
    File,
    Candle,
}

/// What is made of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum To {
    /// TensorRT-RTX's plan.
    Plan,
    /// A plan whose weights may stay on the host.
    StreamedPlan,
    /// A session of ONNX Runtime.
    OnnxRuntime,
}

pub(crate) struct Case {
    pub(crate) from: From,
    pub(crate) to: To,
    pub(crate) size: [usize; 2],
    pub(crate) path: PathBuf,
}

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    weights: f64,
    /// Before anything of the model is there.
    before: f64,
    /// As the model is there, and nothing is built.
    model: f64,
    most: f64,
}

impl Measured {
    /// The most at a time, with the model, in weights.
    pub(crate) fn whole(&self) -> f64 {
        (self.most - self.before) / self.weights
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |bytes: f64| (bytes - self.before) / self.weights;
        let [before, most] = [self.before, self.most].map(|bytes| bytes / 1e6);
        write!(
            f,
            "{:.2} times the weights at most, {:.2} as the model is read ({before:.0} MB before, {most:.0} MB at most)",
            times(self.most),
            times(self.model)
        )
    }
}

/// Measures a case; `None` where its library is not there.
pub(crate) fn measure(case: &Case) -> Option<Measured> {
    let Case { from, to, size: [width, layers], path } = case;
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "process::of_a_case", "--nocapture", "--test-threads=1"]);
    command.env(CASE, format!("{from:?},{to:?},{width},{layers},{}", path.display()));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{from:?} to {to:?}: {text}{told}");
    if text.contains("not here") {
        common::skipped("large models", format!("{to:?} is not here"));
        return None;
    }
    let line = text.lines().find_map(|line| line.split_once("measured ")).unwrap().1;
    let mut numbers = line.split(' ').map(|number| number.parse::<f64>().unwrap());
    let [before, model, most] = [(); 3].map(|()| numbers.next().unwrap());
    Some(Measured { weights: (width * width * layers * 4) as f64, before, model, most })
}

#[test]
fn of_a_case() {
    let Ok(case) = env::var(CASE) else { return };
    let parts: Vec<&str> = case.splitn(5, ',').collect();
    let [from, to, width, layers, path] = parts[..] else { panic!("{case}") };
    let size = [width, layers].map(|number| number.parse::<usize>().unwrap());
    let Some(options) = options(to) else {
        println!("not here");
        return;
    };
    // What libraries take for themselves comes first.
    build("Candle", to, [8, 2], "", &options, &|| {});
    forget_peak();
    let before = resident("VmRSS:");
    let model = std::cell::Cell::new(0.0);
    build(from, to, size, path, &options, &|| model.set(resident("VmHWM:")));
    println!("\nmeasured {before} {} {}", model.get(), resident("VmHWM:"));
}

fn options(to: &str) -> Option<OptimizeOptions> {
    let registry = Registry::default();
    let options = OptimizeOptions::new().cache(EngineCache::off());
    #[cfg(feature = "tensorrt-rtx")]
    if to != "OnnxRuntime" {
        use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
        let rtx = TensorRtOptions::default().weight_streaming(to == "StreamedPlan");
        let rtx = TensorRt::rtx().with_options(rtx);
        rtx.library_version().ok()?;
        return Some(options.registry(registry.with(rtx)).require(BackendKind::TensorRtRtx));
    }
    let found = registry.backends().iter().find(|backend| backend.kind() == BackendKind::Ort)?;
    (to == "OnnxRuntime" && found.probe().is_ok()).then(|| options.require(BackendKind::Ort))
}

fn build(
    from: &str,
    to: &str,
    size: [usize; 2],
    path: &str,
    options: &OptimizeOptions,
    read: &dyn Fn(),
) {
    if from == "File" {
        let model = OnnxModel::open(path).unwrap();
        read();
        match to {
            "OnnxRuntime" => drop(InferenceModule::compile(&model, options).unwrap()),
            _ => drop(InferenceModule::build(&model, options).unwrap()),
        }
        return;
    }
    let net = models::Net::new(size);
    read();
    let x = Tensor::zeros((1, size[0]), DType::F32, &Device::Cpu).unwrap();
    match to {
        "OnnxRuntime" => drop(net.optimize_trt_with(&x, options).unwrap()),
        _ => {
            let trace = Trace::of(&net, &x, options).unwrap();
            let model = trace.to_onnx(Target::tensorrt()).unwrap();
            drop(InferenceModule::build(&model, options).unwrap());
        }
    }
}

/// A line of the kernel's account of this process.
fn resident(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    let kib: f64 = found.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap();
    kib * 1024.0
}

/// The peak begins anew.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
