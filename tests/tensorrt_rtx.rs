//! TensorRT-RTX for real: engines built from small models, every error it can give, and inference
//! where there is a GPU. Needs the library (`cargo xtask sdk`), and fails without it.
#![cfg(feature = "tensorrt-rtx")]

mod common;
#[path = "tensorrt_rtx/logs.rs"]
mod logs;
#[path = "tensorrt_rtx/profiles.rs"]
mod profiles;
#[path = "tensorrt_rtx/values.rs"]
mod values;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use accelerant::backend::tensorrt::{Profiles, ProgressEvent, TensorRt, TensorRtOptions};
use accelerant::backend::{Backend, Engine, Executable};
use accelerant::cuda::cudarc::driver::CudaContext;
use accelerant::export::{Consumer, GraphBuilder, OnnxModel, onnx};
use accelerant::{BackendKind, DType, Dim, ErrorKind, HostTensor, Result, Shape};
use ndarray::{Array1, Array2};

const FEATURES: usize = 32;
const HIDDEN: usize = 64;
const CLASSES: usize = 10;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Multiples of 1/8 from -1/2 to 1/2: with them the layers below are exact even in TF32, so that
/// results can be compared closely whatever the kernels do.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    noise(len, seed).iter().map(|byte| f32::from(byte % 9) / 8.0 - 0.5).collect()
}

/// Two fully connected layers, whose weights are large enough to be handed over by pointer.
struct Mlp {
    first: Array2<f32>,
    bias: Array1<f32>,
    second: Array2<f32>,
}

impl Mlp {
    fn new(seed: u64) -> Self {
        Self {
            first: Array2::from_shape_vec((FEATURES, HIDDEN), numbers(FEATURES * HIDDEN, seed))
                .unwrap(),
            bias: Array1::from_vec(numbers(HIDDEN, seed + 1)),
            second: Array2::from_shape_vec((HIDDEN, CLASSES), numbers(HIDDEN * CLASSES, seed + 2))
                .unwrap(),
        }
    }

    fn export(&self, batch: impl Into<Dim>) -> OnnxModel {
        let graph = GraphBuilder::for_consumer("mlp", Consumer::tensorrt());
        let model = || -> Result<OnnxModel> {
            let x = graph.input("x", DType::F32, [batch.into(), Dim::Fixed(FEATURES)])?;
            let first = graph.weight("first.weight", self.first.clone())?;
            let bias = graph.weight("first.bias", self.bias.clone())?;
            let hidden = x.linear(&first, Some(&bias), false)?.relu()?;
            let y =
                hidden.linear(&graph.weight("second.weight", self.second.clone())?, None, false)?;
            graph.output("y", &y)?;
            graph.finish()
        };
        model().unwrap()
    }

    fn forward(&self, x: &Array2<f32>) -> Array2<f32> {
        (x.dot(&self.first) + &self.bias).mapv(|v| v.max(0.0)).dot(&self.second)
    }
}

fn batch(min: usize, max: usize) -> Dim {
    Dim::dynamic("batch", min..=max).unwrap()
}

fn input(rows: usize, seed: u64) -> Array2<f32> {
    Array2::from_shape_vec((rows, FEATURES), numbers(rows * FEATURES, seed)).unwrap()
}

fn rtx() -> TensorRt {
    TensorRt::rtx().with_options(exact())
}

fn exact() -> TensorRtOptions {
    TensorRtOptions::default().tf32(false)
}

/// Whether there is a GPU; without one the reason is told, or is a failure where one was declared.
fn gpu(test: &str) -> bool {
    common::runs(test, &rtx())
}

/// A model from nodes that are not checked here: `(operator, name, inputs, output)`.
fn raw(nodes: &[(&str, &str, &[&str], &str)], output: &str) -> Result<OnnxModel> {
    let mut proto = Mlp::new(1).export(4).proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    graph.node = nodes
        .iter()
        .map(|(operator, name, inputs, output)| onnx::NodeProto {
            name: Some((*name).into()),
            op_type: Some((*operator).into()),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![(*output).into()],
            ..Default::default()
        })
        .collect();
    graph.output[0].name = Some(output.into());
    OnnxModel::from_proto(proto)
}

#[test]
fn a_static_model_becomes_an_engine() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    assert_eq!(engine.kind(), &BackendKind::TensorRtRtx);
    assert_eq!(engine.library(), rtx().library_version().unwrap());
    assert_eq!(engine.target(), "any");
    assert!(engine.plan().len() > FEATURES * HIDDEN * 4, "the weights are in the plan");
    assert!(!engine.build_time().is_zero());
    rtx().validate(&engine).unwrap();
}

#[test]
fn a_dynamic_batch_becomes_a_profile_and_survives_a_file() {
    let engine = rtx().build(&Mlp::new(2).export(batch(1, 64))).unwrap();
    assert_eq!(
        engine.signature().inputs[0].shape.profile(),
        [[1, FEATURES], [64, FEATURES], [64, FEATURES]].map(Vec::from)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.engine");
    engine.save(&path).unwrap();
    let read = Engine::open(&path).unwrap();
    assert!(read.to_bytes() == engine.to_bytes());
    rtx().validate(&read).unwrap();
}

#[test]
fn weights_by_pointer_and_inline_give_the_same_signature_and_size() {
    let model = Mlp::new(3).export(4);
    let split = model.split();
    assert_eq!(split.weights.len(), 2, "both matrices, not the bias");
    assert!(split.bytes.len() < 2048, "{} bytes are left", split.bytes.len());
    let one = rtx().build(&model).unwrap();
    let other = rtx().build(&OnnxModel::from_bytes(model.to_bytes()).unwrap()).unwrap();
    assert_eq!(one.signature(), other.signature());
    assert!(one.plan().len().abs_diff(other.plan().len()) < 1024);
}

#[test]
fn a_signature_that_the_plan_does_not_have_is_found() {
    if !gpu("a_signature_that_the_plan_does_not_have_is_found") {
        return;
    }
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let with = |change: fn(&mut accelerant::Signature)| {
        let mut signature = engine.signature().clone();
        change(&mut signature);
        let (library, target, plan) = (engine.library(), engine.target(), engine.plan().clone());
        let altered = Engine::new(
            engine.kind().clone(),
            library,
            target,
            signature,
            engine.build_time(),
            plan,
        );
        rtx().validate(&altered).unwrap_err()
    };
    let name = with(|s| s.inputs[0].name = "z".into());
    assert_eq!((name.kind(), name.tensor()), (ErrorKind::EngineCorrupt, Some("z")));
    let dtype = with(|s| s.outputs[0].dtype = DType::F16);
    assert_eq!((dtype.kind(), dtype.tensor()), (ErrorKind::EngineCorrupt, Some("y")));
    let shape = with(|s| s.inputs[0].shape = Shape::from([5usize, FEATURES]));
    assert_eq!((shape.kind(), shape.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
    let count = with(|s| s.outputs.clear());
    assert_eq!(count.kind(), ErrorKind::EngineCorrupt);
}

#[test]
fn a_profile_other_than_the_header_says_is_found() {
    if !gpu("a_profile_other_than_the_header_says_is_found") {
        return;
    }
    let one = TensorRt::rtx().with_options(exact().profiles(Profiles::new()));
    let engine = one.build(&Mlp::new(1).export(batch(1, 8))).unwrap();
    let mut signature = engine.signature().clone();
    signature.inputs[0].shape = Shape::from([batch(1, 9), Dim::Fixed(FEATURES)]);
    let (library, target, plan) = (engine.library(), engine.target(), engine.plan().clone());
    let altered =
        Engine::new(engine.kind().clone(), library, target, signature, engine.build_time(), plan);
    let error = rtx().validate(&altered).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
}

#[test]
fn options_reach_the_builder() {
    let model = Mlp::new(1).export(4);
    let options = exact()
        .workspace(1 << 26)
        .optimization_level(0)
        .aux_streams(1)
        .compute_capabilities([89, 120]);
    let engine = TensorRt::rtx().with_options(options).build(&model).unwrap();
    assert_eq!(engine.target(), "sm_89+sm_120");

    let refused =
        |options: TensorRtOptions| TensorRt::rtx().with_options(options).build(&model).unwrap_err();
    assert_eq!(refused(exact().optimization_level(6)).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(exact().max_contexts(0)).kind(), ErrorKind::InvalidArgument);
    let capability = refused(exact().compute_capabilities([13]));
    assert_eq!(capability.kind(), ErrorKind::Build);
    assert!(capability.to_string().contains("13"), "{capability}");
}

#[test]
fn layers_are_in_other_forms_for_hopper_unless_told_otherwise() {
    let in_forms = |options: TensorRtOptions| {
        let consumer = rtx().with_options(options).consumer();
        let [plain, forms] = [false, true].map(|on| Consumer::tensorrt().hopper_forms(on));
        assert!(consumer == plain || consumer == forms);
        consumer == forms
    };
    let options = TensorRtOptions::default;
    assert!(in_forms(options().hopper_forms(true)));
    assert!(in_forms(options().compute_capabilities([90])));
    assert!(!in_forms(options().compute_capabilities([90]).hopper_forms(false)));
    assert!(!in_forms(options().compute_capabilities([80, 90])));
    let here = match gpu("layers are in other forms on Hopper") {
        true => CudaContext::new(0).unwrap().compute_capability().unwrap() == (9, 0),
        false => false,
    };
    assert_eq!(in_forms(options()), here);
    #[cfg(feature = "tensorrt")]
    {
        let enterprise = TensorRt::enterprise().with_options(options().compute_capabilities([90]));
        assert_eq!(enterprise.consumer(), Consumer::tensorrt());
    }
}

#[test]
fn layers_can_be_inspected() {
    if !gpu("layers_can_be_inspected") {
        return;
    }
    let rtx = TensorRt::rtx().with_options(exact().layer_details(true));
    let engine = rtx.build(&Mlp::new(1).export(4)).unwrap();
    let layers = rtx.layer_information(&engine).unwrap();
    assert!(layers.trim_start().starts_with('{') && layers.contains("Layers"), "{layers}");
}

#[test]
fn an_unbounded_dimension_is_refused_by_name() {
    let seq = Dim::dynamic("seq", 1..=accelerant::Symbol::UNBOUNDED).unwrap();
    let error = rtx().build(&Mlp::new(1).export(seq)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::InvalidArgument, Some("x"), Some(0))
    );
    assert!(error.to_string().contains("`seq`"), "{error}");
}

#[test]
fn a_build_tells_its_progress() {
    let (started, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (s, f) = (started.clone(), finished.clone());
    let options = exact().progress(move |event| {
        match event {
            ProgressEvent::Started { .. } => s.fetch_add(1, Ordering::Relaxed),
            ProgressEvent::Finished { .. } => f.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        ControlFlow::Continue(())
    });
    TensorRt::rtx().with_options(options).build(&Mlp::new(1).export(4)).unwrap();
    assert!(started.load(Ordering::Relaxed) > 0);
    assert_eq!(started.load(Ordering::Relaxed), finished.load(Ordering::Relaxed));
}

#[test]
fn a_build_can_be_stopped_and_survives_a_panicking_callback() {
    let model = Mlp::new(1).export(4);
    let stopped = exact().progress(|_| ControlFlow::Break(()));
    let error = TensorRt::rtx().with_options(stopped).build(&model).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Build, "stopped by the progress callback")
    );
    let panicking = exact().progress(|_| panic!("a callback of the test"));
    let error = TensorRt::rtx().with_options(panicking).build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
}

#[test]
fn all_unsupported_operators_are_reported_at_once() {
    let nodes: &[(&str, &str, &[&str], &str)] = &[
        ("Relu", "fine", &["x"], "a"),
        ("StringConcat", "first/odd", &["a", "a"], "b"),
        ("NoSuchOperator", "second/odd", &["b"], "c"),
        ("Relu", "also_fine", &["c"], "d"),
    ];
    let model = raw(nodes, "d").unwrap();
    let error = rtx().build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let refusals = rtx().check(&model).unwrap().unwrap();
    let found: Vec<_> = refusals.iter().map(|r| (r.node, r.reason.kind())).collect();
    assert_eq!(found, [Some(1), Some(2)].map(|node| (node, error.kind())), "{refusals:?}");
    assert_eq!(rtx().check(&Mlp::new(1).export(4usize)).unwrap().map(|none| none.len()), Some(0));
    let text = error.to_string();
    for part in ["first/odd", "StringConcat", "second/odd", "NoSuchOperator"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn models_that_are_wrong_give_typed_errors() {
    let cases: &[(&str, Result<OnnxModel>)] = &[
        ("an input that nobody makes", raw(&[("Relu", "r", &["nowhere"], "y")], "y")),
        ("an output that nobody makes", raw(&[("Relu", "r", &["x"], "a")], "elsewhere")),
        ("a node without inputs", raw(&[("Relu", "r", &[], "y")], "y")),
        ("a circle", raw(&[("Relu", "r", &["b"], "a"), ("Relu", "s", &["a"], "b")], "b")),
        ("shapes that do not fit", raw(&[("MatMul", "m", &["x", "second.weight"], "y")], "y")),
        ("an attribute that is missing", raw(&[("Cast", "c", &["x"], "y")], "y")),
        ("no nodes", raw(&[], "y")),
    ];
    for (what, model) in cases {
        let built = model.as_ref().map(|model| rtx().build(model));
        let kind = match &built {
            Ok(Ok(_)) => panic!("{what}: built"),
            Ok(Err(error)) => error.kind(),
            Err(error) => error.kind(),
        };
        let expected = [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation, ErrorKind::Build];
        assert!(expected.contains(&kind), "{what}: {kind:?}");
    }
}

#[test]
fn an_operator_set_of_the_future_does_not_abort() {
    let mut future = Mlp::new(1).export(4).proto().clone();
    future.opset_import[0].version = Some(999);
    // TensorRT-RTX reads operators of newer sets as the newest that it knows.
    if let Err(error) = OnnxModel::from_proto(future).and_then(|model| rtx().build(&model)) {
        assert!(
            [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation].contains(&error.kind()),
            "{error}"
        );
    }
}

#[test]
fn types_that_tensorrt_has_not_are_refused() {
    for dtype in [DType::I16, DType::U16, DType::U32, DType::U64, DType::F64] {
        let graph = GraphBuilder::for_consumer("cast", Consumer::tensorrt());
        let x = graph.input("x", dtype, [4usize]).unwrap();
        graph.output("y", &x.cast(DType::F32).unwrap()).unwrap();
        let error = rtx().build(&graph.finish().unwrap()).expect_err("no such type");
        let expected = [ErrorKind::UnsupportedOperation, ErrorKind::InvalidModel];
        assert!(expected.contains(&error.kind()), "{dtype}: {:?} {error}", error.kind());
    }
}

#[test]
fn broken_onnx_bytes_never_abort() {
    let bytes = Mlp::new(1).export(4).to_bytes();
    let attempt =
        |bytes: Vec<u8>| -> Result<Engine> { rtx().build(&OnnxModel::from_bytes(bytes)?) };
    for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
        if let Err(error) = attempt(bytes[..cut].to_vec()) {
            let expected = [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation];
            assert!(expected.contains(&error.kind()), "cut at {cut}: {:?} {error}", error.kind());
        }
    }
    assert_eq!(attempt(noise(4096, 9)).unwrap_err().kind(), ErrorKind::InvalidModel);
    // The structure is at both ends; most of the middle is weights.
    for (i, at) in
        (0..1000).step_by(37).chain((bytes.len() - 200..bytes.len()).step_by(5)).enumerate()
    {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (i % 8);
        if let Err(error) = attempt(flipped) {
            assert!(!error.message().is_empty(), "flip at {at}");
        }
    }
}

#[test]
fn engine_files_that_do_not_fit_are_refused() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let altered = |kind: BackendKind, library: &str| {
        Engine::new(
            kind,
            library,
            engine.target(),
            engine.signature().clone(),
            engine.build_time(),
            engine.plan().clone(),
        )
    };
    for other in [
        altered(BackendKind::TensorRtRtx, "1.4.0.76"),
        altered(BackendKind::TensorRt, engine.library()),
        altered(BackendKind::Ort, engine.library()),
    ] {
        for error in [rtx().load(&other).unwrap_err(), rtx().validate(&other).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::EngineIncompatible, "{error}");
            let text = error.to_string();
            assert!(text.contains(other.library()) && text.contains(engine.library()), "{text}");
        }
    }

    let bytes = engine.to_bytes();
    for cut in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
        let error = Engine::from_bytes(bytes[..cut].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "cut at {cut}: {error}");
    }
    let regions = (0..256).chain((256..bytes.len()).step_by(bytes.len() / 64 + 1));
    for at in regions {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let error = Engine::from_bytes(flipped).unwrap_err();
        let expected = [ErrorKind::EngineCorrupt, ErrorKind::EngineIncompatible];
        assert!(expected.contains(&error.kind()), "flip at {at}: {error}");
    }
}

#[test]
fn plans_that_are_no_plans_are_refused() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    for plan in [Vec::new(), vec![0; 3], vec![0; 1 << 16], noise(100_000, 7)] {
        let library = engine.library();
        let signature = engine.signature().clone();
        let junk = Engine::new(
            BackendKind::TensorRtRtx,
            library,
            "any",
            signature,
            engine.build_time(),
            plan,
        );
        let error = rtx().validate(&junk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "{error}");
    }
}

#[test]
fn builds_run_side_by_side() {
    thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|seed| scope.spawn(move || rtx().build(&Mlp::new(seed).export(4))))
            .collect();
        for build in builds {
            rtx().validate(&build.join().unwrap().unwrap()).unwrap();
        }
    });
}

#[test]
fn builds_for_other_devices_side_by_side_do_not_disturb_each_other() {
    let model = Mlp::new(5).export(4);
    thread::scope(|scope| {
        for capabilities in [&[][..], &[89, 120], &[80], &[86]] {
            let backend = TensorRt::rtx()
                .with_options(exact().compute_capabilities(capabilities.iter().copied()));
            let model = &model;
            scope.spawn(move || {
                for _ in 0..4 {
                    backend.build(model).unwrap_or_else(|e| panic!("{capabilities:?}: {e}"));
                }
            });
        }
    });
}

#[test]
fn errors_of_side_by_side_builds_are_not_mixed_up() {
    thread::scope(|scope| {
        for name in ["left", "right"] {
            scope.spawn(move || {
                for _ in 0..8 {
                    let error = raw(&[("NoSuchOperator", name, &["x"], "y")], "y")
                        .and_then(|m| rtx().build(&m))
                        .unwrap_err();
                    let other = if name == "left" { "right" } else { "left" };
                    let text = error.to_string();
                    assert!(text.contains(name) && !text.contains(other), "{text}");
                }
            });
        }
    });
}

#[test]
fn without_a_driver_loading_is_a_device_error() {
    if rtx().probe().is_ok() {
        common::skipped("without_a_driver_loading_is_a_device_error", "there is a GPU");
        return;
    }
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let error = rtx().load(&engine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert_eq!(rtx().memory(&engine).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn a_device_that_is_not_there_is_a_device_error() {
    let backend = TensorRt::rtx().with_options(exact().device(4096));
    let error = backend.probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
}

fn load(backend: &TensorRt, model: &OnnxModel) -> Box<dyn Executable> {
    let engine = backend.build(model).unwrap();
    backend.load(&engine).unwrap()
}

fn assert_close(got: &HostTensor, expected: &Array2<f32>) {
    assert_eq!(got.shape(), expected.shape());
    for (got, expected) in got.to_vec::<f32>().unwrap().iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }
}

#[test]
fn inference_matches_ndarray() {
    if !gpu("inference_matches_ndarray") {
        return;
    }
    let mlp = Mlp::new(11);
    let fixed = load(&rtx(), &mlp.export(4));
    let dynamic = load(&rtx(), &mlp.export(batch(1, 64)));
    for seed in 0..3 {
        let x = input(4, seed);
        assert_close(&fixed.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    }
    // Growing, shrinking and repeated sizes.
    for (seed, rows) in [1, 64, 7, 7, 64, 2, 33].into_iter().enumerate() {
        let x = input(rows, seed as u64);
        assert_close(&dynamic.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    }
}

#[test]
fn an_engine_for_another_device_is_refused_or_runs_right() {
    if !gpu("an_engine_for_another_device_is_refused_or_runs_right") {
        return;
    }
    let mlp = Mlp::new(15);
    // No device is all of these; the library decides which it takes nevertheless.
    for capability in [75, 89, 120] {
        let backend = TensorRt::rtx().with_options(exact().compute_capabilities([capability]));
        match backend.load(&backend.build(&mlp.export(4)).unwrap()) {
            Ok(executable) => {
                let x = input(4, 4);
                assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::EngineIncompatible, "{error}");
                assert!(error.to_string().contains("built by"), "{error}");
            }
        }
    }
}

#[test]
fn options_of_running_do_not_change_results() {
    if !gpu("options_of_running_do_not_change_results") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("kernels");
    let mlp = Mlp::new(12);
    let options = exact().cuda_graph(true).runtime_cache(&cache);
    for _ in 0..2 {
        let fast = load(&TensorRt::rtx().with_options(options.clone()), &mlp.export(batch(1, 16)));
        for rows in [3, 3, 16, 3] {
            let x = input(rows, rows as u64);
            assert_close(&fast.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
        }
        drop(fast);
        assert!(cache.metadata().unwrap().len() > 0);
    }
    std::fs::write(&cache, b"not a cache").unwrap();
    let fast = load(&TensorRt::rtx().with_options(options), &mlp.export(batch(1, 16)));
    let x = input(5, 5);
    assert_close(&fast.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
}

#[test]
fn more_threads_than_contexts_wait_for_each_other() {
    if !gpu("more_threads_than_contexts_wait_for_each_other") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mlp = Mlp::new(13);
    let variants = [
        (exact(), batch(1, 32)),
        (exact().max_contexts(4).cuda_graph(true), batch(1, 32)),
        (exact().max_contexts(3).runtime_cache(folder.path().join("kernels")), batch(1, 32)),
        (exact().max_contexts(1), Dim::Fixed(8)),
        (exact().max_contexts(4), Dim::Fixed(8)),
    ];
    for (options, rows) in variants {
        let executable = load(&TensorRt::rtx().with_options(options), &mlp.export(rows.clone()));
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let (mlp, executable, rows) = (&mlp, &executable, &rows);
                scope.spawn(move || {
                    for round in 0..20 {
                        let rows = rows.fixed().unwrap_or(1 + (thread as usize * 5 + round) % 32);
                        let x = input(rows, thread);
                        let y = executable.run(&[x.clone().into()]).unwrap();
                        assert_close(&y[0], &mlp.forward(&x));
                    }
                });
            }
        });
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_and_the_executable_lives_on() {
    if !gpu("inputs_that_do_not_fit_are_refused_and_the_executable_lives_on") {
        return;
    }
    let mlp = Mlp::new(14);
    let executable = load(&rtx(), &mlp.export(batch(1, 8)));
    let zeros =
        |rows: usize, columns: usize| HostTensor::from(Array2::<f32>::zeros((rows, columns)));
    let refused: &[(&[HostTensor], ErrorKind, Option<usize>)] = &[
        (&[], ErrorKind::InputMismatch, None),
        (&[zeros(9, FEATURES)], ErrorKind::OutOfProfile, Some(0)),
        (&[zeros(0, FEATURES)], ErrorKind::OutOfProfile, Some(0)),
        (&[zeros(4, FEATURES + 1)], ErrorKind::ShapeMismatch, Some(1)),
        (&[HostTensor::from(Array2::<f64>::zeros((4, FEATURES)))], ErrorKind::DTypeMismatch, None),
    ];
    for (inputs, kind, axis) in refused {
        let error = executable.run(inputs).unwrap_err();
        assert_eq!((error.kind(), error.axis()), (*kind, *axis), "{error}");
    }
    let x = input(8, 1);
    assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
}

#[test]
fn element_types_go_through_as_they_are() {
    if !gpu("element_types_go_through_as_they_are") {
        return;
    }
    let check = |values: HostTensor| {
        let graph = GraphBuilder::for_consumer("neg", Consumer::tensorrt());
        let x =
            graph.input("x", values.dtype(), Shape::from(values.shape().iter().copied())).unwrap();
        let y = graph.node("Concat").input(&x).input(&x).attr("axis", 0i64).build().unwrap();
        graph.output("y", &y).unwrap();
        let executable = load(&rtx(), &graph.finish().unwrap());
        let y = executable.run(std::slice::from_ref(&values)).unwrap().remove(0);
        assert_eq!(y.dtype(), values.dtype());
        assert_eq!(
            &y.bytes()[..],
            [&values.bytes()[..], &values.bytes()[..]].concat(),
            "{}",
            values.dtype()
        );
    };
    check(HostTensor::from_vec([3], vec![1.5f32, -2.0, 0.25]).unwrap());
    check(
        HostTensor::from_vec([3], vec![half::f16::from_f32(1.5), half::f16::MAX, half::f16::MIN])
            .unwrap(),
    );
    check(HostTensor::from_vec([2], vec![half::bf16::from_f32(1.5), half::bf16::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![i32::MIN, 0, i32::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![i64::MIN, 0, i64::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![true, false, true]).unwrap());
}
