//! Modules on tensors that are in device memory: the same results as through host memory, on any
//! stream, in any order of shapes, with nothing copied, and with memory freed at any time. Needs a GPU;
//! without one each test says that it is skipped. The tests marked as ignored take minutes.
#![cfg(feature = "tensorrt-rtx")]

#[cfg(feature = "candle-cuda")]
mod candle;
#[path = "../common/mod.rs"]
mod common;
mod generation;
mod graphs;
mod memory;
mod pipeline;
mod serving;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use accelerant::Registry;
use accelerant::backend::tensorrt::{Profiles, TensorRt, TensorRtOptions};
use accelerant::cuda::cudarc::driver::{CudaContext, CudaStream, sys};
use accelerant::cuda::{CudaRead, CudaTensor};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{
    BackendKind, DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
};
use common::new_stream;
use ndarray::{Array1, Array2};

const FEATURES: usize = 64;
const CLASSES: usize = 64;
const LARGEST: usize = 32;

/// Tests that fill the device run alone.
static DEVICE: RwLock<()> = RwLock::new(());

fn shared() -> RwLockReadGuard<'static, ()> {
    DEVICE.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    DEVICE.write().unwrap_or_else(PoisonError::into_inner)
}

fn gpu(test: &str) -> bool {
    common::runs(test, &TensorRt::rtx())
}

/// Multiples of 1/8 from -1/2 to 1/2: products and sums of them are exact even in TF32.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13 + i * seed / 5) % 9) as f32 / 8.0 - 0.5).collect()
}

/// A fully connected layer with a rectifier, of `[batch, FEATURES]` to `[batch, CLASSES]`.
struct Layer {
    weight: Array2<f32>,
    bias: Array1<f32>,
}

impl Layer {
    fn new(seed: usize) -> Self {
        let weight = numbers(FEATURES * CLASSES, seed);
        Self {
            weight: Array2::from_shape_vec((FEATURES, CLASSES), weight).unwrap(),
            bias: Array1::from_vec(numbers(CLASSES, seed + 1)),
        }
    }

    fn export(&self) -> OnnxModel {
        let graph = GraphBuilder::for_target("layer", Target::tensorrt());
        let batch = Dim::dynamic("batch", 1..=LARGEST).unwrap();
        let x = graph.input("x", DType::F32, [batch, Dim::Fixed(FEATURES)]).unwrap();
        let weight = graph.weight("weight", self.weight.clone()).unwrap();
        let bias = graph.weight("bias", self.bias.clone()).unwrap();
        let y = x.linear(&weight, Some(&bias)).unwrap().relu().unwrap();
        graph.output("y", &y).unwrap();
        graph.finish().unwrap()
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let x = Array2::from_shape_vec((x.len() / FEATURES, FEATURES), x.to_vec()).unwrap();
        (x.dot(&self.weight) + &self.bias).mapv(|v| v.max(0.0)).into_raw_vec_and_offset().0
    }
}

fn module_with(model: &OnnxModel, options: TensorRtOptions) -> accelerant::Result<InferenceModule> {
    let backend = TensorRt::rtx().with_options(options.tf32(false));
    let options = OptimizeOptions::new()
        .registry(Registry::empty().with(backend))
        .require(BackendKind::TensorRtRtx);
    InferenceModule::compile(model, &options)
}

fn module(layer: &Layer) -> InferenceModule {
    module_with(&layer.export(), TensorRtOptions::default()).unwrap()
}

fn context() -> Arc<CudaContext> {
    CudaContext::new(0).unwrap()
}

/// Runs rows of numbers and compares with the layer computed here, exactly.
fn check(
    module: &InferenceModule,
    layer: &Layer,
    stream: &Arc<CudaStream>,
    rows: usize,
    seed: usize,
) {
    let x = numbers(rows * FEATURES, seed);
    let on_device = stream.clone_htod(&x).unwrap();
    let y = module.cuda().unwrap().run_alloc(stream, &[(&on_device, &[rows, FEATURES])]).unwrap();
    // Freed while the run may be on its way.
    drop(on_device);
    assert_eq!(y[0].shape(), [rows, CLASSES]);
    let y = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
    assert_eq!(y, layer.forward(&x), "{rows} rows of seed {seed}");
}

#[test]
fn results_equal_the_host_path_and_nothing_is_copied() {
    if !gpu("results_equal_the_host_path_and_nothing_is_copied") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(1);
    let stream = new_stream(&context());
    for overlap in [true, false] {
        let options = TensorRtOptions::default().kernel_overlap(overlap);
        let module = module_with(&layer.export(), options).unwrap();
        let cuda = module.cuda().unwrap();
        for rows in [1, 3, LARGEST, 3] {
            let before = cuda.counters();
            let x = numbers(rows * FEATURES, rows);
            let on_device = stream.clone_htod(&x).unwrap();
            let mut y = stream.alloc_zeros::<f32>(rows * CLASSES).unwrap();
            assert_eq!(cuda.output_shapes(&[&[rows, FEATURES]]).unwrap(), [[rows, CLASSES]]);
            for _ in 0..3 {
                cuda.run_on(&stream, &[(&on_device, &[rows, FEATURES])], &mut [&mut y]).unwrap();
            }
            let got = stream.clone_dtoh(&y).unwrap();
            assert_eq!(got, layer.forward(&x));
            let after = cuda.counters();
            assert_eq!((after.host_copies, after.device_copies), (before.host_copies, 0));
            // A context is idle for sure once its stream is.
            stream.synchronize().unwrap();
            let host = HostTensor::from_vec([rows, FEATURES], x).unwrap();
            assert_eq!(module.run(&[host]).unwrap()[0].to_vec::<f32>().unwrap(), got);
            // What the host path copies is counted: one input, one output.
            assert_eq!(cuda.counters().host_copies, before.host_copies + 2);
        }
        // One caller needs one context, and as many as there may be where sizes have graphs.
        let counters = cuda.counters();
        assert_eq!(counters.contexts, if overlap { 1 } else { 2 }, "{counters:?}");
    }
}

#[test]
fn two_streams_interleave() {
    if !gpu("two_streams_interleave") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(2);
    for contexts in [1, 2] {
        let module =
            module_with(&layer.export(), TensorRtOptions::default().max_contexts(contexts))
                .unwrap();
        let context = context();
        let streams = [new_stream(&context), new_stream(&context)];
        let cuda = module.cuda().unwrap();
        let mut results = Vec::new();
        for i in 0..200 {
            let stream = &streams[i % 2];
            let x = numbers(4 * FEATURES, i);
            let on_device = stream.clone_htod(&x).unwrap();
            let y = cuda.run_alloc(stream, &[(&on_device, &[4, FEATURES])]).unwrap();
            results.push((x, y));
        }
        for (i, (x, y)) in results.iter().enumerate() {
            let got = streams[i % 2].clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
            assert_eq!(got, layer.forward(x), "run {i} with {contexts} contexts");
        }
        let counters = cuda.counters();
        assert!(counters.contexts <= contexts as u64, "{counters:?}");
        assert_eq!(counters.executions, 200, "{counters:?}");
    }
}

#[test]
fn shapes_interleave_on_default_streams_too() {
    if !gpu("shapes_interleave_on_default_streams_too") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(3);
    let module = module(&layer);
    let context = context();
    let streams = [context.default_stream(), context.per_thread_stream(), new_stream(&context)];
    for i in 0..60 {
        check(&module, &layer, &streams[i % 3], 1 + i * 5 % LARGEST, i);
    }
    let counters = module.cuda().unwrap().counters();
    assert_eq!((counters.host_copies, counters.executions), (0, 60));
    assert!(counters.reshapes >= 20, "{counters:?}");
}

#[test]
fn each_run_uses_the_first_profile_that_fits() {
    if !gpu("each_run_uses_the_first_profile_that_fits") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(15);
    let profiles = Profiles::new().range("batch", 1, 1, 2).another().range("batch", 2, 8, 16);
    let options = TensorRtOptions::default().profiles(profiles);
    let module = module_with(&layer.export(), options).unwrap();
    let context = context();
    let streams = [new_stream(&context), context.default_stream()];
    for i in 0..40 {
        // Runs of the same profile, and changes between them, on both streams.
        check(&module, &layer, &streams[i / 3 % 2], [1, 2, 16, 3, 9][i % 5], i);
        let x = numbers(5 * FEATURES, i);
        let host = HostTensor::from_vec([5, FEATURES], x.clone()).unwrap();
        assert_eq!(module.run(&[host]).unwrap()[0].to_vec::<f32>().unwrap(), layer.forward(&x));
    }
    let error = module.cuda().unwrap().output_shapes(&[&[17, FEATURES]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
    assert!(error.to_string().contains("..=[16, 64]"), "{error}");
}

#[test]
fn unchanged_shapes_are_told_once() {
    if !gpu("unchanged_shapes_are_told_once") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(4);
    let module = module(&layer);
    let stream = new_stream(&context());
    let x = stream.clone_htod(&numbers(8 * FEATURES, 4)).unwrap();
    for seed in 0..50 {
        check(&module, &layer, &stream, 8, seed);
        // A question while work is on its way takes no further context.
        let cuda = module.cuda().unwrap();
        let y = cuda.run_alloc(&stream, &[(&x, &[8, FEATURES])]).unwrap();
        assert_eq!(cuda.output_shapes(&[&[8, FEATURES]]).unwrap(), [y[0].shape()]);
    }
    let counters = module.cuda().unwrap().counters();
    assert_eq!((counters.reshapes, counters.contexts), (1, 1), "{counters:?}");
}

#[test]
fn a_module_dropped_in_flight_ends_its_work() {
    if !gpu("a_module_dropped_in_flight_ends_its_work") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(5);
    let stream = new_stream(&context());
    for round in 0..5 {
        let module = module(&layer);
        let cuda = module.cuda().unwrap();
        let mut results = Vec::new();
        for i in 0..100 {
            let x = numbers(LARGEST * FEATURES, i + round);
            let on_device = stream.clone_htod(&x).unwrap();
            results
                .push((x, cuda.run_alloc(&stream, &[(&on_device, &[LARGEST, FEATURES])]).unwrap()));
        }
        drop(module);
        for (x, y) in &results {
            let got = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
            assert_eq!(got, layer.forward(x));
        }
    }
}

#[test]
fn one_module_feeds_another_on_the_device() {
    if !gpu("one_module_feeds_another_on_the_device") {
        return;
    }
    let _shared = shared();
    let (first, second) = (Layer::new(6), Layer::new(7));
    let (one, other) = (module(&first), module(&second));
    let stream = new_stream(&context());
    let x = numbers(8 * FEATURES, 6);
    let on_device = stream.clone_htod(&x).unwrap();
    let hidden = one.cuda().unwrap().run_alloc(&stream, &[(&on_device, &[8, FEATURES])]).unwrap();
    let hidden: &CudaTensor = &hidden[0];
    let y = other.cuda().unwrap().run_alloc(&stream, &[(hidden, hidden.shape())]).unwrap();
    let got = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
    let expected = second.forward(&first.forward(&x));
    // The hidden values need more mantissa than TF32 may keep.
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 5e-3 * (1.0 + expected.abs()), "{got} {expected}");
    }
}

#[test]
fn threads_share_a_module() {
    if !gpu("threads_share_a_module") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(8);
    let module = module(&layer);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (module, layer) = (&module, &layer);
            scope.spawn(move || {
                let stream = new_stream(&context());
                for i in 0..50 {
                    if (thread + i) % 5 == 0 {
                        let x = numbers(2 * FEATURES, i);
                        let host = HostTensor::from_vec([2, FEATURES], x.clone()).unwrap();
                        let y = module.run(&[host]).unwrap();
                        assert_eq!(y[0].to_vec::<f32>().unwrap(), layer.forward(&x));
                    } else {
                        check(module, layer, &stream, 1 + (thread * 3 + i) % LARGEST, i);
                    }
                }
            });
        }
    });
    assert!(module.cuda().unwrap().counters().contexts <= 2);
}

#[test]
fn an_unaligned_input_is_copied_on_the_device() {
    if !gpu("an_unaligned_input_is_copied_on_the_device") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(9);
    let module = module(&layer);
    let cuda = module.cuda().unwrap();
    let stream = new_stream(&context());
    let all = numbers(1 + 40 * FEATURES, 9);
    let on_device = stream.clone_htod(&all).unwrap();
    for (i, (start, rows)) in
        [(1, 2), (3, 5), (FEATURES + 7, LARGEST), (2, 1)].into_iter().enumerate()
    {
        let range = start..start + rows * FEATURES;
        let view = on_device.slice(range.clone());
        let y = cuda.run_alloc(&stream, &[(&view, &[rows, FEATURES])]).unwrap();
        let got = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
        assert_eq!(got, layer.forward(&all[range]));
        assert_eq!(cuda.counters().device_copies, i as u64 + 1);
    }
    let aligned = on_device.slice(FEATURES..2 * FEATURES);
    cuda.run_alloc(&stream, &[(&aligned, &[1, FEATURES])]).unwrap();
    let counters = cuda.counters();
    assert_eq!((counters.device_copies, counters.host_copies), (4, 0));

    let mut memory = stream.alloc_zeros::<f32>(1 + CLASSES).unwrap();
    let mut unaligned = memory.slice_mut(1..);
    let error =
        cuda.run_on(&stream, &[(&aligned, &[1, FEATURES])], &mut [&mut unaligned]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some("y")));
    check(&module, &layer, &stream, 2, 9);
}

#[test]
fn what_does_not_fit_is_refused_and_harms_nothing() {
    if !gpu("what_does_not_fit_is_refused_and_harms_nothing") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(10);
    let module = module(&layer);
    let cuda = module.cuda().unwrap();
    let context = context();
    let stream = new_stream(&context);
    let x = stream.alloc_zeros::<f32>(2 * FEATURES).unwrap();
    let integers = stream.alloc_zeros::<i32>(2 * FEATURES).unwrap();
    let mut y = stream.alloc_zeros::<f32>(2 * CLASSES).unwrap();
    let mut short = stream.alloc_zeros::<f32>(2 * CLASSES - 1).unwrap();
    let fits: &[usize] = &[2, FEATURES];

    let refused = |inputs: &[(&dyn CudaRead, &[usize])]| {
        let error = cuda.run_alloc(&stream, inputs).unwrap_err();
        (error.kind(), error.tensor().map(str::to_owned), error.axis())
    };
    let on_x = Some("x".to_owned());
    assert_eq!(refused(&[(&integers, fits)]), (ErrorKind::DTypeMismatch, on_x.clone(), None));
    assert_eq!(refused(&[(&x, &[3, FEATURES])]), (ErrorKind::ShapeMismatch, on_x.clone(), None));
    assert_eq!(refused(&[(&x, &[2 * FEATURES])]), (ErrorKind::ShapeMismatch, on_x.clone(), None));
    assert_eq!(refused(&[(&x, &[FEATURES, 2])]), (ErrorKind::OutOfProfile, on_x.clone(), Some(0)));
    assert_eq!(refused(&[]).0, ErrorKind::InputMismatch);
    assert_eq!(refused(&[(&x, fits), (&x, fits)]).0, ErrorKind::InputMismatch);
    let empty = x.slice(0..0);
    assert_eq!(refused(&[(&empty, &[0, FEATURES])]), (ErrorKind::OutOfProfile, on_x, Some(0)));

    let error = cuda.run_on(&stream, &[(&x, fits)], &mut [&mut short]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::ShapeMismatch, Some("y")));
    let error = cuda.run_on(&stream, &[(&x, fits)], &mut []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch);
    let error = cuda.output_shapes(&[&[LARGEST + 1, FEATURES]]).unwrap_err();
    assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));

    let foreign = CudaContext::new_non_primary(0, 0).unwrap();
    let stream_there = new_stream(&foreign);
    let x_there = stream_there.alloc_zeros::<f32>(2 * FEATURES).unwrap();
    let error = cuda.run_alloc(&stream, &[(&x_there, fits)]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Device, Some("x")));
    let error = cuda.run_alloc(&stream_there, &[(&x, fits)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);

    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let captured = new_stream(&context);
    captured.begin_capture(mode).unwrap();
    let error = cuda.run_on(&captured, &[(&x, fits)], &mut [&mut y]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    captured.end_capture(flags).expect("the capture goes on undisturbed");

    assert_eq!(cuda.counters().executions, 0);
    check(&module, &layer, &stream, 2, 10);
}

/// Microseconds that a call keeps its thread, and that a run takes in a long row of them: the
/// medians of 20 rows of 500.
fn speed(stream: &CudaStream, mut run: impl FnMut()) -> (f64, f64) {
    const ROW: usize = 500;
    let mut rows: Vec<(f64, f64)> = (0..21)
        .map(|_| {
            stream.synchronize().unwrap();
            let start = Instant::now();
            (0..ROW).for_each(|_| run());
            let called = start.elapsed();
            stream.synchronize().unwrap();
            let done = start.elapsed();
            let each = |time: Duration| time.as_secs_f64() * 1e6 / ROW as f64;
            (each(called), each(done))
        })
        .skip(1)
        .collect();
    let mut median = |pick: fn(&(f64, f64)) -> f64| {
        rows.sort_by(|a, b| pick(a).total_cmp(&pick(b)));
        pick(&rows[rows.len() / 2])
    };
    (median(|row| row.0), median(|row| row.1))
}

#[test]
#[ignore = "measures; run it alone"]
fn long_the_cost_of_a_call_is_printed() {
    if !gpu("long_the_cost_of_a_call_is_printed") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(17);
    let context = context();
    for graph in [false, true] {
        let options = TensorRtOptions::default().cuda_graph(graph);
        let module = module_with(&layer.export(), options).unwrap();
        let cuda = module.cuda().unwrap();
        let streams = [
            ("own stream", new_stream(&context)),
            ("default stream", context.default_stream()),
            ("per-thread stream", context.per_thread_stream()),
        ];
        for (name, stream) in &streams {
            let x = stream.clone_htod(&numbers(FEATURES, 17)).unwrap();
            let mut y = stream.alloc_zeros::<f32>(CLASSES).unwrap();
            let shape: &[usize] = &[1, FEATURES];
            let (called, done) = speed(stream, || {
                cuda.run_on(stream, &[(&x, shape)], &mut [&mut y]).unwrap();
            });
            println!("graph {graph}, {name}, run_on: {called:.2} us a call, {done:.2} us a run");
            let (called, done) = speed(stream, || {
                drop(cuda.run_alloc(stream, &[(&x, shape)]).unwrap());
            });
            println!("graph {graph}, {name}, run_alloc: {called:.2} us a call, {done:.2} us a run");
        }
        println!("{:?}", cuda.counters());
    }
}

#[cfg(feature = "tract")]
#[test]
fn a_backend_on_the_host_has_no_device_memory() {
    let graph = GraphBuilder::new("double");
    let x = graph.input("x", DType::F32, [3]).unwrap();
    graph.output("y", &x.affine(2.0, 0.0).unwrap()).unwrap();
    let options = OptimizeOptions::new().require(BackendKind::Tract);
    let module = InferenceModule::compile(&graph.finish().unwrap(), &options).unwrap();
    assert!(module.device().is_none());
    assert_eq!(module.cuda().unwrap_err().kind(), ErrorKind::Device);
}
