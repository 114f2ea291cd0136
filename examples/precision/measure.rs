//! One model in one precision: what it came to, and where a GPU is, how long a call takes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::cache::EngineCache;
use accelerant::export::OnnxModel;
use accelerant::precision::{Auto, Precision, PrecisionOptions, PrecisionReport};
use accelerant::{
    BackendKind, HostTensor, InferenceModule, OptimizeOptions, Phase, Progress, Registry,
};
use serde_json::{Value, json};

use crate::difference::difference;
use crate::{Args, Result, device, portable};

/// What runs, and how often.
pub(crate) struct Bench {
    backend: TensorRt,
    runs: bool,
    device: usize,
    iterations: usize,
    reports: Option<PathBuf>,
}

impl Bench {
    /// TensorRT-RTX, where it has a GPU; else it only builds.
    pub(crate) fn new(args: &Args) -> Self {
        let options = TensorRtOptions::default().device(args.device).cuda_graph(true);
        let options = if args.hopper { options.hopper_forms(true) } else { options };
        let backend = TensorRt::rtx().with_options(options);
        let probed = backend.probe();
        if let Err(reason) = &probed {
            eprintln!("nothing is timed: {reason}");
        }
        let (device, iterations) = (args.device, args.iterations);
        let reports = args.reports.clone();
        Self { backend, runs: probed.is_ok(), device, iterations, reports }
    }

    /// Results of 32 bits of another runtime; none where it cannot run the model: then those of TensorRT in fp32 serve.
    pub(crate) fn expected(
        &self,
        model: &OnnxModel,
        inputs: &[HostTensor],
    ) -> Result<Option<Vec<HostTensor>>> {
        let compiled = portable().compile(|target| model.for_target(target));
        match compiled.and_then(|compiled| compiled.executable.run(inputs)) {
            Ok(outputs) => Ok(Some(outputs)),
            Err(reason) => {
                eprintln!("compared with TensorRT in fp32: {reason}");
                Ok(None)
            }
        }
    }

    /// One precision.
    pub(crate) fn measured(
        &self,
        model: &OnnxModel,
        model_name: &str,
        wanted: PrecisionOptions,
        inputs: &[HostTensor],
        expected: &mut Option<Vec<HostTensor>>,
    ) -> Result<Value> {
        let precision = wanted.precision();
        let start = Instant::now();
        let (mut line, outputs) = match self.runs {
            true => self.timed(model, model_name, wanted, inputs, start)?,
            false => self.built(model, model_name, wanted, inputs, start)?,
        };
        match (&*expected, outputs) {
            (Some(expected), Some(outputs)) => line["differs"] = difference(&outputs, expected)?,
            (None, outputs) if precision == Precision::Fp32 => *expected = outputs,
            _ => {}
        }
        Ok(line)
    }

    /// What `Auto` takes, with all that it tried. Each step goes to stderr.
    pub(crate) fn chosen(
        &self,
        model: &OnnxModel,
        model_name: &str,
        auto: &Auto,
        inputs: Vec<HostTensor>,
    ) -> Result<()> {
        let start = Instant::now();
        let told = move |event: Progress<'_>| {
            if let Progress::Step { phase: Phase::Search, part, .. } = event {
                eprintln!("{:6.1} s: {part}", start.elapsed().as_secs_f64());
            }
            ControlFlow::Continue(())
        };
        let registry = Registry::empty().with(self.backend.clone());
        let options = OptimizeOptions::new().registry(registry).cache(EngineCache::off());
        let (chosen, tried) = auto.run(model, &options.progress(told), &portable(), &[inputs])?;
        for tried in &tried {
            eprintln!("{tried}");
        }
        let line = json!({
            "model": model_name,
            "chosen": chosen.precision().name(),
            "tried": tried,
            "seconds": start.elapsed().as_secs_f64(),
        });
        println!("{line}");
        Ok(())
    }

    fn timed(
        &self,
        model: &OnnxModel,
        model_name: &str,
        wanted: PrecisionOptions,
        inputs: &[HostTensor],
        start: Instant,
    ) -> Result<(Value, Option<Vec<HostTensor>>)> {
        let registry = Registry::empty().with(self.backend.clone());
        let registry = registry.require(BackendKind::TensorRtRtx);
        let options = OptimizeOptions::new().registry(registry).precision(wanted);
        let options = options.cache(EngineCache::off());
        let module = InferenceModule::compile(model, &options)?;
        let build = start.elapsed().as_secs_f64();
        let report = module.precision_report().ok_or("a precision was asked for")?;
        save(report, self.reports.as_deref(), model_name)?;
        let outputs = module.run(inputs)?;
        let latency = device::median(&module, inputs, self.device, self.iterations)?;
        let line = json!({
            "latency_ms": latency,
            "plan_bytes": module.engine().plan().len(),
            "build_s": build,
            "layers": counts(report),
            "iterations": self.iterations,
        });
        Ok((line, Some(outputs)))
    }

    /// Without a GPU: the engine is built, and another runtime runs what it is built from.
    fn built(
        &self,
        model: &OnnxModel,
        model_name: &str,
        wanted: PrecisionOptions,
        inputs: &[HostTensor],
        start: Instant,
    ) -> Result<(Value, Option<Vec<HostTensor>>)> {
        let written = model.with_precision(self.backend.target(), wanted)?;
        let report = written.precision_report().ok_or("a precision was asked for")?;
        save(report, self.reports.as_deref(), model_name)?;
        let engine = self.backend.build(&written)?;
        let build = start.elapsed().as_secs_f64();
        let compiled = portable().compile(|_| Ok(written.clone()));
        let outputs = compiled.and_then(|compiled| compiled.executable.run(inputs));
        let outputs = outputs.inspect_err(|reason| eprintln!("not compared: {reason}")).ok();
        let line = json!({
            "plan_bytes": engine.plan().len(),
            "build_s": build,
            "layers": counts(report),
        });
        Ok((line, outputs))
    }
}

/// How many layers have which type.
fn counts(report: &PrecisionReport) -> Value {
    let mut counts = std::collections::BTreeMap::new();
    for layer in &report.layers {
        *counts.entry(layer.precision.as_str()).or_insert(0) += 1;
    }
    json!(counts)
}

fn save(report: &PrecisionReport, folder: Option<&Path>, model: &str) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    Ok(report.save(folder.join(format!("{model}.{}.json", report.precision)))?)
}
