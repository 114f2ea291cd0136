//! `accelerant bench`: latency and throughput, with trtexec's figures and words.

use std::{
    path::PathBuf,
    sync::{
        Barrier, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use accelerant::backend::LayerTime;
use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Signature};
use serde_json::{Value, json};

use super::{Output, bench_export};
use crate::fail::{Failure, Result};
use crate::inputs::Inputs;
use crate::options::{Name, Options};
use crate::shapes::Shapes;
use crate::{Globals, bar::Bar, describe, files, panics, source, terminal, timeout};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model, or an engine that `accelerant build` wrote; trust an engine as a program
    pub(crate) model: PathBuf,
    /// The backend; by default the first that can run it here
    #[arg(long)]
    backend: Option<Name>,
    /// Run so many milliseconds before anything is measured
    #[arg(long, alias = "warmUp", value_name = "MS", default_value_t = 200)]
    pub(super) warmup: u64,
    /// Measure for at least this time: 3 (seconds), 500ms, 2m
    #[arg(long, value_name = "TIME", default_value_t = 3.0, value_parser = seconds)]
    pub(super) duration: f64,
    /// Measure at least so many runs
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) iterations: usize,
    /// So many runs at a time
    #[arg(long, alias = "infStreams", value_name = "N", default_value_t = 1)]
    streams: usize,
    /// Tell how long each layer takes too, on a GPU
    #[arg(long, alias = "dumpProfile")]
    layers: bool,
    /// Tell what became of each layer in the --precision, with the times before and after, on a GPU
    #[arg(long)]
    layer_report: bool,
    /// Write the times of each run to a JSON file, with the names that trtexec has for them
    #[arg(long, alias = "exportTimes", value_name = "FILE", hide_short_help = true)]
    export_times: Option<PathBuf>,
    /// Write the times of each layer to a JSON file as trtexec does, on a GPU
    #[arg(long, alias = "exportProfile", value_name = "FILE", hide_short_help = true)]
    export_profile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) shapes: Shapes,
    #[command(flatten)]
    options: Options,
}

/// Each stream is a thread.
const MOST_STREAMS: usize = 1024;

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    if args.streams == 0 || args.iterations == 0 {
        return Err(Failure::usage("--streams and --iterations are at least 1"));
    }
    if args.streams > MOST_STREAMS {
        return Err(Failure::usage(format!("--streams is at most {MOST_STREAMS}")));
    }
    if !(0.0..=1e6).contains(&args.duration) || args.warmup > 1_000_000_000 {
        return Err(Failure::usage("--duration and --warmup are at most 1000000 seconds"));
    }
    for path in args.export_times.iter().chain(&args.export_profile) {
        files::expect_place(path)?;
    }
    let bar = Bar::new(globals.quiet);
    let (shapes, options) = (&args.shapes, &args.options);
    if args.layer_report && (options.precision().is_none() || source::is_engine(&args.model)) {
        return Err(Failure::usage("--layer-report takes a model and a --precision"));
    }
    let timed = |signature: &Signature, stated: OptimizeOptions| match args.layer_report {
        true => {
            let inputs = args.inputs.read(signature, &shapes.sizes(signature)?)?;
            Ok(stated.time_layers(inputs))
        }
        false => Ok(stated),
    };
    let streams = args.streams;
    let module =
        source::module_with(&args.model, shapes, options, args.backend, streams, &bar, timed)?;
    options.device.say_unused(&module.backend());
    let inputs = args.inputs.read(module.signature(), &args.shapes.sizes(module.signature())?)?;
    bar.runs("the first run");
    module.run(&inputs)?;
    bar.runs("measure");
    let host = measure(&module, &inputs, args)?;
    #[cfg(feature = "_tensorrt")]
    let device = super::bench_device::measure(&module, &inputs, args, options.device.ordinal)?;
    drop(bar);

    let shapes: Vec<_> = module.signature().inputs.iter().zip(&inputs).collect();
    let mut text = describe::backend(&module);
    for (spec, tensor) in &shapes {
        let name = terminal::name(&spec.name);
        text += &format!("input     {name}: {} {:?}\n", tensor.dtype(), tensor.shape());
    }
    text += "\n=== Performance summary ===\n";
    text += &format!("Throughput: {:.3} qps\n", host.throughput());
    text += &format!("Latency: {}\n", Figures::of(&host.times()).line());
    let mut json = json!({
        "backend": module.backend(),
        "description": module.description(),
        "streams": args.streams,
        "iterations": host.runs.len(),
        "inputs": shapes.iter().map(|(spec, tensor)| {
            json!({ "name": spec.name, "dtype": tensor.dtype().to_string(), "shape": tensor.shape() })
        }).collect::<Vec<_>>(),
        "throughput": host.throughput(),
        "latencyMs": Figures::of(&host.times()).json(),
        "totalHostWalltimeS": host.wall.as_secs_f64(),
    });
    #[cfg(feature = "_tensorrt")]
    if let Some(device) = device {
        let (enqueue, compute) = (Figures::of(&device.enqueue), Figures::of(&device.compute));
        text += &format!("Enqueue Time: {}\n", enqueue.line());
        text += &format!("GPU Compute Time: {}\n", compute.line());
        json["enqMs"] = enqueue.json();
        json["computeMs"] = compute.json();
        let total = device.compute.iter().sum::<f64>() / 1e3;
        text += &format!("Total GPU Compute Time: {total:.3} s\n");
        json["totalComputeTimeS"] = json!(total);
    }
    text += &format!("Total Host Walltime: {:.3} s\n", host.wall.as_secs_f64());
    if args.layers || args.export_profile.is_some() {
        let layers = module.layer_times(&inputs, args.iterations)?;
        if args.layers {
            text += &table(&layers);
            json["layers"] = json!(layers);
        }
        if let Some(path) = &args.export_profile {
            bench_export::profile(path, &layers, args.iterations)?;
        }
    }
    if let Some(report) = module.precision_report().filter(|_| args.layer_report) {
        text += &format!("\n=== Layers ===\n{}", terminal::text(&report.to_string()));
        json["layerReport"] = json!(report);
    }
    if let Some(path) = &args.export_times {
        bench_export::times(path, &host.runs)?;
    }
    let _ = &mut json;
    Ok(Output::new(text, json))
}

/// A line for each layer, in the order in which they run.
fn table(layers: &[LayerTime]) -> String {
    let total: f64 = layers.iter().map(|layer| layer.micros).sum();
    let mut text = format!(
        "\n=== Profile ({} layers) ===\n{:>10} {:>7}  Layer\n",
        layers.len(),
        "Time(us)",
        "Time(%)"
    );
    for LayerTime { name, micros, .. } in layers {
        let name = terminal::name(name);
        text += &format!(
            "{micros:>10.1} {:>7.1}  {name}\n",
            100.0 * micros / total.max(f64::MIN_POSITIVE)
        );
    }
    text + &format!("{total:>10.1} {:>7.1}  Total\n", 100.0)
}

/// Runs that were measured.
struct Measured {
    /// When each run began and ended, in milliseconds since the first began.
    runs: Vec<[f64; 2]>,
    wall: Duration,
}

impl Measured {
    /// Runs a second.
    fn throughput(&self) -> f64 {
        self.runs.len() as f64 / self.wall.as_secs_f64()
    }

    /// Milliseconds of each run.
    fn times(&self) -> Vec<f64> {
        self.runs.iter().map(|[begin, end]| end - begin).collect()
    }
}

/// A time in the form that --timeout takes too, in seconds. As in trtexec it may be 0.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    text.parse().or_else(|_| timeout::parse(text).map(|time| time.as_secs_f64()))
}

/// Runs on host tensors, in a thread for each stream.
fn measure(module: &InferenceModule, inputs: &[HostTensor], args: &Args) -> Result<Measured> {
    let done = AtomicUsize::new(0);
    let barrier = Barrier::new(args.streams);
    let warm_up = Duration::from_millis(args.warmup);
    let duration = Duration::from_secs_f64(args.duration);
    let all = Mutex::new(Vec::new());
    let work = || -> Result<(), accelerant::Error> {
        let start = Instant::now();
        let mut failed = None;
        while failed.is_none() && start.elapsed() < warm_up {
            failed = module.run(inputs).err();
        }
        // Every thread comes here, or the others would wait forever.
        barrier.wait();
        if let Some(error) = failed {
            return Err(error);
        }
        let begin = Instant::now();
        let mut times = Vec::new();
        while begin.elapsed() < duration || done.load(Ordering::Relaxed) < args.iterations {
            let start = Instant::now();
            module.run(inputs)?;
            times.push([start, Instant::now()]);
            done.fetch_add(1, Ordering::Relaxed);
        }
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((begin, Instant::now(), times));
        Ok(())
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.streams).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    for result in results {
        result.map_err(|panic| {
            let text = panics::text(&*panic);
            Failure::failed(format!("a thread that runs the model has died: {text}"))
        })??;
    }
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let begin = all.iter().map(|(begin, ..)| *begin).min();
    let end = all.iter().map(|(_, end, _)| *end).max();
    let wall = begin.zip(end).map_or(Duration::ZERO, |(begin, end)| end - begin);
    let since =
        |time: Instant| begin.map_or(0.0, |begin| time.duration_since(begin).as_secs_f64() * 1e3);
    let mut runs: Vec<_> =
        all.into_iter().flat_map(|(.., times)| times).map(|run| run.map(since)).collect();
    runs.sort_by(|one, other| one[0].total_cmp(&other[0]));
    Ok(Measured { runs, wall })
}

/// What trtexec tells of many times, in milliseconds.
#[derive(Debug, PartialEq)]
struct Figures {
    min: f64,
    max: f64,
    mean: f64,
    median: f64,
    percentiles: [(u32, f64); 3],
}

impl Figures {
    /// Of at least one time.
    fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        // As trtexec counts: so many of the largest are left out.
        let percentile = |p: u32| {
            let left_out = ((1.0 - f64::from(p) / 100.0) * count as f64 + 1e-9) as usize;
            (p, sorted[count - 1 - left_out])
        };
        let middle = count / 2;
        let median = match count % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Self {
            min: sorted[0],
            max: sorted[count - 1],
            mean: sorted.iter().sum::<f64>() / count as f64,
            median,
            percentiles: [percentile(90), percentile(95), percentile(99)],
        }
    }

    fn line(&self) -> String {
        let Self { min, max, mean, median, percentiles } = self;
        let mut text = format!(
            "min = {min:.4} ms, max = {max:.4} ms, mean = {mean:.4} ms, median = {median:.4} ms"
        );
        for (p, time) in percentiles {
            text += &format!(", percentile({p}%) = {time:.4} ms");
        }
        text
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "min": self.min, "max": self.max, "mean": self.mean, "median": self.median,
        });
        for (p, time) in self.percentiles {
            json[format!("percentile({p}%)")] = json!(time);
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_trtexec() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = Figures::of(&times);
        let percentiles = [(90, 90.0), (95, 95.0), (99, 99.0)];
        let expected = Figures { min: 1.0, max: 100.0, mean: 50.5, median: 50.5, percentiles };
        assert_eq!(found, expected);
        let one = Figures::of(&[2.0]);
        assert_eq!((one.median, one.percentiles[2]), (2.0, (99, 2.0)));
    }

    #[test]
    fn a_time_may_have_a_unit_and_may_be_zero() {
        let times = [("0", 0.0), ("3", 3.0), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120.0)];
        for (text, expected) in times {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        assert!(seconds("3 seconds").is_err_and(|text| text.contains("500ms")));
    }
}
