//! The choice of a precision by time: how many engines it builds, what it leaves out, and when it ends. A backend that
//! is ONNX Runtime tells how often it builds, and takes longer for each byte of weights, as a GPU does.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use accelerant::backend::{Backend, Executable, ort::Ort};
use accelerant::cache::EngineCache;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{
    Auto, Calibration, Method, Metric, Precision, PrecisionOptions, Ranges, Tried,
};
use accelerant::{
    BackendKind, DType, Engine, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
    Phase, Progress, Registry, Signature, TimeLimit,
};

use crate::runs::{has_ort, numbers};

/// What a precision costs here: how many milliseconds the weights of a model take.
type Pace = fn(&OnnxModel) -> f64;

#[derive(Clone, Debug)]
struct Counted {
    builds: Arc<AtomicUsize>,
    pace: Pace,
    /// Waits in this build until the limit is over.
    slow: Option<(usize, TimeLimit)>,
}

impl Counted {
    fn new(pace: Pace) -> Self {
        Self { builds: Arc::default(), pace, slow: None }
    }

    fn count(&self) -> usize {
        self.builds.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Paced(Box<dyn Executable>, f64);

impl Executable for Paced {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error> {
        sleep(Duration::from_secs_f64(self.1 / 1e3));
        self.0.run(inputs)
    }
}

impl Backend for Counted {
    fn kind(&self) -> BackendKind {
        Ort.kind()
    }

    fn description(&self) -> String {
        Ort.description()
    }

    fn target(&self) -> Target {
        Ort.target()
    }

    fn probe(&self) -> Result<(), Error> {
        Ort.probe()
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine, Error> {
        Ort.build(model)
    }

    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>), Error> {
        let count = 1 + self.builds.fetch_add(1, Ordering::SeqCst);
        if let Some((at, limit)) = &self.slow
            && *at == count
        {
            while limit.check().is_ok() {
                sleep(Duration::from_millis(20));
            }
        }
        let (engine, executable) = Ort.build_and_load(model)?;
        Ok((engine, Box::new(Paced(executable, (self.pace)(model)))))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>, Error> {
        Ort.load(engine)
    }
}

/// A millisecond for each 32 KiB of weights.
fn by_bytes(model: &OnnxModel) -> f64 {
    bytes(model, |_| 1.0) / 32e3
}

/// The same, where weights of 32 by 64 in 8 bits take eight times as long.
fn by_sizes(model: &OnnxModel) -> f64 {
    bytes(model, |sizes| if sizes == [32, 64] { 8.0 } else { 1.0 }) / 32e3
}

fn bytes(model: &OnnxModel, codes: impl Fn(&[i64]) -> f64) -> f64 {
    let graph = model.proto().graph.as_ref().expect("a model has a graph");
    let each = graph.initializer.iter().map(|weight| {
        let bytes = weight.raw_data.as_ref().map_or(0, |data| data.len()) as f64;
        let numbers = weight.dims.iter().product::<i64>() as f64;
        if bytes == numbers { bytes * codes(&weight.dims) } else { bytes }
    });
    each.sum()
}

/// Pairs of layers of 64 by 32 and 32 by 64.
fn model(pairs: u64) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let mut y = graph.input("x", DType::F32, [16usize, 64]).unwrap();
    for pair in 0..pairs {
        for (sizes, seed) in [([64, 32], 2 * pair), ([32, 64], 2 * pair + 1)] {
            let weight = graph.constant("weight", numbers(&sizes, 0.3, seed));
            y = y.matmul(&weight).unwrap().tanh().unwrap();
        }
    }
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn samples() -> Vec<Vec<HostTensor>> {
    vec![vec![numbers(&[16, 64], 1.0, 77)]]
}

fn ranges(model: &OnnxModel) -> Ranges {
    let registry = Registry::empty().with(Ort);
    Calibration::new(Method::MinMax).run(model, &registry, samples()).unwrap()
}

fn options(backend: &Counted) -> OptimizeOptions {
    let registry = Registry::empty().with(backend.clone());
    OptimizeOptions::new().registry(registry).cache(EngineCache::off())
}

struct Run {
    chosen: PrecisionOptions,
    tried: Vec<Tried>,
    built: usize,
    compared: usize,
}

impl Run {
    fn of(model: &OnnxModel, auto: &Auto, pace: Pace) -> Self {
        let (timed, portable) = (Counted::new(pace), Counted::new(|_| 0.0));
        let compares = Registry::empty().with(portable.clone());
        let (chosen, tried) = auto.run(model, &options(&timed), &compares, &samples()).unwrap();
        Self { chosen, tried, built: timed.count(), compared: portable.count() }
    }

    fn tried(&self, precision: Precision) -> &Tried {
        self.tried.iter().find(|tried| tried.precision == precision).unwrap()
    }
}

const ALL: [Precision; 5] =
    [Precision::Fp16, Precision::Mixed, Precision::Int8, Precision::Fp8, Precision::Int4Weights];

/// Each precision of fewer bits is faster here and loses too much, so that all of the search is done.
#[test]
fn the_number_of_builds_does_not_grow_with_the_model() {
    if !has_ort("a choice by time") {
        return;
    }
    let counts = [12, 24].map(|pairs| {
        let model = model(pairs);
        // More than half precision loses, and less than any of fewer bits.
        let half = Auto::new(1.0).candidates([Precision::Fp16]);
        let lost = Run::of(&model, &half, by_bytes).tried(Precision::Fp16).drop.unwrap();
        let auto = Auto::new(3.0 * lost).ranges(ranges(&model)).candidates(ALL).timed_on_host();
        let run = Run::of(&model, &auto, by_bytes);
        for tried in &run.tried {
            let most = if tried.precision.is_quantized() { (7, 22) } else { (1, 1) };
            assert!(tried.built <= most.0 && tried.compared <= most.1, "{tried:?}");
        }
        let sum = |count: fn(&Tried) -> usize| run.tried.iter().map(count).sum::<usize>();
        assert_eq!(run.built, sum(|tried| tried.built), "{:?}", run.tried);
        // What the model gives in 32 bits is computed once for all.
        assert_eq!(run.compared, 1 + sum(|tried| tried.compared), "{:?}", run.tried);
        let int8 = run.tried(Precision::Int8);
        assert!(int8.compared >= 17, "each of the 12 parts or more was measured: {int8:?}");
        let half = run.tried(Precision::Fp16);
        assert!(half.milliseconds < run.tried[0].milliseconds, "{:?}", run.tried);
        [run.built, run.compared]
    });
    let [few, many] = counts;
    assert!(many[0] <= few[0] + 3 && many[1] <= few[1] + 15, "{few:?} and {many:?}");
}

/// Where a precision is slower as a whole, the layers that gain have it alone.
#[test]
fn layers_of_sizes_that_gain_are_the_ones_that_change() {
    if !has_ort("a choice by time") {
        return;
    }
    let model = model(6);
    let auto = || Auto::new(0.05).ranges(ranges(&model)).timed_on_host();
    let both = [Precision::Fp16, Precision::Int8];
    let run = Run::of(&model, &auto().candidates(both), by_sizes);
    let int8 = run.tried(Precision::Int8);
    assert!(int8.chosen && int8.in_half == 6, "{:?}", run.tried);
    assert_eq!(run.chosen.precision(), Precision::Int8);
    let groups: Vec<_> =
        int8.groups.iter().map(|group| (&*group.name, group.layers, group.faster)).collect();
    assert_eq!(groups, [("MatMul 64 x 32", 6, true), ("MatMul 32 x 64", 6, false)]);
    // As a whole, and two groups; the one that gains is timed already.
    assert_eq!((int8.built, run.built), (3, 5));
    let written = model.with_precision(Target::tensorrt(), run.chosen.clone()).unwrap();
    let layers = &written.precision_report().unwrap().layers;
    assert_eq!(layers.iter().filter(|layer| layer.precision == "int8").count(), 6);

    // Nothing gains: half precision stays, and what int8 loses is not asked.
    let run = Run::of(&model, &auto().candidates(both), |model| bytes(model, |_| 4.0) / 32e3);
    let int8 = run.tried(Precision::Int8);
    assert!(run.tried(Precision::Fp16).chosen && int8.drop.is_none(), "{:?}", run.tried);
    assert_eq!((int8.built, int8.compared, run.built), (3, 0, 5));
}

/// What cannot pay is left out, with the reason, unless the caller names it.
#[test]
fn what_cannot_pay_is_left_out() {
    if !has_ort("a choice by time") {
        return;
    }
    let model = model(2);
    let run = Run::of(&model, &Auto::new(0.05).timed_on_host(), by_bytes);
    for precision in [Precision::Mixed, Precision::Bf16] {
        let tried = run.tried(precision);
        assert!(tried.left_out.as_ref().unwrap().contains("fp16 is taken"), "{tried:?}");
        assert_eq!((tried.built, tried.compared), (0, 0));
    }
    // Without ranges.
    assert!(run.tried(Precision::Int8).error.as_ref().unwrap().contains("calibration"));
    assert!(run.tried(Precision::Int4Weights).milliseconds.is_some(), "{:?}", run.tried);
    let strict = Auto::new(1e-12).ranges(ranges(&model)).timed_on_host();
    let run = Run::of(&model, &strict, by_bytes);
    for precision in [Precision::Int8, Precision::Fp8, Precision::Int4Weights] {
        let tried = run.tried(precision);
        assert!(tried.left_out.as_ref().unwrap().contains("half precision alone"), "{tried:?}");
    }
    assert!(run.tried[0].chosen, "{:?}", run.tried);
}

#[test]
fn a_limit_ends_the_search_with_the_best_until_then() {
    if !has_ort("a choice by time") {
        return;
    }
    let model = model(2);
    let limit = TimeLimit::of(Duration::from_secs(6));
    let mut timed = Counted::new(by_bytes);
    timed.slow = Some((3, limit.clone()));
    let auto = Auto::new(0.05).candidates(ALL).timed_on_host().time_limit(&limit);
    let portable = Registry::empty().with(Ort);
    let (chosen, tried) = auto.run(&model, &options(&timed), &portable, &samples()).unwrap();
    assert_eq!(chosen.precision(), Precision::Fp16, "{tried:?}");
    assert_eq!(timed.count(), 3, "fp32, fp16 and the one in which it ended: {tried:?}");
    let left: Vec<_> = tried.iter().filter(|tried| tried.left_out.is_some()).collect();
    assert_eq!(left.len(), 4, "{tried:?}");
    for tried in left {
        assert!(tried.to_string().contains("the time limit of 6s is over"), "{tried}");
        assert!(!tried.chosen);
    }
    // Over before anything is timed.
    let over = TimeLimit::of(Duration::ZERO);
    let auto = Auto::new(0.05).timed_on_host().time_limit(&over);
    let error = auto.run(&model, &options(&timed), &portable, &samples()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[test]
fn a_follower_is_told_each_step_and_may_stop_it() {
    if !has_ort("a choice by time") {
        return;
    }
    let (model, folder) = (model(2), tempfile::tempdir().unwrap());
    let file = folder.path().join("model.onnx");
    let steps: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = steps.clone();
    let follow = move |event: Progress<'_>| {
        if let Progress::Step { phase: Phase::Search, part, .. } = event {
            told.lock().unwrap().push(part.to_owned());
            if part.contains("the time of int4-weights") {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let timed = Counted::new(by_bytes);
    let options = options(&timed).progress(follow).save_onnx(&file);
    let portable = Registry::empty().with(Ort);
    let auto = Auto::new(0.05).timed_on_host();
    let error = auto.run(&model, &options, &portable, &samples()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    let wanted = ["the time of fp32", "the time of fp16", "what fp16 loses", "int4-weights"];
    let steps = steps.lock().unwrap();
    assert!(wanted.iter().zip(steps.iter()).all(|(want, step)| step.contains(want)), "{steps:?}");
    assert_eq!((steps.len(), timed.count()), (4, 2), "{steps:?}");
    assert!(!file.exists(), "a model that was only tried is not written");

    let cancelled = TimeLimit::none();
    cancelled.cancel();
    let auto = auto.time_limit(&cancelled);
    let error = auto.run(&model, &options, &portable, &samples()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}

/// Halves are compared in 32 bits with each result rounded: ONNX Runtime multiplies them one by one, and has no bfloat16.
#[test]
fn losses_of_16_bits_are_measured_soon() {
    if !has_ort("losses of 16 bits") {
        return;
    }
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [512usize, 512]).unwrap();
    let weight = graph.constant("weight", numbers(&[512, 512], 0.1, 1));
    graph.output("y", &x.matmul(&weight).unwrap().tanh().unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let samples = [vec![numbers(&[512, 512], 1.0, 2)]];
    let registry = || Registry::empty().with(Ort);
    let both = [Precision::Fp16, Precision::Bf16];
    let auto = Auto::new(0.1).candidates(both).metric(Metric::Relative);
    let options = OptimizeOptions::new().registry(registry());
    let (_, tried) = auto.run(&model, &options, &registry(), &samples).unwrap();
    let [fp16, bf16] = [1, 2].map(|i: usize| tried[i].drop.expect("it was measured"));
    // 11 and 8 bits of mantissa: what is lost differs by a factor of about 8.
    assert!((1e-4..2e-3).contains(&fp16), "{tried:?}");
    assert!((3.0..20.0).contains(&(bf16 / fp16)), "{tried:?}");
    // The product itself on ONNX Runtime in half precision: as near to 32 bits as what was measured.
    let half = model.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    let run = |model: &OnnxModel| registry().compile(|_| Ok(model.clone())).unwrap();
    let [got, expected] = [&half, &model].map(|model| run(model).executable.run(&samples[0]));
    let [got, expected] = [got, expected].map(|all| all.unwrap()[0].to_vec::<f32>().unwrap());
    let apart = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(f64::from(apart) < 4.0 * fp16 + 2e-3, "{apart} and {fp16}");
}

/// What a user may say wrong of a precision that is to be chosen.
#[test]
fn a_choice_that_cannot_be_made_is_refused() {
    if !has_ort("a choice by an option") {
        return;
    }
    let model = model(1);
    let options = || options(&Counted::new(by_bytes));
    let refused = |options: OptimizeOptions, kind, text: &str| {
        let error = InferenceModule::compile(&model, &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    };
    let invalid = ErrorKind::InvalidArgument;
    let auto = || Auto::new(0.05);
    let stated = options().precision(Precision::Fp16).auto_precision(auto(), samples());
    refused(stated, invalid, "a precision is stated");
    refused(options().auto_precision(auto(), []), invalid, "no samples");
    refused(options().auto_precision(Auto::new(f64::NAN), samples()), invalid, "0 or more");
    let narrow = vec![vec![numbers(&[16, 63], 1.0, 1)]];
    refused(options().auto_precision(auto(), narrow), ErrorKind::ShapeMismatch, "`x`");
    let constant = HostTensor::from_vec([16, 64], vec![0.5f32; 1024]).unwrap();
    refused(options().auto_precision(auto(), [vec![constant]]), invalid, "same");
    let panics = auto().metric(Metric::own(|_, _| panic!("no labels")));
    refused(options().auto_precision(panics, samples()), invalid, "panicked: no labels");
}
